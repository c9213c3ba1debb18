//! Another wall clock for a traced program.
//!
//! Programs read clocks without asking the kernel, from a page that it maps into them. A program that is not told of
//! that page asks by calls, whose answers can be changed.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use nix::libc;
use nix::unistd::Pid;

use super::registers::Registers;

/// Takes the page of clocks out of what the kernel tells a program at its start. Its thread stands at its first
/// instruction, with all of that above the top of its stack.
pub(super) fn hide_page(pid: Pid, registers: &Registers) -> std::io::Result<()> {
    let memory = memory(pid)?;
    let told = fs::read(format!("/proc/{pid}/auxv"))?;
    // Behind the arguments and the environment, the very bytes that the file shows.
    let mut stack = vec![0; 512 * 1024];
    let length = memory.read_at(&mut stack, registers.stack_pointer())?;
    stack.truncate(length);
    let start = stack
        .windows(told.len())
        .step_by(8)
        .position(|window| window == told)
        .ok_or_else(|| std::io::Error::other("the program's start is not where it should be"))?;
    for (index, entry) in told.chunks_exact(16).enumerate() {
        if entry.starts_with(&libc::AT_SYSINFO_EHDR.to_ne_bytes()) {
            let at = registers.stack_pointer() + (start * 8 + index * 16) as u64;
            memory.write_all_at(&libc::AT_IGNORE.to_ne_bytes(), at)?;
        }
    }
    Ok(())
}

/// Whether a call asks for the wall clock, and where its answer goes.
pub(super) fn answer_of(number: i64, arguments: [u64; 6]) -> Option<u64> {
    let wall = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_COARSE].map(|clock| u64::try_from(clock).unwrap_or(0));
    match number {
        libc::SYS_clock_gettime if wall.contains(&arguments[0]) => Some(arguments[1]),
        libc::SYS_gettimeofday => Some(arguments[0]),
        _ => None,
    }
}

/// Moves an answer: it begins with whole seconds.
pub(super) fn shift(pid: Pid, answer: u64, seconds: i64) -> std::io::Result<()> {
    let memory = memory(pid)?;
    let mut time = [0; 8];
    memory.read_exact_at(&mut time, answer)?;
    let moved = i64::from_ne_bytes(time).saturating_add(seconds);
    memory.write_all_at(&moved.to_ne_bytes(), answer)
}

fn memory(pid: Pid) -> std::io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))
}
