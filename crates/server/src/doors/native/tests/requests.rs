//! Requests that are not as the protocol has them.

use super::*;

#[tokio::test]
async fn unknown_requests_get_an_answer_and_unknown_fields_are_ignored() {
    let house = House::new();
    let mut peer = house.enter().await;
    for json in [
        r#"{"id":1,"op":"teleport","to":"moon"}"#,
        r#"{"id":2,"op":"ping","colour":"red"}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        peer.writer.send(&value).await.unwrap();
    }
    assert_eq!(peer.fault(1).await.code, Code::UnknownRequest);
    assert_eq!(peer.reply().await, (2, Re::Ok));
}

#[tokio::test]
async fn malformed_requests_end_the_session_with_a_reason() {
    let house = House::new();
    let mut peer = house.enter().await;
    peer.writer
        .send(&serde_json::json!({"id": 1, "op": "cd"}))
        .await
        .unwrap();
    assert!(matches!(
        peer.reply().await,
        (
            0,
            Re::Bye(Fault {
                code: Code::Protocol,
                ..
            })
        )
    ));
    assert!(peer.frame().await.is_none());
}
