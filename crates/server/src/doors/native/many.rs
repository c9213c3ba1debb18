//! Small downloads that were asked for together: read in one hand-over, and answered in few writes.

use std::collections::VecDeque;

use ftp_digest::Algorithm;
use ftp_proto::{DATA_HEAD_BYTES, MAX_DATA_BYTES, Op, Re, Request, begin_data, seal_data};
use ftp_store::{FilePath, SmallFile};
use tokio::time::Instant;

use super::record::Record;
use super::reply;
use super::request::{self, resolve};
use super::session::Session;
use super::wire::End;

/// How many downloads are looked at together.
const MAX_FILES: usize = 64;

/// How large each may be, to fit into one frame.
const MAX_FILE_BYTES: u64 = MAX_DATA_BYTES as u64;

/// How many bytes of them are in memory at a time, but for the last one.
const MAX_BYTES: u64 = 2 * MAX_FILE_BYTES;

/// Whether a request asks for a whole file that the client has nothing of.
pub(super) fn is_plain(request: &Request) -> bool {
    matches!(
        request.op,
        Op::Get {
            offset: 0,
            have: None,
            ..
        }
    )
}

/// Serves a download and those right behind it that have arrived already.
pub(super) async fn run(session: &mut Session<'_>, first: Request) -> Result<(), End> {
    let mut requests = VecDeque::from([first]);
    while requests.len() < MAX_FILES
        && let Some(request) = session.wire.next_if(is_plain)?
    {
        session.count_request();
        requests.push_back(request);
    }
    while !requests.is_empty() {
        let began = Instant::now();
        let wanted: Vec<_> = requests.iter().map_while(|request| target(session, request)).collect();
        let found = if wanted.is_empty() || !session.rights().read {
            Vec::new()
        } else {
            let work = session.home.read_small(wanted, MAX_FILE_BYTES, MAX_BYTES, begin_data);
            session.wire.busy(work).await?.unwrap_or_default()
        };
        // What can not be done this way is done as if it had come alone.
        let found = if found.is_empty() { vec![None] } else { found };
        let now: Vec<_> = requests.drain(..found.len()).collect();
        for (file, request) in found.into_iter().zip(now) {
            match file.filter(|file| fits(file, &request)) {
                Some(file) if !session.wire.is_cancelled(request.id) => {
                    answer(session, request.id, file, began).await?
                }
                _ => request::alone(session, request).await?,
            }
        }
        session.pay().await?;
    }
    Ok(())
}

fn target(session: &Session<'_>, request: &Request) -> Option<(FilePath, Algorithm)> {
    match &request.op {
        Op::Get { path, digest, .. } => Some((resolve(session, path).ok()?, *digest)),
        _ => None,
    }
}

/// Whether all of the file was asked for.
fn fits(file: &SmallFile, request: &Request) -> bool {
    matches!(&request.op, Op::Get { length, .. } if length.is_none_or(|length| length >= size(file)))
}

fn size(file: &SmallFile) -> u64 {
    (file.bytes.len() - DATA_HEAD_BYTES) as u64
}

async fn answer(session: &mut Session<'_>, id: u64, file: SmallFile, began: Instant) -> Result<(), End> {
    let size = size(&file);
    let mut record = Record::new(session, "get", &file.path, began);
    (record.size, record.moved) = (size, size);
    let begin = Re::Begin {
        size,
        mtime: reply::time(file.modified),
        digest: Some(file.digest),
        body: size,
    };
    session.wire.reply(id, begin)?;
    if size > 0 {
        session.wire.data(&seal_data(file.bytes)?);
    }
    let end = Re::End {
        length: size,
        digest: file.digest,
    };
    session.wire.reply(id, end)?;
    record.done(size, file.digest);
    // A cancel that comes while they are sent is heard, and is for those that are not queued yet.
    while session.wire.has_much() && !session.wire.flush_unless_cancelled(id).await? {}
    Ok(())
}
