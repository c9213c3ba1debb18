//! A user's connection to a server: made when needed, made again after a loss.

use std::sync::Arc;
use std::time::Duration;

use ftp_proto::Re;
use ftp_proto::scram::{Credential, DerivedKeys};

use crate::link::{Link, wrong_reply};
use crate::observer::{Event, Observer};
use crate::{ConnectOptions, Error, ErrorKind, RemotePath, RetryPolicy, login};

/// A user's connection to a server.
///
/// Nothing is sent before the first operation. An operation that is dropped before it ends gives up
/// its connection; the next one makes another.
pub struct Client {
    pub(crate) options: ConnectOptions,
    pub(crate) observer: Arc<dyn Observer>,
    link: Option<Link>,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(options: ConnectOptions, observer: Arc<dyn Observer>) -> Self {
        Self {
            options,
            observer,
            link: None,
        }
    }

    /// Logs in anew, without retries. The keys that come back may be kept instead of the password, and
    /// are used for every later connection of this client.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Login`] and what the wire can do.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn login(&mut self) -> Result<DerivedKeys, Error> {
        self.link = None;
        let (link, keys) = login::connect(&self.options).await?;
        // A password costs PBKDF2 at each login; its keys cost nothing.
        self.options.credential = Credential::Keys(keys.clone());
        self.link = Some(enter(link, self.options.directory.as_ref()).await?);
        Ok(keys)
    }

    /// Program and version of the server, while connected.
    pub fn server_agent(&self) -> Option<&str> {
        self.link.as_ref().map(Link::agent)
    }

    /// Keeps the session alive while nothing else is asked; comes back only when it is lost.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn keep_alive(&mut self) -> Error {
        let Some(link) = self.link.as_mut() else {
            return std::future::pending().await;
        };
        let error = match link.receive().await {
            Ok(incoming) => crate::link::unexpected(&incoming),
            Err(error) => error,
        };
        self.link = None;
        error
    }

    /// Takes the connection, making one if there is none. Whoever takes it gives it back with
    /// [`Client::keep`] unless it broke, and decides whether another try is worth it.
    pub(crate) async fn take(&mut self) -> Result<Link, Error> {
        if self.link.is_none() {
            self.login().await?;
        }
        self.link.take().ok_or(Error::Closed)
    }

    pub(crate) fn keep(&mut self, link: Link) {
        self.link = (!link.is_broken()).then_some(link);
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.options.retry, Arc::clone(&self.observer))
    }
}

/// Goes to the directory in which relative paths begin.
async fn enter(mut link: Link, directory: Option<&RemotePath>) -> Result<Link, Error> {
    if let Some(directory) = directory {
        match link
            .call(ftp_proto::Op::Cd {
                path: directory.as_wire().to_owned(),
            })
            .await?
        {
            Re::Cwd { .. } => {}
            other => return Err(wrong_reply(other)),
        }
    }
    Ok(link)
}

/// Counts the tries of one operation and waits between them.
pub(crate) struct Retry {
    policy: RetryPolicy,
    observer: Arc<dyn Observer>,
    tried: u32,
    pause: Duration,
}

impl Retry {
    fn new(policy: RetryPolicy, observer: Arc<dyn Observer>) -> Self {
        Self {
            policy,
            observer,
            tried: 0,
            pause: policy.first_pause,
        }
    }

    /// Something got done: the count begins anew.
    pub(crate) fn progress(&mut self) {
        self.tried = 0;
        self.pause = self.policy.first_pause;
    }

    /// Waits before the next try, or gives the error back when another try can not help or all are used.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        // A refused login is never tried again by itself: that is how an address gets shut out.
        if !error.may_retry() || error.kind() == ErrorKind::Login || self.tried >= self.policy.retries {
            return Err(error);
        }
        self.tried += 1;
        let asked = error.retry_after().unwrap_or_default();
        let pause = jittered(self.pause).max(asked).min(self.policy.longest_pause);
        self.pause = (self.pause * 2).min(self.policy.longest_pause);
        self.observer.event(&Event::Retrying {
            attempt: self.tried.saturating_add(1),
            attempts: self.policy.retries.saturating_add(1),
            pause,
            cause: &error,
        });
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Between half of the pause and all of it, so that many clients do not return in the same instant.
fn jittered(pause: Duration) -> Duration {
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
