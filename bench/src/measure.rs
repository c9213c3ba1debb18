//! Running one client command against one daemon, and what both of them used.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::meter::Meter;

/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(25);

/// How often the end of a command is looked for: short against what is measured.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    /// Where standard output goes.
    output: Option<PathBuf>,
}

impl Job {
    /// A program without arguments.
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            ..Self::default()
        }
    }

    /// A script of the shell.
    pub(crate) fn script(text: &str) -> Self {
        Self::new("/bin/sh").arg("-c").arg(text)
    }

    #[must_use]
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The same, which stops itself before it begins, until it is told to continue.
    pub(crate) fn held(self) -> Self {
        let begin = Self::script("kill -STOP $$; exec \"$0\" \"$@\"");
        Self {
            program: begin.program,
            args: begin
                .args
                .into_iter()
                .chain([self.program.into()])
                .chain(self.args)
                .collect(),
            ..self
        }
    }

    /// Has standard output go to a file.
    #[must_use]
    pub(crate) fn output(mut self, path: impl Into<PathBuf>) -> Self {
        self.output = Some(path.into());
        self
    }

    /// The same as a line for the shell.
    pub(crate) fn line(&self) -> String {
        let quote = |text: &OsStr| format!("'{}'", text.to_string_lossy().replace('\'', "'\\''"));
        let env = self
            .env
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), quote(value)));
        let words = std::iter::once(quote(self.program.as_os_str())).chain(self.args.iter().map(|arg| quote(arg)));
        env.chain(words).collect::<Vec<String>>().join(" ")
    }

    /// Starts it within a meter; what it says goes to a file.
    pub(crate) fn start(&self, meter: &Meter, said: &File) -> Result<Child> {
        let output = match &self.output {
            Some(path) => Stdio::from(File::create(path).with_context(|| path.display().to_string())?),
            None => Stdio::null(),
        };
        let child = meter
            .command(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .env_remove("FTP_SERVER")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(said.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        meter.follow(child.id());
        Ok(child)
    }

    /// Runs it outside of any measurement; it must succeed.
    pub(crate) fn quietly(&self) -> Result<String> {
        let output = std::process::Command::new(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.program.display().to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} {:?}: {}", self.program.display(), self.args, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// What a command and the daemon used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// From its start to its end, in seconds.
    pub(crate) wall: f64,
    /// Processor time of the client, in seconds.
    pub(crate) client_cpu: f64,
    /// And of the server.
    pub(crate) server_cpu: f64,
    /// The most resident memory of the client, the sum over its processes, in bytes.
    pub(crate) client_memory: u64,
    /// And of the server.
    pub(crate) server_memory: u64,
}

/// Measures whatever `work` does against a server.
pub(crate) fn around<T>(client: &Meter, server: &Meter, work: impl FnOnce() -> Result<T>) -> Result<(T, Used)> {
    let (client_before, server_before) = (client.seconds(), server.seconds());
    let (over, client_peak, server_peak) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (done, wall) = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                client_peak.fetch_max(client.resident(), Ordering::Relaxed);
                server_peak.fetch_max(server.resident(), Ordering::Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        let began = Instant::now();
        let done = work();
        let wall = began.elapsed();
        over.store(true, Ordering::Relaxed);
        (done, wall)
    });
    let used = Used {
        wall: wall.as_secs_f64(),
        client_cpu: client.seconds() - client_before,
        server_cpu: server.seconds() - server_before,
        client_memory: client_peak.into_inner(),
        server_memory: server_peak.into_inner(),
    };
    Ok((done?, used))
}

/// Waits for the end of a child; kills its meter's processes when it takes too long.
pub(crate) fn wait(child: &mut Child, meter: &Meter, limit: Duration) -> Result<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > limit {
            meter.signal(Signal::KILL);
            child.wait()?;
            bail!("stalls: ended after {} s", limit.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
}
