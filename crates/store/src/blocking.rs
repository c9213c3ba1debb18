//! The hand-over from the runtime to threads that may wait for the disk.

use std::io;

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block. It begins at once, before the future is awaited.
///
/// # Cancel safety
///
/// Dropping the future does not stop `work` once it has begun: it runs to its end, accounting
/// included, and its result is dropped.
pub(crate) fn blocking<T, W>(work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T> + Send + 'static,
{
    let job = tokio::task::spawn_blocking(work);
    async move {
        match job.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(stopped()),
            },
        }
    }
}

/// The runtime is shutting down and takes no more work.
pub(crate) fn stopped() -> Error {
    Error::io(
        "finish the operation on",
        "the store",
        io::Error::other("the server is shutting down"),
    )
}
