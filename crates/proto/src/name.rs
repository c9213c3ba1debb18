//! Names of files as JSON text.
//!
//! A name on a POSIX disk is any bytes but `/` and NUL; JSON carries Unicode. Each byte that is not
//! part of valid UTF-8 travels as U+0000 followed by two lower-case hexadecimal digits. NUL occurs
//! in no name, so every valid UTF-8 name travels as itself and nothing is ambiguous.

/// The text is not a name in wire form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name contains a NUL that is not followed by two hexadecimal digits of a byte above 7f")]
pub struct InvalidName;

/// The wire form of `raw`.
pub fn encode_name(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\0{byte:02x}"));
        }
    }
    text
}

/// The bytes that `text` stands for.
///
/// # Errors
/// [`InvalidName`] when an escape is incomplete or stands for a byte that needs none.
pub fn decode_name(text: &str) -> Result<Vec<u8>, InvalidName> {
    let mut pieces = text.split('\0');
    let mut raw = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or(InvalidName)?;
        let lower = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidName)?;
        if byte < 0x80 || !digits.bytes().all(lower) {
            return Err(InvalidName);
        }
        raw.push(byte);
        raw.extend_from_slice(rest.as_bytes());
    }
    Ok(raw)
}
