//! A server with its directory, its users, and their clients.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use ftp_client::{
    Client, Conflict, ConnectOptions, Credential, Decision, Event, Observer, RetryPolicy, Secret, Target,
};
use ftp_proto::scram::Verifier;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::disk::{self, Counts};
use crate::{Cli, Log, Server, Tracer, eventually, mounts, skipped};

/// The password of every user of a rig, unless a test chooses another.
pub const PASSWORD: &str = "correct horse battery staple";

/// The fewest iterations that are accepted: tests prove the protocol, not the strength of passwords.
const ITERATIONS: u32 = ftp_proto::scram::MIN_ITERATIONS;

/// A server to be.
#[derive(Debug)]
pub struct Plan {
    directory: TempDir,
    listen: String,
    server: String,
    tls: String,
    limits: String,
    users: BTreeMap<String, String>,
    /// Whose the configuration file is, and who may enter the directory.
    owner: Option<(u32, u32)>,
    open_files: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    /// A server with every default and nobody in it.
    pub fn new() -> Self {
        let plan = Self {
            directory: tempfile::Builder::new().prefix("ftp-tests-").tempdir().unwrap(),
            listen: "127.0.0.1:0".to_owned(),
            server: String::new(),
            tls: String::new(),
            limits: String::new(),
            users: BTreeMap::new(),
            owner: None,
            open_files: None,
        };
        fs::create_dir(plan.directory.path().join("local")).unwrap();
        plan
    }

    /// Adds or changes a user, whose table has these lines besides the verifier of [`PASSWORD`].
    #[must_use]
    pub fn user(mut self, name: &str, lines: &str) -> Self {
        self.set_user(name, PASSWORD, lines);
        self
    }

    /// Adds lines to `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self.server.push('\n');
        self
    }

    /// Adds lines to `[server.limits]`.
    #[must_use]
    pub fn limits(mut self, lines: &str) -> Self {
        self.limits.push_str(lines);
        self.limits.push('\n');
        self
    }

    /// Has the server become another user, whose number and group these are. Only root can do that.
    #[must_use]
    pub fn run_as(mut self, name: &str, uid: u32, gid: u32) -> Self {
        self.owner = Some((uid, gid));
        fs::set_permissions(self.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        self.server(&format!("user = \"{name}\""))
    }

    /// Chooses the address instead of a free port of the loopback.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Switches TLS off.
    #[must_use]
    pub fn plaintext(mut self) -> Self {
        self.tls.push_str("enabled = false\n");
        self
    }

    /// Lets the server have no more than so many files open.
    #[must_use]
    pub fn open_files(mut self, files: u64) -> Self {
        self.open_files = Some(files);
        self
    }

    /// Where a user's home will be; made, so that something can be put there first.
    pub fn home(&self, user: &str) -> PathBuf {
        let home = self.directory.path().join("homes").join(user);
        fs::create_dir_all(&home).unwrap();
        home
    }

    /// Starts the server.
    pub fn start(self) -> Rig {
        self.write();
        let server = Server::start(&self.config(), self.open_files);
        Rig::of(self, server)
    }

    /// Starts the server where `script` has made mounts that nobody else sees; the directory of the rig is `$RIG`.
    /// Where that is impossible, says so for `test` and gives nothing.
    pub fn start_within(self, test: &str, script: &str) -> Option<Rig> {
        if !mounts::are_permitted(test) {
            return None;
        }
        self.write();
        let script = in_directory(script, self.directory.path());
        let server = Server::start_within(&self.config(), &script);
        let mut rig = Rig::of(self, server);
        rig.has_mounts = true;
        Some(rig)
    }

    /// Starts a server that refuses to start; what it said comes back.
    pub fn refused(self) -> String {
        self.write();
        let output = Command::new(crate::ftpd())
            .arg("--config")
            .arg(self.config())
            .env_remove("FTPD_CONFIG")
            .output()
            .unwrap();
        assert!(!output.status.success(), "it started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts the server under a tracer; where that is impossible, says so for `test` and gives nothing.
    pub fn start_traced(self, test: &str) -> Option<(Rig, Arc<Tracer>)> {
        self.write();
        match Server::start_traced(&self.config()) {
            Ok((server, tracer)) => Some((Rig::of(self, server), tracer)),
            Err(why) => {
                skipped(test, &why);
                None
            }
        }
    }

    fn set_user(&mut self, name: &str, password: &str, lines: &str) {
        let text = format!("verifier = \"{}\"\n{lines}\n", verifier(name, password));
        self.users.insert(name.to_owned(), text);
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("users.toml")
    }

    fn write(&self) {
        let mut text = format!(
            "[server]\nlisten = \"{}\"\n{}\n[server.tls]\n{}\n[server.limits]\n{}\n",
            self.listen, self.server, self.tls, self.limits
        );
        for (name, lines) in &self.users {
            write!(text, "[users.\"{name}\"]\n{lines}\n").unwrap();
        }
        // Replaced as a whole: the server may be reading it.
        let fresh = self.directory.path().join("users.toml.new");
        fs::write(&fresh, text).unwrap();
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::chown(&fresh, Some(uid), Some(gid)).unwrap();
        }
        fs::rename(fresh, self.config()).unwrap();
    }
}

/// A verifier of a password, cheap to make and to use.
pub fn verifier(user: &str, password: &str) -> String {
    Verifier::with_salt(&Secret::new(password.to_owned()), user.as_bytes(), ITERATIONS)
        .unwrap()
        .to_string()
}

/// A running server, and the means of its users.
#[derive(Debug)]
pub struct Rig {
    plan: Plan,
    server: Server,
    /// Whether the server sees mounts of its own.
    has_mounts: bool,
}

fn in_directory(script: &str, directory: &Path) -> String {
    format!("RIG='{}'\n{script}", directory.display())
}

impl Rig {
    fn of(plan: Plan, server: Server) -> Self {
        Self {
            plan,
            server,
            has_mounts: false,
        }
    }

    /// Runs a script among the mounts of a server that has its own; the directory of the rig is `$RIG`.
    pub fn remount(&self, script: &str) {
        mounts::run(&self.server, &in_directory(script, self.directory()));
    }

    /// A path in the directory of the rig as the server sees it.
    pub fn seen(&self, path: &str) -> PathBuf {
        mounts::seen_by(&self.server, &self.directory().join(path))
    }

    /// A server with every default and the users alice and bob.
    pub fn start() -> Self {
        Plan::new().user("alice", "").user("bob", "").start()
    }

    /// Whether the directory of everything stays when the rig is gone, to be looked at.
    pub fn keep(&mut self, keep: bool) {
        self.plan.directory.disable_cleanup(keep);
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.plan.directory.path()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.plan.config()
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The server's log.
    pub fn log(&self) -> Log {
        Log::new(self.directory().join("log/ftpd.jsonl"))
    }

    /// A user's home on the server's disk.
    pub fn home(&self, user: &str) -> PathBuf {
        let home = self.plan.home(user);
        if self.has_mounts {
            mounts::seen_by(&self.server, &home)
        } else {
            home
        }
    }

    /// A file on the client's disk, where every command line runs.
    pub fn local(&self, name: &str) -> PathBuf {
        self.directory().join("local").join(name)
    }

    /// A user's command line.
    pub fn cli(&self, user: &str) -> Cli {
        let home = self.directory().join("client").join(user);
        fs::create_dir_all(&home).unwrap();
        Cli::new(user, self.address(), PASSWORD, &home, &self.directory().join("local"))
    }

    /// A user's client without a command line, told nothing and never replacing anything.
    pub fn client(&self, user: &str) -> Client {
        client(user, self.address())
    }

    /// The same, connecting in another way.
    pub fn client_with(&self, options: ConnectOptions) -> Client {
        Client::new(options, Arc::new(Silent))
    }

    /// How a user connects, without retries.
    pub fn connect_options(&self, user: &str) -> ConnectOptions {
        connect_options(user, self.address())
    }

    /// Changes or adds a user in the file; nobody is told.
    pub fn set_user(&mut self, name: &str, lines: &str) {
        self.plan.set_user(name, PASSWORD, lines);
        self.plan.write();
    }

    /// Changes the password of a user in the file; nobody is told.
    pub fn set_password(&mut self, name: &str, password: &str) {
        self.plan.set_user(name, password, "");
        self.plan.write();
    }

    /// Removes a user from the file; nobody is told.
    pub fn remove_user(&mut self, name: &str) {
        self.plan.users.remove(name);
        self.plan.write();
    }

    /// Tells the server to read its file again, and waits until it has.
    pub fn reload(&self) -> Value {
        let is_reload = |event: &&Value| event["event"] == "config";
        let before = self.log().events().iter().filter(is_reload).count();
        self.server.signal(Signal::HUP);
        eventually("the configuration is read again", || {
            self.log().events().iter().filter(is_reload).nth(before).cloned()
        })
    }

    /// Kills the server as `kill -9` does.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts the server anew in the same directory. It has another port then.
    pub fn restart(&mut self) {
        self.server = Server::start(&self.plan.config(), self.plan.open_files);
    }

    /// Tells the server to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.server.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the server's end.
    pub fn wait(&mut self) -> ExitStatus {
        self.server.wait()
    }

    /// Waits until some upload of the user has so many bytes staged; its file comes back.
    pub fn staged(&self, user: &str, bytes: u64) -> PathBuf {
        let home = self.home(user);
        eventually(&format!("{bytes} bytes are staged"), || {
            disk::parts(&home)
                .into_iter()
                .find(|part| fs::metadata(part).is_ok_and(|meta| meta.len() >= bytes))
        })
    }

    /// Waits until nothing is reserved any more, and demands that `df` agrees with the disk.
    #[track_caller]
    pub fn check_df(&self, user: &str) -> Counts {
        let mut last = None;
        let agreed = crate::wait::answer(|| {
            let usage = self.cli(user).one(&["df"]);
            let walked = disk::walk(&self.home(user)).unwrap_or_default();
            let number = |name: &str| usage[name].as_u64().unwrap();
            let told = Counts {
                used: number("used"),
                entries: number("entries"),
                pending: number("pending"),
                uploads: number("uploads"),
                trash: number("trash"),
                trash_entries: number("trash_entries"),
            };
            let at_rest = number("reserved") == 0;
            last = Some((told, walked));
            (at_rest && told == walked).then_some(told)
        });
        agreed.unwrap_or_else(|| panic!("df and disk never agree: {last:?}"))
    }
}

/// A client that is told nothing and never replaces anything.
pub(crate) fn client(user: &str, address: SocketAddr) -> Client {
    Client::new(connect_options(user, address), Arc::new(Silent))
}

fn connect_options(user: &str, address: SocketAddr) -> ConnectOptions {
    let target: Target = format!("{user}@{}", address).parse().unwrap();
    ConnectOptions {
        address: target.address,
        user: user.to_owned(),
        credential: Credential::Password(Secret::new(PASSWORD.to_owned())),
        tls: true,
        retry: RetryPolicy {
            retries: 0,
            ..RetryPolicy::default()
        },
        directory: None,
    }
}

/// Whoever wants to hear nothing.
struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}

    fn decide(&self, _: &Conflict<'_>) -> Decision {
        Decision::Keep
    }
}
