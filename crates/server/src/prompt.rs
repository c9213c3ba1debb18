//! Where a new password comes from: asked twice on the terminal, or one line of standard input.

use std::io::{self, BufRead};

use ftp_proto::Secret;
use zeroize::Zeroizing;

/// More than any password, and little enough to hold.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    #[error("the two passwords differ; nothing was changed")]
    Differ,
    #[error("the password is empty; every user needs one")]
    Empty,
    #[error("the password cannot be read")]
    Input(#[source] io::Error),
    #[error("the password is longer than {MAX_PASSWORD_BYTES} bytes")]
    Long,
    #[error("there is no terminal to ask for the password; give it on standard input with --password-stdin")]
    Terminal(#[source] io::Error),
}

/// Asks for a new password for `user`, or takes the first line of standard input.
pub(crate) fn new_password(user: &str, stdin: bool) -> Result<Secret, PromptError> {
    if stdin {
        return read_line(io::stdin().lock());
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map(Secret::new)
            .map_err(PromptError::Terminal)
    };
    let password = check(ask(format!("Password for {user}: "))?)?;
    let again = ask("The same again: ".to_owned())?;
    if password.expose() != again.expose() {
        return Err(PromptError::Differ);
    }
    Ok(password)
}

/// The first line without its end; what follows is ignored.
fn read_line(input: impl BufRead) -> Result<Secret, PromptError> {
    let mut line = Zeroizing::new(String::new());
    let mut input = input.take(MAX_PASSWORD_BYTES + 2);
    input.read_line(&mut line).map_err(PromptError::Input)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let length = password.strip_suffix('\r').unwrap_or(password).len();
    line.truncate(length);
    check(Secret::new(std::mem::take(&mut line)))
}

fn check(password: Secret) -> Result<Secret, PromptError> {
    match password.expose().len() as u64 {
        0 => Err(PromptError::Empty),
        length if length > MAX_PASSWORD_BYTES => Err(PromptError::Long),
        _ => Ok(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_without_its_end() {
        for (input, password) in [
            ("secret\n", "secret"),
            ("secret", "secret"),
            ("secret\r\n", "secret"),
            (" with blanks \nmore\n", " with blanks "),
        ] {
            assert_eq!(read_line(input.as_bytes()).unwrap().expose(), password);
        }
    }

    #[test]
    fn an_empty_and_an_endless_password_are_refused() {
        for input in ["", "\n", "\r\n", "\nsecret\n"] {
            assert!(
                matches!(read_line(input.as_bytes()), Err(PromptError::Empty)),
                "{input:?}"
            );
        }
        assert_eq!(read_line("x".repeat(1024).as_bytes()).unwrap().expose().len(), 1024);
        assert!(matches!(read_line("x".repeat(1025).as_bytes()), Err(PromptError::Long)));
    }

    #[test]
    fn input_that_is_not_text_is_an_error_and_not_a_password() {
        assert!(matches!(read_line(&b"\xff\n"[..]), Err(PromptError::Input(_))));
    }
}
