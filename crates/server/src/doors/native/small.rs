//! Small uploads, which go without asking: their body is taken in whole, and they are stored while the
//! next ones arrive, so that many of them share the cost of being made durable.

use bytes::{Bytes, BytesMut};
use ftp_digest::Digest;
use ftp_proto::{Code, DATA_HEAD_BYTES, Fault, MAX_DATA_BYTES, Op, ProtocolError};
use ftp_store::{Resume, SmallUpload, UploadSpec};
use tokio::time::Instant;

use super::failure::Stop;
use super::group::Work;
use super::record::Record;
use super::reply;
use super::request::{may_replace, resolve};
use super::session::Session;
use super::upload::Asked;
use super::wire::{End, Incoming};

/// How much of a body is passed over beyond what may go without asking, frames included. A client that has misjudged
/// a file learns of it by the answer behind its body; one that sends on and on wants none.
pub(super) const MAX_SURPLUS_BYTES: usize = 16 * MAX_DATA_BYTES;

/// How a body ended.
enum Body {
    Whole {
        bytes: Bytes,
        length: u64,
        digest: Digest,
    },
    /// Longer than may go without asking.
    TooLong,
    Failed(String),
}

/// Takes the body in and lets the upload go on by itself.
pub(super) async fn run(session: &mut Session<'_>, id: u64, asked: Asked) -> Result<(), Stop> {
    let began = Instant::now();
    let body = body(session, id).await?;
    let outcome = prepare(session, asked, body).await;
    let upload = match outcome {
        Ok(prepared) => prepared,
        Err(stop) => {
            // The answers before this one come first.
            session.settle(0).await?;
            return Err(stop);
        }
    };
    let (path, size) = (upload.path().clone(), upload.size());
    let mut record = Record::new(session, "put", &path, began);
    (record.size, record.moved) = (size as u64, size as u64);
    Ok(session.defer(id, path, size, Work::file(upload, record)).await?)
}

/// Passes over the body of a refused upload.
pub(super) async fn drain(session: &mut Session<'_>, id: u64) -> Result<(), End> {
    body(session, id).await.map(drop)
}

async fn prepare(session: &mut Session<'_>, asked: Asked, body: Body) -> Result<SmallUpload, Stop> {
    let path = resolve(session, &asked.path)?;
    let (bytes, length, digest) = match body {
        Body::Whole { bytes, length, digest } => (bytes, length, digest),
        Body::TooLong => {
            let message = format!("a file of more than {MAX_DATA_BYTES} bytes needs `ask`");
            return Err(Fault::new(Code::BadRequest, message).into());
        }
        Body::Failed(message) => return Err(Fault::new(Code::Cancelled, message).into()),
    };
    let replace = if asked.replace {
        let looking = may_replace(&session.home, session.rights(), &path, true);
        session.wire.busy(looking).await??
    } else {
        false
    };
    let spec = UploadSpec {
        size: asked.size.or(Some(length)),
        modified: asked.mtime.map(reply::store_time),
        replace,
        resume: Resume::Never,
        algorithm: asked.algorithm,
        make_parents: asked.parents,
        keep: false,
    };
    Ok(SmallUpload::new(path, spec, bytes, length, digest))
}

async fn body(session: &mut Session<'_>, id: u64) -> Result<Body, End> {
    // The usual body is one chunk, and is kept without a copy; further ones are joined.
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    let (mut too_long, mut room) = (false, MAX_DATA_BYTES + MAX_SURPLUS_BYTES);
    loop {
        let incoming = session.receive().await?;
        if let Incoming::Data(chunk) = &incoming {
            // Chunks without a byte must not go on for ever either.
            room = room.checked_sub(chunk.len() + DATA_HEAD_BYTES).ok_or_else(endless)?;
        }
        match incoming {
            Incoming::Data(chunk) if too_long || first.len() + joined.len() + chunk.len() > MAX_DATA_BYTES => {
                too_long = true;
                (first, joined) = (Bytes::new(), BytesMut::new());
                session.pay().await?;
            }
            Incoming::Data(chunk) if first.is_empty() && joined.is_empty() => first = chunk,
            Incoming::Data(chunk) => {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&chunk);
            }
            Incoming::Request(request) if request.id == id => match request.op {
                Op::End { .. } if too_long => return Ok(Body::TooLong),
                Op::End { length, digest } => {
                    let bytes = if joined.is_empty() { first } else { joined.freeze() };
                    return Ok(Body::Whole { bytes, length, digest });
                }
                Op::Fail { message } => return Ok(Body::Failed(message)),
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) | Incoming::Beat => {
                return Err(ProtocolError::Unexpected("request within a body").into());
            }
        }
    }
}

fn endless() -> End {
    let message =
        format!("a body without `ask` went on for {MAX_SURPLUS_BYTES} bytes beyond the {MAX_DATA_BYTES} allowed");
    End::Bye(Fault::new(Code::Protocol, message))
}
