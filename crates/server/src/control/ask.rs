//! The commands' side of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Ask, FILE, LINE_TIMEOUT, MAX_ANSWER_BYTES, Re, SILENCE, from_line, to_line, with_address};

/// What there is to say when the server says nothing. Not the system's "broken pipe", which would pass
/// for a reader of our own output who has seen enough.
const CLOSED: &str = "the server closed the control connection; it is ending, or does not talk to this user";

/// An answer that comes line by line.
pub(crate) struct Answer {
    read: BufReader<UnixStream>,
}

/// Asks the server that uses this state directory; `None` if none is running.
///
/// # Errors
/// When there is one that cannot be asked.
pub(crate) fn ask(state: &Path, question: &Ask) -> Result<Option<Answer>> {
    let path = state.join(FILE);
    let stream = match with_address(state, FILE, |path| UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(error).with_context(|| {
                format!(
                    "cannot ask the server at {}: run this as the user that runs the server, or as root",
                    path.display()
                )
            });
        }
        Err(error) => return Err(error).with_context(|| format!("cannot ask the server at {}", path.display())),
    };
    let said = (|| {
        stream.set_write_timeout(Some(LINE_TIMEOUT))?;
        stream.set_read_timeout(Some(SILENCE))?;
        (&stream).write_all(&to_line(question))
    })();
    if let Err(error) = said
        && !is_closed(&error)
    {
        return Err(error).with_context(|| format!("cannot ask the server at {}", path.display()));
    }
    // Who was turned away before the question was taken may still read why.
    Ok(Some(Answer {
        read: BufReader::new(stream),
    }))
}

impl Answer {
    /// The next line that says something; `None` at the end.
    ///
    /// # Errors
    /// When the server refuses, falls silent or ends.
    pub(crate) fn next(&mut self) -> Result<Option<Re>> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.read).take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line);
            match read {
                Ok(_) if line.ends_with(b"\n") => {}
                Ok(0) => bail!(CLOSED),
                Err(error) if is_closed(&error) => bail!(CLOSED),
                Ok(_) => bail!("the server's answer is cut"),
                Err(error) => return Err(error).context("the server does not answer"),
            }
            match from_line(&line).context("the server cannot be understood")? {
                Re::Beat => {}
                Re::End => return Ok(None),
                Re::Error { message } => bail!("the server refuses: {message}"),
                re => return Ok(Some(re)),
            }
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
