//! Changes that a request makes in one step, and that go on whatever becomes of its session.

use ftp_proto::{Code, Fault};
use ftp_store::Error;

use super::failure::Stop;
use super::session::Session;
use crate::audit::{self, Who};

/// Runs a change and logs by `log` that it is done, also when the session has ended meanwhile. A failure is the
/// caller's to log: once nobody waits, nothing was changed that anybody has to know of.
pub(super) async fn run<T: Send + 'static>(
    session: &mut Session<'_>,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
    log: impl FnOnce(&Who, &T) + Send + 'static,
) -> Result<Result<T, Error>, Stop> {
    let who = session.who.clone();
    let changing = session.door.tasks.spawn(async move {
        let done = work.await?;
        log(&who, &done);
        Ok(done)
    });
    session.wire.busy(changing).await?.map_err(|error| {
        audit::failure(Some(session.who.session), "a change ended unexpectedly", &error);
        Fault::new(Code::Internal, "the server failed to do this; its log says why").into()
    })
}
