//! What a user may not do is refused before it is begun.

use super::*;

#[tokio::test]
async fn rights_are_asked_before_anything_is_done() {
    let house = House::with(
        Rights {
            read: true,
            write: false,
            delete: false,
        },
        None,
    );
    let mut peer = house.enter().await;
    peer.send(
        1,
        Op::Mkdir {
            path: "/d".to_owned(),
            parents: false,
        },
    )
    .await;
    assert_eq!(peer.fault(1).await.code, Code::NotPermitted);
    peer.send(2, put("/f", Some(2), false)).await;
    peer.send_data(b"hi").await;
    peer.send(2, end(b"hi")).await;
    assert_eq!(peer.fault(2).await.code, Code::NotPermitted);
    peer.send(
        3,
        Op::Ls {
            path: "/".to_owned(),
            digests: false,
        },
    )
    .await;
    assert_eq!(
        peer.reply().await,
        (3, Re::Ok),
        "the body was passed over and the home is empty"
    );
}

#[tokio::test]
async fn replacing_needs_the_right_to_delete() {
    let house = House::with(
        Rights {
            read: true,
            write: true,
            delete: false,
        },
        None,
    );
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), "old").unwrap();
    let Op::Put {
        path,
        size,
        mtime,
        digest,
        parents,
        ask,
        resume,
        ..
    } = put("/f", Some(3), false)
    else {
        panic!()
    };
    peer.send(
        1,
        Op::Put {
            path,
            size,
            mtime,
            digest,
            replace: true,
            parents,
            ask,
            resume,
        },
    )
    .await;
    peer.send_data(b"new").await;
    peer.send(1, end(b"new")).await;
    assert_eq!(peer.fault(1).await.code, Code::NotPermitted);
    assert_eq!(house.file("f"), b"old");
}
