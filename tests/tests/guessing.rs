//! Strangers who guess: at passwords, from one address and from many, and at names.

use std::net::{IpAddr, Ipv4Addr};

use ftp_proto::{Code, LoginRequest};
use ftp_tests::{Channel, PASSWORD, Plan, Raw, Rig};

/// The last word of the owner's address belongs to nobody else.
fn stranger(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 7, number).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_comes_in_while_many_addresses_guess_at_the_password() {
    const STRANGERS: u8 = 20;
    const FREE: usize = 2;
    let rig = Plan::new()
        .user("alice", "")
        .limits(&format!("login_failures = {FREE}"))
        .start();
    let address = rig.address();
    let mut guessing = tokio::task::JoinSet::new();
    for number in 1..=STRANGERS {
        guessing.spawn(async move {
            for _ in 0..FREE {
                let mut raw = Raw::connect_from(stranger(number), address, Channel::Tls)
                    .await
                    .unwrap();
                let refused = raw.try_login("alice", "a guess").await.unwrap_err();
                assert_eq!(refused.code, Code::LoginFailed);
            }
            // Not even the right password is heard from here any more.
            let mut raw = Raw::connect_from(stranger(number), address, Channel::Tls)
                .await
                .unwrap();
            let refused = raw.try_login("alice", PASSWORD).await.unwrap_err();
            assert_eq!(refused.code, Code::TryLater);
            assert!(refused.retry_after_ms.is_some_and(|wait| wait > 0));
        });
        // Before, meanwhile and afterwards.
        Raw::login(address, Channel::Tls, "alice", PASSWORD).await;
    }
    while let Some(guessed) = guessing.join_next().await {
        guessed.unwrap();
        Raw::login(address, Channel::Tls, "alice", PASSWORD).await;
    }
    ftp_tests::eventually("each address is shut out, and only those", || {
        let events = rig.log().events();
        let shut_out = events.iter().filter(|event| event["event"] == "shut_out").count();
        (shut_out == usize::from(STRANGERS)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_begun_before_the_shut_out_are_refused_too() {
    let rig = Plan::new().user("alice", "").limits("login_failures = 1").start();
    let mut waiting = Raw::connect_from(stranger(1), rig.address(), Channel::Tls)
        .await
        .unwrap();
    let refused = waiting
        .try_login_between("alice", PASSWORD, async || {
            let mut other = Raw::connect_from(stranger(1), rig.address(), Channel::Tls)
                .await
                .unwrap();
            other.try_login("alice", "a guess").await.unwrap_err();
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::TryLater);
}

/// What a challenge shows of a user: salt and iterations.
async fn shown(rig: &Rig, user: &str) -> String {
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    let challenge = raw.challenge(user).await.unwrap();
    let (nonce, shown) = challenge.split_once(",s=").unwrap();
    assert_eq!(nonce.len(), "r=".len() + 26 + 32, "{challenge}");
    shown.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_not_be_found_out_by_what_changes() {
    // Salts of the rig are names: these are of one length, as real ones are.
    let mut rig = Plan::new().user("alice", "").user("bobby", "").start();
    let (known, unknown) = (shown(&rig, "alice").await, shown(&rig, "nobody").await);
    assert_eq!(known.len(), unknown.len(), "{known} {unknown}");
    assert_eq!(known.split_once(',').unwrap().1, unknown.split_once(',').unwrap().1);
    assert_ne!(shown(&rig, "someone").await, unknown);
    let unchanged = async |rig: &Rig, what| {
        assert_eq!(shown(rig, "alice").await, known, "{what}");
        assert_eq!(shown(rig, "nobody").await, unknown, "{what}");
    };
    for name in ["carol", "david", "erika", "frank"] {
        rig.set_user(name, "");
        rig.reload();
        unchanged(&rig, name).await;
    }
    for name in ["bobby", "carol", "frank"] {
        rig.remove_user(name);
        rig.reload();
        unchanged(&rig, name).await;
    }
    rig.kill();
    rig.restart();
    unchanged(&rig, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_normalise_alike_are_one_user() {
    let rig = Plan::new().user("alice", "").limits("login_failures = 1000").start();
    let alice = shown(&rig, "alice").await;
    // Full width, and with a soft hyphen, which SASLprep (RFC 4013) maps to nothing.
    for name in ["\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}", "al\u{ad}ice"] {
        assert_eq!(shown(&rig, name).await, alice);
        // What the log calls the failure is the account, not the spelling.
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        raw.try_login(name, "wrong").await.unwrap_err();
    }
    assert_ne!(shown(&rig, "Alice").await, alice);
    rig.log().event("both failures are alice's", |event| {
        event["event"] == "login_failed" && event["user"] == "alice"
    });
    let others = |event: &&serde_json::Value| event["event"] == "login_failed" && event["user"] != "alice";
    assert_eq!(
        rig.log()
            .events()
            .iter()
            .filter(others)
            .filter(|event| !event["user"].is_null())
            .count(),
        0
    );
    // Control characters, and text of both directions, are nobody's name.
    for name in ["ali\u{7}ce", "a\u{627}b"] {
        let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
        assert_eq!(raw.challenge(name).await.unwrap_err().code, Code::LoginFailed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_changes_during_a_login_ends_it() {
    let mut rig = Rig::start();
    let address = rig.address();
    let mut raw = Raw::connect(address, Channel::Tls).await;
    let refused = raw
        .try_login_between("alice", PASSWORD, async || {
            rig.set_password("alice", "another one");
            rig.reload();
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::LoginFailed);
    Raw::login(address, Channel::Tls, "alice", "another one").await;
    let mut raw = Raw::connect(address, Channel::Tls).await;
    let removed = raw.try_login_between("bob", PASSWORD, async || {
        rig.remove_user("bob");
        rig.reload();
    });
    assert_eq!(removed.await.unwrap_err().code, Code::LoginFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_login_messages_is_one_login() {
    let rig = Rig::start();
    let mut raw = Raw::connect(rig.address(), Channel::Tls).await;
    raw.challenge("alice").await.unwrap();
    for _ in 0..1000 {
        let message = "p=tls-exporter,,n=alice,r=abc".to_owned();
        let mechanism = "SCRAM-SHA-256-PLUS".to_owned();
        raw.send(&LoginRequest::Login { mechanism, message }).await;
    }
    assert_eq!(raw.login_reply().await.unwrap_err().code, Code::Protocol);
    assert!(raw.frame().await.is_none());
}
