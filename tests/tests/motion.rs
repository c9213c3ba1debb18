//! Files that change, move and go while they are being transferred: what comes out is one state of them, or an error.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ftp_tests::{Call, Cli, Effect, Errno, Fault, MIB, Plan, Rig, Tracer, flip_byte, sha256, skipped, write_noise};

mod serial;

/// Waits where a file is read or listed for the first time after so many times.
fn hold(calls: &'static [&'static str], file: &Path, after: u64) -> Fault {
    let file = file.to_owned();
    let fault = Fault::new(Effect::Hold, move |call: &Call| call.is(calls) && call.path() == file);
    fault.after(after).once()
}

type Change = fn(&Path);

/// How a file is read at an offset: with a wait for its disk, and without.
const READS: [&str; 2] = ["pread64", "preadv2"];

/// What happens to a file while it is read.
const CHANGES: [(&str, Change); 6] = [
    ("grows", |file| {
        let length = fs::metadata(file).unwrap().len();
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(length + 1)
            .unwrap();
    }),
    ("shrinks", |file| {
        let length = fs::metadata(file).unwrap().len();
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(length / 16)
            .unwrap();
    }),
    ("is emptied", |file| fs::write(file, "").unwrap()),
    ("changes behind its times", |file| {
        let length = fs::metadata(file).unwrap().len();
        flip_byte(file, 5);
        flip_byte(file, length / 4 * 3);
    }),
    ("is replaced", |file| {
        let other = file.with_extension("other");
        write_noise(&other, fs::metadata(file).unwrap().len() / 2, 77);
        fs::rename(other, file).unwrap();
    }),
    ("is deleted", |file| fs::remove_file(file).unwrap()),
];

/// Sizes, and how often a file of this size is read before it changes: one that takes many reads, and
/// those that go in one, and by another way.
const SIZES: [(u64, u64); 3] = [(4 * MIB, 5), (MIB / 4, 0), (3000, 0)];

#[test]
fn a_source_that_changes_while_it_is_uploaded_is_never_stored_mixed() {
    for (size, reads) in SIZES {
        change_while_uploading(size, reads);
    }
}

fn change_while_uploading(size: u64, reads: u64) {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("before"), MIB, 1);
    alice.run(["put", "before", "demo"]).ok();
    let stored = rig.home("alice").join("demo");
    for (what, change) in CHANGES {
        let source = alice.file("source");
        write_noise(&source, size, 2);
        let states = [sha256(&alice.file("before")), sha256(&source)];
        let fault = hold(&READS, &source, reads);
        let (running, tracer) = match alice.spawn_traced(["put", "--force", "source", "demo"], fault) {
            Ok(started) => started,
            Err(why) => return skipped("a source that changes", &why),
        };
        tracer.hits().wait();
        change(&source);
        tracer.clear();
        let ran = running.wait();
        // What was opened is still there under no name, and may be stored as it was.
        let expected = if ran.code() == Some(0) { &states[1] } else { &states[0] };
        assert_eq!(&sha256(&stored), expected, "{size} bytes, {what}: {}", ran.stderr());
        if !["is replaced", "is deleted"].contains(&what) {
            ran.exits(1).says("changed while it was read");
        }
        let _ = alice.run(["uploads", "--discard", "demo"]);
        alice.run(["put", "--force", "before", "demo"]).ok();
    }
    assert_eq!(rig.check_df("alice").used, MIB);
}

/// A traced server with a file of its own, and alice.
fn traced(test: &str) -> Option<(Rig, Arc<Tracer>, Cli)> {
    let (rig, tracer) = Plan::new().user("alice", "").start_traced(test)?;
    tracer.ignore();
    let alice = rig.cli("alice");
    Some((rig, tracer, alice))
}

#[test]
fn a_file_that_an_administrator_changes_while_it_is_downloaded_never_comes_out_mixed() {
    for (size, reads) in SIZES {
        change_while_downloading(size, reads);
    }
}

fn change_while_downloading(size: u64, reads: u64) {
    let Some((rig, tracer, alice)) = traced("a served file that changes") else {
        return;
    };
    let served = rig.home("alice").join("demo");
    for (what, change) in CHANGES {
        write_noise(&served, size, 3);
        let before = sha256(&served);
        fs::write(alice.file("back"), "old").unwrap();
        let hits = tracer.inject(hold(&READS, &served, reads));
        let running = alice.spawn(["get", "--force", "--retries", "0", "demo", "back"]);
        hits.wait();
        change(&served);
        tracer.clear();
        let ran = running.wait();
        if ran.code() == Some(0) {
            assert_eq!(sha256(&alice.file("back")), before, "{size} bytes, {what}");
        } else {
            assert_eq!(fs::read(alice.file("back")).unwrap(), b"old", "{size} bytes, {what}");
            assert!(
                ran.stderr().contains("changed"),
                "{size} bytes, {what}: {}",
                ran.stderr()
            );
        }
        // What is left of the failed one does no harm to the next.
        if served.exists() {
            alice.run(["get", "--force", "demo", "back"]).ok();
            assert_eq!(sha256(&alice.file("back")), sha256(&served), "{what}");
        }
    }
}

#[test]
fn a_file_that_changes_while_the_kernel_sends_it_never_comes_out_mixed() {
    let plan = Plan::new().plaintext().user("alice", "");
    let Some((rig, tracer)) = plan.start_traced("a file that the kernel sends") else {
        return;
    };
    tracer.ignore();
    let alice = rig.cli("alice");
    let served = rig.home("alice").join("demo");
    let get = ["--no-tls", "--retries", "0", "get", "--force", "demo", "back"];
    for (what, change) in CHANGES {
        // Its digest is kept, so that nobody has to see its bytes.
        write_noise(&alice.file("source"), 9 * MIB, 4);
        alice.run(["--no-tls", "put", "--force", "source", "demo"]).ok();
        fs::write(alice.file("back"), "old").unwrap();
        let hits = tracer.inject(hold(&["sendfile"], &served, 5));
        let running = alice.spawn(get);
        hits.wait();
        change(&served);
        tracer.clear();
        let ran = running.wait();
        if ran.code() == Some(0) && ["is replaced", "is deleted"].contains(&what) {
            assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("source")), "{what}");
        } else {
            // The session had an answer to give: it was not cut.
            ran.exits(1).says("changed");
            assert_eq!(fs::read(alice.file("back")).unwrap(), b"old", "{what}");
        }
    }
}

#[test]
fn what_the_kernel_cannot_send_is_read_and_what_cannot_be_read_is_told() {
    let plan = Plan::new().plaintext().user("alice", "");
    let Some((rig, tracer)) = plan.start_traced("files that the kernel does not send") else {
        return;
    };
    let alice = rig.cli("alice");
    write_noise(&alice.file("source"), 9 * MIB + 5, 4);
    alice.run(["--no-tls", "put", "source", "demo"]).ok();
    let served = rig.home("alice").join("demo");
    let get = ["--no-tls", "get", "--force", "demo", "back"];
    for after in [0, 3] {
        let fails = |errno, calls: &'static [&'static str]| {
            let served = served.clone();
            let fault = Fault::new(Effect::Fail(errno), move |call: &Call| {
                call.is(calls) && call.path() == served
            });
            fault.after(after)
        };
        let hits = tracer.inject(fails(Errno::EINVAL, &["sendfile"]));
        alice.run(get).ok();
        hits.wait();
        assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("source")));
        tracer.clear();

        tracer.inject(fails(Errno::EIO, &["sendfile", "pread64"]));
        alice.run(get).exits(1).says("the server failed");
        tracer.clear();
        assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("source")));
        let events = rig.log().events();
        assert!(
            events
                .iter()
                .all(|event| !event.to_string().contains("connection lost"))
        );
    }
}

#[test]
fn a_directory_that_goes_above_a_running_transfer_takes_nothing_else_with_it() {
    let Some((rig, tracer, alice)) = traced("a directory that goes") else {
        return;
    };
    write_noise(&alice.file("large"), 2 * MIB, 4);
    let home = rig.home("alice");
    for (number, command) in [&["mv", "dir", "moved"][..], &["rm", "-r", "dir"]]
        .into_iter()
        .enumerate()
    {
        alice.run(["mkdir", "dir"]).ok();
        alice.run(["put", "large", "dir/there"]).ok();

        // Above an upload, when its bytes are proven and it is about to get its name.
        let home_of_part = home.join(".ftpd/staging");
        let hits = tracer.inject(
            Fault::new(Effect::Hold, move |call: &Call| {
                call.is(&["fsync"]) && call.within(&home_of_part)
            })
            .once(),
        );
        let putting = alice.spawn(["put", "large", "dir/new"]);
        hits.wait();
        alice.run(command).ok();
        tracer.clear();
        putting.wait().exits(4).says("/dir does not exist");
        assert!(!home.join("dir").exists());
        let counts = rig.check_df("alice");
        assert_eq!(counts.uploads, 1, "what was sent can be resumed");
        alice.run(["put", "--resume", "--parents", "large", "dir/new"]).ok();
        assert_eq!(sha256(&home.join("dir/new")), sha256(&alice.file("large")));
        alice.run(["rm", "-r", "dir"]).ok();
        if number == 0 {
            alice.run(["mv", "moved", "dir"]).ok();
        } else {
            alice.run(["mkdir", "dir"]).ok();
            alice.run(["put", "large", "dir/there"]).ok();
        }

        // Above a download: it has its version to the end.
        // By a thread that may wait, as from a disk: the server's others go on meanwhile.
        tracer.inject(Fault::new(Effect::Fail(Errno::EAGAIN), |call: &Call| {
            call.is(&["preadv2"])
        }));
        let hits = tracer.inject(hold(&["pread64"], &home.join("dir/there"), 3));
        let getting = alice.spawn(["get", "--force", "dir/there", "back"]);
        hits.wait();
        alice.run(command).ok();
        tracer.clear();
        getting.wait().ok();
        assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("large")));

        // Above a listing: it ends, with what was there or without.
        if number == 1 {
            alice.run(["mkdir", "dir"]).ok();
        } else {
            alice.run(["mv", "moved", "dir"]).ok();
        }
        let hits = tracer.inject(hold(&["getdents64"], &home.join("dir"), 0));
        let listing = alice.spawn(["ls", "dir"]);
        hits.wait();
        alice.run(command).ok();
        tracer.clear();
        let code = listing.wait().code();
        assert!([Some(0), Some(4)].contains(&code), "{code:?}");
        alice.run(["rm", "-r", "moved"]).code();
        rig.check_df("alice");
    }
}

#[test]
fn trees_that_change_while_they_are_transferred_come_over_as_far_as_they_are_there() {
    let Some((rig, tracer, alice)) = traced("trees that change") else {
        return;
    };
    let tree = alice.file("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    for number in 0..20 {
        write_noise(&tree.join(format!("f{number:02}")), 5000, number);
    }
    write_noise(&tree.join("sub/large"), 2 * MIB, 50);

    // Up: a file goes, another comes, when the first is read.
    let first = tree.join("sub/large");
    let fault = hold(&READS, &first, 0);
    let (running, client) = match alice.spawn_traced(["put", "-r", "--parents", "tree", "up"], fault) {
        Ok(started) => started,
        Err(why) => return skipped("trees that change", &why),
    };
    client.hits().wait();
    fs::write(tree.join("late"), "late").unwrap();
    let gone: Vec<_> = (0..20).map(|number| tree.join(format!("f{number:02}"))).collect();
    fs::remove_file(&gone[19]).unwrap();
    client.clear();
    let ran = running.wait();
    let up = rig.home("alice").join("up");
    for file in &gone[..19] {
        assert_eq!(sha256(&up.join(file.file_name().unwrap())), sha256(file));
    }
    assert_eq!(sha256(&up.join("sub/large")), sha256(&first));
    // It was there before it went, or is told to be missing.
    assert!(
        up.join("f19").exists() || ran.stderr().contains("f19"),
        "{}",
        ran.stderr()
    );
    assert_eq!(ran.code() == Some(0), up.join("f19").exists(), "{}", ran.stderr());
    rig.check_df("alice");

    // Down: the same.
    let hits = tracer.inject(hold(&READS, &up.join("f00"), 0));
    let running = alice.spawn(["get", "-r", "up", "down"]);
    hits.wait();
    alice.run(["rm", "up/f18"]).ok();
    alice.run(["rm", "-r", "up/sub"]).ok();
    tracer.clear();
    let ran = running.wait();
    let down = alice.file("down");
    for file in &gone[..18] {
        assert_eq!(sha256(&down.join(file.file_name().unwrap())), sha256(file));
    }
    let missing = ["f18", "sub/large"].map(|name| !down.join(name).exists());
    assert_eq!(ran.code() != Some(0), missing.contains(&true), "{}", ran.stderr());
    rig.check_df("alice");
}
