//! Stored files and counts are looked after: what rots is found, what was changed by hand is counted.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ftp_tests::{Break, Cli, Direction, MIB, PASSWORD, Plan, Proxy, Rig, eventually, flip_byte, write_noise};
use rustix::process::Signal;
use serde_json::Value;

/// A server that does nothing by itself.
fn quiet() -> Plan {
    care("scrub_interval = \"off\"\nrecount_interval = \"off\"")
}

/// A server with these lines in `[server.care]`.
fn care(lines: &str) -> Plan {
    Plan::new().server(&format!("[server.care]\n{lines}")).user("alice", "")
}

fn ftpd(rig: &Rig, args: &[&str]) -> Output {
    Command::new(ftp_tests::ftpd())
        .arg("--config")
        .arg(rig.config())
        .args(args)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

/// Runs a command that must end with this exit code; its JSON lines come back.
#[track_caller]
fn json(rig: &Rig, args: &[&str], code: i32) -> Vec<Value> {
    let ran = ftpd(rig, &[args, &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(code), "{ran:?}");
    String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Puts a file into a home by hand, long ago.
#[expect(clippy::disallowed_methods, reason = "a time of a file")]
fn place(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
}

#[test]
fn scrub_names_rotten_files_with_a_running_server_and_without() {
    let mut rig = quiet().user("bob", "").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), 3 * MIB, 1);
    let digest = alice.one(&["put", "f", "good"])["digest"].clone();
    alice.run(["put", "f", "a b"]).ok();
    place(&rig.home("bob").join("by hand"), b"abc");
    assert_eq!(json(&rig, &["scrub"], 0).len(), 2);

    flip_byte(&rig.home("alice").join("a b"), 2 * MIB);
    for running in [true, false] {
        if !running {
            rig.terminate();
        }
        let lines = json(&rig, &["scrub", "--full-speed"], 3);
        let (finding, done, bob) = (&lines[0], &lines[1], &lines[2]);
        assert_eq!((&finding["user"], &finding["path"]), (&"alice".into(), &"/a b".into()));
        assert_eq!(
            (&finding["fault"], &finding["size"]),
            (&"damaged".into(), &(3 * MIB).into())
        );
        assert_eq!(finding["expected"], digest);
        assert_ne!(finding["found"], digest);
        assert!(finding["modified"].as_str().unwrap().ends_with('Z'));
        assert_eq!((&done["sound"], &done["damaged"]), (&1.into(), &1.into()));
        assert_eq!((&bob["sound"], &bob["without_digest"]), (&0.into(), &1.into()));
        assert_eq!(json(&rig, &["scrub", "bob"], 0).len(), 1);
        let text = ftpd(&rig, &["scrub", "--full-speed", "alice"]);
        let said = String::from_utf8(text.stdout).unwrap();
        assert!(
            said.contains("DAMAGED alice:\"/a b\"") && said.contains("1 sound, 1 damaged"),
            "{said}"
        );
    }
    let event = rig
        .log()
        .event("the damage is logged", |event| event["event"] == "damaged");
    assert_eq!((&event["user"], &event["path"]), (&"alice".into(), &"/a b".into()));
    assert_eq!(
        (&event["level"], &event["outcome"]),
        (&"error".into(), &"digest_mismatch".into())
    );
    let shown = String::from_utf8(ftpd(&rig, &["log", "--op", "damaged", "--failed"]).stdout).unwrap();
    assert!(shown.contains("/a b") && shown.contains("digest_mismatch"), "{shown}");

    assert_eq!(json(&rig, &["scrub", "bob", "--adopt"], 0)[0]["adopted"], 1);
    assert_eq!(json(&rig, &["scrub", "bob"], 0)[0]["sound"], 1);
    let unknown = ftpd(&rig, &["scrub", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
}

#[test]
fn adopting_under_a_running_server_makes_later_damage_visible() {
    let rig = quiet().start();
    place(&rig.home("alice").join("f"), b"put there by hand");
    assert_eq!(json(&rig, &["scrub", "--adopt"], 0)[0]["adopted"], 1);
    let alice = rig.cli("alice");
    assert_eq!(alice.one(&["sum", "f"])["kept"], true);
    flip_byte(&rig.home("alice").join("f"), 3);
    assert_eq!(json(&rig, &["scrub", "--adopt"], 3)[0]["fault"], "damaged");
    assert_eq!(json(&rig, &["scrub", "--adopt"], 3)[0]["fault"], "damaged");
}

#[test]
fn whoever_gets_a_damaged_file_is_told_that_it_is_damaged_there_and_does_not_try_for_ever() {
    let rig = quiet().start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("large"), 2 * MIB, 1);
    fs::create_dir(alice.file("small")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(alice.file("small").join(name), name.repeat(100)).unwrap();
    }
    alice.run(["put", "large"]).ok();
    alice.run(["put", "-r", "small"]).ok();
    flip_byte(&rig.home("alice").join("large"), MIB);
    flip_byte(&rig.home("alice").join("small/b"), 50);

    let refused = alice.run(["get", "large", "back"]).exits(7);
    refused
        .says("the file stored on the server is damaged")
        .says("put --force")
        .says("ftpd scrub");
    assert!(!alice.file("back").exists());
    let is_get = |event: &&Value| event["event"] == "transfer" && event["op"] == "get";
    assert_eq!(rig.log().events().iter().filter(is_get).count(), 1);
    rig.log().event("the damage is logged", |event| {
        event["event"] == "damaged" && event["path"] == "/large"
    });

    // The others of a list arrive nevertheless.
    let refused = alice.run(["--json", "get", "-r", "small", "all"]).exits(7);
    let failed: Vec<_> = refused
        .json()
        .into_iter()
        .filter(|line| line.get("error").is_some())
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["error"]["code"], "stored_damaged");
    assert!(alice.file("all/a").exists() && alice.file("all/c").exists() && !alice.file("all/b").exists());
    let of_b = |event: &&Value| is_get(event) && event["path"] == "/small/b";
    assert_eq!(rig.log().events().iter().filter(of_b).count(), 2);

    alice
        .run(["get", "large", "-"])
        .exits(7)
        .says("the file stored on the server is damaged");
    alice
        .run(["cp", "large", "copy"])
        .exits(7)
        .says("/large is damaged on the server's disk");
    // A digest of another algorithm, computed on the way, must not prove the damage right.
    alice
        .run(["get", "--digest", "blake3", "large", "other"])
        .exits(7)
        .says("/large is damaged on the server's disk");
    assert!(!alice.file("other").exists());

    alice.run(["put", "--force", "large"]).ok();
    alice.run(["get", "large", "back"]).ok();
    assert_eq!(
        fs::read(alice.file("back")).unwrap(),
        fs::read(alice.file("large")).unwrap()
    );
}

#[test]
fn recount_tells_and_corrects_what_was_changed_by_hand() {
    let mut rig = quiet().start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), MIB, 1);
    alice.run(["put", "f"]).ok();
    let home = rig.home("alice");
    fs::write(home.join("new"), [0; 1000]).unwrap();
    fs::create_dir(home.join("dir")).unwrap();
    fs::remove_file(home.join("f")).unwrap();
    assert_eq!(alice.one(&["df"])["used"], MIB);
    let recounted = &json(&rig, &["recount"], 0)[0];
    let counts = |used, entries| serde_json::json!({"used": used, "entries": entries, "pending": 0, "uploads": 0});
    assert_eq!(
        (&recounted["counted"], &recounted["found"]),
        (&counts(MIB, 1), &counts(1000, 2))
    );
    rig.check_df("alice");
    let event = rig
        .log()
        .event("drift is logged", |event| event["outcome"] == "corrected");
    assert_eq!((&event["event"], &event["level"]), (&"recount".into(), &"warn".into()));
    assert_eq!((&event["used_before"], &event["used"]), (&MIB.into(), &1000.into()));
    let said = String::from_utf8(ftpd(&rig, &["recount", "alice"]).stdout).unwrap();
    assert_eq!(said, "alice: 1000 bytes in 2 entries\n");

    // SIGHUP is how an administrator says that something has changed.
    fs::write(home.join("more"), [0; 10]).unwrap();
    rig.server().signal(Signal::HUP);
    rig.log().event("SIGHUP recounts", |event| event["used"] == 1010);
    rig.check_df("alice");

    rig.terminate();
    let ran = ftpd(&rig, &["recount"]);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no server is running"));
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        "alice: 1010 bytes in 3 entries\n"
    );
}

#[test]
fn server_scrubs_and_recounts_by_schedule_across_restarts() {
    let schedule = "scrub_interval = \"640 ms\"\nscrub_rate = \"1 GiB/s\"\nrecount_interval = \"200 ms\"";
    let mut rig = care(schedule).start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), MIB, 1);
    alice.run(["put", "f"]).ok();
    flip_byte(&rig.home("alice").join("f"), 7);
    fs::write(rig.home("alice").join("by hand"), [0; 77]).unwrap();
    let is_damage = |event: &&Value| event["event"] == "damaged" && event["path"] == "/f";
    rig.log().event("the damage is found", |event| is_damage(&event));
    rig.log()
        .event("drift is found", |event| event["outcome"] == "corrected");
    rig.check_df("alice");
    assert!(rig.terminate().success());
    let state = rig.directory().join("state/scrub.json");
    let kept: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    assert_eq!(kept["version"], 1);
    assert!(kept["done_until_ms"]["alice"].is_u64());
    let found = rig.log().events().iter().filter(is_damage).count();
    rig.restart();
    eventually("the damage is found again", || {
        (rig.log().events().iter().filter(is_damage).count() > found).then_some(())
    });
    rig.terminate();

    // What a newer server wrote is refused and left alone; files are served nevertheless.
    let newer = "{\"version\":2,\"something\":\"else\"}";
    fs::write(&state, newer).unwrap();
    rig.restart();
    let event = rig
        .log()
        .event("the version is refused", |event| event["event"] == "failure");
    assert!(
        event["cause"].as_str().unwrap().contains("scrub.json has version 2"),
        "{event}"
    );
    rig.cli("alice").run(["ls"]).ok();
    rig.terminate();
    assert_eq!(fs::read_to_string(&state).unwrap(), newer);
}

#[test]
fn drain_does_not_wait_for_a_scrub() {
    let mut rig = care("scrub_interval = \"640 ms\"\nscrub_rate = \"1 KiB/s\"").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), 64 * MIB, 1);
    alice.run(["put", "f"]).ok();
    let mut asked = Command::new(ftp_tests::ftpd())
        .args(["scrub", "--rate", "1KiB/s", "--config"])
        .arg(rig.config())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the scrub is under way", || {
        let is_open = |link: &fs::DirEntry| fs::read_link(link.path()).is_ok_and(|to| to.ends_with("homes/alice/f"));
        let open = fs::read_dir(format!("/proc/{}/fd", rig.server().pid())).unwrap();
        open.filter_map(Result::ok).any(|link| is_open(&link)).then_some(())
    });
    assert!(rig.terminate().success());
    assert_eq!(asked.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    asked.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("shutting down") || said.contains("closed"), "{said}");
}

#[test]
fn status_shows_sessions_transfers_and_homes() {
    let mut rig = Plan::new().user("alice", "quota = \"10 MiB\"").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), 4 * MIB, 1);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, MIB, Break::Stall);
    let running = alice.clone().via(proxy.address()).spawn(["put", "f"]);
    proxy.wait_for_stall();
    let status = eventually("the transfer is shown", || {
        let status = json(&rig, &["status"], 0).remove(0);
        (status["transfers"] != Value::Array(Vec::new())).then_some(status)
    });
    assert_eq!(status["pid"], rig.server().pid());
    assert_eq!(status["address"], rig.address().to_string());
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    let transfer = &status["transfers"][0];
    assert_eq!(
        (&transfer["user"], &transfer["op"], &transfer["path"]),
        (&"alice".into(), &"put".into(), &"/f".into())
    );
    let user = &status["users"][0];
    assert_eq!(
        (&user["sessions"], &user["usage"]["limit"]),
        (&1.into(), &(10 * MIB).into())
    );
    let usage = &user["usage"];
    assert_eq!(
        usage["pending"].as_u64().unwrap() + usage["reserved"].as_u64().unwrap(),
        4 * MIB
    );
    let text = String::from_utf8(ftpd(&rig, &["status"]).stdout).unwrap();
    assert!(
        text.contains("alice") && text.contains("put") && text.contains("/f"),
        "{text}"
    );
    proxy.release();
    running.wait().ok();
    rig.terminate();
    let none = ftpd(&rig, &["status"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no server is running"));
}

/// What the control socket answers to a line.
fn said_by_control(socket: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    // It may be closed with bytes unread.
    let _ = BufReader::new(stream).read_line(&mut answer);
    answer
}

#[test]
fn control_socket_is_private_and_survives_whatever_is_said_to_it() {
    let mut rig = quiet().start();
    let socket = rig.directory().join("state/control");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let newer = said_by_control(&socket, b"{\"version\":2,\"ask\":\"status\"}\n");
    assert!(
        newer.contains("\"re\":\"error\"") && newer.contains("version 2"),
        "{newer}"
    );
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\n",
        b"{\"version\":1,\"ask\":\"levitate\"}\n",
        b"\xff\xfe\n",
    ] {
        assert!(
            said_by_control(&socket, nonsense).contains("\"re\":\"error\""),
            "{nonsense:?}"
        );
    }
    said_by_control(&socket, &vec![b'x'; 200_000]);
    // As many who say nothing as there are places: others are turned away at once. A place is given back a moment
    // after its answer, so that one more may be needed.
    let mut silent: Vec<_> = (0..7).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    eventually("others are turned away", || {
        silent.push(UnixStream::connect(&socket).unwrap());
        let status = ftpd(&rig, &["status"]);
        String::from_utf8_lossy(&status.stderr)
            .contains("answers others already")
            .then_some(())
    });
    drop(silent);
    eventually("there is room again", || {
        ftpd(&rig, &["status"]).status.success().then_some(())
    });
    // One that was left over is in nobody's way, and one that ended leaves none.
    rig.kill();
    assert!(socket.exists());
    assert_eq!(ftpd(&rig, &["status"]).status.code(), Some(1));
    rig.restart();
    assert!(ftpd(&rig, &["status"]).status.success());
    rig.terminate();
    assert!(!socket.exists());
}

#[test]
fn control_socket_of_another_user_of_the_machine_is_closed() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    let rig = quiet().start();
    let socket = rig.directory().join("state/control");
    // As careless as one can be with the modes.
    for open in [rig.directory(), &rig.directory().join("state"), &socket] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(rig.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = Command::new(ftp_tests::ftpd())
        .args(["status", "--config"])
        .arg(rig.config())
        .uid(65_534)
        .gid(65_534)
        .output();
    let Ok(ran) = ran else {
        eprintln!("skipped: another user cannot run the program under test");
        return;
    };
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert_eq!(ran.stdout, b"");
    assert!(
        String::from_utf8_lossy(&ran.stderr).contains("does not talk to this user"),
        "{ran:?}"
    );
    rig.log().event("the attempt is logged", |event| {
        event["message"]
            .as_str()
            .is_some_and(|said| said.contains("of another user"))
    });
}

#[test]
fn state_directory_with_a_path_longer_than_a_socket_address_works() {
    let long = "s".repeat(150);
    let rig = Plan::new()
        .server(&format!("state = \"{long}\""))
        .user("alice", "")
        .start();
    assert!(ftpd(&rig, &["status"]).status.success());
    assert_eq!(json(&rig, &["recount"], 0).len(), 1);
}

#[test]
fn secret_of_another_version_is_refused_and_left_alone() {
    let mut rig = quiet().start();
    rig.terminate();
    let secret = rig.directory().join("state/secret");
    assert!(fs::read_to_string(&secret).unwrap().starts_with("ftpd-secret 1 "));
    let newer = "ftpd-secret 2 something else\n";
    fs::write(&secret, newer).unwrap();
    let ran = ftpd(&rig, &[]);
    assert_eq!(ran.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        said.contains("secret has version 2, and this ftpd knows version 1"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&secret).unwrap(), newer);
}

#[test]
fn home_on_a_file_system_without_attributes_is_served_and_noted_once() {
    let mut rig = quiet().start();
    rig.terminate();
    let home = rig.home("alice");
    let listening = |event: &&Value| event["message"] == "listening";
    let before = rig.log().events().iter().filter(listening).count();
    // A file system in memory that has none, seen by this server alone.
    let script = "mount -t ramfs ftpd \"$1\" && printf abc >\"$1/f\" && touch -d 2020-01-01 \"$1/f\" || exit 77; shift; exec \"$@\"";
    let in_memory = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["-rm", "sh", "-c", script, "sh"])
            .arg(&home)
            .arg(ftp_tests::ftpd())
            .arg("--config")
            .arg(rig.config())
            .args(args);
        command
    };
    let scrub = in_memory(&["scrub", "--adopt", "--json"]).output();
    let Ok(scrub) = scrub
        .map_err(drop)
        .and_then(|ran| (ran.status.code() == Some(0)).then_some(ran).ok_or(()))
    else {
        eprintln!("skipped: no file system without extended attributes can be mounted here");
        return;
    };
    let scrubbed: Value = serde_json::from_slice(&scrub.stdout).unwrap();
    assert_eq!(
        (&scrubbed["without_digest"], &scrubbed["adopted"]),
        (&1.into(), &0.into())
    );

    let mut server = in_memory(&[]).spawn().unwrap();
    let address = eventually("the server listens", || {
        let events = rig.log().events();
        let event = events.iter().filter(listening).nth(before)?.clone();
        event["addr"].as_str()?.parse().ok()
    });
    let alice = Cli::new(
        "alice",
        address,
        PASSWORD,
        &rig.directory().join("client"),
        &rig.directory().join("local"),
    );
    alice.run(["get", "f"]).ok();
    assert_eq!(fs::read(alice.file("f")).unwrap(), b"abc");
    assert_eq!(alice.one(&["sum", "f"])["kept"], false);
    alice.run(["ls"]).ok();
    let noted = rig
        .log()
        .events()
        .iter()
        .filter(|event| {
            event["message"]
                .as_str()
                .is_some_and(|said| said.contains("no extended attributes"))
        })
        .count();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(noted, 1);
}
