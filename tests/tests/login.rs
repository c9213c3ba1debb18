//! Who comes in, and who is deceived by nobody.

use std::fs;
use std::process::Command;

use ftp_proto::{Code, LoginReply, LoginRequest};
use ftp_tests::{Channel, Middle, PASSWORD, Plan, Raw, Rig, eventually, ftpd, pretend_server};
use tokio::sync::mpsc;

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let rig = Rig::start();
    let wrong = rig.cli("alice").with_password("wrong").run(["pwd"]).exits(3);
    let unknown = rig.cli("nobody").run(["pwd"]).exits(3);
    assert_eq!(wrong.stderr().replace("alice", "nobody"), unknown.stderr());
    let failures = |user: &str| {
        rig.log().event("the failure is logged", |event| {
            event["event"] == "login_failed" && event["user"] == user
        })
    };
    assert_eq!(failures("alice")["cause"], failures("nobody")["cause"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_an_unknown_user_is_the_one_to_a_wrong_password() {
    let rig = Rig::start();
    let refused = async |user: &str| {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        raw.try_login(user, "wrong").await.unwrap_err()
    };
    let fault = refused("alice").await;
    assert_eq!(fault.code, Code::LoginFailed);
    assert_eq!(refused("nobody").await, fault);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_has_the_same_salt_every_time() {
    let rig = Rig::start();
    let challenge = async || {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        raw.send(&hello(1)).await;
        let (mechanism, message) = (
            "SCRAM-SHA-256-PLUS".to_owned(),
            "p=tls-exporter,,n=nobody,r=abc".to_owned(),
        );
        raw.send(&LoginRequest::Login { mechanism, message }).await;
        raw.login_reply().await.unwrap();
        match raw.login_reply().await.unwrap() {
            LoginReply::Challenge { message } => message.split_once(",s=").unwrap().1.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(challenge().await, challenge().await);
}

#[test]
fn an_address_that_fails_too_often_is_shut_out() {
    let rig = Plan::new().user("alice", "").limits("login_failures = 2").start();
    for _ in 0..2 {
        rig.cli("alice").with_password("wrong").run(["pwd"]).exits(3);
    }
    rig.cli("alice").run(["pwd"]).exits(3).says("try again in");
    rig.log().event("the address is shut out", |event| {
        event["event"] == "shut_out" && event["failures"] == 2
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_the_middle_with_an_own_certificate_gets_nothing() {
    let rig = Rig::start();
    let middle = Middle::start(rig.address()).await;
    let alice = rig.cli("alice").via(middle.address());
    fs::write(alice.file("secret"), "the plans").unwrap();
    alice.run(["put", "secret"]).exits(3).says("in the middle");

    let overheard = middle.overheard();
    let heard = |needle: &str| {
        overheard
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(heard("SCRAM-SHA-256-PLUS"));
    assert!(!heard(PASSWORD) && !heard("the plans"));
    let event = rig
        .log()
        .event("the server notices", |event| event["event"] == "login_failed");
    assert!(event["cause"].as_str().unwrap().contains("not bound"), "{event}");
    assert!(!rig.home("alice").join("secret").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_know_the_verifier_is_not_believed() {
    let (sender, mut proofs) = mpsc::unbounded_channel();
    let rig = Rig::start();
    let alice = rig.cli("alice").via(pretend_server(sender).await);
    fs::write(alice.file("secret"), "the plans").unwrap();
    alice
        .run(["put", "secret"])
        .exits(3)
        .says("not the server it claims to be");
    assert!(!proofs.recv().await.unwrap().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_can_not_be_replayed() {
    let encrypted = Rig::start();
    let plain = Plan::new().user("alice", "").plaintext().start();
    for (rig, channel) in [(encrypted, Channel::Tls), (plain, Channel::Plain)] {
        let recorded = Raw::connect(rig.address(), channel)
            .await
            .try_login("alice", PASSWORD)
            .await
            .unwrap();
        let mut raw = Raw::connect(rig.address(), channel).await;
        for message in &recorded {
            raw.send(message).await;
        }
        assert!(matches!(raw.login_reply().await, Ok(LoginReply::Hello(_))));
        assert!(matches!(raw.login_reply().await, Ok(LoginReply::Challenge { .. })));
        assert_eq!(
            raw.login_reply().await.unwrap_err().code,
            Code::LoginFailed,
            "{channel:?}"
        );
        assert!(raw.frame().await.is_none());
        rig.log()
            .event("the replay is logged", |event| event["event"] == "login_failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_not_bound_to_the_channel_is_refused() {
    let rig = Rig::start();
    for (mechanism, message) in [
        ("SCRAM-SHA-256", "n,,n=alice,r=abc"),
        ("SCRAM-SHA-256", "p=tls-exporter,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", "n,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", "y,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=alice,r=abc"),
    ] {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        raw.send(&hello(1)).await;
        let (mechanism, message) = (mechanism.to_owned(), message.to_owned());
        raw.send(&LoginRequest::Login { mechanism, message }).await;
        raw.login_reply().await.unwrap();
        let fault = raw.login_reply().await.unwrap_err();
        assert_eq!(fault.code, Code::LoginFailed, "{fault}");
    }
    let refused = |event: &serde_json::Value| event["event"] == "login_failed";
    eventually("each refusal is logged", || {
        (rig.log().events().iter().filter(|event| refused(event)).count() == 5).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_may_be_asked_before_the_login() {
    let rig = Rig::start();
    for message in [r#"{"op":"pwd","id":1}"#, r#"{"op":"proof","message":"c=,r=,p="}"#] {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        raw.send(&hello(1)).await;
        raw.frame_of(0x01, message.as_bytes()).await;
        raw.login_reply().await.unwrap();
        assert_eq!(raw.login_reply().await.unwrap_err().code, Code::Protocol, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_gets_a_clear_refusal() {
    let rig = Rig::start();
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    raw.send(&hello(99)).await;
    raw.login_reply().await.unwrap();
    let fault = raw.login_reply().await.unwrap_err();
    assert_eq!(fault.code, Code::Version);
    assert!(fault.message.contains("99"), "{fault}");
}

#[test]
fn a_client_without_tls_learns_that_the_server_wants_it() {
    let rig = Rig::start();
    let ran = rig.cli("alice").run(["--no-tls", "--retries", "0", "pwd"]).says("TLS");
    assert_ne!(ran.code(), Some(0));
    rig.log()
        .event("the server says why", |event| event["event"] == "login_failed");
}

#[test]
fn a_client_with_tls_learns_that_the_server_has_none() {
    let rig = Plan::new().user("alice", "").plaintext().start();
    let ran = rig.cli("alice").run(["--retries", "0", "pwd"]).says("--no-tls");
    assert_ne!(ran.code(), Some(0));
    rig.cli("alice").run(["--no-tls", "pwd"]).ok();
}

#[test]
fn a_login_is_saved_as_a_key_and_forgotten_on_request() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let login = alice.one(&["login"]);
    let profile = login["profile"].as_str().unwrap();
    let saved = fs::read_to_string(profile).unwrap();
    assert!(!saved.contains(PASSWORD));
    assert_eq!(fs::metadata(profile).unwrap().permissions().mode() & 0o777, 0o600);

    let keyed = alice.clone().without_password();
    assert_eq!(keyed.run(["pwd"]).ok().stdout(), "/\n");
    keyed.run(["logout"]).ok();
    keyed.run(["pwd"]).exits(2);
}

#[test]
fn a_saved_key_that_others_may_read_is_replaced_or_forgotten_on_request() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let login = alice.one(&["login"]);
    let profile = login["profile"].as_str().unwrap();
    let expose = || fs::set_permissions(profile, fs::Permissions::from_mode(0o644)).unwrap();
    let keyed = alice.clone().without_password();
    expose();
    keyed.run(["pwd"]).exits(5).says("chmod 600");
    keyed.run(["login", "--list"]).exits(5).says("chmod 600");
    alice.run(["login"]).ok();
    keyed.run(["pwd"]).ok();
    expose();
    keyed.run(["logout", "--all"]).ok();
    assert!(!fs::exists(profile).unwrap());
    alice.run(["login"]).ok();
    expose();
    keyed.run(["logout"]).ok();
    assert!(!fs::exists(profile).unwrap());
}

#[test]
fn a_password_comes_from_standard_input_on_request() {
    let rig = Rig::start();
    let alice = rig.cli("alice").without_password();
    let ran = alice.feed(["--password-stdin", "pwd"], format!("{PASSWORD}\n").as_bytes());
    assert_eq!(ran.ok().stdout(), "/\n");
    alice.feed(["--password-stdin", "pwd"], b"wrong\n").exits(3);
}

#[test]
fn a_user_added_by_the_administrator_logs_in() {
    let rig = Rig::start();
    let mut add = Command::new(ftpd());
    add.arg("--config")
        .arg(rig.config())
        .args(["user", "add", "carol", "--quota", "1MiB", "--password-stdin"])
        .stdin(
            fs::File::open({
                fs::write(rig.local("password"), "a new password\n").unwrap();
                rig.local("password")
            })
            .unwrap(),
        );
    assert!(add.output().unwrap().status.success());
    rig.reload();
    let carol = rig.cli("carol").with_password("a new password");
    assert_eq!(carol.one(&["df"])["limit"], 1024 * 1024);
    rig.cli("carol").run(["df"]).exits(3);
}

#[test]
fn no_secret_is_in_the_log() {
    let rig = Rig::start();
    rig.cli("alice").run(["login"]).ok();
    rig.cli("alice").with_password("not this one").run(["pwd"]).exits(3);
    rig.log()
        .event("both are logged", |event| event["event"] == "login_failed");
    let log = fs::read_to_string(rig.directory().join("log/ftpd.jsonl")).unwrap();
    assert!(log.contains("\"alice\""));
    for secret in [PASSWORD, "not this one", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret) && !rig.server().said().join("\n").contains(secret));
    }
}

fn hello(version: u32) -> LoginRequest {
    LoginRequest::Hello(ftp_proto::ClientHello {
        version,
        agent: String::new(),
    })
}

/// So few samples that even the largest score is no difference: that it runs, not what it finds.
#[test]
fn the_measurement_of_login_times_runs_and_reports() {
    let measured = Command::new(env!("CARGO_BIN_EXE_login-timing"))
        .arg("8")
        .env("FTP_TESTS_PROGRAMS", ftpd().parent().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(measured.stdout).unwrap();
    assert!(
        measured.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&measured.stderr)
    );
    for part in ["challenge: median ", "refusal: median ", "8 logins each"] {
        assert!(said.contains(part), "{said}");
    }
}
