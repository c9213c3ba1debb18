//! placeholder: signatures
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ftp_digest::{Algorithm, Digest};
use ftp_proto::scram::DerivedKeys;
use ftp_proto::{Entry, Staged, Stored, UsageReport};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{ConnectOptions, Error, GetItem, Observer, Outcome, PutItem, RemotePath, TransferOptions, Transferred};

/// A user's connection to a server. Connects when first needed, and again after a loss.
pub struct Client {}

/// A listing.
pub struct Listing<'a> {
    _c: &'a mut Client,
}

impl Listing<'_> {
    /// next page
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        unimplemented!()
    }
}

impl Client {
    /// new; nothing is sent yet
    pub fn new(_options: ConnectOptions, _observer: Arc<dyn Observer>) -> Self {
        unimplemented!()
    }
    /// connects and logs in, unless that is done; the keys may be saved in place of the password
    pub async fn login(&mut self) -> Result<DerivedKeys, Error> {
        unimplemented!()
    }
    /// fingerprint etc: agent string of the server
    pub fn server_agent(&self) -> Option<&str> {
        unimplemented!()
    }
    /// answers with the new working directory (absolute)
    pub async fn cd(&mut self, _path: &RemotePath) -> Result<RemotePath, Error> {
        unimplemented!()
    }
    /// pwd
    pub async fn pwd(&mut self) -> Result<RemotePath, Error> {
        unimplemented!()
    }
    /// stat
    pub async fn stat(&mut self, _path: &RemotePath, _digest: bool) -> Result<Entry, Error> {
        unimplemented!()
    }
    /// ls
    pub async fn list(&mut self, _path: &RemotePath, _digests: bool) -> Result<Listing<'_>, Error> {
        unimplemented!()
    }
    /// mkdir
    pub async fn mkdir(&mut self, _path: &RemotePath, _parents: bool) -> Result<(), Error> {
        unimplemented!()
    }
    /// rm
    pub async fn rm(&mut self, _path: &RemotePath) -> Result<(), Error> {
        unimplemented!()
    }
    /// rmdir
    pub async fn rmdir(&mut self, _path: &RemotePath, _recursive: bool) -> Result<(), Error> {
        unimplemented!()
    }
    /// mv
    pub async fn mv(&mut self, _from: &RemotePath, _to: &RemotePath, _replace: bool) -> Result<(), Error> {
        unimplemented!()
    }
    /// cp
    pub async fn cp(&mut self, _from: &RemotePath, _to: &RemotePath, _replace: bool) -> Result<Stored, Error> {
        unimplemented!()
    }
    /// df
    pub async fn df(&mut self) -> Result<UsageReport, Error> {
        unimplemented!()
    }
    /// digest, size, kept from the upload (true) or computed now
    pub async fn sum(
        &mut self,
        _path: &RemotePath,
        _algorithm: Algorithm,
        _fresh: bool,
    ) -> Result<(Digest, u64, bool), Error> {
        unimplemented!()
    }
    /// round trip time
    pub async fn ping(&mut self) -> Result<Duration, Error> {
        unimplemented!()
    }
    /// staged uploads
    pub async fn uploads(&mut self) -> Result<Vec<Staged>, Error> {
        unimplemented!()
    }
    /// discards one
    pub async fn discard(&mut self, _path: &RemotePath) -> Result<(), Error> {
        unimplemented!()
    }
    /// says goodbye
    pub async fn quit(&mut self) -> Result<(), Error> {
        unimplemented!()
    }
    /// Keeps the session alive while the user thinks; returns only when the connection is lost (next call reconnects). Cancel safe.
    pub async fn keep_alive(&mut self) -> Error {
        unimplemented!()
    }
    /// uploads each item, going on after failures; outcomes are told one by one through `Event::Finished/Failed` and returned in order
    pub async fn put(&mut self, _items: Vec<PutItem>, _options: &TransferOptions) -> Vec<Outcome> {
        unimplemented!()
    }
    /// downloads each item
    pub async fn get(&mut self, _items: Vec<GetItem>, _options: &TransferOptions) -> Vec<Outcome> {
        unimplemented!()
    }
    /// standard input; can not be resumed by itself beyond what is staged
    pub async fn put_stream(
        &mut self,
        _input: impl AsyncRead + Unpin + Send,
        _remote: &RemotePath,
        _options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        unimplemented!()
    }
    /// standard output
    pub async fn get_stream(
        &mut self,
        _remote: &RemotePath,
        _output: impl AsyncWrite + Unpin + Send,
        _options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        unimplemented!()
    }
    /// walks a local tree into items (directories first); symbolic links are followed only on the command line itself, other kinds reported as Err
    pub async fn walk_local(_local: &Path, _remote: &RemotePath) -> Result<(Vec<PutItem>, Vec<Error>), Error> {
        unimplemented!()
    }
    /// walks a remote tree into items (directories first)
    pub async fn walk_remote(&mut self, _remote: &RemotePath, _local: &Path) -> Result<Vec<GetItem>, Error> {
        unimplemented!()
    }
}
