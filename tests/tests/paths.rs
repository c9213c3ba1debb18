//! Nobody leaves the own home.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ftp_proto::{Code, Op, Re};
use ftp_tests::{Channel, PASSWORD, Plan, Raw, Rig};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Everything that takes a path, with this one.
fn every_request(path: &str) -> Vec<(&'static str, Op)> {
    let path = path.to_owned();
    let own = "own".to_owned();
    vec![
        ("cd", Op::Cd { path: path.clone() }),
        (
            "cp",
            Op::Cp {
                from: path.clone(),
                to: "copy".to_owned(),
                replace: true,
            },
        ),
        (
            "cp",
            Op::Cp {
                from: own.clone(),
                to: path.clone(),
                replace: true,
            },
        ),
        ("discard", Op::Discard { path: path.clone() }),
        ("get", get(&path)),
        (
            "ls",
            Op::Ls {
                path: path.clone(),
                digests: false,
            },
        ),
        (
            "mkdir",
            Op::Mkdir {
                path: path.clone(),
                parents: true,
            },
        ),
        (
            "mv",
            Op::Mv {
                from: path.clone(),
                to: "moved".to_owned(),
                replace: true,
            },
        ),
        (
            "mv",
            Op::Mv {
                from: own,
                to: path.clone(),
                replace: true,
            },
        ),
        ("put", put(&path)),
        (
            "rm",
            Op::Rm {
                path: path.clone(),
                forever: false,
            },
        ),
        (
            "rmdir",
            Op::Rmdir {
                path: path.clone(),
                recursive: true,
                forever: false,
            },
        ),
        (
            "stat",
            Op::Stat {
                path: path.clone(),
                digest: true,
            },
        ),
        (
            "sum",
            Op::Sum {
                path,
                digest: ftp_digest::Algorithm::Sha256,
                fresh: true,
            },
        ),
    ]
}

fn get(path: &str) -> Op {
    Op::Get {
        path: path.to_owned(),
        offset: 0,
        length: None,
        digest: ftp_digest::Algorithm::Sha256,
        have: None,
    }
}

fn put(path: &str) -> Op {
    Op::Put {
        path: path.to_owned(),
        size: Some(1),
        mtime: None,
        digest: ftp_digest::Algorithm::Sha256,
        replace: true,
        parents: true,
        ask: true,
        resume: ftp_proto::ResumeMode::Auto,
    }
}

/// A rig in which bob has a secret and alice has a file of her own.
fn rig() -> Rig {
    let plan = Plan::new().user("alice", "").user("bob", "");
    fs::write(plan.home("bob").join("secret"), "bob's secret").unwrap();
    fs::write(plan.home("alice").join("own"), "alice's own").unwrap();
    fs::create_dir(plan.home("alice").join("a")).unwrap();
    plan.start()
}

fn bob_is_untouched(rig: &Rig) {
    let found: Vec<_> = ftp_tests::snapshot(&rig.home("bob"))
        .into_iter()
        .filter(|(path, _)| !path.starts_with(".ftpd"))
        .collect();
    assert_eq!(found, [("secret".into(), Some(b"bob's secret".to_vec()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_climb_out_of_the_home_are_refused_and_logged() {
    let rig = rig();
    let mut raw = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    for path in [
        "../bob",
        "/../bob",
        "a/../../bob",
        "..",
        "../bob/secret",
        "/a/../../../etc/passwd",
    ] {
        for (name, op) in every_request(path) {
            match raw.ask(op).await {
                Re::Error(fault) => assert_eq!(fault.code, Code::OutsideHome, "{name} {path}: {fault}"),
                other => panic!("{name} {path}: {other:?}"),
            }
        }
    }
    for name in ["cd", "get", "ls", "put", "rm", "stat"] {
        rig.log().outcome(name, "../bob", "outside_home");
    }
    bob_is_untouched(&rig);
}

#[test]
fn the_command_line_says_that_the_home_can_not_be_left() {
    let rig = rig();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), "x").unwrap();
    alice.run(["get", "../bob/secret"]).exits(5).says("outside");
    alice.run(["put", "x", "../bob/x"]).exits(5);
    alice.run(["ls", "/../bob"]).exits(5);
    alice.run(["cd", "a/../../bob"]).exits(5);
    bob_is_untouched(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn symbolic_links_out_of_the_home_lead_nowhere() {
    let rig = rig();
    let home = rig.home("alice");
    symlink(rig.home("bob"), home.join("absolute")).unwrap();
    symlink("../bob", home.join("relative")).unwrap();
    symlink("../../bob", home.join("a/deep")).unwrap();
    symlink("/", home.join("root")).unwrap();
    let mut raw = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    for path in ["absolute/secret", "relative/secret", "a/deep/secret", "root/etc/passwd"] {
        for (name, op) in every_request(path) {
            match raw.ask(op).await {
                Re::Error(fault) => assert!(
                    matches!(fault.code, Code::OutsideHome | Code::NotFound),
                    "{name} {path}: {fault} ({:?})",
                    fault.code
                ),
                other => panic!("{name} {path}: {other:?}"),
            }
        }
    }
    for path in ["absolute", "relative", "a/deep", "root"] {
        for op in [
            Op::Ls {
                path: path.to_owned(),
                digests: false,
            },
            Op::Cd { path: path.to_owned() },
            get(path),
        ] {
            match raw.ask(op).await {
                Re::Error(fault) => assert_eq!(fault.code, Code::OutsideHome, "{path}: {fault}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }
    rig.log().outcome("get", "absolute/secret", "outside_home");
    rig.log().outcome("get", "relative/secret", "outside_home");
    bob_is_untouched(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_file_elsewhere_is_neither_read_nor_written_through() {
    let rig = rig();
    let home = rig.home("alice");
    symlink(rig.home("bob").join("secret"), home.join("link")).unwrap();
    let alice = rig.cli("alice");
    alice.run(["get", "link"]).exits(5);
    alice.run(["sum", "link"]).exits(5);
    fs::write(alice.file("x"), "mine now").unwrap();
    // Whether the link itself may be replaced is the store's affair; what it leads to is not touched.
    alice.run(["put", "--force", "x", "link"]);
    bob_is_untouched(&rig);
    symlink(rig.home("bob").join("secret"), home.join("gone")).unwrap();
    alice.run(["rm", "gone"]).ok();
    assert!(home.join("gone").symlink_metadata().is_err());
    bob_is_untouched(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_swapped_in_while_requests_run_leads_nowhere() {
    let rig = rig();
    let home = rig.home("alice");
    fs::create_dir(home.join("d")).unwrap();
    fs::write(home.join("d/secret"), "alice's own").unwrap();
    // Exchanged with `d` again and again; outside of alice's home, so that only `d` is ever looked at.
    symlink("../bob", rig.directory().join("other")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, one, other) = (Arc::clone(&stop), home.join("d"), rig.directory().join("other"));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        })
    };

    let mut raw = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    let (mut read, mut refused) = (0, 0);
    while read < 100 || refused < 100 {
        let id = raw.request(get("d/secret")).await;
        match raw.answer(id).await {
            Re::Begin { .. } => {
                let (bytes, end) = raw.body(id).await;
                assert_eq!(String::from_utf8(bytes).unwrap(), "alice's own");
                assert!(matches!(end, Re::End { .. }), "{end:?}");
                read += 1;
            }
            Re::Error(fault) => {
                let fits = matches!(fault.code, Code::OutsideHome | Code::NotDirectory);
                assert!(fits, "{fault} ({:?})", fault.code);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
        // Writing must not get out either.
        raw.ask(Op::Mkdir {
            path: "d/made".to_owned(),
            parents: false,
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    rig.log().outcome("get", "d/secret", "outside_home");
    bob_is_untouched(&rig);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_folder_in_a_home_does_not_exist_for_its_user() {
    let rig = rig();
    let alice = rig.cli("alice");
    alice.run(["pwd"]).ok();
    assert!(rig.home("alice").join(".ftpd").is_dir());
    assert_eq!(alice.names("/"), ["a", "own"]);
    let before = ftp_tests::snapshot(&rig.home("alice").join(".ftpd"));
    let mut raw = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    for path in [".ftpd", "/.ftpd", "a/../.ftpd", ".ftpd/staging", ".ftpd/staging/x"] {
        for (name, op) in every_request(path) {
            match raw.ask(op).await {
                Re::Error(fault) => assert!(
                    matches!(fault.code, Code::BadName | Code::NotFound),
                    "{name} {path}: {fault} ({:?})",
                    fault.code
                ),
                other => panic!("{name} {path}: {other:?}"),
            }
        }
    }
    assert_eq!(ftp_tests::snapshot(&rig.home("alice").join(".ftpd")), before);
}

#[test]
fn users_do_not_see_each_other() {
    let rig = rig();
    assert_eq!(rig.cli("alice").names("/"), ["a", "own"]);
    assert_eq!(rig.cli("bob").names("/"), ["secret"]);
    rig.cli("alice").run(["get", "secret"]).exits(4);
    rig.cli("alice").run(["get", "/homes/bob/secret"]).exits(4);
}
