//! A wall clock that jumps, ahead and back: it is shown and stored, and decides nothing.

use std::fs;
use std::time::SystemTime;

use ftp_tests::{Break, Direction, MIB, Plan, Proxy, eventually, sha256, write_noise};

const TEN_YEARS: i64 = 10 * 365 * 24 * 60 * 60;

#[test]
fn sessions_and_transfers_go_on_while_the_clock_of_the_server_jumps() {
    let plan = Plan::new().user("alice", "").limits("idle_timeout = \"30s\"");
    let Some((rig, tracer)) = plan.start_traced("a clock that jumps") else {
        return;
    };
    tracer.ignore();
    let alice = rig.cli("alice");
    write_noise(&alice.file("large"), 12 * MIB, 1);
    for (number, jump) in [TEN_YEARS, -TEN_YEARS, 0].into_iter().enumerate() {
        // A transfer stands still in the middle while the clock jumps.
        let target = format!("f{number}");
        let proxy = Proxy::start(rig.address()).and(Direction::Up, 6 * MIB, Break::Stall);
        let putting = alice.clone().via(proxy.address()).spawn(["put", "large", &target]);
        proxy.wait_for_stall();
        let staged = rig.staged("alice", MIB);
        tracer.set_clock(jump);
        // The jump is seen.
        let year = |event: &serde_json::Value| event["time"].as_str().unwrap()[..4].parse::<i64>().unwrap();
        alice.run(["df"]).ok();
        let shown = rig.log().events().last().map(year).unwrap();
        let now = this_year() + jump.signum() * 10;
        assert!((shown - now).abs() <= 1, "{shown}, not {now}");
        // Nothing was taken for idle, dead or expired by it.
        assert!(staged.exists());
        proxy.sever();
        putting.wait().ok();
        assert_eq!(sha256(&rig.home("alice").join(&target)), sha256(&alice.file("large")));
        let lost = rig
            .log()
            .events()
            .iter()
            .filter(|event| event.to_string().contains("idle"))
            .count();
        assert_eq!(lost, 0);
    }
    rig.check_df("alice");
}

#[test]
fn a_shut_out_is_neither_forgotten_nor_prolonged_by_a_jump() {
    let plan = Plan::new()
        .user("alice", "")
        .limits("login_failures = 1\nshut_out = \"1h\"");
    let Some((rig, tracer)) = plan.start_traced("a shut-out and a jump") else {
        return;
    };
    tracer.ignore();
    let alice = rig.cli("alice");
    let wrong = alice.clone().with_password("wrong");
    assert_ne!(wrong.run(["--retries", "0", "ls"]).code(), Some(0));
    for jump in [TEN_YEARS, -TEN_YEARS] {
        tracer.set_clock(jump);
        let ran = alice.run(["--retries", "0", "ls"]);
        assert_ne!(ran.code(), Some(0), "still shut out");
        let told = ran.stderr();
        let (_, left) = told.split_once("try again in ").expect("the rest of the time is told");
        let left: u64 = left.split_once(" s").unwrap().0.parse().unwrap();
        // None of it was spent by the jump, and none was added.
        assert!((1800..=3600).contains(&left), "{told}");
    }
}

#[test]
fn the_clock_of_a_client_may_be_ten_years_off_in_both_directions() {
    let rig = ftp_tests::Rig::start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("f"), MIB, 1);
    for (number, jump) in [TEN_YEARS, -TEN_YEARS].into_iter().enumerate() {
        for args in [
            &["put", "f", &format!("f{number}")][..],
            &["get", "--force", &format!("f{number}"), "back"],
        ] {
            // TLS, the login and the proof care for no date, nor does the certificate's age.
            let never = ftp_tests::Fault::new(ftp_tests::Effect::Hold, |_| false);
            let (running, tracer) = match alice.spawn_traced(args, never) {
                Ok(started) => started,
                Err(why) => return ftp_tests::skipped("a client's clock", &why),
            };
            tracer.set_clock(jump);
            running.wait().ok();
        }
        assert_eq!(sha256(&alice.file("back")), sha256(&alice.file("f")));
        fs::remove_file(alice.file("back")).unwrap();
    }
    eventually("df agrees", || Some(rig.check_df("alice")));
}

/// The year by the true clock.
#[expect(clippy::disallowed_methods, reason = "compared with what is shown")]
fn this_year() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    // Near enough, and off by one at its turn at most.
    1970 + i64::try_from(since / 31_556_952).unwrap()
}
