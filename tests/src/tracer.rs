//! A tracer of system calls: it records what a program under test asks of the kernel, in order, and makes chosen
//! calls fail, fall short or wait.
//!
//! The program is started by a shell that waits for a line, so that it is traced from its first call on, all its
//! threads included. Every `ptrace` call comes from one thread, as the kernel demands; that thread also waits for
//! the program's end, because anybody else who waited would take its stops away.

use std::io::{self, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

mod call;
mod clock;
mod fault;
mod follow;
mod registers;

pub use call::Call;
pub use fault::{Effect, Fault, Hits};

/// A traced program. Dropping it kills the program.
#[derive(Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    pid: u32,
}

/// What the tracing thread and everybody else share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    faults: Vec<Arc<fault::Armed>>,
    /// Whether calls are recorded.
    deaf: bool,
    /// By how much the program's wall clock is wrong, in seconds.
    clock_off_by: i64,
    ended: Option<ExitStatus>,
}

impl Tracer {
    /// Starts a program under the tracer, with a fault that waits for it. The child comes back for its pipes alone: only the tracer may wait for it.
    ///
    /// # Errors
    /// Why this machine cannot trace.
    pub(crate) fn start(command: &Command, fault: Option<Fault>) -> Result<(Child, Self), String> {
        let shared = Arc::<Shared>::default();
        shared.lock().faults.extend(fault.map(|fault| Arc::new(fault.into())));
        let (sender, started) = mpsc::channel();
        let launcher = launcher(command);
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || follow::run(launcher, &sender, &theirs));
        let child = started.recv().unwrap()?;
        let pid = child.id();
        let tracer = Self {
            shared,
            thread: Some(thread),
            pid,
        };
        Ok((child, tracer))
    }

    /// Everything since the recording began, in the order in which it began.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// Forgets what was recorded, and records from now on.
    pub fn listen(&self) {
        let mut state = self.shared.lock();
        state.calls.clear();
        state.deaf = false;
    }

    /// Forgets what was recorded, and records nothing: a long run would fill the memory.
    pub fn ignore(&self) {
        let mut state = self.shared.lock();
        state.calls.clear();
        state.deaf = true;
    }

    /// Arms a fault. It stays until it has done what it is to do, or is [cleared](Self::clear).
    pub fn inject(&self, fault: Fault) -> Hits {
        let armed = Arc::new(fault::Armed::from(fault));
        self.shared.lock().faults.push(Arc::clone(&armed));
        Hits::new(armed)
    }

    /// Sets the program's wall clock so many seconds ahead, or back, of the true time. Its other clocks go on.
    pub fn set_clock(&self, ahead: i64) {
        self.shared.lock().clock_off_by = ahead;
    }

    /// What the fault has met that was armed first.
    pub fn hits(&self) -> Hits {
        Hits::new(Arc::clone(&self.shared.lock().faults[0]))
    }

    /// Disarms every fault, and lets go what is held.
    pub fn clear(&self) {
        self.shared.lock().faults.clear();
        // The tracing thread sleeps until some thread of the program stops: this makes one.
        self.poke();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn try_wait(&self) -> Option<ExitStatus> {
        let gone = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let ended = self.shared.lock().ended;
        assert!(
            ended.is_some() || !gone || thread::panicking(),
            "the tracing thread has failed"
        );
        // A tracer that fails takes its program with it.
        ended.or(gone.then(ExitStatus::default))
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        eventually("a killed program ends", || self.try_wait());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let state = self.shared.lock();
        // Once it is waited for, the number may be somebody else's.
        if state.ended.is_none() {
            let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
            // It may be ending at this moment.
            let _ = kill_process(pid, signal);
        }
    }

    fn poke(&self) {
        self.signal(Signal::URG);
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says on the real standard error, which no test harness captures, that a test could not do its work here.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {why}");
}

/// The same program, started by a shell once it has read a line.
fn launcher(command: &Command) -> Command {
    let mut launcher = Command::new("/bin/sh");
    launcher
        .args(["-c", "read -r go; exec \"$0\" \"$@\" </dev/null"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => launcher.env(name, value),
            None => launcher.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        launcher.current_dir(directory);
    }
    launcher
}
