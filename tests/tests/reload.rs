//! The configuration changes while the server runs.

use std::fs;

use ftp_client::{Code, Error};
use ftp_tests::{Plan, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_concerns_only_those_it_is_about() {
    let mut rig = Plan::new().user("alice", "quota = \"1 MiB\"").user("bob", "").start();
    let (mut alice, mut bob) = (rig.client("alice"), rig.client("bob"));
    assert_eq!(alice.df().await.unwrap().limit, Some(1 << 20));
    bob.pwd().await.unwrap();

    rig.set_user("alice", "quota = \"2 MiB\"");
    rig.set_user("carol", "");
    rig.remove_user("bob");
    let event = rig.reload();
    assert_eq!(event["outcome"], "ok", "{event}");
    let count = |name: &str| event[name].as_u64().unwrap();
    assert_eq!((count("added"), count("changed"), count("removed")), (1, 1, 1));

    match bob.keep_alive().await {
        Error::Bye(fault) => assert_eq!(fault.code, Code::LoginFailed, "{fault}"),
        other => panic!("{other:?}"),
    }
    rig.cli("bob").run(["pwd"]).exits(3);
    rig.cli("carol").run(["pwd"]).ok();
    assert_eq!(alice.df().await.unwrap().limit, Some(2 << 20));
    let logins = |user: &str| {
        let events = rig.log().events();
        events
            .iter()
            .filter(|event| event["event"] == "login" && event["user"] == user)
            .count()
    };
    assert_eq!(logins("alice"), 1, "the session went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_passwords_change_under_open_sessions() {
    let mut rig = Rig::start();
    let mut alice = rig.client("alice");
    alice.mkdir(&"d".into(), false).await.unwrap();
    rig.set_user("alice", "rights = [\"read\"]");
    rig.reload();
    match alice.mkdir(&"e".into(), false).await {
        Err(Error::Refused(fault)) => assert_eq!(fault.code, Code::NotPermitted),
        other => panic!("{other:?}"),
    }
    let mut passwd = std::process::Command::new(ftp_tests::ftpd());
    fs::write(rig.local("password"), "another password\n").unwrap();
    passwd
        .arg("--config")
        .arg(rig.config())
        .args(["user", "passwd", "alice", "--password-stdin"])
        .stdin(fs::File::open(rig.local("password")).unwrap());
    assert!(passwd.output().unwrap().status.success());
    rig.reload();
    assert!(matches!(alice.keep_alive().await, Error::Bye(_)));
    rig.cli("alice").run(["pwd"]).exits(3);
    rig.cli("alice").with_password("another password").run(["pwd"]).ok();
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let mut rig = Rig::start();
    rig.set_user("carol", "");
    rig.log().event("the change is noticed", |event| {
        event["event"] == "config" && event["added"] == 1
    });
    rig.cli("carol").run(["pwd"]).ok();
}

#[test]
fn a_faulty_file_is_reported_and_the_old_one_stays_in_force() {
    let rig = Rig::start();
    let good = fs::read_to_string(rig.config()).unwrap();
    fs::write(
        rig.config(),
        format!("{good}\n[users.carol]\nverifyer = \"x\"\nquota = \"many\"\n"),
    )
    .unwrap();
    let event = rig.reload();
    assert_eq!(event["outcome"], "failed");
    rig.log().event("the key is named", |event| {
        event["event"] == "config" && event["cause"].as_str().is_some_and(|cause| cause.contains("verifyer"))
    });
    rig.cli("alice").run(["pwd"]).ok();
    rig.cli("carol").run(["pwd"]).exits(3);
    fs::write(rig.config(), good).unwrap();
    rig.log().event("the good file is taken", |event| {
        event["event"] == "config" && event["outcome"] == "ok"
    });
}
