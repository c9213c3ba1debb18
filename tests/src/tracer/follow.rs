//! The one thread that traces a program.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Shared;
use super::call::{self, Call, Look};
use super::clock;
use super::fault::{Armed, Effect};
use super::registers::{Registers, SUPPORTED};

/// Errors from here on are the kernel's own: the call begins again.
const FIRST_RESTART: i64 = -516;
const LAST_RESTART: i64 = -512;

/// A call that a thread is in.
struct Pending {
    call: Call,
    fail: Option<Errno>,
    /// It is not made, and said to have been.
    faked: bool,
}

/// A thread that waits for a fault to be cleared.
struct Held {
    pid: Pid,
    by: Arc<Armed>,
}

pub(super) fn run(launcher: Command, started: &Sender<Result<Child, String>>, shared: &Shared) {
    let (leader, child) = match begin(launcher) {
        Ok(begun) => begun,
        Err(why) => {
            let _ = started.send(Err(why));
            return;
        }
    };
    let _ = started.send(Ok(child));
    let ended = Following {
        shared,
        leader,
        clock: 0,
        pending: HashMap::new(),
        held: Vec::new(),
    }
    .follow();
    shared.lock().ended = Some(ended);
}

/// Starts the shell, takes hold of it, and lets it go on.
fn begin(mut launcher: Command) -> Result<(Pid, Child), String> {
    if !SUPPORTED {
        return Err("the registers of this processor are not known to the tracer".to_owned());
    }
    launcher
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = launcher.spawn().map_err(|error| error.to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    let held = ptrace::seize(pid, options)
        .and_then(|()| ptrace::interrupt(pid))
        .and_then(|()| waitpid(pid, Some(WaitPidFlag::__WALL)))
        .and_then(|_| ptrace::syscall(pid, None));
    if let Err(errno) = held {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("this machine permits no tracing ({errno})"));
    }
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\n").map_err(|error| error.to_string())?;
    Ok((pid, child))
}

struct Following<'a> {
    shared: &'a Shared,
    leader: Pid,
    clock: u64,
    pending: HashMap<Pid, Pending>,
    held: Vec<Held>,
}

impl Following<'_> {
    /// Serves stop after stop until the program ends.
    fn follow(mut self) -> ExitStatus {
        // Children of other threads are none of its business, and waiting for them would steal their end.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let status = match waitpid(None, Some(flags)) {
                Err(Errno::EINTR) => continue,
                status => status.unwrap(),
            };
            self.clock += 1;
            self.let_go();
            match status {
                WaitStatus::Exited(pid, code) if pid == self.leader => return ExitStatus::from_raw(code << 8),
                WaitStatus::Signaled(pid, signal, _) if pid == self.leader => {
                    return ExitStatus::from_raw(signal as i32);
                }
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                    self.pending.remove(&pid);
                }
                WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == nix::libc::PTRACE_EVENT_EXEC {
                        // What the shell did is of no interest.
                        self.shared.lock().calls.clear();
                        let registers = Registers::of(pid).unwrap();
                        clock::hide_page(pid, &registers).unwrap();
                    }
                    resume(pid, None);
                }
                // A poke, which the program never hears of.
                WaitStatus::Stopped(pid, Signal::SIGURG) => resume(pid, None),
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal)),
                WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
            }
        }
    }

    fn at_call(&mut self, pid: Pid) {
        // A thread that is killed while it stands still has no registers.
        let Ok(registers) = Registers::of(pid) else {
            resume(pid, None);
            return;
        };
        let may_go = match self.pending.remove(&pid) {
            Some(pending) => {
                self.leave(pid, pending, registers);
                true
            }
            None if registers.is_entry() => self.enter(pid, registers),
            // It was in a call already when it was taken hold of.
            None => true,
        };
        if may_go {
            resume(pid, None);
        }
    }

    /// Whether the thread may go on.
    fn enter(&mut self, pid: Pid, registers: Registers) -> bool {
        let arguments = registers.arguments();
        let Some((name, shape)) = call::known(registers.number(), arguments) else {
            // A program that hides from debuggers would hide its files from the tracer of another user.
            let faked = registers.number() == nix::libc::SYS_prctl
                && arguments[0] == u64::from(nix::libc::PR_SET_DUMPABLE.unsigned_abs());
            if faked {
                registers.cancel().unwrap();
            }
            // Its end is met all the same.
            self.pending.insert(pid, Pending::nameless(self.clock, faked));
            return true;
        };
        let mut look = Look::at(pid);
        let call = Call {
            name,
            paths: look.paths(shape, arguments),
            result: Ok(0),
            injected: false,
            began: self.clock,
            ended: u64::MAX,
            sent: look.sent(shape, arguments),
        };
        let hit = self
            .shared
            .lock()
            .faults
            .iter()
            .find_map(|armed| Some((Arc::clone(armed), armed.judge(&call)?)));
        let mut pending = Pending {
            call,
            fail: None,
            faked: false,
        };
        let mut may_go = true;
        if let Some((armed, effect)) = hit {
            pending.call.injected = true;
            match effect {
                Effect::Fail(errno) => {
                    pending.fail = Some(errno);
                    registers.cancel().unwrap();
                }
                Effect::Short(bytes) => {
                    let length = if name == "copy_file_range" { 4 } else { 2 };
                    registers.shorten(length, bytes).unwrap();
                }
                Effect::Hold => {
                    self.held.push(Held { pid, by: armed });
                    may_go = false;
                }
            }
        }
        let mut state = self.shared.lock();
        if !state.deaf {
            state.calls.push(pending.call.clone());
        }
        drop(state);
        self.pending.insert(pid, pending);
        may_go
    }

    fn leave(&mut self, pid: Pid, pending: Pending, registers: Registers) {
        let Pending { mut call, fail, faked } = pending;
        if faked {
            registers.succeed().unwrap();
            return;
        }
        if call.name.is_empty() {
            if let Some(answer) = clock::answer_of(registers.number(), registers.arguments()) {
                let off_by = self.shared.lock().clock_off_by;
                if off_by != 0 && registers.result() == 0 {
                    clock::shift(pid, answer, off_by).unwrap();
                }
            }
            return;
        }
        let result = registers.result();
        call.result = match fail {
            Some(errno) => {
                registers.fail(errno).unwrap();
                Err(errno)
            }
            None => u64::try_from(result).map_err(|_| Errno::from_raw(i32::try_from(-result).unwrap_or(0))),
        };
        call.ended = self.clock;
        let mut state = self.shared.lock();
        let calls = &mut state.calls;
        // Unless the recording began anew in between.
        let Some(index) = calls.iter().rposition(|known| known.began == call.began) else {
            return;
        };
        if fail.is_none() && (FIRST_RESTART..=LAST_RESTART).contains(&result) {
            calls.remove(index);
        } else {
            calls[index] = call;
        }
    }

    /// Lets every thread go whose fault has been cleared.
    fn let_go(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let armed = self.shared.lock().faults.clone();
        self.held.retain(|held| {
            let stays = armed.iter().any(|armed| Arc::ptr_eq(armed, &held.by));
            if !stays {
                resume(held.pid, None);
            }
            stays
        });
    }
}

impl Pending {
    fn nameless(clock: u64, faked: bool) -> Self {
        Self {
            call: Call {
                name: "",
                paths: Vec::new(),
                result: Ok(0),
                injected: false,
                began: clock,
                ended: clock,
                sent: Vec::new(),
            },
            fail: None,
            faked,
        }
    }
}

/// Lets a thread run to its next stop. One that was killed meanwhile is gone.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}
