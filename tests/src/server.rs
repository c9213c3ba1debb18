//! A running `ftpd`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use crate::process::Process;
use crate::{Tracer, eventually, ftpd, mounts};

/// A running `ftpd`. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it, with no more than so many open files, and waits until it listens.
    pub fn start(config: &Path, open_files: Option<u64>) -> Self {
        let program = match open_files {
            None => Command::new(ftpd()),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
                    .arg(ftpd());
                shell
            }
        };
        Self::spawned(&mut with_config(program, config))
    }

    /// The same where a script has made mounts.
    pub(crate) fn start_within(config: &Path, script: &str) -> Self {
        Self::spawned(&mut mounts::within(&command(config), script))
    }

    fn spawned(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        Self::started(Process::Plain(child), stderr)
    }

    /// The same under a tracer.
    ///
    /// # Errors
    /// Why this machine cannot trace.
    pub fn start_traced(config: &Path) -> Result<(Self, Arc<Tracer>), String> {
        let (mut child, tracer) = Tracer::start(&command(config), None)?;
        let tracer = Arc::new(tracer);
        let stderr = child.stderr.take().unwrap();
        Ok((Self::started(Process::Traced(Arc::clone(&tracer)), stderr), tracer))
    }

    fn started(mut process: Process, stderr: ChildStderr) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(stderr).lines();
        let heard = Arc::clone(&said);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        let address = eventually("the server listens", || {
            let ended = process.try_wait();
            if ended.is_some() {
                eventually("the last words are read", || reader.is_finished().then_some(()));
            }
            let said = said.lock().unwrap();
            if let Some(status) = ended {
                panic!("the server ended with {status} and said {said:#?}");
            }
            said.iter().find_map(|line| {
                let (_, rest) = line.split_once("listening")?.1.split_once("addr=")?;
                rest.split_whitespace().next()?.parse().ok()
            })
        });
        Self { process, address, said }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to standard error.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the server ends", || self.process.try_wait())
    }
}

fn command(config: &Path) -> Command {
    with_config(Command::new(ftpd()), config)
}

fn with_config(mut command: Command, config: &Path) -> Command {
    command
        .arg("--config")
        .arg(config)
        .env_remove("FTPD_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}
