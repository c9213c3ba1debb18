//! What one peer may take: sessions, time, memory.

use std::fs;

use ftp_client::{Code, Error};
use ftp_proto::LoginReply;
use ftp_tests::{Break, Channel, Direction, MIB, PASSWORD, Plan, Proxy, Raw, Vitals, eventually, write_sparse};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_no_more_sessions_than_allowed() {
    let rig = Plan::new().user("alice", "max_sessions = 2").user("bob", "").start();
    let first = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    let _second = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    let mut third = Raw::connect(rig.address(), Channel::Tls).await;
    let fault = third.try_login("alice", PASSWORD).await.unwrap_err();
    assert_eq!(fault.code, Code::TooManySessions);
    assert_eq!(fault.limit, Some(2));
    rig.cli("alice").run(["--retries", "0", "pwd"]).exits(8);
    rig.cli("bob").run(["pwd"]).ok();
    drop(first);
    eventually("the place is free again", || {
        (rig.cli("alice").run(["pwd"]).code() == Some(0)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_no_more_connections_than_allowed() {
    let rig = Plan::new().user("alice", "").limits("sessions_per_address = 2").start();
    let _first = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    let second = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    rig.cli("alice").run(["--retries", "0", "pwd"]).exits(8);
    rig.log()
        .event("the refusal is logged", |event| event["event"] == "session_refused");
    drop(second);
    eventually("the place is free again", || {
        (rig.cli("alice").run(["--retries", "0", "pwd"]).code() == Some(0)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_silent_is_sent_away() {
    let short = "tls_timeout = \"1 s\"\nhello_timeout = \"1 s\"\nlogin_timeout = \"1 s\"\nidle_timeout = \"1 s\"";
    let rig = Plan::new().user("alice", "").limits(short).start();
    let mut silent = Raw::connect(rig.address(), Channel::Plain).await;
    assert!(silent.frame().await.is_none());

    let mut without_hello = Raw::connect(rig.address(), Channel::Tls).await;
    assert!(matches!(without_hello.login_reply().await, Ok(LoginReply::Hello(_))));
    assert!(without_hello.frame().await.is_none());

    let mut idle = Raw::login(rig.address(), Channel::Tls, "alice", PASSWORD).await;
    let goodbye = idle.reply().await.unwrap();
    assert!(
        matches!(&goodbye.re, ftp_proto::Re::Bye(fault) if fault.code == Code::TimedOut),
        "{goodbye:?}"
    );
    assert!(idle.frame().await.is_none());
    rig.log()
        .event("silence is logged", |event| event["event"] == "session_end");
    let failures = || {
        rig.log()
            .events()
            .iter()
            .filter(|event| event["event"] == "login_failed")
            .count()
    };
    eventually("both failures are logged", || (failures() == 2).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_limit_what_a_user_may_do() {
    let plan = Plan::new()
        .user("reader", "rights = [\"read\"]")
        .user("writer", "rights = [\"write\"]")
        .user("keeper", "rights = [\"read\", \"write\"]");
    for user in ["reader", "keeper", "writer"] {
        fs::write(plan.home(user).join("there"), "there").unwrap();
    }
    let rig = plan.start();
    fs::write(rig.local("x"), "x").unwrap();
    let run = |user: &str, args: &[&str], code: i32| rig.cli(user).run(args).exits(code);
    run("reader", &["get", "there", "-"], 0);
    run("reader", &["put", "x"], 5).says("right to write");
    run("reader", &["rm", "there"], 5).says("right to delete");
    run("reader", &["mkdir", "d"], 5);
    run("writer", &["put", "x", "/new"], 5).says("right to read");
    run("keeper", &["put", "x", "new"], 0);
    run("keeper", &["put", "--force", "x", "there"], 5).says("right to delete");
    run("keeper", &["rm", "new"], 5);
    run("keeper", &["mv", "new", "newer"], 0);
    rig.log().outcome("rm", "there", "not_permitted");
    let mut client = rig.client("writer");
    match client.rm(&"there".into(), false).await {
        Err(Error::Refused(fault)) => assert_eq!(fault.code, Code::NotPermitted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn neither_side_needs_memory_for_the_size_of_a_file() {
    const SIZE: u64 = 512 * MIB;
    const MOST_KIB: u64 = 64 * 1024;
    let peak = |pid| Vitals::of(pid).peak_kib();
    let rig = Plan::new().user("alice", "").server("durability = \"none\"").start();
    let alice = rig.cli("alice");
    write_sparse(&alice.file("large"), SIZE, b"the end");
    for (direction, args) in [
        (Direction::Up, ["put", "large", "there"]),
        (Direction::Down, ["get", "there", "back"]),
    ] {
        // Stopped shortly before the end, where a process can be looked at.
        let proxy = Proxy::start(rig.address()).and(direction, SIZE - MIB, Break::Stall);
        let running = alice.clone().via(proxy.address()).spawn(args);
        proxy.wait_for_stall();
        let (client, server) = (peak(running.pid()), peak(rig.server().pid()));
        assert!(
            client < MOST_KIB && server < MOST_KIB,
            "client {client} KiB, server {server} KiB"
        );
        proxy.release();
        running.wait().ok();
        assert!(peak(rig.server().pid()) < MOST_KIB);
    }
}
