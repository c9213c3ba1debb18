//! The directory in which everything happens: files to move, an account, keys, and what the daemons write.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::RunArgs;
use crate::plan::{MIB, Plan, SMALL_BYTES};
use crate::sandbox::{Inside, tool};

/// The account of every daemon, for loopback only.
pub(crate) const ACCOUNT: &str = "ftpbench";
/// Its password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The large file.
pub(crate) const LARGE: &str = "large.bin";
/// What each of many clients gets.
pub(crate) const EACH: &str = "each.bin";
/// The large file behind the delaying proxy.
pub(crate) const DELAYED: &str = "delayed.bin";
/// The tree of small files.
pub(crate) const TREE: &str = "tree";

/// The directory of everything, and what may be done in it.
#[derive(Debug)]
pub(crate) struct Arena {
    root: PathBuf,
    /// The account's numbers, where it could be made.
    owner: Option<(u32, u32)>,
    /// Where `ftpd` and `ftp-cli` are.
    programs: PathBuf,
}

impl Arena {
    /// Makes the directories, and the account and keys where the namespaces permit.
    pub(crate) fn new(root: &Path, args: &RunArgs, inside: &Inside) -> Result<Self> {
        let programs = match &args.programs {
            Some(programs) => programs.clone(),
            None => std::env::current_exe()?
                .parent()
                .context("this program's directory")?
                .to_owned(),
        };
        let mut arena = Self {
            root: root.to_owned(),
            owner: None,
            programs,
        };
        for name in ["srv", "cli", "run", "log", "keys"] {
            fs::create_dir_all(root.join(name))?;
        }
        if inside.isolated {
            arena.owner = Some(arena.account()?);
        }
        arena.own(&arena.srv(""))?;
        arena.keys()?;
        Ok(arena)
    }

    /// A path that the servers serve; the empty one is the account's home.
    pub(crate) fn srv(&self, path: &str) -> PathBuf {
        join(&self.root, "srv", path)
    }

    /// A path of the clients.
    pub(crate) fn cli(&self, path: &str) -> PathBuf {
        join(&self.root, "cli", path)
    }

    /// A configuration, or what else a daemon needs while it runs.
    pub(crate) fn run(&self, path: &str) -> PathBuf {
        join(&self.root, "run", path)
    }

    /// A log of a daemon.
    pub(crate) fn log(&self, path: &str) -> PathBuf {
        join(&self.root, "log", path)
    }

    /// A key or certificate.
    pub(crate) fn key(&self, path: &str) -> PathBuf {
        join(&self.root, "keys", path)
    }

    /// `ftpd` or `ftp-cli`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Whether the account exists, without which most peers cannot run.
    pub(crate) fn has_account(&self) -> bool {
        self.owner.is_some()
    }

    /// Gives a file to the account.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Gives everything beneath a directory to the account.
    pub(crate) fn own_all(&self, path: &Path) -> Result<()> {
        self.own(path)?;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                self.own_all(&entry?.path())?;
            }
        }
        Ok(())
    }

    fn account(&self) -> Result<(u32, u32)> {
        let home = self.srv("").display().to_string();
        tool(
            "useradd",
            &["-M", "-N", "-g", "nogroup", "-d", &home, "-s", "/bin/sh", ACCOUNT],
        )?;
        let mut child = Command::new("chpasswd")
            .stdin(Stdio::piped())
            .spawn()
            .context("chpasswd")?;
        {
            use std::io::Write as _;
            let mut stdin = child.stdin.take().context("chpasswd")?;
            writeln!(stdin, "{ACCOUNT}:{PASSWORD}")?;
        }
        if !child.wait()?.success() {
            bail!("chpasswd failed");
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        let line = passwd.lines().find(|line| line.starts_with(&format!("{ACCOUNT}:")));
        let fields: Vec<&str> = line.context("the account")?.split(':').collect();
        Ok((fields[2].parse()?, fields[3].parse()?))
    }

    /// A certificate for all servers that need one, and keys for OpenSSH.
    fn keys(&self) -> Result<()> {
        let text = |name: &str| self.key(name).display().to_string();
        let (key, certificate) = (text("key.pem"), text("cert.pem"));
        let subject = [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ];
        let made = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
        ];
        if crate::tools::find("openssl").is_some() {
            tool(
                "openssl",
                &[&made[..], &subject, &["-keyout", &key, "-out", &certificate]].concat(),
            )?;
            let both = [fs::read(&key)?, fs::read(&certificate)?].concat();
            fs::write(self.key("both.pem"), both)?;
        }
        if crate::tools::find("ssh-keygen").is_some() {
            for name in ["host", "id"] {
                tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &text(name)])?;
            }
            fs::copy(self.key("id.pub"), self.key("authorized"))?;
        }
        Ok(())
    }

    /// Writes a file that servers serve and clients send, once: both names are one file.
    pub(crate) fn source(&self, name: &str, bytes: u64, seed: u64) -> Result<()> {
        let (served, sent) = (self.srv(name), self.cli(name));
        if fs::metadata(&served).is_ok_and(|metadata| metadata.len() == bytes) {
            return Ok(());
        }
        ftp_tests::write_noise(&served, bytes, seed);
        age(&served)?;
        self.own(&served)?;
        fs::hard_link(&served, &sent).with_context(|| sent.display().to_string())?;
        Ok(())
    }

    /// Writes the tree of small files for both sides.
    pub(crate) fn tree(&self, plan: &Plan) -> Result<()> {
        if self.srv(TREE).exists() {
            return Ok(());
        }
        let count = u64::from(plan.small_files());
        let bytes = ftp_tests::noise(usize::try_from(count * SMALL_BYTES)?, 7);
        let small = usize::try_from(SMALL_BYTES)?;
        let mut pieces = bytes.chunks(small);
        for directory in 0..plan.directories {
            for file in 0..plan.files {
                let name = tree_file(directory, file);
                let piece = pieces.next().context("enough noise")?;
                for path in [self.srv(TREE).join(&name), self.cli(TREE).join(&name)] {
                    fs::create_dir_all(path.parent().context("a parent")?)?;
                    fs::write(&path, piece)?;
                    age(&path)?;
                }
            }
        }
        self.own_all(&self.srv(TREE))
    }
}

/// The name of a small file within the tree.
pub(crate) fn tree_file(directory: u32, file: u32) -> String {
    format!("d{directory:03}/f{file:03}.bin")
}

/// Makes a file an hour old: while it is new, a change could not be told by its time, and `ftpd` keeps no digest that it
/// has computed itself.
fn age(path: &Path) -> Result<()> {
    let hour = Duration::from_secs(60 * 60);
    let file = File::options().write(true).open(path)?;
    let written = file.metadata()?.modified()?;
    file.set_modified(written - hour)
        .with_context(|| path.display().to_string())
}

/// Removes a file or directory if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let done = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// What differs between two files or trees, if anything does.
pub(crate) fn difference(left: &Path, right: &Path) -> Result<Option<String>> {
    if left.is_dir() {
        let mut names: Vec<_> = fs::read_dir(left)?.collect::<Result<_, _>>()?;
        if !right.is_dir() || fs::read_dir(right)?.count() != names.len() {
            return Ok(Some(format!("{} has other entries", right.display())));
        }
        names.sort_by_key(fs::DirEntry::file_name);
        for entry in names {
            let found = difference(&entry.path(), &right.join(entry.file_name()))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        return Ok(None);
    }
    let differs = || Ok(Some(format!("{} differs", right.display())));
    let (Ok(left), Ok(right)) = (File::open(left), File::open(right)) else {
        return differs();
    };
    let length = left.metadata()?.len();
    if right.metadata()?.len() != length {
        return differs();
    }
    let (mut left, mut offset) = (left, 0);
    let (mut expected, mut found) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    loop {
        let read = left.read(&mut expected)?;
        if read == 0 {
            return Ok(None);
        }
        right.read_exact_at(&mut found[..read], offset)?;
        if expected[..read] != found[..read] {
            return differs();
        }
        offset += read as u64;
    }
}

fn join(root: &Path, part: &str, path: &str) -> PathBuf {
    if path.is_empty() {
        root.join(part)
    } else {
        root.join(part).join(path)
    }
}
