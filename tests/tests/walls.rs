//! What a server can still do once it serves: by what the kernel says of the process, and by trying.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use ftp_tests::{Plan, Rig, ftpd};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

/// Says that a test proves nothing here, and why.
#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests has to know what was not tested"
)]
fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}

/// The number and group of a user without rights, when this is root.
fn nobody(test: &str) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        skip(test, "only root can become another user");
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let found = accounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields[0] == "nobody").then(|| (fields[2].parse().unwrap(), fields[3].parse().unwrap()))
    });
    if found.is_none() {
        skip(test, "this machine has no user `nobody`");
    }
    found
}

/// The lines of /proc/PID/status that concern rights, the same for every thread.
fn rights(rig: &Rig) -> Vec<(String, String)> {
    const NAMES: [&str; 8] = [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapAmb",
        "NoNewPrivs",
    ];
    let pid = rig.server().pid();
    let mut threads: Vec<Vec<(String, String)>> = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        threads.push(
            fields
                .filter(|(name, _)| NAMES.contains(name))
                .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
                .collect(),
        );
    }
    assert!(threads.len() > 2, "the log and the runtime have threads");
    assert!(threads.iter().all(|thread| *thread == threads[0]), "{threads:#?}");
    threads.remove(0)
}

#[track_caller]
fn assert_rights(rig: &Rig, uid: u32, gid: u32) {
    let rights = rights(rig);
    let value = |name: &str| rights.iter().find(|(found, _)| found == name).unwrap().1.as_str();
    assert_eq!(value("Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(value("Gid"), format!("{gid} {gid} {gid} {gid}"));
    assert!(!value("Groups").split(' ').any(|group| group == "0"), "{rights:?}");
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(value(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!(value("NoNewPrivs"), "1");
}

fn walls(rig: &Rig) -> Value {
    rig.log()
        .event("the walls are reported", |event| event["event"] == "walls")
}

/// Whether this kernel has the walls for files; says that a test is skipped if not.
fn has_landlock(rig: &Rig, test: &str) -> bool {
    let stands = walls(rig)["landlock"]
        .as_str()
        .is_some_and(|walls| walls.contains("files"));
    if !stands {
        skip(test, &format!("this kernel has no Landlock: {}", walls(rig)));
    }
    stands
}

#[test]
fn root_becomes_the_configured_user_in_every_thread_and_serves() {
    let Some((uid, gid)) = nobody("root_becomes_the_configured_user_in_every_thread_and_serves") else {
        return;
    };
    let mut rig = Plan::new().run_as("nobody", uid, gid).user("alice", "").start();
    assert_rights(&rig, uid, gid);
    assert_eq!(walls(&rig)["user"], "nobody");
    fs::write(rig.local("f"), "content").unwrap();
    rig.cli("alice").run(["put", "f"]).ok();
    rig.cli("alice").run(["get", "f", "back"]).ok();
    // Homes, state and log are the user's, the ones that are made later as well.
    rig.set_user("carol", "");
    assert_eq!(rig.reload()["outcome"], "ok");
    rig.cli("carol").run(["put", "f"]).ok();
    for made in [
        "homes",
        "homes/alice",
        "homes/alice/f",
        "homes/carol/f",
        "state/key.pem",
        "state/secret",
        "log/ftpd.jsonl",
    ] {
        let metadata = fs::metadata(rig.directory().join(made)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (uid, gid), "{made}");
        // Files in homes are as the umask says, and nobody else comes so far.
        assert!(made.ends_with("/f") || metadata.mode() & 0o077 == 0, "{made}");
    }
    // An image of the memory can neither be dumped nor read by another process of the user.
    let pid = rig.server().pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    // It can be started again with what it made.
    rig.terminate();
    rig.restart();
    rig.cli("alice").run(["get", "f", "again"]).ok();
}

#[test]
fn a_port_of_roots_is_kept_by_a_server_that_is_root_no_more() {
    let Some((uid, gid)) = nobody("a_port_of_roots_is_kept_by_a_server_that_is_root_no_more") else {
        return;
    };
    // Whatever is free; it is given up for a moment before the server takes it.
    let port = (600..1024)
        .rev()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let rig = Plan::new()
        .run_as("nobody", uid, gid)
        .listen(&format!("127.0.0.1:{port}"))
        .user("alice", "")
        .start();
    assert_rights(&rig, uid, gid);
    assert_eq!(rig.address().port(), port);
    rig.cli("alice").run(["pwd"]).ok();
}

#[test]
fn what_the_user_cannot_use_is_named_with_the_remedy() {
    let Some((uid, gid)) = nobody("what_the_user_cannot_use_is_named_with_the_remedy") else {
        return;
    };
    let plan = Plan::new().run_as("nobody", uid, gid).user("alice", "");
    // As an earlier start as root leaves it.
    let (home, state) = (plan.home("alice"), plan.directory().join("state"));
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let said = plan.refused();
    for (path, part) in [(&home, "chown -R nobody: "), (&state, "chown -R nobody: ")] {
        assert!(said.contains(&format!("`{part}{}`", path.display())), "{said}");
    }
    let said = Plan::new().server("user = \"no-such-user-of-ftpd\"").refused();
    assert!(said.contains("useradd --system"), "{said}");
}

#[test]
fn root_without_a_user_is_warned_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        skip("root_without_a_user_is_warned_what_to_do", "this is not root");
        return;
    }
    let rig = Rig::start();
    let said = rig.log().event("the warning", |event| {
        event["message"]
            .as_str()
            .is_some_and(|text| text.contains("user = \"ftpd\""))
    });
    assert_eq!(said["level"], "warn");
    assert!(walls(&rig)["missing"].as_str().unwrap().contains("runs as root"));
}

#[test]
fn the_kernel_keeps_the_server_from_a_file_outside_that_its_user_may_read() {
    let test = "the_kernel_keeps_the_server_from_a_file_outside_that_its_user_may_read";
    let outside = tempfile::tempdir().unwrap();
    for sandbox in [true, false] {
        let rig = Plan::new()
            .server(&format!("sandbox = {sandbox}"))
            .user("alice", "")
            .start();
        if sandbox && !has_landlock(&rig, test) {
            return;
        }
        // A copy elsewhere, which whoever runs the server could read, behind a link that the server follows.
        let elsewhere = outside.path().join("users.toml");
        fs::copy(rig.config(), &elsewhere).unwrap();
        fs::remove_file(rig.config()).unwrap();
        symlink(&elsewhere, rig.config()).unwrap();
        let event = rig.reload();
        if sandbox {
            assert_eq!(event["outcome"], "failed", "{event}");
            assert!(event["cause"].as_str().unwrap().contains("may not read it"), "{event}");
        } else {
            assert_eq!(event["outcome"], "ok", "{event}");
        }
        rig.cli("alice").run(["pwd"]).ok();
    }
}

#[test]
fn links_fifos_and_sockets_are_moved_removed_and_restored_behind_the_walls() {
    let rig = Rig::start();
    if !has_landlock(
        &rig,
        "links_fifos_and_sockets_are_moved_removed_and_restored_behind_the_walls",
    ) {
        return;
    }
    let (home, alice) = (rig.home("alice"), rig.cli("alice"));
    fs::create_dir(home.join("d")).unwrap();
    symlink("nowhere", home.join("link")).unwrap();
    mknodat(CWD, home.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    drop(UnixListener::bind(home.join("socket")).unwrap());
    for name in ["link", "fifo", "socket"] {
        let there = |path: &str| fs::symlink_metadata(home.join(path)).map(|found| found.ino()).ok();
        let number = there(name);
        assert!(number.is_some());
        let (beside, within) = (format!("{name} beside"), format!("d/{name}"));
        for (from, to) in [(name, beside.as_str()), (&beside, &within)] {
            alice.run(["mv", from, to]).ok();
            assert_eq!((there(from), there(to)), (None, number), "{from} {to}");
        }
        alice.run(["rm", &within]).ok();
        assert_eq!(there(&within), None);
        alice.run(["restore", &within]).ok();
        assert_eq!(there(&within), number, "{within} came back from the trash");
    }
}

#[test]
fn no_command_leaves_an_image_of_its_memory_and_the_server_only_if_told() {
    let test = "no_command_leaves_an_image_of_its_memory_and_the_server_only_if_told";
    // What belongs to a process that may be dumped is its user's, and otherwise root's: root can not tell.
    let other = rustix::process::geteuid().is_root().then(|| nobody(test)).flatten();
    let as_other = |plan: Plan| match other {
        Some((uid, gid)) => plan.run_as("nobody", uid, gid),
        None => plan,
    };
    let may_be_dumped = |pid: u32| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid() != 0;
    let core = |pid: &str| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        line.unwrap()
            .split_whitespace()
            .skip(4)
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for core_dumps in [false, true] {
        let rig = as_other(Plan::new().server(&format!("core_dumps = {core_dumps}")))
            .user("alice", "")
            .start();
        let mut command = Command::new(ftpd());
        command.arg("--config").arg(rig.config()).args(["log", "--follow"]);
        if let Some((uid, gid)) = other {
            command.uid(uid).gid(gid);
        }
        let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
        // It has read the configuration when it shows what the server logged.
        let mut line = String::new();
        let mut shown = BufReader::new(follower.stdout.take().unwrap());
        assert!(shown.read_line(&mut line).unwrap() > 0);
        let look = |pid: u32| (core(&pid.to_string()), may_be_dumped(pid));
        let (of_follower, of_server) = (look(follower.id()), look(rig.server().pid()));
        follower.kill().unwrap();
        follower.wait().unwrap();
        assert_eq!(of_follower.0, "0 0");
        let inherited = if core_dumps { core("self") } else { "0 0".to_owned() };
        assert_eq!(of_server.0, inherited);
        if other.is_some() || !rustix::process::geteuid().is_root() {
            assert_eq!((of_follower.1, of_server.1), (false, core_dumps));
        }
    }
}

#[test]
fn a_home_outside_of_the_sandbox_waits_for_a_restart() {
    let outside = tempfile::tempdir().unwrap();
    let mut rig = Rig::start();
    if !has_landlock(&rig, "a_home_outside_of_the_sandbox_waits_for_a_restart") {
        return;
    }
    let home = outside.path().join("carol");
    rig.set_user("carol", &format!("home = \"{}\"", home.display()));
    let event = rig.reload();
    assert_eq!(event["outcome"], "failed");
    let cause = event["cause"].as_str().unwrap();
    assert!(cause.contains("needs a restart") && cause.contains("carol"), "{cause}");
    assert!(!home.exists());
    rig.cli("alice").run(["pwd"]).ok();
    rig.cli("carol").run(["pwd"]).exits(3);
    rig.terminate();
    rig.restart();
    rig.cli("carol").run(["pwd"]).ok();
    fs::write(rig.local("f"), "content").unwrap();
    rig.cli("carol").run(["put", "f"]).ok();
    assert_eq!(fs::read(home.join("f")).unwrap(), b"content");
}

#[test]
fn the_unit_of_the_documentation_is_the_file() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let file = fs::read_to_string(format!("{root}/config/ftpd.service")).unwrap();
    let document = fs::read_to_string(format!("{root}/docs/operations.md")).unwrap();
    let (_, block) = document.split_once("```ini\n").unwrap();
    let (unit, _) = block.split_once("```").unwrap();
    assert_eq!(unit, file);
}

#[test]
fn what_the_service_manager_thinks_of_the_unit() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/ftpd.service");
    let analyze = |args: &[&str]| Command::new("systemd-analyze").args(args).arg(unit).output();
    match analyze(&["security", "--offline=true", "--threshold=15"]) {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            if said.contains("unrecognized option") {
                skip(
                    "what_the_service_manager_thinks_of_the_unit",
                    "systemd is older than 250",
                );
                return;
            }
            assert!(output.status.success(), "more exposed than 1.5 of 10:\n{said}");
        }
        Err(error) => skip(
            "what_the_service_manager_thinks_of_the_unit",
            &format!("systemd-analyze: {error}"),
        ),
    }
}

#[test]
fn the_walls_that_stand_are_reported_in_one_line() {
    let rig = Plan::new()
        .server("sandbox = false\ncore_dumps = true")
        .user("alice", "")
        .start();
    let event = walls(&rig);
    let missing = event["missing"].as_str().unwrap();
    assert!(
        missing.contains("`sandbox`") && missing.contains("`core_dumps`"),
        "{event}"
    );
    assert_eq!(
        (&event["core_dumps"], &event["no_new_privs"]),
        (&Value::from(true), &Value::from(true))
    );
    assert_eq!(event["level"], "warn");
    let shown = Command::new(ftpd())
        .arg("--config")
        .arg(rig.config())
        .arg("check")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("sandbox         off"), "{shown}");
}
