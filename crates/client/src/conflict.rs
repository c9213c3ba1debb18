//! What to do when a target exists: nothing if it is the same file, else ask.

use std::path::Path;
use std::sync::Arc;

use ftp_digest::Digest;
use ftp_proto::{Entry, Kind, Timestamp};

use crate::link::Link;
use crate::observer::{Conflict, Decision, Observer};
use crate::source::Source;
use crate::upload::blocking;
use crate::{Error, RemotePath};

/// The digest both sides have, if the local file and the one on the server are the same: equal size
/// and time, and equal digests.
pub(crate) async fn identical(link: &mut Link, source: &Arc<Source>, entry: &Entry) -> Result<Option<Digest>, Error> {
    let Some(kept) = entry.digest else {
        return Ok(None);
    };
    if entry.kind != Kind::File || entry.size != source.size() || entry.mtime != source.mtime() {
        return Ok(None);
    }
    let file = Arc::clone(source);
    let own = link.busy(blocking(move || file.digest(kept.algorithm()))).await??;
    Ok((own == kept).then_some(own))
}

/// Asks the observer, who may ask a person. The connection is kept alive meanwhile.
pub(crate) async fn decide(
    link: &mut Link,
    observer: &Arc<dyn Observer>,
    local: &Path,
    local_state: Option<(u64, Timestamp)>,
    remote: &RemotePath,
    entry: &Entry,
    upload: bool,
) -> Result<Decision, Error> {
    let (observer, local, remote, entry) = (Arc::clone(observer), local.to_path_buf(), remote.clone(), entry.clone());
    link.busy(blocking(move || {
        Ok(observer.decide(&Conflict {
            local: &local,
            local_state,
            remote: &remote,
            remote_entry: &entry,
            upload,
        }))
    }))
    .await?
}
