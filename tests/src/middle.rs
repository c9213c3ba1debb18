//! Somebody in the middle of TLS, with a certificate of their own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Speaks TLS with the client and TLS with the server, and reads and passes on everything between.
/// Lives as long as the test's runtime.
#[derive(Clone, Debug)]
pub struct Middle {
    address: SocketAddr,
    overheard: Arc<Mutex<Vec<u8>>>,
}

impl Middle {
    /// The certificate that a server shows to whoever connects.
    pub async fn certificate_of(target: SocketAddr) -> Vec<u8> {
        let tcp = TcpStream::connect(target).await.unwrap();
        let stream = connect_tls(tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sits down before the target.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let overheard = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, ear) = (acceptor(), Arc::clone(&overheard));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, ear) = (acceptor.clone(), Arc::clone(&ear));
                tokio::spawn(async move {
                    let deceived = acceptor.accept(tcp).await?;
                    let upstream = connect_tls(TcpStream::connect(target).await?).await?;
                    relay(deceived, upstream, &ear).await
                });
            }
        });
        Self { address, overheard }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that clients have said, as plain bytes.
    pub fn overheard(&self) -> Vec<u8> {
        self.overheard.lock().unwrap().clone()
    }
}

async fn relay(
    mut client: server::TlsStream<TcpStream>,
    mut server: client::TlsStream<TcpStream>,
    ear: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read? {
                0 => return server.shutdown().await,
                read => {
                    ear.lock().unwrap().extend_from_slice(&up[..read]);
                    server.write_all(&up[..read]).await?;
                    server.flush().await?;
                }
            },
            read = server.read(&mut down) => match read? {
                0 => return client.shutdown().await,
                read => {
                    client.write_all(&down[..read]).await?;
                    client.flush().await?;
                }
            },
        }
    }
}

/// Takes connections under a certificate made on the spot.
pub(crate) fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Speaks TLS 1.3 and trusts any certificate.
///
/// # Errors
/// Why there is no TLS.
pub async fn connect_tls(tcp: TcpStream) -> std::io::Result<client::TlsStream<TcpStream>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(credulous()));
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, tcp).await
}

fn credulous() -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
