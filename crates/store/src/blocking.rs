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

/// Runs `work`, for whose end nobody waits, on a thread that may block; here where there is no runtime.
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// The same for something whose drop touches the disk.
pub(crate) fn drop_aside(value: impl Send + 'static) {
    aside(move || drop(value));
}

/// Something on its way from one blocking thread to the next: dropped in between, it is dropped aside.
pub(crate) struct Aside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Aside<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Takes it out, for a thread that may block.
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("it is taken out but once")
    }
}

impl<T: Send + 'static> std::ops::Deref for Aside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is taken out by value")
    }
}

impl<T: Send + 'static> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_aside(value);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::ThreadId;

    use super::*;

    /// Tells on which thread it is dropped.
    struct Told(mpsc::Sender<ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_touches_the_disk_when_it_is_dropped_is_dropped_aside() {
        let (sender, dropped) = mpsc::channel();
        let here = std::thread::current().id();
        drop(Aside::new(Told(sender.clone())));
        assert_ne!(dropped.recv().unwrap(), here);
        // The outcome of a job for which nobody waits any more.
        let (told, done) = (sender.clone(), tokio::sync::oneshot::channel());
        let job = tokio::task::spawn_blocking(move || {
            done.0.send(()).unwrap();
            Told(told)
        });
        done.1.await.unwrap();
        while !job.is_finished() {
            tokio::task::yield_now().await;
        }
        drop_aside(job);
        assert_ne!(dropped.recv().unwrap(), here);
        drop(Aside::new(Told(sender)).into_inner());
        assert_eq!(dropped.recv().unwrap(), here);
    }
}
