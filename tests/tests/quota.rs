//! Nobody stores more than allowed, and `df` is exact whatever happened.

use std::fs;

use ftp_tests::{Break, Direction, MIB, Plan, Proxy, Rig, parts, write_noise};

fn limited(quota: &str) -> Rig {
    Plan::new().user("alice", &format!("quota = \"{quota}\"")).start()
}

#[test]
fn of_two_puts_at_once_that_do_not_fit_together_one_is_refused_before_its_bytes_flow() {
    let rig = limited("20 MiB");
    let alice = rig.cli("alice");
    write_noise(&alice.file("first"), 12 * MIB, 1);
    write_noise(&alice.file("second"), 12 * MIB, 2);
    let proxy = Proxy::start(rig.address()).and(Direction::Up, 2 * MIB, Break::Stall);
    let first = alice.clone().via(proxy.address()).spawn(["put", "first"]);
    proxy.wait_for_stall();
    let refused = alice.run(["--json", "put", "second"]).exits(6);
    let error = &refused.json()[0]["error"];
    assert_eq!(error["code"], "quota_bytes");
    assert_eq!(
        (&error["limit"], &error["requested"]),
        (&(20 * MIB).into(), &(12 * MIB).into())
    );

    proxy.release();
    first.wait().ok();
    assert_eq!(alice.names("/"), ["first"]);
    let event = rig
        .log()
        .event("the refusal is logged", |event| event["outcome"] == "quota_bytes");
    assert_eq!(
        (&event["event"], &event["bytes"]),
        (&"request".into(), &serde_json::Value::Null)
    );
    let counts = rig.check_df("alice");
    assert_eq!((counts.used, counts.pending), (12 * MIB, 0));
}

#[test]
fn of_many_puts_in_the_same_moment_only_those_that_fit_are_stored() {
    let rig = limited("10 MiB");
    let alice = rig.cli("alice");
    for round in 0..3 {
        write_noise(&alice.file("x"), 6 * MIB, round);
        let racing = ["a", "b", "c"].map(|name| alice.spawn(["put", "x", name]));
        let mut codes = racing.map(|running| running.wait().code());
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(6), Some(6)]);
        assert_eq!(rig.check_df("alice").used, 6 * MIB);
        alice.run(["rm", &alice.names("/")[0]]).ok();
    }
}

#[test]
fn small_files_are_refused_as_well() {
    let rig = limited("1 MiB");
    let alice = rig.cli("alice");
    for number in 0..12 {
        write_noise(&alice.file(&format!("f{number}")), 100_000, number);
    }
    let names: Vec<String> = (0..12).map(|number| format!("f{number}")).collect();
    let args = ["put".to_owned()].into_iter().chain(names).chain(["/".to_owned()]);
    alice.run(args).exits(6).says("quota");
    assert_eq!(alice.names("/").len(), 10);
    assert_eq!(rig.check_df("alice").used, 1_000_000);
}

#[test]
fn standard_input_stops_at_the_quota() {
    let rig = limited("5 MiB");
    let alice = rig.cli("alice");
    alice
        .feed(["put", "-", "stream"], &vec![7; 9_000_000])
        .exits(6)
        .says("quota");
    assert!(alice.names("/").is_empty());
    let counts = rig.check_df("alice");
    assert!(counts.pending <= 5 * MIB);
    if counts.uploads > 0 {
        alice.run(["uploads", "--discard", "stream"]).ok();
    }
    alice.feed(["put", "-", "stream"], &vec![7; 4_000_000]).ok();
    assert_eq!(rig.check_df("alice").used, 4_000_000);
}

#[test]
fn copies_count() {
    let rig = limited("10 MiB");
    let alice = rig.cli("alice");
    write_noise(&alice.file("x"), 4 * MIB, 1);
    alice.run(["put", "x"]).ok();
    alice.run(["cp", "x", "y"]).ok();
    alice.run(["cp", "x", "z"]).exits(6);
    assert_eq!(rig.check_df("alice").used, 8 * MIB);
}

#[test]
fn the_number_of_files_is_limited_too() {
    let rig = Plan::new().user("alice", "max_files = 3").start();
    let alice = rig.cli("alice");
    fs::write(alice.file("x"), "x").unwrap();
    alice.run(["mkdir", "d"]).ok();
    alice.run(["put", "x", "d/1"]).ok();
    alice.run(["put", "x", "d/2"]).ok();
    alice.run(["put", "x", "d/3"]).exits(6);
    alice.run(["mkdir", "e"]).exits(6);
    alice.run(["cp", "d/1", "d/4"]).exits(6);
    alice.run(["put", "--force", "x", "d/2"]).ok();
    alice.run(["rm", "d/2"]).ok();
    alice.run(["put", "x", "d/3"]).ok();
    assert_eq!(rig.check_df("alice").entries, 3);
    assert_eq!(alice.one(&["df"])["entries_limit"], 3);
}

#[test]
fn df_is_exact_after_a_mix_of_everything_and_after_a_crash() {
    let mut rig = limited("40 MiB");
    let alice = rig.cli("alice");
    write_noise(&alice.file("small"), 5_000, 1);
    write_noise(&alice.file("middle"), 3 * MIB, 2);
    write_noise(&alice.file("large"), 12 * MIB, 3);
    write_noise(&alice.file("too large"), 60 * MIB, 4);

    alice.run(["put", "small", "middle", "large", "/"]).ok();
    alice.run(["put", "too large"]).exits(6);
    alice.run(["put", "--force", "middle", "large"]).ok();
    alice.run(["mkdir", "-p", "d/e"]).ok();
    alice.run(["cp", "large", "d/copy"]).ok();
    alice.run(["mv", "-f", "small", "d/copy"]).ok();
    alice.run(["rm", "middle"]).ok();
    rig.check_df("alice");
    let aborted = |address, name: &str| {
        let proxy = Proxy::start(address).and(Direction::Up, 4 * MIB, Break::Cut);
        let alice = rig.cli("alice").via(proxy.address());
        alice.run(["--retries", "0", "put", "--force", "large", name]).exits(8);
    };
    aborted(rig.address(), "broken");
    aborted(rig.address(), "large");
    aborted(rig.address(), "d/e/broken");
    let counts = rig.check_df("alice");
    assert_eq!(counts.uploads, 3);

    let proxy = Proxy::start(rig.address()).and(Direction::Up, 6 * MIB, Break::Stall);
    let running = alice
        .clone()
        .via(proxy.address())
        .spawn(["--retries", "0", "put", "large", "new"]);
    proxy.wait_for_stall();
    let home = rig.home("alice");
    ftp_tests::eventually("a fourth upload is staged", || (parts(&home).len() == 4).then_some(()));
    rig.kill();
    proxy.sever();
    running.wait().exits(8);
    rig.restart();
    let after = rig.check_df("alice");
    assert_eq!((after.used, after.entries), (counts.used, counts.entries));
    assert!(after.pending > counts.pending);

    let alice = rig.cli("alice");
    alice.run(["put", "--resume", "--force", "large"]).ok();
    alice.run(["uploads", "--discard", "broken", "--discard", "new"]).ok();
    alice.run(["rm", "-r", "d"]).ok();
    let end = rig.check_df("alice");
    assert_eq!((end.used, end.entries), (12 * MIB, 1));
    rig.kill();
    rig.restart();
    assert_eq!(rig.check_df("alice"), end);
}

#[test]
fn without_a_quota_df_shows_none() {
    let rig = Rig::start();
    let usage = rig.cli("alice").one(&["df"]);
    assert!(usage["limit"].is_null());
    assert!(usage["free"].as_u64().unwrap() > 0);
}
