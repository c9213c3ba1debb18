//! Processor time and memory of a group of processes, those that have ended included.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long daemons get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// How often the end of daemons is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How long many processes may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A control group, or, where none can be made, what descends from one process.
#[derive(Debug)]
pub(crate) struct Meter {
    group: Option<Group>,
    /// The process from which the others descend, zero for none.
    root: AtomicU32,
}

#[derive(Debug)]
struct Group {
    directory: PathBuf,
    /// The first version, whose controllers are apart.
    first: bool,
}

impl Meter {
    /// A meter of this name.
    pub(crate) fn new(name: &str) -> Self {
        let places = [
            ("/sys/fs/cgroup/cpuacct", true),
            ("/sys/fs/cgroup", false),
            ("/sys/fs/cgroup/unified", false),
        ];
        let group = places.into_iter().find_map(|(place, first)| {
            let probe = if first { "cpuacct.usage" } else { "cgroup.controllers" };
            if !Path::new(place).join(probe).exists() {
                return None;
            }
            let run = std::env::var(crate::sandbox::RUN).ok()?;
            let directory = Path::new(place).join(format!("ftp-bench-{run}-{name}"));
            fs::create_dir_all(&directory).ok()?;
            Some(Group { directory, first })
        });
        Self {
            group,
            root: AtomicU32::new(0),
        }
    }

    /// How it measures, for the report.
    pub(crate) fn means(&self) -> &'static str {
        match &self.group {
            Some(Group { first: true, .. }) => "control group, version 1",
            Some(_) => "control group, version 2",
            None => "processes that are alive, and what their ended children left with them",
        }
    }

    /// A command that starts the program within the group.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(group) = &self.group else {
            return Command::new(program);
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
            .arg(group.directory.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Names the process from which the others descend.
    pub(crate) fn follow(&self, root: u32) {
        self.root.store(root, Ordering::Relaxed);
    }

    /// The processes that are alive.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.group {
            Some(group) => {
                let list = fs::read_to_string(group.directory.join("cgroup.procs")).unwrap_or_default();
                // Zero is a process that this namespace does not see.
                list.lines()
                    .filter_map(|line| line.parse().ok())
                    .filter(|pid| *pid != 0)
                    .collect()
            }
            None => match self.root.load(Ordering::Relaxed) {
                0 => Vec::new(),
                root => descendants(root),
            },
        }
    }

    /// Processor time so far, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        match &self.group {
            Some(group) if group.first => number(&group.directory.join("cpuacct.usage")) / 1e9,
            Some(group) => {
                let stat = fs::read_to_string(group.directory.join("cpu.stat")).unwrap_or_default();
                let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
                usage.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
            }
            None => self.processes().into_iter().map(ticks).sum::<f64>() / 100.0,
        }
    }

    /// Resident memory now, the sum over all processes, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let pages = |pid: u32| -> Option<u64> {
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            statm.split_whitespace().nth(1)?.parse().ok()
        };
        self.processes().into_iter().filter_map(pages).sum::<u64>() * rustix::param::page_size() as u64
    }

    /// Memory now without what is shared, each shared page counted in parts, in bytes.
    pub(crate) fn proportional(&self) -> u64 {
        let kib = |pid: u32| -> Option<u64> {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.split_whitespace().next()?.parse().ok()
        };
        self.processes().into_iter().filter_map(kib).sum::<u64>() * 1024
    }

    /// Sends a signal to all processes.
    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended by itself meanwhile.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Waits until all processes stand still, and so many are there.
    pub(crate) fn wait_until_stopped(&self, count: usize) -> Result<()> {
        let began = Instant::now();
        loop {
            let processes = self.processes();
            if processes.len() == count && processes.into_iter().all(is_stopped) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "not all of {count} processes have started after {} s",
                    PATIENCE.as_secs()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends all processes, with force if they do not go.
    pub(crate) fn end(&self) {
        for signal in [Signal::TERM, Signal::KILL] {
            let began = Instant::now();
            self.signal(signal);
            while began.elapsed() < GRACE {
                if self.processes().into_iter().all(is_zombie) {
                    return;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end();
        if let Some(group) = &self.group {
            // What cannot be removed is empty and goes with the machine.
            let _ = fs::remove_dir(&group.directory);
        }
    }
}

fn number(path: &Path) -> f64 {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0.0)
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

fn is_zombie(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// Hundredths of a second of a process and its children that were waited for.
fn ticks(pid: u32) -> f64 {
    let fields = stat(pid).unwrap_or_default();
    (11..15)
        .filter_map(|index| fields.get(index)?.parse::<f64>().ok())
        .sum()
}

fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let parent = stat(pid).and_then(|fields| fields.get(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
    found
}
