//! Running `ftp-cli` as a user would, with a home and profiles of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::Process;
use crate::wait::answer;
use crate::{Fault, Tracer, ftp_cli};

/// A user's command line: whom it talks to, and where it runs.
#[derive(Clone, Debug)]
pub struct Cli {
    user: String,
    address: SocketAddr,
    password: Option<String>,
    home: PathBuf,
    directory: PathBuf,
}

impl Cli {
    /// The command line of a user, whose profiles are in `home`, run in `directory`.
    pub fn new(user: &str, address: SocketAddr, password: &str, home: &Path, directory: &Path) -> Self {
        Self {
            user: user.to_owned(),
            address,
            password: Some(password.to_owned()),
            home: home.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// The same, connecting elsewhere.
    #[must_use]
    pub fn via(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The same, run in another directory.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// The same with another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The same without a password in the environment.
    #[must_use]
    pub fn without_password(mut self) -> Self {
        self.password = None;
        self
    }

    /// What `--server` takes for this user.
    pub fn target(&self) -> String {
        format!("{}@{}", self.user, self.address)
    }

    /// Where profiles are kept.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A file in the directory in which it runs.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The process, not started yet.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(ftp_cli());
        command
            .args(args)
            .current_dir(&self.directory)
            .env("HOME", &self.home)
            .env("FTP_CLI_CONFIG_DIR", self.home.join("config"))
            .env("FTP_SERVER", self.target())
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match &self.password {
            Some(password) => command.env("FTP_PASSWORD", password),
            None => command.env_remove("FTP_PASSWORD"),
        };
        command
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.spawn(args).wait()
    }

    /// Runs it to its end with something on standard input.
    pub fn feed<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that has ended does not read the rest; what it said is judged by the caller.
        let feeding = thread::spawn(move || stdin.write_all(&input).ok());
        let ran = Running::of(child).wait();
        feeding.join().unwrap();
        ran
    }

    /// Starts it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        Running::of(self.command(args).spawn().unwrap())
    }

    /// Starts it under a tracer, with a fault that waits for it.
    ///
    /// # Errors
    /// Why this machine cannot trace.
    pub fn spawn_traced<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        fault: Fault,
    ) -> Result<(Running, Arc<Tracer>), String> {
        let (mut child, tracer) = Tracer::start(&self.command(args), Some(fault))?;
        let tracer = Arc::new(tracer);
        let pipes = child.stdout.take().zip(child.stderr.take());
        let process = Process::Traced(Arc::clone(&tracer));
        Ok((Running { process, pipes }, tracer))
    }

    /// Starts it with a file as standard input.
    pub fn spawn_reading<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: File) -> Running {
        Running::of(self.command(args).stdin(input).spawn().unwrap())
    }

    /// Runs it with `--json`, which must succeed; the objects come back.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        self.run([&["--json"], args].concat()).ok().json()
    }

    /// Runs it with `--json`, which must succeed with exactly one object.
    pub fn one(&self, args: &[&str]) -> Value {
        let mut objects = self.json(args);
        assert_eq!(objects.len(), 1, "{args:?}: {objects:#?}");
        objects.remove(0)
    }

    /// The names in a directory, sorted.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .json(&["ls", directory])
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

/// A running `ftp-cli`. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    process: Process,
    /// Standard output and error, until somebody waits.
    pipes: Option<(ChildStdout, ChildStderr)>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let pipes = child.stdout.take().zip(child.stderr.take());
        Self {
            process: Process::Plain(child),
            pipes,
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_some()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let (stdout, stderr) = self.pipes.take().unwrap();
        let (stdout, stderr) = (drain(stdout), drain(stderr));
        let ended = answer(|| self.process.try_wait());
        if ended.is_none() {
            self.process.kill();
        }
        let ran = Ran(Output {
            status: ended.unwrap_or_default(),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        });
        assert!(ended.is_some(), "ftp-cli never ended, and said:\n{}", ran.stderr());
        ran
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// What a finished `ftp-cli` left.
#[derive(Debug)]
pub struct Ran(Output);

impl Ran {
    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    /// Standard output, byte for byte.
    pub fn bytes(&self) -> &[u8] {
        &self.0.stdout
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    /// Standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Demands success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            String::from_utf8_lossy(&self.0.stdout),
            self.stderr()
        );
        self
    }

    /// Demands that standard error tells of something.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr().contains(text), "no {text:?} in:\n{}", self.stderr());
        self
    }

    /// The objects on standard output.
    pub fn json(&self) -> Vec<Value> {
        self.stdout()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
            .collect()
    }
}
