//! Where the password comes from: never from an argument, which every user of the machine can read.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, Write};

use ftp_client::{Secret, Target};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::failure::{Failure, Stop};

/// The password given without asking: the first line of standard input, or `FTP_PASSWORD`.
pub(crate) fn given(from_stdin: bool) -> Result<Option<Secret>, Failure> {
    if from_stdin {
        // The rest of standard input stays for `put -` or the shell: both read on behind this buffer.
        return first_line(&mut io::stdin().lock()).map(Some);
    }
    match env::var("FTP_PASSWORD") {
        Ok(password) if !password.is_empty() => Ok(Some(Secret::new(password))),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Failure::usage("FTP_PASSWORD is not UTF-8")),
    }
}

/// Asks on the terminal.
pub(crate) fn ask(target: &Target) -> Result<Secret, Stop> {
    let question = format!("Password for {target}: ");
    prompt(question).map(Secret::new).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Stop::Interrupted,
        io::ErrorKind::UnexpectedEof => Failure::usage(format!("no password for {target} was typed")).into(),
        _ => Failure::usage(format!("no password for {target}, and no terminal to ask on"))
            .hint("give it by `--password-stdin` or FTP_PASSWORD, or save a key with `ftp-cli login` on a terminal")
            .into(),
    })
}

/// Asks unseen. At Ctrl-C, rpassword would have the signal end the program before the terminal shows
/// again what is typed, so the signal is caught meanwhile.
fn prompt(question: String) -> io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let typed = runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let typing = tokio::task::spawn_blocking(|| rpassword::prompt_password(question));
        tokio::select! {
            typed = typing => typed.map_err(io::Error::other)?,
            _ = interrupts.recv() => Err(io::ErrorKind::Interrupted.into()),
        }
    });
    // A signal from elsewhere leaves the thread reading; nobody waits for it.
    runtime.shutdown_background();
    if let Err(error) = &typed {
        // A terminal that is gone needs neither.
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let _ = terminal.write_all(b"\n");
        }
    }
    typed
}

fn first_line(input: &mut impl BufRead) -> Result<Secret, Failure> {
    let mut line = Zeroizing::new(String::new());
    let read = input
        .read_line(&mut line)
        .map_err(|error| Failure::usage(format!("cannot read the password from standard input: {error}")))?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if read == 0 || password.is_empty() {
        return Err(Failure::usage("standard input has no password on its first line"));
    }
    Ok(Secret::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_and_the_rest_is_left() {
        let mut input = b"pass word \r\nfile content" as &[u8];
        assert_eq!(first_line(&mut input).unwrap().expose(), "pass word ");
        assert_eq!(input, b"file content");
    }

    #[test]
    fn an_empty_standard_input_is_wrong_usage() {
        assert!(first_line(&mut (b"" as &[u8])).is_err());
        assert!(first_line(&mut (b"\n" as &[u8])).is_err());
    }
}
