//! A client whose own disk fails while it downloads.

use std::fs;

use ftp_tests::{Call, Effect, Errno, Fault, MIB, Rig, sha256, skipped, write_noise};

/// Calls that a full or failing disk can refuse.
const CALLS: [&str; 7] = [
    "pwrite64",
    "write",
    "ftruncate",
    "fsync",
    "rename",
    "renameat2",
    "utimensat",
];

#[test]
fn the_bytes_of_a_large_file_of_a_list_are_on_the_disk_before_its_name_and_the_rest_at_the_end() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::create_dir(alice.file("source")).unwrap();
    let sizes = [("large", 3 * MIB), ("larger", 4 * MIB), ("small", 3000)];
    for (name, size) in sizes {
        write_noise(&alice.file("source").join(name), size, size);
    }
    alice.run(["put", "-r", "source", "tree"]).ok();
    let nothing = Fault::new(Effect::Hold, |_: &Call| false);
    let (running, tracer) = match alice.spawn_traced(["get", "-r", "tree"], nothing) {
        Ok(started) => started,
        Err(why) => return skipped("the order of a client's syncs", &why),
    };
    running.wait().ok();
    let calls = tracer.calls();
    for (name, _) in &sizes[..2] {
        let target = alice.file("tree").join(name);
        let published = calls
            .iter()
            .find(|call| call.is(&["renameat2"]) && call.paths[1] == target);
        let is_before = |call: &&Call| call.ended < published.unwrap().began;
        let part = target.with_file_name(format!(".{name}.ftp-part"));
        let mut syncs = calls.iter().filter(is_before).filter(|call| call.is(&["fsync"]));
        assert!(syncs.any(|call| call.path() == part), "{name}");
    }
    let named = calls.iter().rfind(|call| call.is(&["renameat2", "linkat"]));
    let synced: Vec<_> = calls.iter().filter(|call| call.is(&["syncfs"])).collect();
    assert_eq!(synced.len(), 1);
    assert!(synced[0].began > named.unwrap().ended);
}

#[test]
fn a_download_onto_a_failing_disk_leaves_the_old_file_and_goes_on_later() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("source"), 2 * MIB, 1);
    alice.run(["put", "source", "demo"]).ok();
    for (errno, told) in [(Errno::ENOSPC, "space"), (Errno::EIO, "error")] {
        for position in 0.. {
            assert!(position < 100, "it has no end");
            fs::write(alice.file("back"), "old").unwrap();
            let local = rig.local("");
            let fault = Fault::new(Effect::Fail(errno), move |call: &Call| {
                call.is(&CALLS) && call.within(&local)
            });
            let fault = fault.after(position * 3);
            let (running, tracer) = match alice.spawn_traced(["get", "--force", "demo", "back"], fault) {
                Ok(started) => started,
                Err(why) => return skipped("a client's failing disk", &why),
            };
            let hits = tracer.hits();
            let ran = running.wait();
            if ran.code() == Some(0) {
                assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("source")));
            } else {
                // The name is not durable, or nothing has happened.
                let found = fs::read(alice.file("back")).unwrap();
                let first = hits.first();
                assert!(found == b"old" || first.starts_with("fsync"), "{first}");
                assert!(ran.stderr().to_lowercase().contains(told), "{first}: {}", ran.stderr());
                assert!(ran.stderr().contains("back"), "{first}: {}", ran.stderr());
                alice.run(["get", "--force", "demo", "back"]).ok();
                assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("source")), "{first}");
            }
            assert!(!alice.file(".back.ftp-part").exists());
            if hits.count() == 0 {
                assert!(position > 1);
                break;
            }
        }
    }
}
