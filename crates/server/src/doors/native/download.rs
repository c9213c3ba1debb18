//! Downloads: only what the client lacks, read ahead while the last chunk is on its way.

use bytes::BytesMut;
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{BlockList, Code, DATA_HEAD_BYTES, Fault, MAX_DATA_BYTES, Re, begin_data, seal_data};
use ftp_store::{Error, FilePath, ReadFile};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::record::Record;
use super::reply;
use super::request::{Stop, cancelled};
use super::session::Session;

/// A `get` as it was asked for.
pub(super) struct Asked {
    pub(super) path: FilePath,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) algorithm: Algorithm,
    pub(super) have: Option<BlockList>,
}

/// What will be sent, and how it is proven.
struct Plan {
    /// Byte ranges `(from, to)`, in order.
    ranges: Vec<(u64, u64)>,
    /// Of the client's prefix.
    kept: u64,
    repaired: u64,
    /// How much the trailer's digest covers.
    length: u64,
    proof: Proof,
}

/// Where the trailer's digest comes from.
enum Proof {
    /// It is kept with the file since its upload.
    Kept(Digest),
    /// It is computed from what is read; the hasher has taken in what the client holds.
    Computed(Hasher),
}

/// Serves the download from its request to its trailer.
pub(super) async fn run(session: &mut Session<'_>, id: u64, asked: Asked) -> Result<(), Stop> {
    let began = Instant::now();
    let file = session.home.open_read(&asked.path).await?;
    let Plan {
        ranges,
        kept,
        repaired,
        length,
        proof,
    } = plan(session, id, &file, &asked).await?;
    let is_new = length == file.size() && matches!(proof, Proof::Computed(_));
    let body = ranges.iter().map(|(from, to)| to - from).sum();
    session.wire.reply(
        id,
        Re::Begin {
            size: file.size(),
            mtime: reply::time(file.modified()),
            digest: file.kept_digest(),
            body,
        },
    )?;
    let mut record = Record::new(&session.who, "get", &asked.path, began);
    (record.size, record.kept, record.repaired) = (file.size(), kept, repaired);
    match send(session, id, &file, ranges, proof, kept + repaired, &mut record.moved).await {
        Ok(digest) => {
            if is_new {
                file.keep_digest(digest).await;
            }
            record.done(file.size(), digest);
            Ok(session.wire.reply(id, Re::End { length, digest })?)
        }
        Err(Stop::End(end)) => {
            record.lost(&end.to_string());
            Err(Stop::End(end))
        }
        Err(Stop::Fault(failure)) => {
            record.failed(&failure);
            Ok(session.wire.reply(id, Re::Error(failure.fault))?)
        }
    }
}

async fn plan(session: &mut Session<'_>, id: u64, file: &ReadFile, asked: &Asked) -> Result<Plan, Stop> {
    let size = file.size();
    let kept_digest = file.kept_digest().filter(|kept| kept.algorithm() == asked.algorithm);
    let proof = |hasher: Hasher| kept_digest.map_or(Proof::Computed(hasher), Proof::Kept);
    if let Some(list) = &asked.have {
        if asked.offset != 0 || asked.length.is_some() {
            return Err(Fault::new(Code::BadRequest, "`have` goes with neither `offset` nor `length`").into());
        }
        let held = list
            .parse()
            .ok_or_else(|| Fault::new(Code::BadRequest, "`have` does not fit its length"))?;
        if held.length() > size {
            return Err(Error::SourceChanged {
                path: asked.path.clone(),
            }
            .into());
        }
        let work = file.read_prefix(held.length(), held.block_bytes(), asked.algorithm);
        let (own, hasher) = session.wire.unless_cancelled(id, work).await?.ok_or_else(cancelled)??;
        let mut ranges: Vec<_> = own
            .differing(&held)
            .iter()
            .map(|(from, length)| (*from, from + length))
            .collect();
        let repaired = ranges.iter().map(|(from, to)| to - from).sum();
        if held.length() < size {
            ranges.push((held.length(), size));
        }
        return Ok(Plan {
            ranges,
            kept: held.length() - repaired,
            repaired,
            length: size,
            proof: proof(hasher),
        });
    }
    if asked.offset > size {
        let message = format!("the offset {} lies beyond the end of the file at {size}", asked.offset);
        return Err(Fault::new(Code::BadRequest, message).into());
    }
    let length = asked.length.unwrap_or(u64::MAX).min(size - asked.offset);
    let hasher = Hasher::new(asked.algorithm);
    let proof = if length == size {
        proof(hasher)
    } else {
        Proof::Computed(hasher)
    };
    let ranges = if length == 0 {
        Vec::new()
    } else {
        vec![(asked.offset, asked.offset + length)]
    };
    Ok(Plan {
        ranges,
        kept: 0,
        repaired: 0,
        length,
        proof,
    })
}

/// Sends the ranges; the digest for the trailer comes back.
async fn send(
    session: &mut Session<'_>,
    id: u64,
    file: &ReadFile,
    ranges: Vec<(u64, u64)>,
    proof: Proof,
    held: u64,
    moved: &mut u64,
) -> Result<Digest, Stop> {
    let (mut hasher, kept) = match proof {
        Proof::Kept(digest) => (None, Some(digest)),
        Proof::Computed(hasher) => (Some(hasher), None),
    };
    // A client that holds nothing gets everything in a row; only jumps are announced.
    let mut expected = if held > 0 {
        held
    } else {
        ranges.first().map_or(0, |(from, _)| *from)
    };
    for (from, to) in ranges {
        if from != expected {
            session.wire.reply(id, Re::At { offset: from })?;
        }
        expected = to;
        // What the client holds was hashed while it was compared.
        let in_order = from >= held;
        let mut at = from;
        let mut taken = if in_order { hasher.take() } else { None };
        let mut next = Some(read(file, at, to, taken.take()));
        while let Some(reading) = next.take() {
            let (chunk, running) = session
                .wire
                .unless_cancelled(id, joined(reading))
                .await?
                .ok_or_else(cancelled)??;
            let length = (chunk.len() - DATA_HEAD_BYTES) as u64;
            at += length;
            taken = running;
            if length == 0 {
                // The file ends before the size it had when it was opened.
                return Err(Error::SourceChanged {
                    path: file.path().clone(),
                }
                .into());
            }
            if at < to {
                next = Some(read(file, at, to, taken.take()));
            }
            session.wire.data(seal_data(chunk)?);
            if !session.wire.flush_unless_cancelled(id).await? {
                return Err(cancelled().into());
            }
            *moved += length;
        }
        if in_order {
            hasher = taken;
        }
    }
    if !file.unchanged().await? {
        return Err(Error::SourceChanged {
            path: file.path().clone(),
        }
        .into());
    }
    Ok(match (kept, hasher) {
        (Some(digest), _) => digest,
        (None, Some(hasher)) => hasher.finish(),
        (None, None) => {
            return Err(Error::SourceChanged {
                path: file.path().clone(),
            }
            .into());
        }
    })
}

type Reading = JoinHandle<Result<(BytesMut, Option<Hasher>), Error>>;

/// Reads the next chunk, and hashes it, while the last one is on its way.
fn read(file: &ReadFile, at: u64, to: u64, hasher: Option<Hasher>) -> Reading {
    let file = file.clone();
    let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(MAX_DATA_BYTES);
    tokio::spawn(async move { file.read_hashed(at, length, begin_data(length), hasher).await })
}

async fn joined(reading: Reading) -> Result<(BytesMut, Option<Hasher>), Error> {
    match reading.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
