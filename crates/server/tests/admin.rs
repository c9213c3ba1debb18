//! The administration of `ftpd`, through the real program.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ftp_server::Config;

/// A directory with a configuration in it.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn empty() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn new() -> Self {
        let site = Self::empty();
        assert_eq!(site.run(&["init"], "").0, 0);
        site
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("users.toml")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log").join("ftpd.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftpd"));
        command
            .env_remove("FTPD_CONFIG")
            .env("TZ", "UTC")
            .arg("--config")
            .arg(self.file())
            .args(args);
        command
    }

    /// Exit code, standard output and standard error.
    fn run(&self, args: &[&str], stdin: &str) -> (i32, String, String) {
        finish(self.command(args), stdin)
    }

    fn add(&self, name: &str) {
        let (code, _, stderr) = self.run(&["user", "add", name, "--password-stdin"], "a password\n");
        assert_eq!(code, 0, "{stderr}");
    }
}

fn finish(mut command: Command, stdin: &str) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has ended already does not read; what it said is judged below.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).ok();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn first_use_is_init_then_user_add_then_check() {
    let site = Site::empty();
    let (code, _, stderr) = site.run(&["check"], "");
    assert_eq!(code, 2);
    assert!(
        stderr.contains("there is no such file") && stderr.contains("init`"),
        "{stderr}"
    );

    let (code, stdout, _) = site.run(&["init"], "");
    assert_eq!(code, 0);
    assert!(stdout.contains("user add NAME"), "{stdout}");
    assert_eq!(site.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let args = [
        "user",
        "add",
        "alice",
        "--quota",
        "10GiB",
        "--max-files",
        "7",
        "--rights",
        "read,write",
        "--password-stdin",
    ];
    let (code, stdout, stderr) = site.run(&args, "a password\n");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("quota 10 GiB") && stdout.contains("by itself"),
        "{stdout}"
    );
    assert!(!site.text().contains("a password"));

    let (code, stdout, stderr) = site.run(&["check"], "");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("alice  10 GiB  7      10 GiB for 30 days  32        unlimited  unlimited  read,write"),
        "{stdout}"
    );
    assert!(!stdout.contains("SCRAM"), "{stdout}");
}

#[test]
fn init_never_replaces_a_file() {
    let site = Site::new();
    fs::write(site.file(), "# mine\n").unwrap();
    let (code, _, stderr) = site.run(&["init"], "");
    assert_eq!((code, site.text().as_str()), (1, "# mine\n"));
    assert!(stderr.contains("exists already"), "{stderr}");
}

#[test]
fn check_reports_every_fault_with_its_line_and_exits_with_2() {
    let site = Site::empty();
    fs::write(site.file(), "[server]\nlisten = 'x'\n[users.alice]\nquoat = '1 GiB'\n").unwrap();
    let (code, stdout, stderr) = site.run(&["check"], "");
    assert_eq!((code, stdout.as_str()), (2, ""));
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].contains("users.toml:2:10: `listen`"), "{stderr}");
    assert!(
        lines[1].contains("users.toml:3:8: user `alice` has no `verifier`"),
        "{stderr}"
    );
    assert!(
        lines[2].contains("users.toml:4:1: unknown key `quoat` in [users.alice]; did you mean `quota`?"),
        "{stderr}"
    );
}

#[test]
fn check_warns_about_a_file_that_others_can_read_and_still_succeeds() {
    let site = Site::new();
    fs::set_permissions(site.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, stderr) = site.run(&["check"], "");
    assert_eq!(code, 0);
    assert!(stderr.contains("warning: ") && stderr.contains("chmod 600"), "{stderr}");
}

#[test]
fn check_fails_when_the_server_could_not_start() {
    let site = Site::empty();
    fs::write(
        site.file(),
        "[server.tls]\ncertificate = 'cert.pem'\nkey = 'users.toml'\n",
    )
    .unwrap();
    let (code, _, stderr) = site.run(&["check"], "");
    assert_eq!(code, 1);
    assert!(stderr.contains("cert.pem of [server.tls] cannot be read"), "{stderr}");
}

#[test]
fn the_file_can_be_named_in_the_environment_and_must_be_named() {
    let site = Site::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpd"));
    command.env("FTPD_CONFIG", site.file()).arg("check");
    assert_eq!(finish(command, "").0, 0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftpd"));
    command.env_remove("FTPD_CONFIG").arg("check");
    let (code, _, stderr) = finish(command, "");
    assert_eq!(code, 2);
    assert!(stderr.contains("--config FILE"), "{stderr}");
}

#[test]
fn passwords_can_be_changed_and_users_removed_without_touching_the_rest() {
    let site = Site::new();
    site.add("alice");
    site.add("bob");
    let before = Config::load(&site.file()).unwrap();
    let (code, _, stderr) = site.run(&["user", "passwd", "alice", "--password-stdin"], "another\n");
    assert_eq!(code, 0, "{stderr}");
    let after = Config::load(&site.file()).unwrap();
    assert_ne!(before.users["alice"].verifier, after.users["alice"].verifier);
    assert_eq!(before.users["bob"], after.users["bob"]);

    let (code, stdout, _) = site.run(&["user", "remove", "alice"], "");
    assert_eq!(code, 0);
    assert!(
        stdout.contains("the files stay in") && stdout.contains("homes/alice"),
        "{stdout}"
    );
    let (_, stdout, _) = site.run(&["user", "list", "--json"], "");
    let users: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(users.as_array().unwrap().len(), 1);
    assert_eq!(users[0]["name"], "bob");
    assert_eq!(users[0]["quota"], serde_json::Value::Null);
}

#[test]
fn no_user_gets_an_empty_password() {
    let site = Site::new();
    let before = site.text();
    for stdin in ["", "\n"] {
        let (code, _, stderr) = site.run(&["user", "add", "alice", "--password-stdin"], stdin);
        assert_eq!(code, 1);
        assert!(stderr.contains("password is empty"), "{stderr}");
    }
    assert_eq!(site.text(), before);
}

#[test]
fn wrong_values_are_wrong_usage_and_change_nothing() {
    let site = Site::new();
    let before = site.text();
    for args in [
        &["user", "add", "a/b", "--password-stdin"][..],
        &["user", "add", "alice", "--quota", "10", "--password-stdin"],
        &["user", "add", "alice", "--rights", "all", "--password-stdin"],
        &["user", "add", "alice", "--password", "secret"],
        &["user", "add"],
        &["nonsense"],
    ] {
        assert_eq!(site.run(args, "a password\n").0, 2, "{args:?}");
    }
    assert_eq!(site.text(), before);
}

#[test]
fn a_user_who_exists_is_not_added_again() {
    let site = Site::new();
    site.add("alice");
    let before = site.text();
    let (code, _, stderr) = site.run(&["user", "add", "alice", "--password-stdin"], "another\n");
    assert_eq!((code, site.text()), (1, before));
    assert!(stderr.contains("exists already"), "{stderr}");
    let (code, _, stderr) = site.run(&["user", "passwd", "bob", "--password-stdin"], "another\n");
    assert_eq!(code, 1);
    assert!(stderr.contains("no user `bob`"), "{stderr}");
}

#[test]
fn the_log_is_filtered_and_summed_up() {
    let site = Site::new();
    site.add("alice");
    let (code, _, stderr) = site.run(&["log"], "");
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no log yet at"), "{stderr}");

    let lines = [
        r#"{"time":"2026-01-31T12:00:00.000Z","level":"info","event":"login","session":1,"user":"alice","outcome":"ok"}"#,
        r#"{"time":"2026-01-31T12:00:01.000Z","level":"warn","event":"transfer","session":1,"user":"alice","op":"put","path":"/a","size":10,"bytes":4,"outcome":"quota","cause":"full"}"#,
        "torn",
    ];
    fs::create_dir(site.log().parent().unwrap()).unwrap();
    fs::write(site.log(), lines.join("\n") + "\n").unwrap();
    let (code, stdout, stderr) = site.run(&["log", "--failed", "--op", "put", "--user", "alice"], "");
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "2026-01-31 12:00:01  #1     alice        put          quota         /a 10 B, 4 B sent (full)\n"
    );
    assert!(stderr.contains("no JSON objects: 1"), "{stderr}");
    let (_, stdout, _) = site.run(&["log", "--json", "-n", "1"], "");
    assert_eq!(stdout, format!("{}\n", lines[1]));
    let (_, stdout, _) = site.run(&["log", "--since", "1h"], "");
    assert_eq!(stdout, "");
    let (_, stdout, _) = site.run(&["log", "--summary", "--json"], "");
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary[0]["bytes_up"], 4);
    assert_eq!(summary[0]["failures"], 1);
}

#[test]
fn following_shows_new_lines_and_survives_a_rotation() {
    let site = Site::new();
    fs::create_dir(site.log().parent().unwrap()).unwrap();
    let line = |second: u32| {
        format!("{{\"time\":\"2026-01-31T12:00:{second:02}.000Z\",\"event\":\"login\",\"user\":\"alice\"}}\n")
    };
    fs::write(site.log(), line(1)).unwrap();
    let mut child = site
        .command(&["log", "--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut text = String::new();
        shown.read_line(&mut text).unwrap();
        text
    };
    assert_eq!(next(), line(1));
    fs::OpenOptions::new()
        .append(true)
        .open(site.log())
        .unwrap()
        .write_all(line(2).as_bytes())
        .unwrap();
    assert_eq!(next(), line(2));
    fs::rename(site.log(), site.log().with_extension("jsonl.1")).unwrap();
    fs::write(site.log(), line(3)).unwrap();
    assert_eq!(next(), line(3));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let site = Site::new();
    fs::create_dir(site.log().parent().unwrap()).unwrap();
    let line = "{\"time\":\"2026-01-31T12:00:00.000Z\",\"event\":\"login\",\"user\":\"alice\"}\n";
    // More than a pipe holds, so the program is still writing when the reader is gone.
    fs::write(site.log(), line.repeat(10_000)).unwrap();
    let mut child = site
        .command(&["log"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
