//! Running `ftp-cli` as a user would, with a home and profiles of its own.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::ftp_cli;
use crate::wait::answer;

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
        let ran = Running { child: Some(child) }.wait();
        feeding.join().unwrap();
        ran
    }

    /// Starts it.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        Running {
            child: Some(self.command(args).spawn().unwrap()),
        }
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
    child: Option<Child>,
}

impl Running {
    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let mut child = self.child.take().unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let ended = answer(|| child.try_wait().unwrap());
        if ended.is_none() {
            child.kill().unwrap();
        }
        let ran = Ran(Output {
            status: child.wait().unwrap(),
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

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
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
