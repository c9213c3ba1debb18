//! The requests that move no files.

use std::time::{Duration, Instant};

use ftp_digest::{Algorithm, Digest};
use ftp_proto::{Entry, Op, Page, Purged, Re, Reply, Restored, Staged, Stored, TrashItem, UsageReport};

use crate::followed::followed;
use crate::link::{Incoming, Link, unexpected, wrong_reply};
use crate::path::file_name;
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
    /// What the server refuses and what the wire can do; [`Error::UnsafeName`] for a name that is none.
    ///
    /// # Cancel safety
    /// Not safe: a cancelled page is lost.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let Some(mut open) = self.open.take() else {
            return Ok(None);
        };
        let incoming = match open.arrived.take() {
            Some(incoming) => incoming,
            None => open.link.receive_part().await?,
        };
        match incoming {
            Incoming::Reply(Reply { id, re }) if id == open.id => match re {
                Re::Page(Page { entries }) if entries.is_empty() => {
                    Err(Error::Misbehaved("a page without entries".to_owned()))
                }
                Re::Page(Page { entries }) => {
                    for entry in &entries {
                        file_name(&entry.name)?;
                    }
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

    /// All further entries that are to be kept.
    ///
    /// # Errors
    /// As [`Listing::next_page`], and [`Error::TooMuchListed`].
    ///
    /// # Cancel safety
    /// A dropped listing gives up the connection.
    pub async fn all(&mut self, keep: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>, Error> {
        let (mut kept, mut limit) = (Vec::new(), ListLimit::default());
        while let Some(page) = self.next_page().await? {
            for entry in page.into_iter().filter(&keep) {
                limit.take(entry.name.len())?;
                kept.push(entry);
            }
        }
        Ok(kept)
    }
}

/// How much of a listing may be kept at once: a server can list for ever.
#[derive(Clone, Copy, Debug)]
pub struct ListLimit {
    entries: u64,
    left: usize,
}

/// What is kept of one entry beside its names, which are kept twice: once for the transfer, once for its report.
const ENTRY_BYTES: usize = 512;

/// What all kept entries together may take: a million files with paths of usual length.
const LISTED_BYTES: usize = 640 * 1024 * 1024;

impl Default for ListLimit {
    fn default() -> Self {
        Self {
            entries: 0,
            left: LISTED_BYTES,
        }
    }
}

impl ListLimit {
    /// Takes what is needed to keep an entry whose names have so many bytes.
    ///
    /// # Errors
    /// [`Error::TooMuchListed`].
    pub fn take(&mut self, name_bytes: usize) -> Result<(), Error> {
        match self.left.checked_sub(ENTRY_BYTES + 2 * name_bytes) {
            Some(left) => {
                self.left = left;
                self.entries += 1;
                Ok(())
            }
            None => Err(Error::TooMuchListed(self.entries)),
        }
    }
}

/// Every method connects if need be, with retries; a request that was sent is repeated only if
/// repeating it is harmless. [`Client::trash`], [`Client::uploads`] and [`Client::quit`] try nothing again, and
/// [`Client::ping`] not to connect.
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

    /// As [`Client::stat`] without a digest, but of a symbolic link to a file the figures of that file, and of one to a
    /// directory that it is one: what [`Client::get`] would bring.
    pub async fn stat_followed(&mut self, path: &RemotePath) -> Result<Entry, Error> {
        let mut retry = self.retry();
        loop {
            let result = match self.take().await {
                Ok(mut link) => {
                    let result = followed(&mut link, path, false).await;
                    if matches!(result, Ok(_) | Err(Error::Refused(_))) {
                        self.keep(link);
                    }
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Err(error) if !matches!(error, Error::Refused(_)) => retry.pause(error).await?,
                result => return result,
            }
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

    /// Removes a file, into the trash or `forever`.
    pub async fn rm(&mut self, path: &RemotePath, forever: bool) -> Result<(), Error> {
        self.done(Op::Rm {
            path: path.as_wire().to_owned(),
            forever,
        })
        .await
    }

    /// Removes a directory; with `recursive` also all that is in it, into the trash or `forever`.
    pub async fn rmdir(&mut self, path: &RemotePath, recursive: bool, forever: bool) -> Result<(), Error> {
        self.done(Op::Rmdir {
            path: path.as_wire().to_owned(),
            recursive,
            forever,
        })
        .await
    }

    /// Shows `each` what is in the trash, the newest first; only the versions of a path, if one is given. A
    /// listing in which `each` returns `false` ends there, and gives up the connection.
    pub async fn trash(
        &mut self,
        path: Option<&RemotePath>,
        mut each: impl FnMut(TrashItem) -> bool,
    ) -> Result<(), Error> {
        let mut link = self.take().await?;
        let id = link.request(Op::Trash {
            path: path.map(|path| path.as_wire().to_owned()),
        })?;
        link.flush().await?;
        let refused = loop {
            match link.reply(id).await {
                Ok(Re::Trash { items }) if items.is_empty() => {
                    return Err(Error::Misbehaved("a page without items".to_owned()));
                }
                Ok(Re::Trash { items }) => {
                    if !items.into_iter().all(&mut each) {
                        return Ok(());
                    }
                }
                Ok(Re::Ok) => break None,
                Ok(other) => return Err(wrong_reply(other)),
                Err(error @ Error::Refused(_)) => break Some(error),
                Err(error) => return Err(error),
            }
        };
        self.keep(link);
        refused.map_or(Ok(()), Err)
    }

    /// Puts something from the trash back: an item, or what was under a path, the newest of it if no item is
    /// named; where it was or `to` another place. With `replace` it may take the place of a file.
    pub async fn restore(
        &mut self,
        item: Option<u64>,
        path: Option<&RemotePath>,
        to: Option<&RemotePath>,
        replace: bool,
    ) -> Result<Restored, Error> {
        let wire = |path: Option<&RemotePath>| path.map(|path| path.as_wire().to_owned());
        let op = Op::Restore {
            item,
            path: wire(path),
            to: wire(to),
            replace,
        };
        match self.call(op).await? {
            Re::Restored(restored) => Ok(restored),
            other => Err(wrong_reply(other)),
        }
    }

    /// Deletes items of the trash for good; everything without `items`.
    pub async fn purge(&mut self, items: Option<Vec<u64>>) -> Result<Purged, Error> {
        match self.call(Op::Purge { items }).await? {
            Re::Purged(purged) => Ok(purged),
            other => Err(wrong_reply(other)),
        }
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

    /// The staged uploads. Fails with [`Error::TooMuchListed`] where they are too many.
    pub async fn uploads(&mut self) -> Result<Vec<Staged>, Error> {
        let mut link = self.take().await?;
        let id = link.request(Op::Uploads)?;
        link.flush().await?;
        let (mut all, mut limit) = (Vec::new(), ListLimit::default());
        let refused = loop {
            match link.reply(id).await {
                Ok(Re::Uploads { uploads }) if uploads.is_empty() => {
                    return Err(Error::Misbehaved("a page without uploads".to_owned()));
                }
                Ok(Re::Uploads { uploads }) => {
                    for upload in uploads {
                        limit.take(upload.path.len())?;
                        all.push(upload);
                    }
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_entries_of_usual_length_can_be_kept() {
        let mut limit = ListLimit::default();
        for _ in 0..1_000_000 {
            limit.take(64).unwrap();
        }
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut limit = ListLimit {
            entries: 0,
            left: ENTRY_BYTES + 2 * 10,
        };
        assert!(matches!(limit.take(11), Err(Error::TooMuchListed(0))));
        limit.take(10).unwrap();
        assert!(matches!(limit.take(0), Err(Error::TooMuchListed(1))));
    }
}
