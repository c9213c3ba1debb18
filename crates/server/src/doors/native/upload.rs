//! Uploads that ask first: refused before a byte flows, resumed where they broke off.

use ftp_digest::{Algorithm, Digest};
use ftp_proto::{BlockList, Code, Fault, Op, ProtocolError, Re, Request, ResumeMode, Timestamp};
use ftp_store::{Error, Resume, Stored, Upload, UploadSpec};
use tokio::time::Instant;

use super::failure::{Failure, Stop, cancelled, with_existing};
use super::record::Record;
use super::reply;
use super::request::{may_replace, resolve};
use super::session::Session;
use super::wire::{End, Incoming};
use crate::audit;

/// A `put` as it was asked for.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) algorithm: Algorithm,
    pub(super) replace: bool,
    pub(super) parents: bool,
    pub(super) resume: ResumeMode,
}

/// How the body ended.
enum Body {
    Whole {
        upload: Box<Upload>,
        length: u64,
        digest: Digest,
    },
    /// The client was told why not in the middle, and has stopped.
    Refused(Failure),
    /// The client can not go on, or has to be told that it can not.
    Stopped(Failure),
    /// The client cancelled by a request of its own, with this id.
    Cancelled(u64),
}

/// Serves the upload from its request to its answer.
pub(super) async fn run(session: &mut Session<'_>, id: u64, asked: Asked) -> Result<(), Stop> {
    let began = Instant::now();
    let path = resolve(session, &asked.path)?;
    let looking = may_replace(&session.home, session.rights(), &path, asked.replace);
    let replace = session.wire.busy(looking).await??;
    let spec = UploadSpec {
        size: asked.size,
        modified: asked.mtime.map(reply::store_time),
        replace,
        resume: match asked.resume {
            ResumeMode::Always => Resume::Always,
            ResumeMode::Auto => Resume::Auto,
            ResumeMode::Never => Resume::Never,
        },
        algorithm: asked.algorithm,
        make_parents: asked.parents,
        keep: true,
    };
    let beginning = session.home.begin_upload(&path, spec);
    let beginning = session.wire.unless_cancelled(id, beginning).await?;
    let mut upload = match beginning.ok_or_else(cancelled)? {
        Ok(upload) => upload,
        Err(error) => return Err(session.wire.busy(with_existing(&session.home, error)).await?.into()),
    };
    let mut record = Record::new(session, "put", &path, began);
    record.size = asked.size.unwrap_or(0);
    record.kept = upload.held();
    match go(session, id, &mut upload).await {
        Ok(()) => {}
        Err(Stop::End(end)) => {
            record.lost(&end.to_string());
            return Err(end.into());
        }
        Err(Stop::Fault(failure)) => {
            if failure.is_nuisance() {
                session.note_nuisance();
            }
            record.failed(&failure);
            return refuse(session, id, failure);
        }
    }
    match body(session, id, upload, &mut record).await {
        Err(end) => {
            record.lost(&end.to_string());
            Err(end.into())
        }
        Ok(Body::Refused(failure)) => {
            record.failed(&failure);
            Ok(())
        }
        Ok(Body::Stopped(failure)) => {
            record.failed(&failure);
            refuse(session, id, failure)
        }
        Ok(Body::Cancelled(cancel)) => {
            let failure = Failure::from(cancelled());
            record.failed(&failure);
            refuse(session, id, failure)?;
            Ok(session.wire.reply(cancel, Re::Ok)?)
        }
        Ok(Body::Whole { upload, length, digest }) => match commit(session, *upload, length, digest, record).await? {
            Ok(stored) => Ok(session.wire.reply(id, Re::Stored(reply::stored(&stored)))?),
            Err(failure) => refuse(session, id, failure),
        },
    }
}

/// Tells the client to send, and what is held of an earlier attempt.
async fn go(session: &mut Session<'_>, id: u64, upload: &mut Upload) -> Result<(), Stop> {
    let have = if upload.held_is_same() {
        // What is held takes part in the digest of the whole; should that differ, the next try compares.
        Some(BlockList::uncompared(upload.held()))
    } else if upload.held() > 0 {
        let comparing = session.wire.unless_cancelled(id, upload.held_blocks()).await?;
        Some(BlockList::from(&comparing.ok_or_else(cancelled)??))
    } else {
        None
    };
    if have.is_some() {
        upload.catch_up()?;
    }
    session.wire.reply(id, Re::Go { have })?;
    Ok(session.wire.flush().await?)
}

/// Lists what is staged; nothing but the page at hand is in memory.
pub(super) async fn list(session: &mut Session<'_>, id: u64) -> Result<(), Stop> {
    let mut listing = session.home.uploads();
    while let Some(page) = session
        .wire
        .unless_cancelled(id, listing.next_page())
        .await?
        .ok_or_else(cancelled)??
    {
        for upload in &page {
            // One a header: the longest path, escaped, takes half of it.
            let uploads = vec![reply::staged(upload)];
            session.wire.reply(id, Re::Uploads { uploads })?;
            session.wire.flush_if_much().await?;
            session.pay().await?;
        }
    }
    Ok(session.wire.reply(id, Re::Ok)?)
}

/// Answers a failed upload that is logged already. Whoever was taken over is cut: often it is a
/// connection that died without knowing.
fn refuse(session: &mut Session<'_>, id: u64, failure: Failure) -> Result<(), Stop> {
    let Failure { fault, .. } = failure;
    session.wire.reply(id, Re::Error(fault.clone()))?;
    if fault.code == Code::TakenOver {
        Err(End::Bye(fault).into())
    } else {
        Ok(())
    }
}

/// Takes in data until the trailer. After a failure of this side the client is told at once, and the
/// rest of the body is passed over.
async fn body(session: &mut Session<'_>, id: u64, mut upload: Upload, record: &mut Record) -> Result<Body, End> {
    let superseded = upload.superseded();
    let held = upload.held();
    let (mut position, mut is_cancelled, mut is_writing) = (held, false, false);
    loop {
        let incoming = tokio::select! {
            biased;
            () = superseded.cancelled() => {
                return Ok(Body::Stopped(Error::Superseded { path: upload.path().clone() }.into()));
            }
            // A failure is told at once, even if the client has nothing more to send for now.
            written = upload.written(), if is_writing => {
                is_writing = false;
                match written {
                    Ok(()) => continue,
                    Err(error) => {
                        drop(upload);
                        return refuse_rest(session, id, error.into()).await;
                    }
                }
            }
            incoming = session.receive() => incoming?,
        };
        match incoming {
            Incoming::Data(chunk) => {
                let chunks = session.gather(chunk)?;
                let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                // The next chunks are read while these wait for the disk.
                if let Err(error) = session.wire.busy(upload.write_chunks(position, chunks)).await? {
                    // Path and quota are free again before the client has stopped.
                    drop(upload);
                    return refuse_rest(session, id, error.into()).await;
                }
                is_writing = true;
                let repaired = held.saturating_sub(position).min(length);
                record.repaired += repaired;
                record.kept = record.kept.saturating_sub(repaired);
                record.moved += length;
                position += length;
                if is_cancelled {
                    continue;
                }
                tokio::select! {
                    biased;
                    () = superseded.cancelled() => {}
                    // The cancel comes in its turn, behind what was read ahead of it.
                    paid = session.pay_unless_cancelled(id) => is_cancelled = !paid?,
                }
            }
            Incoming::Request(Request {
                op: Op::Cancel { target },
                id: cancel,
            }) if target == id => {
                session.wire.cancel_answered(id);
                return Ok(Body::Cancelled(cancel));
            }
            Incoming::Request(request) if request.id == id => match request.op {
                Op::At { offset } => position = offset,
                Op::End { length, digest } => {
                    return Ok(Body::Whole {
                        upload: Box::new(upload),
                        length,
                        digest,
                    });
                }
                Op::Fail { message } => {
                    let cause = format!("the client gave up: {message}");
                    let message = "the client gave up; what arrived is kept for a resume";
                    return Ok(Body::Stopped(Failure::new(Fault::new(Code::Cancelled, message), cause)));
                }
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) | Incoming::Beat => {
                return Err(ProtocolError::Unexpected("request within a body").into());
            }
        }
    }
}

async fn refuse_rest(session: &mut Session<'_>, id: u64, failure: Failure) -> Result<Body, End> {
    if failure.fault.code == Code::TakenOver {
        return Ok(Body::Stopped(failure));
    }
    session.wire.reply(id, Re::Error(failure.fault.clone()))?;
    session.wire.flush().await?;
    loop {
        match session.receive().await? {
            Incoming::Data(_) => session.pay().await?,
            Incoming::Request(request) if request.id == id => match request.op {
                Op::At { .. } => {}
                Op::End { .. } | Op::Fail { .. } => return Ok(Body::Refused(failure)),
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) | Incoming::Beat => {
                return Err(ProtocolError::Unexpected("request within a body").into());
            }
        }
    }
}

/// Checks, makes durable, publishes and logs. That goes on whatever becomes of the session.
async fn commit(
    session: &mut Session<'_>,
    upload: Upload,
    length: u64,
    digest: Digest,
    record: Record,
) -> Result<Result<Stored, Failure>, End> {
    let home = session.home.clone();
    let committing = session.door.tasks.spawn(async move {
        match upload.commit(length, digest).await {
            Ok(stored) => {
                record.done(stored.size, stored.digest);
                Ok(stored)
            }
            Err(error) => {
                let failure = with_existing(&home, error).await;
                record.failed(&failure);
                Err(failure)
            }
        }
    });
    Ok(session.wire.busy(committing).await?.unwrap_or_else(|error| {
        audit::failure(Some(session.who.session), "an upload ended unexpectedly", &error);
        let fault = Fault::new(Code::Internal, "the server failed to do this; its log says why");
        Err(Failure::new(fault, error.to_string()))
    }))
}
