//! The server's own secret in the state directory: `ftpd-secret 1 BASE64`.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ftp_proto::scram::KEY_BYTES;
use zeroize::Zeroizing;

use crate::tls::write_private;

pub(crate) const FILE: &str = "secret";
const NAME: &str = "ftpd-secret";
const VERSION: &str = "1";

/// Reads the secret, or makes one where there is none.
///
/// # Errors
/// A secret of another version, or a damaged one: it is left as it is.
pub(crate) fn load(state: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
    let path = state.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = Zeroizing::new([0; KEY_BYTES]);
            getrandom::fill(secret.as_mut()).context("the operating system gave no random bytes")?;
            let encoded = Zeroizing::new(STANDARD.encode(*secret));
            let text = Zeroizing::new(format!("{NAME} {VERSION} {}\n", *encoded));
            write_private(&path, text.as_bytes())?;
            return Ok(secret);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    // As it was before it had a version. A text of another version may be as long.
    if !bytes.starts_with(NAME.as_bytes())
        && let Ok(secret) = bytes.as_slice().try_into()
    {
        return Ok(Zeroizing::new(secret));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let known = |encoded: &str| {
        let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        decoded.as_slice().try_into().map(Zeroizing::new).ok()
    };
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [NAME, VERSION, encoded] => known(encoded),
        [NAME, version, ..] if version != VERSION => anyhow::bail!(
            "{} has version {version}, and this ftpd knows version {VERSION}; use the ftpd that wrote it, or move the \
             file away, and a new secret is made",
            path.display()
        ),
        _ => None,
    }
    .with_context(|| format!("{} is damaged; remove it, and a new one is made", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_made_once_and_read_again_also_in_its_oldest_form() {
        let state = tempfile::tempdir().unwrap();
        let secret = load(state.path()).unwrap();
        assert_eq!(load(state.path()).unwrap(), secret);
        std::fs::write(state.path().join(FILE), [7; KEY_BYTES]).unwrap();
        assert_eq!(*load(state.path()).unwrap(), [7; KEY_BYTES]);
    }

    #[test]
    fn secret_of_another_version_or_a_damaged_one_is_refused_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        for (text, reason) in [
            ("ftpd-secret 2 whatever it means\n", "has version 2"),
            ("ftpd-secret 1 AAAA\n", "is damaged"),
            ("ftpd-secret 1\n", "is damaged"),
            ("", "is damaged"),
        ] {
            std::fs::write(state.path().join(FILE), text).unwrap();
            let error = load(state.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert_eq!(std::fs::read_to_string(state.path().join(FILE)).unwrap(), text);
        }
    }
}
