//! Uploads and downloads: proven, refused, taken over, cancelled, drained.

use super::*;

#[tokio::test]
async fn small_uploads_overlap_and_are_answered_in_order() {
    let house = House::new();
    let mut peer = house.enter().await;
    for id in 1..=100 {
        let body = format!("file {id}");
        peer.send(id, put(&format!("/f{id}"), None, false)).await;
        peer.send_data(body.as_bytes()).await;
        peer.send(id, end(body.as_bytes())).await;
        // The pipe holds no answers, so each has to be taken before the next upload fits.
        let (answered, re) = peer.reply().await;
        assert_eq!(answered, id);
        assert!(matches!(re, Re::Stored(_)), "{re:?}");
    }
    assert_eq!(house.file("f100"), b"file 100");
}

#[tokio::test]
async fn a_wrong_digest_publishes_nothing() {
    let house = House::new();
    let mut peer = house.enter().await;
    peer.send(1, put("/f", Some(5), false)).await;
    peer.send_data(b"hello").await;
    peer.send(1, end(b"jello")).await;
    assert_eq!(peer.fault(1).await.code, Code::DigestMismatch);
    peer.send(
        2,
        Op::Stat {
            path: "/f".to_owned(),
            digest: false,
        },
    )
    .await;
    assert_eq!(peer.fault(2).await.code, Code::NotFound);
}

#[tokio::test]
async fn an_upload_that_breaks_a_limit_is_refused_in_the_middle_and_the_session_goes_on() {
    let house = House::with(Rights::ALL, Some(100_000));
    let mut peer = house.enter().await;
    peer.send(1, put("/stream", None, true)).await;
    assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
    peer.send_data(&[1; 90_000]).await;
    peer.send_data(&[2; 90_000]).await;
    // The refusal may need one more chunk to show.
    peer.send_data(&[3; 10]).await;
    let fault = peer.fault(1).await;
    assert_eq!((fault.code, fault.limit), (Code::QuotaBytes, Some(100_000)));
    peer.send(
        1,
        Op::Fail {
            message: "refused".to_owned(),
        },
    )
    .await;
    peer.send(2, Op::Ping).await;
    assert_eq!(peer.reply().await, (2, Re::Ok));
}

#[tokio::test]
async fn a_newer_upload_to_the_same_path_takes_over() {
    let house = House::new();
    let mut old = house.enter().await;
    old.send(1, put("/f", Some(1_000_000), true)).await;
    assert_eq!(old.reply().await, (1, Re::Go { have: None }));
    let mut new = house.enter().await;
    new.send(1, put("/f", Some(1_000_000), true)).await;
    assert_eq!(new.reply().await, (1, Re::Go { have: None }));
    assert_eq!(old.fault(1).await.code, Code::TakenOver);
    assert!(
        matches!(old.reply().await, (0, Re::Bye(_))),
        "the older connection is cut"
    );
}

#[tokio::test]
async fn a_download_can_be_cancelled_and_the_session_goes_on() {
    let house = House::new();
    let source = vec![9; 4 * MAX_DATA_BYTES];
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), &source).unwrap();
    peer.send(1, get("/f")).await;
    assert!(matches!(peer.reply().await, (1, Re::Begin { .. })));
    assert!(matches!(peer.frame().await, Some(Frame::Data(_))));
    // The pipe is full of data: the cancel has to travel while the rest is still read.
    let cancel = Request {
        id: 2,
        op: Op::Cancel { target: 1 },
    };
    let mut received = MAX_DATA_BYTES;
    let Peer { reader, writer, .. } = &mut peer;
    let sending = async { writer.send(&cancel).await.unwrap() };
    let reading = async {
        loop {
            match reader.next().await.unwrap() {
                Some(Frame::Data(bytes)) => received += bytes.len(),
                Some(Frame::Header(json)) => break serde_json::from_slice::<Reply>(&json).unwrap(),
                None => panic!("the session goes on"),
            }
        }
    };
    let ((), last) = tokio::join!(sending, reading);
    assert!(
        matches!(
            last,
            Reply {
                id: 1,
                re: Re::Error(Fault {
                    code: Code::Cancelled,
                    ..
                })
            }
        ),
        "{last:?}"
    );
    assert!(received < source.len());
    assert_eq!(peer.reply().await, (2, Re::Ok));
}

#[tokio::test]
async fn a_drain_ends_idle_sessions_and_lets_transfers_end() {
    let house = House::new();
    let mut idle = house.enter().await;
    let mut busy = house.enter().await;
    busy.send(1, put("/f", Some(5), true)).await;
    assert_eq!(busy.reply().await, (1, Re::Go { have: None }));
    house.door.drain.cancel();
    assert!(matches!(
        idle.reply().await,
        (
            0,
            Re::Bye(Fault {
                code: Code::ShuttingDown,
                ..
            })
        )
    ));
    busy.send_data(b"hello").await;
    busy.send(1, end(b"hello")).await;
    assert!(matches!(busy.reply().await, (1, Re::Stored(_))));
    assert!(matches!(
        busy.reply().await,
        (
            0,
            Re::Bye(Fault {
                code: Code::ShuttingDown,
                ..
            })
        )
    ));
    assert_eq!(house.file("f"), b"hello");
}
