//! Uploads that ask first: refused before a byte flows, resumed where they broke off.

use ftp_digest::{Algorithm, Digest};
use ftp_proto::{BlockList, Code, Fault, Op, PEER_TIMEOUT, ProtocolError, Re, ResumeMode, Timestamp};
use ftp_store::{Error, FilePath, Resume, Stored, Upload, UploadSpec};
use tokio::time::Instant;

use super::reply;
use super::request::{Failure, Stop, cancelled, may_replace, resolve, with_existing};
use super::session::Session;
use super::wire::{End, Incoming};
use crate::audit::{self, Outcome, Transfer};

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

/// What moved so far.
#[derive(Default)]
struct Tally {
    held: u64,
    moved: u64,
    repaired: u64,
}

/// How the body ended.
enum Body {
    Whole {
        length: u64,
        digest: Digest,
    },
    /// The client was told why not in the middle, and has stopped.
    Refused(Failure),
    /// The client can not go on, or has to be told that it can not.
    Stopped(Failure),
}

/// Serves the upload from its request to its answer.
pub(super) async fn run(session: &mut Session<'_>, id: u64, asked: Asked) -> Result<(), Stop> {
    let began = Instant::now();
    let path = resolve(session, &asked.path)?;
    let replace = may_replace(&session.home, session.rights(), &path, asked.replace).await?;
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
    };
    let beginning = session.home.begin_upload(&path, spec);
    let mut upload = match session.wire.busy(id, beginning).await?.ok_or_else(cancelled)? {
        Ok(upload) => upload,
        Err(error) => return Err(with_existing(&session.home, error).await.into()),
    };
    let mut tally = Tally {
        held: upload.held(),
        ..Tally::default()
    };
    let have = if upload.held() > 0 {
        let blocks = session
            .wire
            .busy(id, upload.held_blocks())
            .await?
            .ok_or_else(cancelled)??;
        Some(BlockList::from(&blocks))
    } else {
        None
    };
    session.wire.reply(id, Re::Go { have })?;
    session.wire.flush().await?;

    let body = body(session, id, &mut upload, &mut tally).await;
    let result = match body {
        Err(end) => {
            let cause = end.to_string();
            log(
                session,
                &path,
                &tally,
                asked.size,
                began,
                None,
                Outcome::Failed {
                    code: "lost",
                    cause: &cause,
                },
            );
            return Err(end.into());
        }
        Ok(Body::Refused(Failure { fault, cause })) => {
            let outcome = Outcome::Failed {
                code: &fault.code.name(),
                cause: &cause,
            };
            log(session, &path, &tally, asked.size, began, None, outcome);
            return Ok(());
        }
        Ok(Body::Stopped(failure)) => Err(failure),
        Ok(Body::Whole { length, digest }) => commit(session, upload, length, digest).await?,
    };
    match result {
        Ok(stored) => {
            let digest = Some(stored.digest);
            log(session, &path, &tally, Some(stored.size), began, digest, Outcome::Done);
            Ok(session.wire.reply(id, Re::Stored(reply::stored(&stored)))?)
        }
        Err(Failure { fault, cause }) => {
            let outcome = Outcome::Failed {
                code: &fault.code.name(),
                cause: &cause,
            };
            log(session, &path, &tally, asked.size, began, None, outcome);
            let taken_over = fault.code == Code::TakenOver;
            session.wire.reply(id, Re::Error(fault.clone()))?;
            // Whoever was taken over is cut: often it is a connection that died without knowing.
            if taken_over {
                Err(End::Bye(fault).into())
            } else {
                Ok(())
            }
        }
    }
}

/// Takes in data until the trailer. After a failure of this side the client is told at once, and the
/// rest of the body is passed over.
async fn body(session: &mut Session<'_>, id: u64, upload: &mut Upload, tally: &mut Tally) -> Result<Body, End> {
    let superseded = upload.superseded();
    let mut position = upload.held();
    loop {
        let incoming = tokio::select! {
            biased;
            () = superseded.cancelled() => {
                return Ok(Body::Stopped(Error::Superseded { path: upload.path().clone() }.into()));
            }
            incoming = session.wire.receive(PEER_TIMEOUT) => incoming?,
        };
        match incoming {
            Incoming::Data(chunk) => {
                let length = chunk.len() as u64;
                if let Err(error) = upload.write_at(position, chunk).await {
                    return refuse_rest(session, id, error.into()).await;
                }
                tally.repaired += tally.held.saturating_sub(position).min(length);
                tally.moved += length;
                position += length;
            }
            Incoming::Request(request) if request.id == id => match request.op {
                Op::At { offset } => position = offset,
                Op::End { length, digest } => return Ok(Body::Whole { length, digest }),
                Op::Fail { message } => {
                    let cause = format!("the client gave up: {message}");
                    let message = "the client gave up; what arrived is kept for a resume";
                    return Ok(Body::Stopped(Failure {
                        fault: Fault::new(Code::Cancelled, message),
                        cause,
                    }));
                }
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) => return Err(ProtocolError::Unexpected("request within a body").into()),
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
        match session.wire.receive(PEER_TIMEOUT).await? {
            Incoming::Data(_) => {}
            Incoming::Request(request) if request.id == id => match request.op {
                Op::At { .. } => {}
                Op::End { .. } | Op::Fail { .. } => return Ok(Body::Refused(failure)),
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) => return Err(ProtocolError::Unexpected("request within a body").into()),
        }
    }
}

/// Checks, makes durable and publishes. That can not be cancelled any more, only waited for.
async fn commit(
    session: &mut Session<'_>,
    upload: Upload,
    length: u64,
    digest: Digest,
) -> Result<Result<Stored, Failure>, End> {
    /// No request has this id, so no cancel can be meant.
    const NO_REQUEST: u64 = u64::MAX;
    let committing = session.door.tasks.spawn(upload.commit(length, digest));
    match session.wire.busy(NO_REQUEST, committing).await? {
        Some(Ok(Ok(stored))) => Ok(Ok(stored)),
        Some(Ok(Err(error))) => Ok(Err(with_existing(&session.home, error).await)),
        Some(Err(error)) => {
            audit::failure(Some(session.who.session), "an upload ended unexpectedly", &error);
            let fault = Fault::new(Code::Internal, "the server failed to do this; its log says why");
            Ok(Err(Failure {
                cause: error.to_string(),
                fault,
            }))
        }
        None => Err(End::Closed),
    }
}

fn log(
    session: &Session<'_>,
    path: &FilePath,
    tally: &Tally,
    size: Option<u64>,
    began: Instant,
    digest: Option<Digest>,
    outcome: Outcome<'_>,
) {
    audit::transfer(
        &session.who,
        &Transfer {
            op: "put",
            path,
            size: size.unwrap_or(tally.held + tally.moved),
            moved: tally.moved,
            resumed_from: tally.held - tally.repaired.min(tally.held),
            repaired: tally.repaired,
            seconds: began.elapsed().as_secs_f64(),
            digest: digest.map(|digest| digest.to_string()),
            outcome,
        },
    );
}
