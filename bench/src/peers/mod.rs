//! Everybody who takes part: a daemon with the client that drives it, plain or over TLS.

mod ftp;
mod nginx;
mod openssh;
mod own;
mod proftpd;
mod pureftpd;
mod rsyncd;
mod vsftpd;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::arena::Arena;
use crate::measure::Job;
use crate::meter::Meter;
use crate::tools::find;

pub(crate) use own::Digest;

/// How long a daemon gets until it listens.
const START: Duration = Duration::from_secs(30);

/// A server program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// `ftpd`, asked for this digest.
    Own(Digest),
    Vsftpd,
    Proftpd,
    Pureftpd,
    Nginx,
    Openssh,
    Rsyncd,
}

/// A client program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    FtpCli,
    Curl,
    Lftp,
    Sftp,
    /// `tar` through `ssh`.
    Tar,
    Rsync,
}

/// What a client is to do. Paths of the server are relative to the account's home.
#[derive(Clone, Debug)]
pub(crate) enum Task<'a> {
    Get {
        remote: &'a str,
        local: &'a Path,
    },
    Put {
        local: &'a Path,
        remote: &'a str,
    },
    /// Gets a file and throws it away.
    Discard {
        remote: &'a str,
    },
    /// Trees of the given files.
    GetTree {
        remote: &'a str,
        local: &'a Path,
        files: &'a [String],
    },
    PutTree {
        local: &'a Path,
        remote: &'a str,
        files: &'a [String],
    },
    List {
        remote: &'a str,
    },
    /// Goes on with a transfer that broke off.
    ResumeGet {
        remote: &'a str,
        local: &'a Path,
    },
    ResumePut {
        local: &'a Path,
        remote: &'a str,
    },
}

/// Where a client finds its server: the daemon's own port, or that of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) port: u16,
    /// Whether the way is long, and more connections at once pay.
    pub(crate) far: bool,
}

/// A daemon, a client, and whether TLS (or SSH) lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    pub(crate) tls: bool,
}

/// A daemon that runs. Dropping it ends it and its children.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) meter: Meter,
    pub(crate) port: u16,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.end();
        // It has ended; this only takes note of it.
        let _ = self.child.wait();
    }
}

impl Candidate {
    const fn new(daemon: Daemon, client: Client, tls: bool) -> Self {
        Self { daemon, client, tls }
    }

    /// The name on the command line and in saved figures.
    pub(crate) fn id(&self) -> String {
        let tls = if self.tls && self.daemon != Daemon::Openssh {
            "-tls"
        } else {
            ""
        };
        let client = match (self.client, self.daemon) {
            (Client::Lftp, _) => "+lftp",
            (Client::Tar, _) => "+tar",
            _ => "",
        };
        format!("{}{tls}{client}", self.program())
    }

    /// The name for people.
    pub(crate) fn label(&self) -> String {
        let tls = match (self.daemon, self.tls) {
            (Daemon::Openssh, _) => "",
            (_, true) => " TLS",
            (_, false) => "",
        };
        match self.daemon {
            Daemon::Own(digest) => format!("ftpd{tls}, {}", digest.label()),
            _ => format!("{}{tls}, {}", self.program(), self.client_label()),
        }
    }

    fn program(&self) -> &'static str {
        match self.daemon {
            Daemon::Own(Digest::Sha256) => "own-sha256",
            Daemon::Own(Digest::Blake3) => "own-blake3",
            Daemon::Vsftpd => "vsftpd",
            Daemon::Proftpd => "proftpd",
            Daemon::Pureftpd => "pureftpd",
            Daemon::Nginx => "nginx",
            Daemon::Openssh => "openssh",
            Daemon::Rsyncd => "rsyncd",
        }
    }

    fn client_label(&self) -> &'static str {
        match self.client {
            Client::FtpCli => "ftp-cli",
            Client::Curl => "curl",
            Client::Lftp => "lftp",
            Client::Sftp => "sftp",
            Client::Tar => "tar through ssh",
            Client::Rsync => "rsync",
        }
    }

    /// Whether it is one of ours.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.daemon, Daemon::Own(_))
    }

    /// What is missing on this machine.
    pub(crate) fn missing(&self) -> Option<String> {
        let daemon = match self.daemon {
            Daemon::Own(_) => return None,
            Daemon::Vsftpd => "vsftpd",
            Daemon::Proftpd => "proftpd",
            Daemon::Pureftpd => "pure-ftpd",
            Daemon::Nginx => "nginx",
            Daemon::Openssh => "sshd",
            Daemon::Rsyncd => "rsync",
        };
        let client = match self.client {
            Client::Tar => "ssh",
            _ => self.client_label(),
        };
        let missing = [daemon, client].into_iter().find(|program| find(program).is_none())?;
        Some(format!("{missing} is not installed"))
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) fn start(&self, arena: &Arena) -> Result<Running> {
        if !self.is_own() && !arena.has_account() {
            bail!("needs root");
        }
        let site = Site {
            arena,
            port: free_port()?,
            far: false,
        };
        let job = match self.daemon {
            Daemon::Own(_) => own::daemon(site, self.tls)?,
            Daemon::Vsftpd => vsftpd::daemon(site, self.tls)?,
            Daemon::Proftpd => proftpd::daemon(site, self.tls)?,
            Daemon::Pureftpd => pureftpd::daemon(site, self.tls)?,
            Daemon::Nginx => nginx::daemon(site, self.tls)?,
            Daemon::Openssh => openssh::daemon(site)?,
            Daemon::Rsyncd => rsyncd::daemon(site)?,
        };
        let log = arena.log(&format!("{}.out", self.id()));
        let meter = Meter::new("server");
        let child = job.start(&meter, &File::create(&log)?)?;
        let mut running = Running {
            meter,
            port: site.port,
            child,
        };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, site.port)).is_err() {
            let ended = running.child.try_wait()?.is_some();
            if ended || began.elapsed() > START {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("does not listen: {}", said.trim().chars().take(300).collect::<String>());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.log_in(site)?;
        Ok(running)
    }

    /// Saves a login for this port, for clients that need one.
    pub(crate) fn log_in(&self, site: Site<'_>) -> Result<()> {
        if self.is_own() {
            own::save_profile(site, self.tls)
        } else {
            Ok(())
        }
    }

    /// The command line for a task, unless this client cannot do it.
    pub(crate) fn job(&self, site: Site<'_>, task: &Task<'_>) -> Result<Option<Job>> {
        match (self.daemon, self.client) {
            (Daemon::Own(digest), _) => Ok(Some(own::job(site, digest, self.tls, task))),
            (Daemon::Nginx, _) => nginx::job(site, self.tls, task),
            (Daemon::Openssh, Client::Tar) => openssh::tar_job(site, task),
            (Daemon::Openssh, _) => openssh::sftp_job(site, task),
            (Daemon::Rsyncd, _) => Ok(rsyncd::job(site, task)),
            (_, Client::Lftp) => Ok(ftp::lftp_job(site, self.tls, task)),
            _ => ftp::curl_job(site, self.tls, task),
        }
    }

    /// Readies what is stored for a download by this candidate; not timed.
    pub(crate) fn prepare_get(&self, site: Site<'_>, remote: &str) -> Result<()> {
        match self.daemon {
            Daemon::Own(digest) => own::keep_digest(site, digest, self.tls, remote),
            _ => Ok(()),
        }
    }

    /// The same for all files of a tree.
    pub(crate) fn prepare_get_tree(&self, site: Site<'_>, remote: &str, files: &[String]) -> Result<()> {
        match self.daemon {
            Daemon::Own(digest) => own::keep_digests(site, digest, self.tls, remote, files),
            _ => Ok(()),
        }
    }

    /// Removes what an upload has left on the server; not timed.
    pub(crate) fn remove(&self, site: Site<'_>, remote: &str) -> Result<()> {
        match self.daemon {
            Daemon::Own(_) => own::remove(site, self.tls, remote),
            _ => crate::arena::remove(&site.arena.srv(remote)),
        }
    }
}

/// Our own candidates.
pub(crate) fn own(tls: bool) -> Vec<Candidate> {
    [Digest::Sha256, Digest::Blake3]
        .map(|digest| Candidate::new(Daemon::Own(digest), Client::FtpCli, tls))
        .into()
}

/// The FTP servers, driven by this client.
pub(crate) fn ftp_peers(client: Client, tls: bool) -> Vec<Candidate> {
    [Daemon::Vsftpd, Daemon::Proftpd, Daemon::Pureftpd]
        .map(|daemon| Candidate::new(daemon, client, tls))
        .into()
}

/// One of the other peers.
pub(crate) const fn nginx(tls: bool) -> Candidate {
    Candidate::new(Daemon::Nginx, Client::Curl, tls)
}

/// OpenSSH, driven by `sftp`, or by `tar` through `ssh`.
pub(crate) const fn openssh(client: Client) -> Candidate {
    Candidate::new(Daemon::Openssh, client, true)
}

/// The rsync daemon, which knows no encryption.
pub(crate) const fn rsyncd() -> Candidate {
    Candidate::new(Daemon::Rsyncd, Client::Rsync, false)
}

/// A port of the loopback that nobody has now.
fn free_port() -> Result<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(TcpListener::bind(address)?.local_addr()?.port())
}

fn program(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed"))
}

/// A configuration of curl for many files, each with these lines.
fn curl_list(arena: &Arena, name: &str, lines: impl Iterator<Item = String>) -> Result<PathBuf> {
    let path = arena.run(name);
    std::fs::write(&path, lines.collect::<String>()).with_context(|| path.display().to_string())?;
    Ok(path)
}
