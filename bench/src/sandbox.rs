//! A network, process and mount namespace of our own, in which the program runs itself again.
//!
//! Congestion control, accounts and mounts of the machine stay as they are, and whatever was started ends with us.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::{RunArgs, install};

/// Where everything happens inside of the namespaces; outside it stays empty.
const ARENA: &str = "/tmp/ftp-bench";

/// The variable with the number of the process outside, by which the traces of a run are told apart.
pub(crate) const RUN: &str = "FTP_BENCH_RUN";

/// The namespaces, as `unshare` takes them.
const NAMESPACES: [&str; 4] = ["--net", "--mount", "--pid", "--fork"];

/// Builds both programs, then runs this one again inside of namespaces if it may make some.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    if args.install {
        install::peers()?;
    }
    if args.programs.is_none() {
        build()?;
    }
    sweep();
    let arena = PathBuf::from(format!("{ARENA}-{}", std::process::id()));
    fs::create_dir(&arena).with_context(|| arena.display().to_string())?;
    let own = std::env::current_exe().context("this program's own path")?;
    let mut command = if may_isolate() {
        // Whatever ends this process ends the namespaces, and they end everything within.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]);
        command.args(NAMESPACES);
        command.args(["--kill-child", "--mount-proc", "--"]);
        command.arg(own);
        command
    } else {
        println!(
            "Not root: no namespaces; the machine's congestion control holds, and peers that need root are skipped."
        );
        Command::new(own)
    };
    let status = command
        .args(std::env::args_os().skip(1))
        .env(RUN, std::process::id().to_string())
        .arg("--arena")
        .arg(&arena)
        .status();
    fs::remove_dir_all(&arena).with_context(|| arena.display().to_string())?;
    let status = status.context("the program cannot be started again in its namespaces")?;
    if args.report && status.success() && !args.tiny {
        crate::report::write(&workspace().join("docs"))?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Removes what killed runs have left: directories that are empty outside of their namespaces, and control groups.
fn sweep() {
    for place in [
        "/tmp",
        "/sys/fs/cgroup/cpuacct",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
    ] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("ftp-bench-").and_then(|rest| rest.split('-').next());
            if number.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // What holds anything stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Whether this process may make the namespaces.
fn may_isolate() -> bool {
    let probe = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(NAMESPACES)
        .args(["--mount-proc", "ip", "link", "set", "lo", "up"])
        .output();
    probe.is_ok_and(|output| output.status.success())
}

/// Builds `ftpd` and `ftp-cli` beside this program.
fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "-p",
            "ftp-server",
            "-p",
            "ftp-client",
            "--bins",
        ])
        .current_dir(workspace())
        .status()
        .context("cargo")?;
    if !status.success() {
        bail!("ftpd and ftp-cli do not build");
    }
    Ok(())
}

/// The root of the sources.
pub(crate) fn workspace() -> &'static Path {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench)
}

/// The congestion control in force here.
pub(crate) fn congestion() -> String {
    fs::read_to_string(CONGESTION).unwrap_or_default().trim().to_owned()
}

/// Sets the congestion control of connections that are made from now on within the namespace.
pub(crate) fn set_congestion(name: &str) -> Result<()> {
    fs::write(CONGESTION, name).with_context(|| format!("{name} as the namespace's congestion control"))
}

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// What the namespaces are like.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// Whether there are any.
    pub(crate) isolated: bool,
    /// The machine's congestion control.
    pub(crate) machine_congestion: String,
}

/// Furnishes the namespaces: loopback, congestion control, a memory file system, and copies of `/etc` and `/run`
/// that nobody else sees.
pub(crate) fn furnish(arena: &Path, bytes: u64) -> Result<Inside> {
    let machine_congestion = congestion();
    let isolated = std::process::id() == 1 || fs::read_link("/proc/self").is_ok_and(|own| own == Path::new("1"));
    if isolated {
        tool("ip", &["link", "set", "lo", "up"])?;
        // Tens of thousands of connections, one after the other.
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10240 65000").context("the ports of the namespace")?;
        set_congestion("reno")?;
        let size = format!("size={bytes},mode=755");
        let arena = arena.to_str().context("the path of the arena")?;
        tool("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", arena])?;
        let etc = format!("{arena}/etc");
        tool("cp", &["-a", "/etc", &etc])?;
        tool("mount", &["--bind", &etc, "/etc"])?;
        tool("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
    }
    Ok(Inside {
        isolated,
        machine_congestion,
    })
}

/// Runs a system tool that must succeed.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
