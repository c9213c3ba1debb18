//! A running program, traced or not.

use std::process::{Child, ExitStatus};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use crate::Tracer;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) enum Process {
    Plain(Child),
    /// Only the tracer may wait for it.
    Traced(Arc<Tracer>),
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Plain(child) => child.id(),
            Self::Traced(tracer) => tracer.pid(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::Plain(child) => kill_process(Pid::from_child(child), signal).unwrap(),
            Self::Traced(tracer) => tracer.signal(signal),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Plain(child) => child.try_wait().unwrap(),
            Self::Traced(tracer) => tracer.try_wait(),
        }
    }

    /// Ends it as `kill -9` does, and waits until it has ended.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Plain(child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Self::Traced(tracer) => tracer.kill(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self {
            Self::Plain(child) => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Traced(tracer) => tracer.kill(),
        }
    }
}
