//! Lines from the terminal that nobody may be waiting for any more: whoever gives up must find it free.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How soon it is noticed that nobody waits any more.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The terminal that the program was started from.
#[derive(Debug)]
pub(crate) struct Terminal {
    keys: File,
    screen: File,
}

impl Terminal {
    /// Opens it, wherever standard input and output lead.
    pub(crate) fn open() -> io::Result<Self> {
        // Opened by itself, so that reading without waiting is nobody else's way to read.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        Ok(Self {
            keys: File::options().read(true).custom_flags(flags).open("/dev/tty")?,
            screen: File::options().write(true).open("/dev/tty")?,
        })
    }

    /// Asks for a line. `None` at the end of what is typed, or when `given_up` says so.
    pub(crate) fn ask(&mut self, question: &str, given_up: &dyn Fn() -> bool) -> Option<String> {
        self.screen.write_all(question.as_bytes()).ok()?;
        read_line(&mut self.keys, given_up).ok()?
    }
}

/// The next line; what is typed after `given_up` stays for others.
fn read_line(mut input: impl AsFd + Read, given_up: &dyn Fn() -> bool) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut bytes = [0; 256];
    while line.last() != Some(&b'\n') {
        let ready = poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&PATIENCE));
        if given_up() {
            return Ok(None);
        }
        match ready {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match input.read(&mut bytes) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(read) => line.extend_from_slice(&bytes[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_line_may_come_in_pieces() {
        let (keys, mut person) = io::pipe().unwrap();
        let asked = Cell::new(0);
        person.write_all(b"y").unwrap();
        let typing = || {
            asked.set(asked.get() + 1);
            if asked.get() == 2 {
                (&person).write_all(b"es\n").unwrap();
            }
            false
        };
        assert_eq!(read_line(&keys, &typing).unwrap().as_deref(), Some("yes\n"));
    }

    #[test]
    fn the_end_is_no_answer() {
        let (keys, person) = io::pipe().unwrap();
        drop(person);
        assert_eq!(read_line(&keys, &|| false).unwrap(), None);
    }

    #[test]
    fn reading_ends_when_nobody_waits_and_leaves_what_is_typed() {
        let (mut keys, mut person) = io::pipe().unwrap();
        let asked = Cell::new(0);
        let third = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        assert_eq!(read_line(&keys, &third).unwrap(), None);
        person.write_all(b"ls\n").unwrap();
        assert_eq!(read_line(&keys, &|| true).unwrap(), None);
        drop(person);
        let mut left = String::new();
        keys.read_to_string(&mut left).unwrap();
        assert_eq!(left, "ls\n");
    }
}
