//! Small uploads, which go without asking: their body is taken in whole, and they are stored while the
//! next ones arrive, so that many of them share the cost of being made durable.

use bytes::Bytes;
use ftp_digest::Digest;
use ftp_proto::{Code, Fault, MAX_DATA_BYTES, Op, ProtocolError, Re};
use ftp_store::{Error, FilePath, Home, Resume, Stored, UploadSpec};
use tokio::time::Instant;

use super::record::Record;
use super::reply;
use super::request::{Stop, may_replace, resolve, with_existing};
use super::session::Session;
use super::upload::Asked;
use super::wire::{End, Incoming};

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
    let (path, spec, bytes, length, digest) = match outcome {
        Ok(prepared) => prepared,
        Err(stop) => {
            // The answers before this one come first.
            session.settle(0).await?;
            return Err(stop);
        }
    };
    let (home, size) = (session.home.clone(), bytes.len());
    let mut record = Record::new(&session.who, "put", &path, began);
    (record.size, record.moved) = (length, length);
    let target = path.clone();
    let work = async move {
        match store(&home, &path, spec, bytes, length, digest).await {
            Ok(stored) => {
                record.done(stored.size, stored.digest);
                Re::Stored(reply::stored(&stored))
            }
            Err(error) => {
                let failure = with_existing(&home, error).await;
                record.failed(&failure);
                Re::Error(failure.fault)
            }
        }
    };
    Ok(session.defer(id, target, size, work).await?)
}

/// Passes over the body of a refused upload.
pub(super) async fn drain(session: &mut Session<'_>, id: u64) -> Result<(), End> {
    body(session, id).await.map(drop)
}

type Prepared = (FilePath, UploadSpec, Bytes, u64, Digest);

async fn prepare(session: &mut Session<'_>, asked: Asked, body: Body) -> Result<Prepared, Stop> {
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
        may_replace(&session.home, session.rights(), &path, true).await?
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
    Ok((path, spec, bytes, length, digest))
}

async fn body(session: &mut Session<'_>, id: u64) -> Result<Body, End> {
    let mut bytes = Bytes::new();
    let (mut too_long, idle) = (false, session.idle_timeout());
    loop {
        match session.wire.receive(idle).await? {
            Incoming::Data(chunk) if too_long || bytes.len() + chunk.len() > MAX_DATA_BYTES => {
                too_long = true;
                bytes = Bytes::new();
            }
            // The usual body is one chunk, and is kept without a copy.
            Incoming::Data(chunk) if bytes.is_empty() => bytes = chunk,
            Incoming::Data(chunk) => bytes = [bytes, chunk].concat().into(),
            Incoming::Request(request) if request.id == id => match request.op {
                Op::End { .. } if too_long => return Ok(Body::TooLong),
                Op::End { length, digest } => return Ok(Body::Whole { bytes, length, digest }),
                Op::Fail { message } => return Ok(Body::Failed(message)),
                _ => return Err(ProtocolError::Unexpected("request within a body").into()),
            },
            Incoming::Request(_) => return Err(ProtocolError::Unexpected("request within a body").into()),
        }
    }
}

async fn store(
    home: &Home,
    path: &FilePath,
    spec: UploadSpec,
    bytes: Bytes,
    length: u64,
    digest: Digest,
) -> Result<Stored, Error> {
    let mut upload = home.begin_upload(path, spec).await?;
    let stored = async {
        if !bytes.is_empty() {
            upload.write_at(0, bytes).await?;
        }
        upload.commit(length, digest).await
    };
    stored.await
}
