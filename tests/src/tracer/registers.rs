//! A stopped thread's system call in its registers.

use nix::errno::Errno;
use nix::unistd::Pid;

/// Whether the registers of this machine are known here.
pub(super) const SUPPORTED: bool = cfg!(target_arch = "x86_64");

/// The registers of a thread at a system-call stop.
pub(super) struct Registers {
    pid: Pid,
    #[cfg(target_arch = "x86_64")]
    all: nix::libc::user_regs_struct,
}

#[cfg(target_arch = "x86_64")]
impl Registers {
    pub(super) fn of(pid: Pid) -> nix::Result<Self> {
        let all = nix::sys::ptrace::getregs(pid)?;
        Ok(Self { pid, all })
    }

    /// The kernel enters a call with this result, and no call ends with it.
    pub(super) fn is_entry(&self) -> bool {
        self.all.rax.cast_signed() == -i64::from(Errno::ENOSYS as i32)
    }

    pub(super) fn number(&self) -> i64 {
        self.all.orig_rax.cast_signed()
    }

    pub(super) fn arguments(&self) -> [u64; 6] {
        let all = &self.all;
        [all.rdi, all.rsi, all.rdx, all.r10, all.r8, all.r9]
    }

    pub(super) fn result(&self) -> i64 {
        self.all.rax.cast_signed()
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.all.rsp
    }

    /// Makes the kernel do nothing.
    pub(super) fn cancel(mut self) -> nix::Result<()> {
        self.all.orig_rax = u64::MAX;
        nix::sys::ptrace::setregs(self.pid, self.all)
    }

    /// Puts another length in its place.
    pub(super) fn shorten(mut self, argument: usize, to: u64) -> nix::Result<()> {
        match argument {
            2 => self.all.rdx = self.all.rdx.min(to),
            _ => self.all.r8 = self.all.r8.min(to),
        }
        nix::sys::ptrace::setregs(self.pid, self.all)
    }

    pub(super) fn succeed(mut self) -> nix::Result<()> {
        self.all.rax = 0;
        nix::sys::ptrace::setregs(self.pid, self.all)
    }

    pub(super) fn fail(mut self, errno: Errno) -> nix::Result<()> {
        self.all.rax = (-i64::from(errno as i32)).cast_unsigned();
        nix::sys::ptrace::setregs(self.pid, self.all)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Registers {
    pub(super) fn of(pid: Pid) -> nix::Result<Self> {
        let _ = Self { pid };
        Err(Errno::ENOSYS)
    }

    pub(super) fn is_entry(&self) -> bool {
        false
    }

    pub(super) fn number(&self) -> i64 {
        -1
    }

    pub(super) fn arguments(&self) -> [u64; 6] {
        [0; 6]
    }

    pub(super) fn result(&self) -> i64 {
        0
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        0
    }

    pub(super) fn cancel(self) -> nix::Result<()> {
        let _ = self.pid;
        Err(Errno::ENOSYS)
    }

    pub(super) fn shorten(self, _: usize, _: u64) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn succeed(self) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn fail(self, _: Errno) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}
