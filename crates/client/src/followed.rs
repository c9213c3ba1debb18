//! What a download of a path would bring: `stat` answers with a symbolic link itself, and `get` follows it.

use ftp_digest::Algorithm;
use ftp_proto::{Code, Entry, Kind, Op, Re};

use crate::link::{Link, wrong_reply};
use crate::{Error, RemotePath};

/// What stands at the path, or where the symbolic link there leads; with `digest` also the digest kept with it.
pub(crate) async fn followed(link: &mut Link, remote: &RemotePath, digest: bool) -> Result<Entry, Error> {
    let path = remote.as_wire().to_owned();
    let stat = Op::Stat {
        path: path.clone(),
        digest,
    };
    let entry = match link.call(stat).await? {
        Re::Entry(entry) => entry,
        other => return Err(wrong_reply(other)),
    };
    if entry.kind != Kind::Link {
        return Ok(entry);
    }
    // A download of nothing tells the figures of what the link leads to.
    let id = link.request(Op::Get {
        path,
        offset: 0,
        length: Some(0),
        digest: Algorithm::default(),
        have: None,
    })?;
    link.flush().await?;
    let (size, mtime, digest) = match link.reply(id).await {
        Ok(Re::Begin {
            size,
            mtime,
            digest,
            body: 0,
        }) => (size, mtime, digest),
        Ok(other) => return Err(wrong_reply(other)),
        Err(error) if error.code() == Some(Code::IsDirectory) => {
            let kind = Kind::Dir;
            return Ok(Entry { kind, ..entry });
        }
        Err(error) => return Err(error),
    };
    match link.reply(id).await? {
        Re::End { length: 0, .. } => Ok(Entry {
            kind: Kind::File,
            size,
            mtime,
            digest,
            ..entry
        }),
        other => Err(wrong_reply(other)),
    }
}
