//! Where to connect and as whom.

use std::fmt;
use std::str::FromStr;

/// The port when none is given.
pub const DEFAULT_PORT: u16 = 2121;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What the user typed: `[USER@]HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The user, if one was given.
    pub user: Option<String>,
    /// The server.
    pub address: Address,
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget(text.to_owned());
        // A user name may contain '@'; a host never does.
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(user).filter(|user| !user.is_empty()).ok_or_else(invalid)?, rest),
            None => ("", text),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(invalid)?;
                let port = match after.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if after.is_empty() => None,
                    None => return Err(invalid()),
                };
                (host, port)
            }
            // More than one colon without brackets is a bare IPv6 address.
            None if rest.matches(':').count() > 1 => (rest, None),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?,
            None => DEFAULT_PORT,
        };
        if host.is_empty()
            || host.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']'))
        {
            return Err(invalid());
        }
        Ok(Self {
            user: (!user.is_empty()).then(|| user.to_owned()),
            address: Address {
                host: host.to_owned(),
                port,
            },
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user}@{}", self.address),
            None => self.address.fmt(f),
        }
    }
}

/// The text names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no server; write [USER@]HOST[:PORT], such as alice@files.example:2121 or alice@[::1]:2121")]
pub struct InvalidTarget(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(Option<String>, String, u16)> {
        text.parse::<Target>()
            .ok()
            .map(|target| (target.user, target.address.host, target.address.port))
    }

    #[test]
    fn usual_spellings_are_understood() {
        let plain = |user: Option<&str>, host: &str, port| Some((user.map(str::to_owned), host.to_owned(), port));
        assert_eq!(parts("host"), plain(None, "host", 2121));
        assert_eq!(parts("alice@host:99"), plain(Some("alice"), "host", 99));
        assert_eq!(parts("a@b.c@host"), plain(Some("a@b.c"), "host", 2121));
        assert_eq!(parts("alice@[::1]:99"), plain(Some("alice"), "::1", 99));
        assert_eq!(parts("::1"), plain(None, "::1", 2121));
        assert_eq!(parts("[::1]"), plain(None, "::1", 2121));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "@host",
            "host:",
            "host:0",
            "host:99999",
            "host:ftp",
            "[::1",
            "[::1]x",
            "a b",
            "ftp://host",
        ] {
            assert_eq!(parts(text), None, "{text:?}");
        }
    }

    #[test]
    fn text_form_round_trips() {
        for text in ["alice@host:2121", "alice@[::1]:99", "host:1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }
}
