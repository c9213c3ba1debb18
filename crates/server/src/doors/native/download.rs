//! Downloads: only what the client lacks, read ahead while the last chunk is on its way.

use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{BlockList, Chunk, Code, Fault, MAX_DATA_BYTES, Re, Steps};
use ftp_store::{Error, FilePath, ReadFile};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::failure::{Stop, cancelled, note_damage};
use super::record::Record;
use super::reply;
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
    let file = session.wire.busy(session.home.open_read(&asked.path)).await??;
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
    let mut record = Record::new(session, "get", &asked.path, began);
    (record.size, record.kept, record.repaired) = (file.size(), kept, repaired);
    let is_whole = length == file.size();
    let mut sent = send(session, id, &file, ranges, proof, kept + repaired, &mut record.moved).await;
    if sent.is_ok()
        && is_whole
        && file
            .kept_digest()
            .is_some_and(|kept| kept.algorithm() != asked.algorithm)
    {
        // The client compares with what was read just now, which is no proof of what was stored.
        sent = prove(session, id, &file).await.and(sent);
    }
    match sent {
        Ok(digest) => {
            if is_new && let Err(end) = session.wire.busy(file.keep_digest(digest)).await {
                record.lost(&end.to_string());
                return Err(end.into());
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

/// Compares the file with its kept digest.
async fn prove(session: &mut Session<'_>, id: u64, file: &ReadFile) -> Result<(), Stop> {
    let proven = session
        .wire
        .unless_cancelled(id, file.prove())
        .await?
        .ok_or_else(cancelled)?;
    proven.map_err(|error| {
        note_damage(session, &error);
        error.into()
    })
}

async fn plan(session: &mut Session<'_>, id: u64, file: &ReadFile, asked: &Asked) -> Result<Plan, Stop> {
    let size = file.size();
    let kept_digest = file.kept_digest().filter(|kept| kept.algorithm() == asked.algorithm);
    if let Some(list) = &asked.have {
        if asked.offset != 0 || asked.length.is_some() {
            return Err(Fault::new(Code::BadRequest, "`have` goes with neither `offset` nor `length`").into());
        }
        if list.length > size {
            return Err(Error::SourceChanged {
                path: asked.path.clone(),
            }
            .into());
        }
        // A kept digest spares hashing what the client holds.
        let algorithm = kept_digest.is_none().then_some(asked.algorithm);
        if list.is_uncompared() {
            let hasher = match algorithm {
                Some(algorithm) => {
                    let work = file.hash_prefix(list.length, algorithm);
                    Some(session.wire.unless_cancelled(id, work).await?.ok_or_else(cancelled)??)
                }
                None => None,
            };
            return Ok(Plan {
                ranges: rest(list.length, size),
                kept: list.length,
                repaired: 0,
                length: size,
                proof: proof(kept_digest, hasher, asked.algorithm),
            });
        }
        let held = list
            .parse()
            .ok_or_else(|| Fault::new(Code::BadRequest, "`have` does not fit its length"))?;
        let work = file.read_prefix(held.length(), held.block_bytes(), algorithm);
        let (own, hasher) = session.wire.unless_cancelled(id, work).await?.ok_or_else(cancelled)??;
        let mut ranges: Vec<_> = own
            .differing(&held)
            .iter()
            .map(|(from, length)| (*from, from + length))
            .collect();
        let repaired = ranges.iter().map(|(from, to)| to - from).sum();
        ranges.extend(rest(held.length(), size));
        return Ok(Plan {
            ranges,
            kept: held.length() - repaired,
            repaired,
            length: size,
            proof: proof(kept_digest, hasher, asked.algorithm),
        });
    }
    if asked.offset > size {
        let message = format!("the offset {} lies beyond the end of the file at {size}", asked.offset);
        return Err(Fault::new(Code::BadRequest, message).into());
    }
    let length = asked.length.unwrap_or(u64::MAX).min(size - asked.offset);
    let proof = proof(kept_digest.filter(|_| length == size), None, asked.algorithm);
    Ok(Plan {
        ranges: rest(asked.offset, asked.offset + length),
        kept: 0,
        repaired: 0,
        length,
        proof,
    })
}

/// The range, unless there is nothing in it.
fn rest(from: u64, to: u64) -> Vec<(u64, u64)> {
    if from < to { vec![(from, to)] } else { Vec::new() }
}

fn proof(kept: Option<Digest>, begun: Option<Hasher>, algorithm: Algorithm) -> Proof {
    let compute = || Proof::Computed(begun.unwrap_or_else(|| Hasher::new(algorithm)));
    kept.map_or_else(compute, Proof::Kept)
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
        // What the client holds is in the hasher.
        let in_order = from >= held;
        let mut taken = if in_order { hasher.take() } else { None };
        if taken.is_none() && send_straight(session, id, file, (from, to), moved).await? {
            continue;
        }
        let mut reader = Reader::new(file, from, to);
        while let Some(chunks) = reader.next(session, id, &mut taken).await? {
            for chunk in chunks {
                let length = chunk.payload().len() as u64;
                session.wire.chunk(chunk);
                if !session.wire.flush_unless_cancelled(id).await? {
                    return Err(cancelled().into());
                }
                *moved += length;
                if !session.pay_unless_cancelled(id).await? {
                    return Err(cancelled().into());
                }
            }
        }
        if in_order {
            hasher = taken;
        }
    }
    if !session.wire.busy(file.unchanged()).await?? {
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

/// Below this the way through this process is the shorter one.
const LEAST_STRAIGHT: u64 = MAX_DATA_BYTES as u64;

/// Sends a range of which nothing has to be seen here, if the connection lets it; `false` if not.
async fn send_straight(
    session: &mut Session<'_>,
    id: u64,
    file: &ReadFile,
    range: (u64, u64),
    moved: &mut u64,
) -> Result<bool, Stop> {
    if !session.wire.is_bare() || range.1 - range.0 < LEAST_STRAIGHT {
        return Ok(false);
    }
    if !session.wire.flush_unless_cancelled(id).await? {
        return Err(cancelled().into());
    }
    let Some(mut straight) = session.wire.straight(file, range, session.download_step()) else {
        return Ok(false);
    };
    let mut is_wanted = true;
    while !straight.is_done() {
        straight = session.wire.push(id, straight, moved).await?;
        if is_wanted && (session.wire.take_cancel(id) || !session.pay_unless_cancelled(id).await?) {
            is_wanted = false;
            straight.stop();
        }
    }
    if !is_wanted {
        return Err(cancelled().into());
    }
    straight.failure().map_or(Ok(true), |error| Err(error.into()))
}

type Reading = BoxFuture<'static, Result<(Vec<Chunk>, Option<Hasher>), Error>>;

/// How many steps are read on another thread before it is tried again without one.
const STEPS_AWAY: usize = 16;

/// How many chunks are read without another thread before other sessions have their turn.
const CHUNKS_IN_A_ROW: usize = 4;

/// Reads a range. What is in memory is read where it is sent from, which spares a change of threads and finds the
/// bytes in the processor's cache; what has to be waited for, or hashed, is read ahead on another thread.
struct Reader<'a> {
    file: &'a ReadFile,
    steps: Steps,
    ahead: Option<Reading>,
    steps_away: usize,
    in_a_row: usize,
}

impl<'a> Reader<'a> {
    fn new(file: &'a ReadFile, from: u64, to: u64) -> Self {
        Self {
            file,
            steps: Steps::new(from, to, MAX_DATA_BYTES),
            ahead: None,
            steps_away: 0,
            in_a_row: 0,
        }
    }

    /// The next chunks; `None` at the end.
    async fn next(
        &mut self,
        session: &mut Session<'_>,
        id: u64,
        hasher: &mut Option<Hasher>,
    ) -> Result<Option<Vec<Chunk>>, Stop> {
        if self.ahead.is_none() && self.steps_away == 0 && hasher.is_none() {
            if let Some(chunk) = self.now(session).await {
                return Ok(Some(vec![chunk]));
            }
            self.steps_away = STEPS_AWAY;
        }
        let Some(reading) = self.ahead.take().or_else(|| self.begin(session, hasher)) else {
            return Ok(None);
        };
        let chunks;
        (chunks, *hasher) = session
            .wire
            .unless_cancelled(id, reading)
            .await?
            .ok_or_else(cancelled)??;
        self.steps_away = self.steps_away.saturating_sub(1);
        if self.steps_away > 0 || hasher.is_some() {
            self.ahead = self.begin(session, hasher);
        }
        Ok(Some(chunks))
    }

    async fn now(&mut self, session: &mut Session<'_>) -> Option<Chunk> {
        if self.in_a_row >= CHUNKS_IN_A_ROW {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let read = |from, bytes: &mut [u8]| self.file.read_now(from, bytes);
        match self.steps.one(session.wire.spent_chunk(), read) {
            Ok(chunk) => {
                self.in_a_row += 1;
                Some(chunk)
            }
            Err(chunk) => {
                session.wire.give_back(chunk);
                None
            }
        }
    }

    /// Begins to read the next step, and to hash it.
    fn begin(&mut self, session: &mut Session<'_>, hasher: &mut Option<Hasher>) -> Option<Reading> {
        let (from, chunks) = self.steps.next(|| session.wire.spent_chunk())?;
        Some(self.file.read_chunks(from, chunks, hasher.take()).boxed())
    }
}
