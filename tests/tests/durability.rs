//! What is answered is on the disk: the order of the server's system calls, for each way to change something.

use std::fs;
use std::path::Path;

use ftp_tests::{Call, Cli, MIB, Plan, Rig, Tracer, noise, sha256, write_noise};

use crate::order::{Answers, changes, is_sync, missing, names_are_synced};

/// A server without TLS, so that its answers can be read as it sends them.
fn rig(test: &str, lines: &str) -> Option<(Rig, std::sync::Arc<Tracer>, Cli)> {
    let plan = Plan::new().plaintext().server(lines).user("alice", "");
    let (rig, tracer) = plan.start_traced(test)?;
    let alice = rig.cli("alice");
    Some((rig, tracer, alice))
}

/// What the server does while a command runs.
fn record(tracer: &Tracer, alice: &Cli, command: &[&str]) -> Vec<Call> {
    tracer.listen();
    alice.run([&["--no-tls"], command].concat()).ok();
    tracer.calls()
}

/// Everything that a test does: files small and large, and every other change of names.
const COMMANDS: [(&[&str], usize); 13] = [
    (&["put", "small", "a"], 1),
    (&["put", "large", "b"], 1),
    // What is replaced is linked into the trash first.
    (&["put", "--force", "large", "a"], 2),
    (&["put", "--force", "small", "b"], 2),
    (&["cp", "b", "c"], 1),
    (&["mkdir", "d"], 1),
    (&["mv", "c", "d/e"], 1),
    (&["rm", "b"], 1),
    (&["rm", "-r", "d"], 1),
    (&["restore", "b"], 1),
    // What is replaced by an older version is linked into the trash as well.
    (&["restore", "--force", "b"], 2),
    // A part of a removed directory, whose parent is made.
    (&["restore", "d/e"], 2),
    (&["restore", "d", "--to", "all"], 1),
];

fn sources(alice: &Cli) {
    fs::write(alice.file("small"), noise(3000, 1)).unwrap();
    write_noise(&alice.file("large"), 3 * MIB, 2);
}

#[test]
fn every_change_is_on_the_disk_before_it_is_answered() {
    let Some((rig, tracer, alice)) = rig("durability", "") else {
        return;
    };
    sources(&alice);
    let home = rig.home("alice");
    for (command, expected) in COMMANDS {
        let calls = record(&tracer, &alice, command);
        assert_eq!(changes(&calls, &home).len(), expected, "{command:?}: {calls:#?}");
        assert_eq!(missing(&calls, &home, Answers::Next), [""; 0], "{command:?}");

        // The check sees when any one of these syncs is left out.
        let syncs: Vec<_> = calls
            .iter()
            // The server's own state is none of the user's changes.
            .filter(|call| is_sync(call) && call.path().starts_with(&home))
            // A record says where something was, and is not what was answered.
            .filter(|call| call.path().extension().is_none_or(|extension| extension != "json"))
            .map(|call| call.began)
            .collect();
        assert!(!syncs.is_empty(), "{command:?}");
        for sync in syncs {
            let without: Vec<_> = calls.iter().filter(|call| call.began != sync).cloned().collect();
            assert_ne!(missing(&without, &home, Answers::Next), [""; 0], "{command:?}");
        }
    }
    assert_eq!(sha256(&home.join("a")), sha256(&alice.file("large")));
}

#[test]
fn what_is_deleted_from_the_trash_is_gone_before_it_is_answered() {
    let Some((rig, tracer, alice)) = rig("durability of a purge", "") else {
        return;
    };
    sources(&alice);
    record(&tracer, &alice, &["put", "small", "a"]);
    record(&tracer, &alice, &["rm", "a"]);
    let calls = record(&tracer, &alice, &["trash", "--empty"]);
    let trash = rig.home("alice").join(".ftpd/trash");
    assert!(names_are_synced(&calls, &trash), "{calls:#?}");
    let without: Vec<_> = calls.iter().filter(|call| !is_sync(call)).cloned().collect();
    assert!(!names_are_synced(&without, &trash));
}

#[test]
fn the_first_file_of_a_new_home_is_on_the_disk_with_every_directory_above_it() {
    let Some((rig, tracer, alice)) = rig("durability of a new home", "") else {
        return;
    };
    sources(&alice);
    // The home and the directory of homes were made when the server started.
    let homes = rig.directory().join("homes");
    let before = tracer.calls();
    assert_eq!(changes(&before, &homes).len(), 2, "homes and alice");
    assert_eq!(missing(&before, &homes, Answers::Listening), [""; 0]);
    let calls = record(&tracer, &alice, &["put", "--parents", "small", "x/y/z"]);
    let home = rig.home("alice");
    assert_eq!(changes(&calls, &home).len(), 3);
    assert_eq!(missing(&calls, &home, Answers::Next), [""; 0]);
}

#[test]
fn many_small_files_of_several_sessions_are_each_on_the_disk_before_their_answer() {
    const SESSIONS: u64 = 3;
    const FILES: u64 = 60;
    let Some((rig, tracer, alice)) = rig("durability of many files", "") else {
        return;
    };
    for session in 0..SESSIONS {
        let tree = alice.file(&format!("tree{session}"));
        fs::create_dir(&tree).unwrap();
        for file in 0..FILES {
            let seed = session * FILES + file;
            fs::write(
                tree.join(format!("f{file}")),
                noise(500 + usize::try_from(seed).unwrap(), seed),
            )
            .unwrap();
        }
    }
    tracer.listen();
    let running: Vec<_> = (0..SESSIONS)
        .map(|session| alice.spawn(["--no-tls", "put", "-r", &format!("tree{session}")]))
        .collect();
    for running in running {
        running.wait().ok();
    }
    let calls = tracer.calls();
    let home = rig.home("alice");
    let files = SESSIONS * FILES;
    assert_eq!(changes(&calls, &home).len() as u64, files + SESSIONS);
    let digest = |path: &Path| sha256(&alice.file(path.strip_prefix(&home).unwrap().to_str().unwrap()));
    let none: [&str; 0] = [];
    assert_eq!(missing(&calls, &home, Answers::WithDigest(&digest)), none);

    // They did share syncs, and the check sees when one of those is left out.
    let syncs: Vec<_> = calls.iter().filter(|call| is_sync(call)).collect();
    assert!((syncs.len() as u64) < files, "{} syncs", syncs.len());
    let shared = syncs.iter().filter(|call| call.name == "syncfs");
    for sync in shared {
        let without: Vec<_> = calls.iter().filter(|call| call.began != sync.began).cloned().collect();
        assert_ne!(missing(&without, &home, Answers::WithDigest(&digest)), none);
    }
}

#[test]
fn without_durability_nothing_is_synced() {
    let Some((rig, tracer, alice)) = rig("no durability", "durability = \"none\"") else {
        return;
    };
    sources(&alice);
    let home = rig.home("alice");
    // The home is open from here on.
    record(&tracer, &alice, &["ls"]);
    for (command, expected) in COMMANDS {
        let calls = record(&tracer, &alice, command);
        assert_eq!(changes(&calls, &home).len(), expected, "{command:?}");
        let syncs: Vec<_> = calls.iter().filter(|call| is_sync(call)).collect();
        assert!(syncs.is_empty(), "{command:?}: {syncs:#?}");
    }
}
