//! The only place that writes for the person at the command line: results on standard output,
//! everything else on standard error.

use std::io::{self, Write as _};

/// Writes a whole text to standard output.
///
/// # Errors
/// What the operating system says; a closed pipe is the caller's sign to stop quietly.
pub(crate) fn result(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to standard error. Nobody is left to tell when that fails.
pub(crate) fn note(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Writes a warning to standard error.
pub(crate) fn warning(line: &str) {
    note(&format!("warning: {line}"));
}
