//! The server's certificate, and TLS 1.3 with it.
//!
//! Without a certificate of the administrator's the server makes its own. Nobody has to check it:
//! the login is bound to the channel, so whoever sits in the middle with another one fails.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ftp_proto::ReadAhead;
use ftp_proto::scram::{Binding, EXPORTER_LABEL};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::config::{ServerConfig, TlsConfig};

/// A connection with TLS on it.
pub(crate) type Stream = TlsStream<ReadAhead<TcpStream>>;

/// The files in the state directory.
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// Stands above the PEM in both, where RFC 7468 section 2 has other text ignored. Without it a file is of version 1.
const FORM_NAME: &str = "ftpd-tls";
const FORM_VERSION: &str = "1";

/// All of them.
pub(crate) const STATE_FILES: [&str; 2] = [CERTIFICATE_FILE, KEY_FILE];

/// As [`load`], for a certificate of the administrator's only: its key may be root's to read.
pub(crate) fn load_own(config: &ServerConfig) -> Result<Option<Arc<rustls::ServerConfig>>> {
    match &config.tls {
        TlsConfig::Own { .. } => load(&config.tls, &config.state),
        TlsConfig::Automatic | TlsConfig::Off => Ok(None),
    }
}

/// The TLS configuration in force, or `None` when TLS is switched off. Makes a certificate in `state` where none
/// is yet.
pub(crate) fn load(config: &TlsConfig, state: &Path) -> Result<Option<Arc<rustls::ServerConfig>>> {
    let (certificate, key) = match config {
        TlsConfig::Off => return Ok(None),
        TlsConfig::Own { certificate, key } => (certificate.clone(), key.clone()),
        TlsConfig::Automatic => automatic(state)?,
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificate {}", certificate.display()))?;
    anyhow::ensure!(
        !chain.is_empty(),
        "{} contains no certificate in PEM form",
        certificate.display()
    );
    let unreadable = || format!("cannot read the private key {}", key.display());
    let key_text = fs::read(&key).map(Zeroizing::new).with_context(unreadable)?;
    let key_der = PrivateKeyDer::from_pem_slice(&key_text).with_context(unreadable)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not available")?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))?;
    // Each login is a full handshake, so tickets would be sent for nothing.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Some(Arc::new(tls)))
}

/// How much plaintext TLS takes at once: a whole data frame, so that it leaves in one system call.
const TLS_BUFFER_BYTES: usize = 2 * ftp_proto::MAX_DATA_BYTES;

/// Speaks TLS on an accepted connection.
pub(crate) async fn accept(tcp: TcpStream, config: Arc<rustls::ServerConfig>) -> std::io::Result<Stream> {
    let mut stream = TlsAcceptor::from(config).accept(ReadAhead::new(tcp)).await?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    Ok(stream)
}

/// What a login on this connection has to be bound to.
pub(crate) fn binding(stream: &Stream) -> Result<Binding, rustls::Error> {
    let mut material = [0; 32];
    stream
        .get_ref()
        .1
        .export_keying_material(&mut material, EXPORTER_LABEL, None)?;
    Ok(Binding::TlsExporter(material))
}

fn automatic(state: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (state.join(CERTIFICATE_FILE), state.join(KEY_FILE));
    // Before one of them is replaced because the other is missing.
    refuse_foreign(&certificate)?;
    refuse_foreign(&key)?;
    if !(certificate.exists() && key.exists()) {
        let pair =
            rcgen::generate_simple_self_signed(vec!["ftpd.invalid".to_owned()]).context("cannot make a certificate")?;
        let text = Zeroizing::new(pair.signing_key.serialize_pem());
        for (file, pem) in [(&key, text.as_str()), (&certificate, &pair.cert.pem())] {
            let text = Zeroizing::new(format!("{FORM_NAME} {FORM_VERSION}\n{pem}"));
            write_private(file, text.as_bytes())?;
        }
    }
    Ok((certificate, key))
}

/// Refuses what another version of the server made. What is missing is not refused.
fn refuse_foreign(path: &Path) -> Result<()> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words: Vec<_> = line.split(|byte| byte.is_ascii_whitespace()).collect();
    if let [name, version, ..] = words[..]
        && name == FORM_NAME.as_bytes()
        && version != FORM_VERSION.as_bytes()
    {
        anyhow::bail!(
            "{} has version {}, and this ftpd knows version {FORM_VERSION}; use the ftpd that wrote it, or move \
             {CERTIFICATE_FILE} and {KEY_FILE} away, and new ones are made",
            path.display(),
            version.escape_ascii()
        );
    }
    Ok(())
}

/// Writes a file that only the owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_certificate_says_its_version_and_another_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let (certificate, key) = automatic(state.path()).unwrap();
        for file in [&certificate, &key] {
            let text = fs::read_to_string(file).unwrap();
            let (line, pem) = text.split_once('\n').unwrap();
            assert_eq!(line, "ftpd-tls 1");
            // As it was before it had a version.
            fs::write(file, pem).unwrap();
            automatic(state.path()).unwrap();
            fs::write(file, format!("ftpd-tls 2\n{pem}")).unwrap();
            let error = automatic(state.path()).unwrap_err().to_string();
            assert!(
                error.contains("has version 2") && error.contains("move certificate.pem"),
                "{error}"
            );
            // Nor is it replaced because the other one is missing.
            let other = if *file == certificate { &key } else { &certificate };
            let kept = fs::read(other).unwrap();
            fs::remove_file(other).unwrap();
            automatic(state.path()).unwrap_err();
            assert!(fs::read_to_string(file).unwrap().starts_with("ftpd-tls 2"));
            fs::write(other, kept).unwrap();
            fs::write(file, &text).unwrap();
        }
        automatic(state.path()).unwrap();
    }
}
