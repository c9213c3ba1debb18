//! A client with everything the commands need around it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use ftp_client::{Client, Code, ConnectOptions, Entry, Error, Kind, RemotePath, Target};

use super::args::Global;
use super::exit::Exit;
use super::failure::{Failure, Situation, Stop};
use super::output::Output;
use super::plan::{Plan, Proof};
use super::profile::Profiles;
use super::quote::quoted;
use super::watch::Watch;

/// How long a goodbye may take. The server does without one, too.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the top of the home.
    Home,
    /// In the directory where the last invocation left off.
    Remembered,
}

/// What quotes make of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quoted {
    /// It is no pattern, whatever it looks like.
    Literal,
    /// It is this pattern, with backslashes before what is not special.
    Pattern(Vec<u8>),
}

/// A user at a server.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Arc<Output>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) target: Target,
    pub(crate) profiles: Profiles,
    pub(crate) global: Global,
    /// What hints depend on.
    pub(crate) situation: Situation,
    /// Names with something in quotes, as typed into our own shell.
    pub(crate) in_quotes: HashMap<OsString, Quoted>,
    options: ConnectOptions,
    logged_in: bool,
}

impl Session {
    /// Decides whom to talk to, and asks for the password if it has to. Nothing is sent yet.
    pub(crate) fn new(
        global: &Global,
        profiles: Profiles,
        output: Arc<Output>,
        start: Start,
        proof: Proof,
    ) -> Result<Self, Stop> {
        let Plan {
            target,
            saved_key,
            mut options,
        } = Plan::new(global, &profiles, proof)?;
        if start == Start::Remembered {
            options.directory = profiles.directory(&target)?;
        }
        let watch = Arc::new(Watch::new(Arc::clone(&output)));
        Ok(Self {
            client: Client::new(options.clone(), Arc::clone(&watch) as _),
            output,
            watch,
            situation: Situation {
                server: target.to_string(),
                tls: options.tls,
                saved_key,
                resume: None,
                from_stdin: false,
                in_shell: false,
            },
            in_quotes: HashMap::new(),
            target,
            profiles,
            global: global.clone(),
            options,
            logged_in: false,
        })
    }

    /// Whether TLS is spoken.
    pub(crate) fn tls(&self) -> bool {
        self.options.tls
    }

    /// Connects and logs in, unless that is done.
    pub(crate) async fn login(&mut self) -> Result<(), Failure> {
        // Without retries: a server that is not there at the beginning will not come by waiting.
        if !self.logged_in {
            self.client.login().await.map_err(|error| self.login_failure(&error))?;
            self.logged_in = true;
        }
        Ok(())
    }

    fn login_failure(&self, error: &Error) -> Failure {
        match (&self.options.directory, error.code()) {
            (Some(directory), Some(Code::NotFound | Code::NotDirectory)) => {
                let name = quoted(directory.to_os_string().as_encoded_bytes());
                Failure::new(
                    Exit::NotFound,
                    "not_found",
                    format!("the remembered directory {name} is gone"),
                )
                .hint("`ftp-cli cd` goes to the top of the home")
            }
            _ => {
                let server = self.target.to_string();
                Failure::of("login", server.as_bytes(), error, &self.situation)
            }
        }
    }

    /// Says goodbye, if there is anybody to say it to.
    pub(crate) async fn leave(&mut self) {
        if self.logged_in {
            // The work is done; a server that does not answer now changes nothing.
            drop(tokio::time::timeout(GOODBYE, self.client.quit()).await);
        }
    }

    /// A failure of a command about a path.
    pub(crate) fn failure(&self, command: &'static str, path: &RemotePath, error: &Error) -> Failure {
        let subject = path.to_os_string();
        Failure::of(command, subject.as_encoded_bytes(), error, &self.situation)
    }

    /// What stands at a path; `None` where nothing does.
    pub(crate) async fn look(&mut self, command: &'static str, path: &RemotePath) -> Result<Option<Entry>, Failure> {
        match self.client.stat(path, false).await {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::NotDirectory)) => Ok(None),
            Err(error) => Err(self.failure(command, path, &error)),
        }
    }

    /// Whether a directory stands at a path, or where the symbolic link there leads.
    pub(crate) async fn is_directory(&mut self, command: &'static str, path: &RemotePath) -> Result<bool, Failure> {
        let is_dir = |entry: Entry| entry.kind == Kind::Dir;
        match self.look(command, path).await? {
            Some(entry) if entry.kind == Kind::Link => match self.client.stat_followed(path).await {
                // A link that leads nowhere, or out of the home, is none.
                Err(Error::Refused(_)) => Ok(false),
                found => found.map(is_dir).map_err(|error| self.failure(command, path, &error)),
            },
            found => Ok(found.is_some_and(is_dir)),
        }
    }
}

/// The failures of a list that goes on after each.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    worst: Option<Exit>,
}

impl Tally {
    /// Tells of a failure. An error means that going on makes no sense: nobody listens, or the
    /// connection is gone for good.
    pub(crate) fn add(&mut self, failure: &Failure, output: &Output) -> Result<(), Stop> {
        output.failure(failure)?;
        self.worst = self.worst.max(Some(failure.exit));
        match failure.exit {
            exit @ (Exit::Connection | Exit::Login) => Err(Stop::Reported(exit)),
            _ => Ok(()),
        }
    }

    /// Takes in how a part of the list ended.
    pub(crate) fn add_part(&mut self, part: Result<(), Stop>) -> Result<(), Stop> {
        match part {
            Err(Stop::Reported(exit)) => {
                self.worst = self.worst.max(Some(exit));
                Ok(())
            }
            other => other,
        }
    }

    /// How the list ended.
    pub(crate) fn finish(self) -> Result<(), Stop> {
        self.worst.map_or(Ok(()), |exit| Err(Stop::Reported(exit)))
    }
}
