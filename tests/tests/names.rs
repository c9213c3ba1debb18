//! Files of any name, any number and any size.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use ftp_tests::{MIB, Plan, Rig, noise, sha256, write_sparse};

#[test]
fn names_of_every_kind_go_up_are_listed_and_come_back() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let longest = "n".repeat(255);
    let longest_chinese = format!("{}abc", "文".repeat(84));
    let names = [
        "with space",
        " leading and trailing ",
        "it's \"quoted\"",
        "two\nlines",
        "tab\tand\u{1b}[31mescape",
        "文件名",
        "emoji 🎬🍿",
        "-starts-with-dash",
        "star*and?mark",
        "brackets[1]",
        "back\\slash",
        "$HOME `id` $(id)",
        "{\"json\": 1}",
        ".hidden",
        "e\u{301} decomposed",
        "\u{202e}reversed",
        &longest,
        &longest_chinese,
    ];
    for (number, name) in names.iter().enumerate() {
        fs::write(alice.file(name), format!("content {number}")).unwrap();
    }
    let all = |command: &'static str| [&["--json", command, "--"], &names[..]].concat();
    let put = alice.run([all("put"), vec!["/"]].concat()).ok().json();
    assert_eq!(put.len(), names.len());

    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(alice.names("/"), sorted);

    fs::create_dir(alice.file("back")).unwrap();
    let get = alice.run([all("get"), vec!["back/"]].concat()).ok().json();
    assert_eq!(get.len(), names.len());
    for (number, name) in names.iter().enumerate() {
        let back = fs::read_to_string(alice.file("back").join(name)).unwrap();
        assert_eq!(back, format!("content {number}"), "{name:?}");
    }
    for name in names {
        let stat = alice.run(["--json", "stat", "--", name]).ok().json();
        assert_eq!(stat[0]["path"], name);
        alice.run(["rm", "--", name]).ok();
    }
    assert!(alice.names("/").is_empty());
}

#[test]
fn a_name_that_is_not_utf8_is_listed_exactly_and_can_be_fetched() {
    let plan = Plan::new().user("alice", "");
    let name = OsStr::from_bytes(b"caf\xe9 \xff\xfe");
    fs::write(plan.home("alice").join(name), "coffee").unwrap();
    let rig = plan.start();
    let alice = rig.cli("alice");

    let entry = alice.one(&["ls"]);
    assert_eq!(entry["name_hex"], "636166e920fffe");
    assert_eq!(entry["size"], 6);
    let listed = alice.run(["ls"]).ok();
    assert_eq!(listed.bytes(), b"caf\xe9 \xff\xfe\n");

    alice.run([OsStr::new("get"), name, OsStr::new("coffee")]).ok();
    assert_eq!(fs::read(alice.file("coffee")).unwrap(), b"coffee");
    alice.run([OsStr::new("get"), name]).ok();
    assert_eq!(fs::read(alice.file("").join(name)).unwrap(), b"coffee");
    let other = OsString::from_vec(b"\x80new".to_vec());
    alice.run([OsStr::new("put"), OsStr::new("coffee"), &other]).ok();
    assert_eq!(fs::read(rig.home("alice").join(&other)).unwrap(), b"coffee");
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), "x").unwrap();
    let ran = alice.run(["put", "x", &"n".repeat(256)]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert!(alice.names("/").is_empty());
}

#[test]
fn empty_files_go_up_and_come_back() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::write(alice.file("empty"), "").unwrap();
    let put = alice.one(&["put", "empty"]);
    assert_eq!((&put["size"], &put["outcome"]), (&0.into(), &"transferred".into()));
    alice.run(["get", "empty", "back"]).ok();
    assert_eq!(fs::metadata(alice.file("back")).unwrap().len(), 0);
    alice.run(["put", "--resume", "empty", "again"]).ok();
    assert_eq!(alice.feed(["put", "-", "nothing"], b"").ok().code(), Some(0));
    assert_eq!(alice.names("/"), ["again", "empty", "nothing"]);
    rig.check_df("alice");
}

#[test]
fn a_file_above_four_gib_goes_up_and_comes_back() {
    const SIZE: u64 = (4 << 30) + 3 * MIB + 7;
    let rig = Plan::new().user("alice", "").server("durability = \"none\"").start();
    let alice = rig.cli("alice");
    let tail = noise(4 * 1024 * 1024, 4);
    write_sparse(&alice.file("large"), SIZE, &tail);
    let put = alice.one(&["put", "--digest", "blake3", "large"]);
    assert_eq!(put["moved"], SIZE);
    assert_eq!(rig.check_df("alice").used, SIZE);

    // All but the last is there already, as a hole, which spares the disk of the machine that tests.
    let held = SIZE - 5 * MIB;
    write_sparse(&alice.file(".back.ftp-part"), held, &[]);
    let get = alice.one(&["get", "--resume", "--digest", "blake3", "large", "back"]);
    assert_eq!((&get["kept"], &get["digest"]), (&held.into(), &put["digest"]));
    let mut end = vec![0; tail.len()];
    let file = fs::File::open(alice.file("back")).unwrap();
    file.read_exact_at(&mut end, SIZE - tail.len() as u64).unwrap();
    assert!(end == tail && file.metadata().unwrap().len() == SIZE);
}

#[test]
fn sparse_files_arrive_whole() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    write_sparse(&alice.file("sparse"), 64 * MIB, b"the end");
    alice.run(["put", "sparse"]).ok();
    assert_eq!(sha256(&rig.home("alice").join("sparse")), sha256(&alice.file("sparse")));
    alice.run(["get", "sparse", "back"]).ok();
    assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("sparse")));
    assert_eq!(
        rig.check_df("alice").used,
        fs::metadata(alice.file("sparse")).unwrap().size()
    );
}

#[test]
fn a_hundred_thousand_files_in_one_directory_are_listed() {
    const FILES: usize = 100_000;
    let plan = Plan::new().user("alice", "");
    let crowd = plan.home("alice").join("crowd");
    fs::create_dir(&crowd).unwrap();
    for number in 0..FILES {
        fs::File::create(crowd.join(format!("file {number}"))).unwrap();
    }
    let rig = plan.start();
    let alice = rig.cli("alice");
    let listed = alice.run(["ls", "crowd"]).ok().stdout();
    assert_eq!(listed.lines().count(), FILES);
    assert_eq!(listed.lines().next(), Some("file 0"));
    let unsorted = alice.run(["--json", "ls", "crowd"]).ok().stdout();
    assert_eq!(unsorted.lines().count(), FILES);
    assert_eq!(rig.check_df("alice").entries, FILES as u64 + 1);
    fs::write(alice.file("one more"), "1").unwrap();
    alice.run(["put", "one more", "crowd/"]).ok();
    alice.run(["get", "crowd/file 4711"]).ok();
    alice.run(["rm", "-r", "crowd"]).ok();
    assert_eq!(rig.check_df("alice").entries, 0);
}
