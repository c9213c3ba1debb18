//! The requests that move no files.

use std::time::{Duration, Instant};

use ftp_digest::{Algorithm, Digest};
use ftp_proto::{Entry, Op, Page, Re, Reply, Staged, Stored, UsageReport};

use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::{Client, Error, RemotePath};

/// Entries of a directory as they arrive, page by page, in no particular order.
///
/// A listing that is dropped before its end gives up the connection.
pub struct Listing<'a> {
    client: &'a mut Client,
    open: Option<OpenListing>,
}

/// A listing whose first answer has arrived.
pub(crate) struct OpenListing {
    link: Link,
    id: u64,
    /// What arrived and was not looked at yet.
    arrived: Option<Incoming>,
}

impl Listing<'_> {
    /// The next entries, or `None` at the end.
    ///
    /// # Errors
    /// What the server refuses and what the wire can do.
    ///
    /// # Cancel safety
    /// Not safe: a cancelled page is lost.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        let incoming = match open.arrived.take() {
            Some(incoming) => incoming,
            None => open.link.receive().await?,
        };
        match incoming {
            Incoming::Reply(Reply { id, re }) if id == open.id => match re {
                Re::Page(Page { entries }) => {
                    self.open = Some(open);
                    Ok(Some(entries))
                }
                Re::Ok => {
                    self.client.keep(open.link);
                    Ok(None)
                }
                Re::Error(fault) => {
                    self.client.keep(open.link);
                    Err(Error::Refused(fault))
                }
                other => Err(wrong_reply(other)),
            },
            other => Err(unexpected(&other)),
        }
    }
}

/// Every method connects if need be, with retries; a request that was sent is repeated only if
/// repeating it is harmless.
///
/// All fail with what the server refuses ([`Error::Refused`]) and what the wire can do. None is
/// cancel safe in the sense that the request may have taken effect; the client stays usable.
impl Client {
    async fn call(&mut self, op: Op) -> Result<Re, Error> {
        let repeatable = matches!(
            op,
            Op::Pwd | Op::Cd { .. } | Op::Stat { .. } | Op::Df | Op::Sum { .. } | Op::Ping
        );
        let mut retry = self.retry();
        loop {
            let mut sent = false;
            let result = match self.take().await {
                Ok(mut link) => {
                    sent = true;
                    let result = link.call(op.clone()).await;
                    if matches!(result, Ok(_) | Err(Error::Refused(_))) {
                        self.keep(link);
                    }
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Err(error) if !sent || (repeatable && !matches!(error, Error::Refused(_))) => {
                    retry.pause(error).await?;
                }
                result => return result,
            }
        }
    }

    async fn done(&mut self, op: Op) -> Result<(), Error> {
        match self.call(op).await? {
            Re::Ok => Ok(()),
            other => Err(wrong_reply(other)),
        }
    }

    /// Changes the working directory; the new one comes back, absolute.
    pub async fn cd(&mut self, path: &RemotePath) -> Result<RemotePath, Error> {
        let directory = match self
            .call(Op::Cd {
                path: path.as_wire().to_owned(),
            })
            .await?
        {
            Re::Cwd { path } => absolute(&path)?,
            other => return Err(wrong_reply(other)),
        };
        self.options.directory = Some(directory.clone());
        Ok(directory)
    }

    /// The working directory, absolute.
    pub async fn pwd(&mut self) -> Result<RemotePath, Error> {
        match self.call(Op::Pwd).await? {
            Re::Cwd { path } => absolute(&path),
            other => Err(wrong_reply(other)),
        }
    }

    /// What stands at a path; with `digest` also the digest kept with it, if one is.
    pub async fn stat(&mut self, path: &RemotePath, digest: bool) -> Result<Entry, Error> {
        match self
            .call(Op::Stat {
                path: path.as_wire().to_owned(),
                digest,
            })
            .await?
        {
            Re::Entry(entry) => Ok(entry),
            other => Err(wrong_reply(other)),
        }
    }

    /// Lists a directory; with `digests` also the digests kept with its files. Only the way to the first
    /// page is tried again; what the server refuses comes from [`Listing::next_page`].
    pub async fn list(&mut self, path: &RemotePath, digests: bool) -> Result<Listing<'_>, Error> {
        let mut retry = self.retry();
        let open = loop {
            match self.open_listing(path, digests).await {
                Ok(open) => break open,
                Err(error) => retry.pause(error).await?,
            }
        };
        Ok(self.listing(open))
    }

    /// Asks for a listing once and waits for its first answer.
    pub(crate) async fn open_listing(&mut self, path: &RemotePath, digests: bool) -> Result<OpenListing, Error> {
        let mut link = self.take().await?;
        let id = link.request(Op::Ls {
            path: path.as_wire().to_owned(),
            digests,
        })?;
        link.flush().await?;
        let arrived = Some(link.receive().await?);
        Ok(OpenListing { link, id, arrived })
    }

    pub(crate) fn listing(&mut self, open: OpenListing) -> Listing<'_> {
        Listing {
            client: self,
            open: Some(open),
        }
    }

    /// Makes a directory; with `parents` also those above it, and one that is there is no error.
    pub async fn mkdir(&mut self, path: &RemotePath, parents: bool) -> Result<(), Error> {
        self.done(Op::Mkdir {
            path: path.as_wire().to_owned(),
            parents,
        })
        .await
    }

    /// Removes a file.
    pub async fn rm(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.done(Op::Rm {
            path: path.as_wire().to_owned(),
        })
        .await
    }

    /// Removes a directory; with `recursive` also all that is in it.
    pub async fn rmdir(&mut self, path: &RemotePath, recursive: bool) -> Result<(), Error> {
        self.done(Op::Rmdir {
            path: path.as_wire().to_owned(),
            recursive,
        })
        .await
    }

    /// Moves or renames; with `replace` also onto an existing file.
    pub async fn mv(&mut self, from: &RemotePath, to: &RemotePath, replace: bool) -> Result<(), Error> {
        self.done(Op::Mv {
            from: from.as_wire().to_owned(),
            to: to.as_wire().to_owned(),
            replace,
        })
        .await
    }

    /// Copies a file on the server; with `replace` also onto an existing file.
    pub async fn cp(&mut self, from: &RemotePath, to: &RemotePath, replace: bool) -> Result<Stored, Error> {
        match self
            .call(Op::Cp {
                from: from.as_wire().to_owned(),
                to: to.as_wire().to_owned(),
                replace,
            })
            .await?
        {
            Re::Stored(stored) => Ok(stored),
            other => Err(wrong_reply(other)),
        }
    }

    /// The quota and its use.
    pub async fn df(&mut self) -> Result<UsageReport, Error> {
        match self.call(Op::Df).await? {
            Re::Usage(usage) => Ok(usage),
            other => Err(wrong_reply(other)),
        }
    }

    /// The digest of a file, its length in bytes, and whether the digest was kept since the upload
    /// rather than computed now. With `fresh` it is computed in any case.
    pub async fn sum(
        &mut self,
        path: &RemotePath,
        algorithm: Algorithm,
        fresh: bool,
    ) -> Result<(Digest, u64, bool), Error> {
        match self
            .call(Op::Sum {
                path: path.as_wire().to_owned(),
                digest: algorithm,
                fresh,
            })
            .await?
        {
            Re::Digest { digest, size, kept } => Ok((digest, size, kept)),
            other => Err(wrong_reply(other)),
        }
    }

    /// The time a request and its answer take.
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        // Connecting is not part of the round trip.
        let link = self.take().await?;
        self.keep(link);
        let start = Instant::now();
        self.done(Op::Ping).await?;
        Ok(start.elapsed())
    }

    /// The staged uploads.
    pub async fn uploads(&mut self) -> Result<Vec<Staged>, Error> {
        let mut link = self.take().await?;
        let id = link.request(Op::Uploads)?;
        link.flush().await?;
        let mut all = Vec::new();
        let refused = loop {
            match link.reply(id).await {
                Ok(Re::Uploads { uploads }) => all.extend(uploads),
                Ok(Re::Ok) => break None,
                Ok(other) => return Err(wrong_reply(other)),
                Err(error @ Error::Refused(_)) => break Some(error),
                Err(error) => return Err(error),
            }
        };
        self.keep(link);
        refused.map_or(Ok(all), Err)
    }

    /// Discards the staged upload for a path.
    pub async fn discard(&mut self, path: &RemotePath) -> Result<(), Error> {
        self.done(Op::Discard {
            path: path.as_wire().to_owned(),
        })
        .await
    }

    /// Says goodbye, if connected.
    pub async fn quit(&mut self) -> Result<(), Error> {
        if self.server_agent().is_none() {
            return Ok(());
        }
        let mut link = self.take().await?;
        link.call(Op::Quit).await?;
        link.close().await;
        Ok(())
    }
}

fn absolute(path: &str) -> Result<RemotePath, Error> {
    RemotePath::from_wire(path)
        .ok()
        .filter(RemotePath::is_absolute)
        .ok_or_else(|| Error::Misbehaved(format!("the working directory {path:?}")))
}
