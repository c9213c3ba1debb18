//! What the user meant: options, environment and profiles, merged and checked.

use std::env;

use ftp_client::{ConnectOptions, Credential, RetryPolicy, Target};

use super::args::Global;
use super::failure::{Failure, Stop};
use super::password;
use super::profile::Profiles;

/// Where to go and as whom.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The server, with its user.
    pub(crate) target: Target,
    /// Whether a saved key stands for the password.
    pub(crate) saved_key: bool,
    /// What the library wants to know. Starts in the home.
    pub(crate) options: ConnectOptions,
}

/// How the login is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By the password, even if a key is saved.
    Password,
    /// By the saved key, if there is one and no password is given.
    SavedKey,
}

impl Plan {
    /// Decides on the server, the user and the credential; asks for the password if it has to.
    pub(crate) fn new(global: &Global, profiles: &Profiles, proof: Proof) -> Result<Self, Stop> {
        let target = choose(given(global.server.as_ref())?.as_ref(), profiles)?;
        // A new login replaces what is saved, whatever state it is in.
        let profile = match proof {
            Proof::Password => None,
            Proof::SavedKey => profiles.load(&target)?,
        };
        let given = password::given(global.password_stdin)?;
        let (credential, saved_key) = match (given, &profile) {
            (Some(password), _) => (Credential::Password(password), false),
            (None, Some(profile)) => (Credential::Keys(profile.keys.clone()), true),
            (None, None) => (Credential::Password(password::ask(&target)?), false),
        };
        let options = ConnectOptions {
            address: target.address.clone(),
            user: target.user.clone().expect("a chosen target has a user"),
            credential,
            // A new login decides anew: what was saved without TLS does not stay so by itself.
            tls: !global.no_tls && profile.is_none_or(|profile| profile.tls),
            retry: RetryPolicy {
                retries: global.retries,
                ..RetryPolicy::default()
            },
            directory: None,
        };
        Ok(Self {
            target,
            saved_key,
            options,
        })
    }
}

/// The server named on the command line, or by the environment.
pub(crate) fn given(typed: Option<&Target>) -> Result<Option<Target>, Failure> {
    if let Some(typed) = typed {
        return Ok(Some(typed.clone()));
    }
    match env::var("FTP_SERVER") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(target) => Ok(Some(target)),
            Err(error) => Err(Failure::usage(format!("FTP_SERVER: {error}"))),
        },
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Failure::usage("FTP_SERVER is not UTF-8")),
    }
}

/// The server that is meant, with its user. What is saved of it is not read: it may be unusable.
pub(crate) fn choose(given: Option<&Target>, profiles: &Profiles) -> Result<Target, Failure> {
    let Some(given) = given else {
        return profiles.default_target()?.ok_or_else(|| {
            Failure::usage("no server is given and none is saved")
                .hint("`ftp-cli login USER@HOST` saves one; `--server USER@HOST` and FTP_SERVER name one for once")
        });
    };
    if given.user.is_some() {
        return Ok(given.clone());
    }
    let mut known = profiles.targets()?;
    known.retain(|target| target.address == given.address);
    if known.len() > 1 {
        let default = profiles.default_target()?;
        if known.iter().any(|target| Some(target) == default.as_ref()) {
            known.retain(|target| Some(target) == default.as_ref());
        } else {
            let names: Vec<String> = known.iter().map(Target::to_string).collect();
            return Err(
                Failure::usage(format!("{given} is saved for several users ({})", names.join(", ")))
                    .hint("say which one: `--server USER@HOST`"),
            );
        }
    }
    if let Some(target) = known.pop() {
        return Ok(target);
    }
    let user = env::var("USER").ok().filter(|user| !user.is_empty()).ok_or_else(|| {
        Failure::usage(format!("no user is given for {given}, and USER is not set")).hint("write USER@HOST")
    })?;
    Ok(Target {
        user: Some(user),
        address: given.address.clone(),
    })
}

#[cfg(test)]
mod tests {
    use ftp_client::DerivedKeys;
    use tempfile::TempDir;

    use super::super::profile::Profile;
    use super::*;

    fn saved(servers: &[&str]) -> (TempDir, Profiles) {
        let dir = TempDir::new().unwrap();
        let profiles = Profiles::at(dir.path());
        for server in servers {
            let profile = Profile {
                target: server.parse().unwrap(),
                tls: true,
                keys: DerivedKeys {
                    salt: Vec::new(),
                    iterations: 4096,
                    client_key: [0; 32],
                    server_key: [0; 32],
                },
            };
            profiles.save(&profile).unwrap();
        }
        (dir, profiles)
    }

    fn chosen(given: Option<&str>, profiles: &Profiles) -> Result<(String, bool), Failure> {
        let given = given.map(|text| text.parse().unwrap());
        let target = choose(given.as_ref(), profiles)?;
        Ok((target.to_string(), profiles.load(&target)?.is_some()))
    }

    #[test]
    fn the_last_login_is_meant_when_no_server_is_given() {
        let (_dir, profiles) = saved(&["alice@a", "bob@b"]);
        assert_eq!(chosen(None, &profiles).unwrap(), ("bob@b:2121".to_owned(), true));
    }

    #[test]
    fn a_server_without_user_is_the_saved_one() {
        let (_dir, profiles) = saved(&["alice@a", "bob@b"]);
        assert_eq!(chosen(Some("a"), &profiles).unwrap(), ("alice@a:2121".to_owned(), true));
        assert_eq!(
            chosen(Some("carol@a"), &profiles).unwrap(),
            ("carol@a:2121".to_owned(), false)
        );
    }

    #[test]
    fn of_several_users_the_last_login_is_meant_or_nobody() {
        let (_dir, profiles) = saved(&["alice@a", "bob@a"]);
        assert_eq!(chosen(Some("a"), &profiles).unwrap(), ("bob@a:2121".to_owned(), true));
        let (_dir, profiles) = saved(&["alice@a", "bob@a", "carol@c"]);
        let failure = chosen(Some("a"), &profiles).unwrap_err();
        assert!(failure.message.contains("alice@a:2121, bob@a:2121"), "{failure:?}");
    }

    #[test]
    fn nothing_given_and_nothing_saved_is_wrong_usage() {
        let (_dir, profiles) = saved(&[]);
        assert_eq!(
            chosen(None, &profiles).unwrap_err().exit,
            super::super::exit::Exit::Usage
        );
    }
}
