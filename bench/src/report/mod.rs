//! What was measured, for people: on the terminal, and as `docs/performance.md` with charts.

mod markdown;
mod svg;
pub(crate) mod table;
mod targets;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::meter::Meter;
use crate::results::{Machine, Results, Sample};
use crate::sandbox::{Inside, congestion};
use crate::tools;
use crate::workloads::WORKLOADS;

use svg::Figure;

/// This machine, now.
pub(crate) fn machine(inside: &Inside) -> Machine {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | '"'))
            .to_owned()
    };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    #[expect(clippy::disallowed_methods, reason = "the date is only shown")]
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let args: Vec<String> = std::env::args().skip(1).take_while(|arg| arg != "--arena").collect();
    let commit = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .current_dir(crate::sandbox::workspace())
        .output();
    Machine {
        date,
        command: format!("cargo run --release -p ftp-bench -- {}", args.join(" ")),
        cpu: first("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory: crate::warmer::meminfo("MemTotal:"),
        kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        distribution: first("/etc/os-release", "PRETTY_NAME"),
        congestion: congestion(),
        machine_congestion: inside.machine_congestion.clone(),
        isolated: inside.isolated,
        meter: Meter::new("probe").means().to_owned(),
        commit: commit
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default(),
        versions: tools::versions(),
    }
}

/// One run in a line.
pub(crate) fn line(sample: &Sample) -> String {
    let head = format!("{:5} {:28}", sample.op, sample.label);
    match &sample.failure {
        Some(why) => format!("{head} failed: {why}"),
        None => {
            let extra: String = sample
                .extra
                .iter()
                .map(|(name, value)| format!(" · {name} {value:.1}"))
                .collect();
            format!(
                "{head} {:8.3} s · CPU {:.2} + {:.2} s · {} + {} MiB{extra}",
                sample.wall,
                sample.client_cpu,
                sample.server_cpu,
                sample.client_memory >> 20,
                sample.server_memory >> 20
            )
        }
    }
}

/// The table of a workload, on the terminal.
pub(crate) fn print(results: &Results, workload: &str) {
    for text in table::of(results, workload) {
        println!("\n{text}");
    }
}

/// Writes the report from what was saved.
pub(crate) fn write(docs: &Path) -> Result<()> {
    let results = Results::load()?;
    fs::create_dir_all(docs).with_context(|| docs.display().to_string())?;
    let mut charts = Vec::new();
    for (name, what, _) in WORKLOADS {
        let parts: Vec<_> = table::ops(&results, name)
            .into_iter()
            .map(|op| (op, table::rows(&results, name, op)))
            .collect();
        if parts.is_empty() {
            continue;
        }
        let figure = match name {
            "logins" => Figure::Extra("logins/s"),
            "idle" => Figure::Extra("KiB each"),
            _ => Figure::Wall,
        };
        let path = docs.join(format!("performance-{name}.svg"));
        fs::write(&path, svg::chart(what, figure, &parts)).with_context(|| path.display().to_string())?;
        charts.push(name);
    }
    let path = docs.join("performance.md");
    fs::write(&path, markdown::page(&results, &charts)).with_context(|| path.display().to_string())?;
    println!("{} and {} charts are written", path.display(), charts.len());
    Ok(())
}
