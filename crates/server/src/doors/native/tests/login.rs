//! Logging in, and what is refused before.

use super::*;

#[tokio::test]
async fn a_login_passes_through_the_smallest_pipe() {
    let house = House::new();
    let mut peer = house.enter().await;
    peer.send(7, Op::Pwd).await;
    assert_eq!(peer.reply().await, (7, Re::Cwd { path: "/".to_owned() }));
    peer.send(8, Op::Quit).await;
    assert_eq!(peer.reply().await, (8, Re::Ok));
    assert!(peer.frame().await.is_none(), "the server closes after `quit`");
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_and_unknown_users_get_the_same_answer() {
    let house = House::new();
    let wrong = house.connect().log_in("alice", "pen").await.unwrap_err();
    let unknown = house.connect().log_in("mallory", "pencil").await.unwrap_err();
    assert_eq!(wrong.code, Code::LoginFailed);
    assert_eq!(wrong, unknown);
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let house = House::new();
    let mut peer = house.connect();
    let hello = ClientHello {
        version: 99,
        agent: String::new(),
    };
    assert!(matches!(peer.login_reply().await, Some(LoginReply::Hello(_))));
    peer.writer.send(&LoginRequest::Hello(hello)).await.unwrap();
    assert!(matches!(
        peer.login_reply().await,
        Some(LoginReply::Error(Fault {
            code: Code::Version,
            ..
        }))
    ));
}
