//! The byte stream below a session: TCP, with TLS 1.3 on it unless switched off.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ftp_proto::ReadAhead;
use ftp_proto::scram::{Binding, EXPORTER_LABEL};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Address;

/// How much plaintext TLS takes at once: a whole data frame, so that it leaves in one system call.
const TLS_BUFFER_BYTES: usize = 2 * ftp_proto::MAX_DATA_BYTES;

/// In the order of preference, which the server follows. AES-128 is the one that every TLS 1.3 speaks (RFC 8446,
/// section 9.1), far out of reach of any search for its key, and a fifth faster than AES-256.
const CIPHER_SUITES: [SupportedCipherSuite; 3] = [
    TLS13_AES_128_GCM_SHA256,
    TLS13_AES_256_GCM_SHA384,
    TLS13_CHACHA20_POLY1305_SHA256,
];

/// How long one address of the host may take to answer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Any connected stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects to the address and, with `tls`, speaks TLS on it. The binding is what the login signs.
pub(crate) async fn connect(address: &Address, tls: bool) -> io::Result<(Box<dyn Io>, Binding)> {
    let tcp = dial(address).await?;
    tcp.set_nodelay(true)?;
    if !tls {
        return Ok((Box::new(tcp), Binding::None));
    }
    let name = ServerName::try_from(address.host.clone())
        .unwrap_or_else(|_| ServerName::try_from("ftpd.invalid").expect("the name is valid"));
    let mut stream = TlsConnector::from(tls_config()?)
        .connect(name, ReadAhead::new(tcp))
        .await?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    let mut material = [0; 32];
    stream
        .get_ref()
        .1
        .export_keying_material(&mut material, EXPORTER_LABEL, None)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok((Box::new(stream), Binding::TlsExporter(material)))
}

/// Tries the addresses of the host in order. One that does not answer must not use up the time for the others.
async fn dial(address: &Address) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((address.host.as_str(), address.port)).await? {
        failure = match timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
    }
    Err(failure)
}

fn tls_config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: CIPHER_SUITES.to_vec(),
        ..aws_lc_rs::default_provider()
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| io::Error::other(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ProvenByLogin(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Accepts any certificate, because the login proves the server: it is bound to this very channel,
/// and only who knows the user's verifier can finish it. The handshake's signature is still checked,
/// so that the peer holds the key of the certificate it shows.
#[derive(Debug)]
struct ProvenByLogin(Arc<CryptoProvider>);

impl ServerCertVerifier for ProvenByLogin {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
