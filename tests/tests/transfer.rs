//! Files up and down: verified, never over something else, with their times.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use ftp_digest::{Algorithm, Hasher};
use ftp_tests::{Break, Direction, MIB, Plan, Proxy, Rig, flip_byte, noise, snapshot, write_noise};

#[test]
fn a_file_goes_up_and_comes_back_the_same() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let bytes = noise(3_000_000, 1);
    fs::write(alice.file("demo.mp4"), &bytes).unwrap();
    let put = alice.one(&["put", "demo.mp4", "demo1.mp4"]);
    assert_eq!(put["outcome"], "transferred");
    assert_eq!(put["moved"], 3_000_000);
    assert_eq!(put["digest"], Hasher::digest(Algorithm::Sha256, &bytes).to_string());
    let get = alice.one(&["get", "demo1.mp4", "back"]);
    assert_eq!(get["digest"], put["digest"]);
    assert!(fs::read(alice.file("back")).unwrap() == bytes);
    rig.check_df("alice");

    let event = rig.log().outcome("put", "/demo1.mp4", "ok");
    assert_eq!(event["user"], "alice");
    assert_eq!(event["bytes"], 3_000_000);
    assert_eq!(event["digest"], put["digest"]);
    rig.log().outcome("get", "/demo1.mp4", "ok");
}

#[test]
fn every_algorithm_proves_a_transfer() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let bytes = noise(700_000, 2);
    fs::write(alice.file("f"), &bytes).unwrap();
    assert!(
        alice.one(&["put", "f", "default"])["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    for algorithm in ["md5", "sha1", "sha256", "sha512", "blake3"] {
        let expected = Hasher::digest(algorithm.parse().unwrap(), &bytes).to_string();
        let (large, small) = (format!("large-{algorithm}"), format!("small-{algorithm}"));
        assert_eq!(
            alice.one(&["put", "--digest", algorithm, "f", &large])["digest"],
            expected
        );
        assert_eq!(alice.one(&["get", "--digest", algorithm, &large])["digest"], expected);
        let sum = alice.one(&["sum", "--digest", algorithm, &large]);
        assert_eq!((&sum["digest"], &sum["kept"]), (&expected.clone().into(), &true.into()));
        let sum = alice.one(&["sum", "--fresh", "--digest", algorithm, "default"]);
        assert_eq!((&sum["digest"], &sum["kept"]), (&expected.into(), &false.into()));
        fs::write(alice.file("s"), "small").unwrap();
        let put = alice.one(&["put", "--digest", algorithm, "s", &small]);
        assert_eq!(
            put["digest"],
            Hasher::digest(algorithm.parse().unwrap(), b"small").to_string()
        );
        assert_eq!(alice.one(&["stat", &small])["digest"], put["digest"]);
    }
}

#[test]
fn a_stored_file_that_rots_is_not_handed_out() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for (name, length) in [("large", 2_000_000), ("small", 1000)] {
        fs::write(alice.file(name), noise(length, 3)).unwrap();
        alice.run(["put", name]).ok();
        flip_byte(&rig.home("alice").join(name), 500);
        let target = format!("back-{name}");
        alice.run(["get", name, &target]).exits(7).says("damaged");
        assert!(!alice.file(&target).exists());
        alice.run(["get", name, "-"]).exits(7);
    }
    // Several small ones take another way.
    fs::create_dir(alice.file("d")).unwrap();
    alice.run(["cp", "small", "small2"]);
    alice.run(["get", "-t", "d", "small", "large"]).exits(7);
    assert!(!alice.file("d/small").exists() && !alice.file("d/large").exists());
}

#[test]
fn a_byte_changed_on_the_way_is_noticed_and_sent_again() {
    let rig = Plan::new().user("alice", "").plaintext().start();
    let local = rig.local("f");
    write_noise(&local, 8 * MIB, 4);
    for (direction, command) in [
        (Direction::Up, ["--no-tls", "put", "f"]),
        (Direction::Down, ["--no-tls", "get", "f"]),
    ] {
        let proxy = Proxy::start(rig.address()).and(direction, 5 * MIB, Break::Flip);
        rig.cli("alice").via(proxy.address()).run(command).ok();
        assert!(fs::read(rig.home("alice").join("f")).unwrap() == fs::read(&local).unwrap());
        if direction == Direction::Up {
            rig.log().outcome("put", "/f", "digest_mismatch");
            assert!(proxy.connections() >= 1);
            fs::rename(&local, rig.local("original")).unwrap();
        }
    }
    assert!(fs::read(rig.local("original")).unwrap() == fs::read(&local).unwrap());
}

#[test]
fn existing_targets_are_not_overwritten_without_force() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for (name, length) in [("small", 100), ("large", 1_000_000)] {
        fs::write(alice.file("old"), noise(length, 5)).unwrap();
        fs::write(alice.file("new"), noise(length + 1, 6)).unwrap();
        alice.run(["put", "old", name]).ok();
        alice.run(["put", "new", name]).exits(5).says("exists");
        assert_eq!(fs::metadata(rig.home("alice").join(name)).unwrap().len(), length as u64);
        let put = alice.one(&["put", "--force", "new", name]);
        assert_eq!(put["replaced"], true);
        assert_eq!(
            fs::metadata(rig.home("alice").join(name)).unwrap().len(),
            length as u64 + 1
        );

        fs::write(alice.file("here"), "mine").unwrap();
        alice.run(["get", name, "here"]).exits(5).says("exists");
        assert_eq!(fs::read(alice.file("here")).unwrap(), b"mine");
        alice.run(["get", "--force", name, "here"]).ok();
        assert_eq!(fs::metadata(alice.file("here")).unwrap().len(), length as u64 + 1);
    }
    rig.check_df("alice");
}

#[test]
fn a_file_that_is_there_already_is_not_sent_again() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for (name, length) in [("small", 100), ("large", 1_000_000)] {
        fs::write(alice.file(name), noise(length, 7)).unwrap();
        alice.run(["put", name]).ok();
        let again = alice.one(&["put", name]);
        assert_eq!(
            (&again["outcome"], &again["kept"]),
            (&"identical".into(), &length.into())
        );
        let again = alice.one(&["get", name]);
        assert_eq!((&again["outcome"], &again["moved"]), (&"identical".into(), &0.into()));
    }
}

#[test]
fn modification_times_are_kept() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    for (name, length) in [("small", 10), ("large", 600_000)] {
        fs::write(alice.file(name), noise(length, 8)).unwrap();
        File::options()
            .write(true)
            .open(alice.file(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
        alice.run(["put", name]).ok();
        assert_eq!(
            fs::metadata(rig.home("alice").join(name)).unwrap().modified().unwrap(),
            time
        );
        alice.run(["get", name, "back"]).ok();
        assert_eq!(fs::metadata(alice.file("back")).unwrap().modified().unwrap(), time);
        fs::remove_file(alice.file("back")).unwrap();
    }
}

#[test]
fn whole_trees_go_up_and_come_back() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let tree = alice.file("tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::create_dir_all(tree.join("empty/also empty")).unwrap();
    for number in 0..300 {
        fs::write(tree.join(format!("a/small {number}")), noise(number * 7, number as u64)).unwrap();
    }
    write_noise(&tree.join("a/b/large"), 3 * MIB, 9);
    fs::write(tree.join("a/b/c/文.txt"), "深").unwrap();

    alice.run(["put", "tree"]).exits(1).says("-r");
    alice.run(["put", "-r", "tree"]).ok();
    let own = snapshot(&tree);
    assert!(snapshot(&rig.home("alice").join("tree")) == own);
    fs::create_dir(alice.file("back")).unwrap();
    alice.run(["get", "tree"]).exits(1).says("-r");
    alice.run(["get", "-r", "tree", "back/"]).ok();
    assert!(snapshot(&alice.file("back/tree")) == own);
    for file in ["a/small 200", "a/b/large"] {
        let time = |path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(tree.join(file)), time(alice.file("back/tree").join(file)));
    }
    let again = alice.json(&["put", "-r", "tree"]);
    assert!(
        again
            .iter()
            .all(|line| line["outcome"] == "identical" || line["outcome"] == "directory")
    );
    let counts = rig.check_df("alice");
    assert_eq!(counts.entries, own.len() as u64 + 1);
}

#[test]
fn a_tree_has_its_parents_made_on_request_only() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for directory in ["tree/a", "other/b"] {
        fs::create_dir_all(alice.file(directory)).unwrap();
        fs::write(alice.file(directory).join("file"), "x").unwrap();
    }
    let refused = alice.run(["put", "-r", "tree", "other", "missing/sub/"]).exits(4);
    let told = refused.says("-p").stderr();
    assert!(!told.contains("file"), "{told}");
    assert!(alice.names("/").is_empty());
    alice.run(["put", "-r", "-p", "tree", "missing/sub/"]).ok();
    alice.run(["put", "-r", "tree", "other", "missing/sub/"]).ok();
    alice.run(["put", "-r", "tree", "missing/new"]).ok();
    assert_eq!(alice.names("missing"), ["new", "sub"]);
    assert_eq!(alice.names("missing/sub"), ["other", "tree"]);
    assert_eq!(alice.names("missing/new/a"), ["file"]);
}

#[test]
fn standard_input_and_output_can_be_transferred() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let bytes = noise(5_000_000, 10);
    alice.feed(["put", "-", "piped"], &bytes).ok();
    assert!(fs::read(rig.home("alice").join("piped")).unwrap() == bytes);
    let ran = alice.run(["get", "piped", "-"]).ok();
    assert!(ran.bytes() == bytes);
    alice.feed(["put", "-", "piped"], b"other").exits(5);
    alice.feed(["put", "--force", "-", "piped"], b"other").ok();
    assert_eq!(alice.run(["get", "piped", "-"]).ok().bytes(), b"other");
    alice.feed(["put", "-"], b"x").exits(2);
    rig.check_df("alice");
}

#[test]
fn a_link_to_a_directory_is_one_when_it_is_named() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    alice.run(["mkdir", "d"]).ok();
    fs::write(alice.file("f"), "text").unwrap();
    for (link, to) in [("link", "d"), ("dead", "nowhere")] {
        std::os::unix::fs::symlink(to, rig.home("alice").join(link)).unwrap();
    }
    alice.run(["put", "--force", "f", "link"]).ok();
    assert_eq!(fs::read(rig.home("alice").join("d/f")).unwrap(), b"text");
    alice.run(["get", "link"]).exits(1).says("`-r` takes directories");
    alice.run(["get", "-r", "link", "back"]).ok();
    assert_eq!(fs::read(alice.file("back/f")).unwrap(), b"text");
    // One that leads nowhere is a name like others.
    alice.run(["put", "f", "dead"]).exits(5);
    alice.run(["put", "--force", "f", "dead"]).ok();
    assert_eq!(fs::read(rig.home("alice").join("dead")).unwrap(), b"text");
}
