//! Landlock: the kernel lets the server reach its own directories and nothing else, connect to nothing, and
//! signal nobody. It binds whoever takes the server over as well.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use crate::config::{Config, TlsConfig, real};

/// The newest set of rights that is asked for; older kernels give what they know of it.
const NEWEST: ABI = ABI::V7;

/// What the lines of the log read for local time, and the allocator before it gives memory back.
const SYSTEM: [&str; 4] = [
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
    "/proc/sys/vm/overcommit_memory",
];

/// What may be done beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Files and directories come, change and go, and whatever else somebody put there moves: homes.
    Files,
    /// The same, and sockets: the state.
    State,
    /// Lines are appended and files rotate: the log.
    Log,
    /// Files are read.
    Read,
}

impl Allowed {
    fn rights(self) -> BitFlags<AccessFs> {
        let files = AccessFs::ReadFile
            | AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer;
        match self {
            // To move a link, FIFO or socket, or to put it in the trash, is for Landlock to make one. The server
            // makes none, and opens none; whoever took it over could reach nothing by one that it can not without.
            Self::Files => files | AccessFs::MakeSym | AccessFs::MakeFifo | AccessFs::MakeSock,
            Self::State => files | AccessFs::MakeSock,
            Self::Log => {
                AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile
            }
            Self::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        }
    }
}

/// One path, with links resolved, and what may be done beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    path: PathBuf,
    allowed: Allowed,
    /// Its absence costs only what is nice to have.
    is_optional: bool,
}

/// What the server may reach. It can not be widened while the server runs.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox(Vec<Rule>);

/// What became of the wish for a sandbox.
pub(super) struct Outcome {
    pub(super) sandbox: Option<Sandbox>,
    /// What stands, in words.
    pub(super) standing: Option<String>,
    /// What does not, and why.
    pub(super) missing: Vec<String>,
}

/// Confines this thread and all that it starts, as far as the kernel can.
pub(super) fn enforce(config: &Config) -> Result<Outcome> {
    if !config.server.sandbox {
        return Ok(Outcome {
            sandbox: None,
            standing: None,
            missing: vec!["Landlock: switched off by `sandbox`".to_owned()],
        });
    }
    let rules = rules(config);
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .context("the sandbox cannot be made; `sandbox = false` in [server] does without")?;
    for rule in &rules {
        let handle = match PathFd::new(&rule.path) {
            Ok(handle) => handle,
            Err(_) if rule.is_optional => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", rule.path.display())),
        };
        let mut rights = rule.allowed.rights();
        if !rule.path.is_dir() {
            rights &= AccessFs::from_file(NEWEST);
        }
        ruleset = ruleset
            .add_rule(PathBeneath::new(handle, rights))
            .with_context(|| format!("the sandbox cannot take in {}", rule.path.display()))?;
    }
    let status = ruleset
        .restrict_self()
        .context("the sandbox cannot be closed; `sandbox = false` in [server] does without")?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        _ => 0,
    };
    let is_closed = status.ruleset != RulesetStatus::NotEnforced;
    let (standing, missing) = describe(if is_closed { abi } else { 0 }, abi);
    Ok(Outcome {
        sandbox: is_closed.then_some(Sandbox(rules)),
        standing,
        missing,
    })
}

/// Each wall of Landlock with the version of the kernel's interface that brought it.
const WALLS: [(u32, &str); 6] = [
    (2, "files"),
    (3, "truncation"),
    (4, "TCP"),
    (5, "devices"),
    (6, "signals"),
    (6, "abstract sockets"),
];

/// What stands and what is missing, by the version in force and that of the kernel.
fn describe(in_force: u32, kernel: u32) -> (Option<String>, Vec<String>) {
    let (standing, missing): (Vec<_>, Vec<_>) = WALLS.iter().partition(|(since, _)| in_force >= *since);
    let names = |walls: &[&(u32, &str)]| walls.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    let why = match kernel {
        0 => "this kernel has no Landlock, or it is switched off at boot (`lsm=`)".to_owned(),
        older => format!("this kernel has Landlock {older}"),
    };
    (
        (!standing.is_empty()).then(|| format!("{} (ABI {in_force})", names(&standing))),
        if missing.is_empty() {
            Vec::new()
        } else {
            vec![format!("Landlock's {}: {why}", names(&missing))]
        },
    )
}

/// Everything that the server needs while it runs.
fn rules(config: &Config) -> Vec<Rule> {
    let server = &config.server;
    let mut rules: Vec<Rule> = Vec::new();
    let mut allow = |path: &Path, allowed, is_optional| {
        let rule = Rule {
            path: real(path),
            allowed,
            is_optional,
        };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    };
    allow(&server.root, Allowed::Files, false);
    for user in config.users.values() {
        allow(&user.home, Allowed::Files, false);
    }
    allow(&server.state, Allowed::State, false);
    if let Some(file) = &server.log.file {
        // A file that is none, such as /dev/null, does not rotate, and its directory is nobody's log.
        if file.exists() && !file.is_file() {
            allow(file, Allowed::Log, false);
        } else if let Some(directory) = file.parent() {
            allow(directory, Allowed::Log, false);
        }
    }
    // Directories, for the files in them are replaced and not written over.
    for file in [Some(&config.file), certificate(config), key(config)]
        .into_iter()
        .flatten()
    {
        for directory in [real(file).parent(), file.parent()].into_iter().flatten() {
            allow(directory, Allowed::Read, false);
        }
    }
    for path in SYSTEM {
        allow(Path::new(path), Allowed::Read, true);
    }
    // A home beneath the root needs no rule of its own.
    let roots: Vec<_> = rules
        .iter()
        .filter(|rule| rule.allowed == Allowed::Files)
        .cloned()
        .collect();
    rules.retain(|rule| {
        let is_beneath = |other: &Rule| rule.path != other.path && rule.path.starts_with(&other.path);
        rule.allowed != Allowed::Files || !roots.iter().any(is_beneath)
    });
    rules
}

fn certificate(config: &Config) -> Option<&PathBuf> {
    match &config.server.tls {
        TlsConfig::Own { certificate, .. } => Some(certificate),
        TlsConfig::Automatic | TlsConfig::Off => None,
    }
}

fn key(config: &Config) -> Option<&PathBuf> {
    match &config.server.tls {
        TlsConfig::Own { key, .. } => Some(key),
        TlsConfig::Automatic | TlsConfig::Off => None,
    }
}

impl Sandbox {
    /// What of a new configuration lies outside: one sentence each. A restart takes it in.
    pub(crate) fn outside(&self, config: &Config) -> Vec<String> {
        let mut outside = Vec::new();
        for (name, user) in &config.users {
            if !self.reaches(&user.home, Allowed::Files) {
                outside.push(format!(
                    "the home of `{name}`, {}, lies outside of the sandbox that the server was started with",
                    user.home.display()
                ));
            }
        }
        let files = [("certificate", certificate(config)), ("key", key(config))];
        for (what, file) in files {
            if let Some(file) = file.filter(|file| !self.reaches(file, Allowed::Read)) {
                outside.push(format!(
                    "the TLS {what}, {}, lies outside of the sandbox that the server was started with",
                    file.display()
                ));
            }
        }
        outside
    }

    fn reaches(&self, path: &Path, wanted: Allowed) -> bool {
        let path = real(path);
        self.0
            .iter()
            .any(|rule| path.starts_with(&rule.path) && rule.allowed.rights().contains(wanted.rights()))
    }
}

#[cfg(test)]
mod tests;
