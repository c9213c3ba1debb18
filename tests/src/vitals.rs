//! What a process holds, as the kernel counts it.

use std::fs;

/// A look at a process under `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    pid: u32,
}

impl Vitals {
    /// The process with this number.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// Memory that belongs to it alone and is no file, in KiB: what its own data take now.
    pub fn private_kib(self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most memory it has had so far, in KiB, with its program and everything.
    pub fn peak_kib(self) -> u64 {
        self.status("VmHWM:")
    }

    /// The same of a process that may have ended; `None` then.
    pub fn peak_kib_if_alive(self) -> Option<u64> {
        self.find("VmHWM:")
    }

    /// Its threads.
    pub fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// Its open file descriptors.
    pub fn open_files(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Processor time it has used so far, in hundredths of a second.
    pub fn ticks(self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The program's name stands in parentheses and may contain anything.
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn status(self, key: &str) -> u64 {
        self.find(key).expect("the process lives")
    }

    fn find(self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        Some(line.split_whitespace().nth(1).unwrap().parse().unwrap())
    }
}
