//! The hand-over from the runtime to threads that may wait for the disk.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};

/// How many requests of one home may hold a thread at once. The runtime has 512 threads for all homes, and a request
/// that its user gives up runs on: without a bound, one user could take them all.
const HOME_JOBS: usize = 16;

/// How many of these may walk over trees, for which each holds up to two descriptors a level.
const HOME_WALKS: usize = 2;

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
    async move { outcome(job.await) }
}

fn outcome<T>(ended: Result<Result<T>, JoinError>) -> Result<T> {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(stopped()),
    })
}

/// Bounds the threads that the requests of one home hold. What ends others, or makes room for them, does not come
/// through here: no job may wait for one that waits for a thread. Clones share the bound.
#[derive(Clone)]
pub(crate) struct Jobs {
    jobs: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    /// Cancelled when those that still wait are to begin no more.
    over: CancellationToken,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        Self {
            jobs: Arc::new(Semaphore::new(HOME_JOBS)),
            walks: Arc::new(Semaphore::new(HOME_WALKS)),
            over: CancellationToken::new(),
        }
    }

    /// The same bound, for jobs of which those that still wait begin no more once `over` is cancelled.
    pub(crate) fn until(&self, over: CancellationToken) -> Self {
        Self { over, ..self.clone() }
    }

    /// As [`blocking`], once the home has a thread for it.
    ///
    /// # Cancel safety
    ///
    /// As there; dropped before `work` has begun, it does not begin.
    pub(crate) fn blocking<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        self.run(false, work)
    }

    /// The same for work that walks over trees.
    pub(crate) fn walking<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        self.run(true, work)
    }

    fn run<T, W>(&self, walks: bool, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let job = if let Some(permits) = self.try_admit(walks) {
            Ok(blocking(holding(permits, work)))
        } else {
            let jobs = self.clone();
            // A task waits, for a permit that is given to a future which nobody polls would be lost to the others.
            Err(AbortOnDropHandle::new(tokio::spawn(async move {
                let over = jobs.over.clone();
                let permits = over
                    .run_until_cancelled(jobs.admit(walks))
                    .await
                    .ok_or_else(stopped)??;
                blocking(holding(permits, work)).await
            })))
        };
        async move {
            match job {
                Ok(begun) => begun.await,
                Err(waits) => outcome(waits.await),
            }
        }
    }

    fn try_admit(&self, walks: bool) -> Option<Permits> {
        let walk = match walks {
            true => Some(Arc::clone(&self.walks).try_acquire_owned().ok()?),
            false => None,
        };
        Some((walk, Arc::clone(&self.jobs).try_acquire_owned().ok()?))
    }

    async fn admit(self, walks: bool) -> Result<Permits> {
        let walk = match walks {
            true => Some(self.walks.acquire_owned().await.map_err(|_| stopped())?),
            false => None,
        };
        Ok((walk, self.jobs.acquire_owned().await.map_err(|_| stopped())?))
    }
}

type Permits = (Option<OwnedSemaphorePermit>, OwnedSemaphorePermit);

/// Gives the permits back when `work` has ended, whoever waits for that.
fn holding<T>(permits: Permits, work: impl FnOnce() -> T + Send + 'static) -> impl FnOnce() -> T + Send + 'static {
    move || {
        let _held = permits;
        work()
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
    use std::pin::pin;
    use std::sync::{Mutex, mpsc};
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

    /// Work that goes on until the sender is dropped.
    fn long_work() -> (mpsc::Sender<()>, impl Fn() -> Result<()> + Clone + Send + 'static) {
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        (release, move || {
            held.lock().unwrap().recv().unwrap_err();
            Ok(())
        })
    }

    #[tokio::test]
    async fn one_home_holds_so_many_threads_and_leaves_the_others_to_others() {
        let (home, other) = (Jobs::new(), Jobs::new());
        let (release, work) = long_work();
        let running: Vec<_> = (0..HOME_JOBS).map(|_| home.blocking(work.clone())).collect();
        let mut waits = pin!(home.blocking(|| Ok("it came")));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("one more than may be"),
            done = other.blocking(|| Ok(())) => done.unwrap(),
        }
        // Nobody wants them any more, and they hold their threads nevertheless.
        drop(running);
        tokio::select! {
            biased;
            _ = &mut waits => panic!("a thread was not free"),
            done = other.blocking(|| Ok(())) => done.unwrap(),
        }
        assert_eq!(home.jobs.available_permits(), 0);
        drop(release);
        assert_eq!(waits.await.unwrap(), "it came");
    }

    #[tokio::test]
    async fn who_waits_and_does_not_look_keeps_nobody_waiting() {
        let home = Jobs::new();
        let (release, work) = long_work();
        let _running: Vec<_> = (0..HOME_JOBS).map(|_| home.blocking(work.clone())).collect();
        let _not_looked_at: Vec<_> = (0..2 * HOME_JOBS).map(|_| home.blocking(|| Ok(()))).collect();
        let given_up = home.blocking(|| -> Result<()> { panic!("it was given up before it began") });
        drop(given_up);
        let last = home.blocking(|| Ok(()));
        drop(release);
        last.await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_is_not_begun_once_its_session_is_over() {
        let (home, over) = (Jobs::new(), CancellationToken::new());
        let session = home.until(over.clone());
        let (release, work) = long_work();
        let running: Vec<_> = (0..HOME_JOBS).map(|_| session.blocking(work.clone())).collect();
        let waits = session.blocking(|| -> Result<()> { panic!("it was begun") });
        over.cancel();
        assert!(waits.await.is_err());
        drop(release);
        for job in running {
            job.await.unwrap();
        }
    }

    #[tokio::test]
    async fn walks_wait_for_walks_and_nothing_else_does() {
        let home = Jobs::new();
        let (release, work) = long_work();
        let _running: Vec<_> = (0..HOME_WALKS).map(|_| home.walking(work.clone())).collect();
        let mut waits = pin!(home.walking(|| Ok(())));
        tokio::select! {
            biased;
            _ = &mut waits => panic!("one walk more than may be"),
            done = home.blocking(|| Ok(())) => done.unwrap(),
        }
        drop(release);
        waits.await.unwrap();
    }
}
