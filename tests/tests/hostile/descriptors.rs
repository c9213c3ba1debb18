//! The last file descriptor.

use std::time::Duration;

use ftp_tests::{Plan, eventually};
use tokio::net::{TcpSocket, TcpStream};

use super::{Siege, host};

async fn connections(siege: &Siege, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for number in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind((host(10 + u8::try_from(number % 4).unwrap()), 0).into())
            .unwrap();
        held.push(socket.connect(siege.address()).await.unwrap());
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_descriptors_for_files() {
    let siege = Siege::of(Plan::new().open_files(128));
    let held = connections(&siege, 300).await;
    eventually("as many as there is room for are let in", || {
        (siege.server().open_files() >= 96).then_some(())
    });
    for _ in 0..3 {
        siege.alice_works().await;
    }
    assert!(siege.server().open_files() < 128);
    let events = siege.rig.log().events();
    assert!(events.iter().all(|event| event["event"] != "failure"), "{events:#?}");
    let warning = |event: &serde_json::Value| {
        event["message"]
            .as_str()
            .is_some_and(|text| text.contains("LimitNOFILE"))
    };
    assert!(events.iter().any(warning), "the administrator is told");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_nothing_spins_and_all_is_well_afterwards() {
    // Too few for the server's own files and the connections it lets in.
    let siege = Siege::of(Plan::new().open_files(32));
    let held = connections(&siege, 60).await;
    siege.rig.log().event("accepting fails", |event| {
        event["event"] == "failure" && event["message"].as_str().is_some_and(|text| text.contains("accept"))
    });
    let before = siege.server().ticks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = siege.server().ticks() - before;
    assert!(used < 50, "{used} % of a processor while there is nothing to do");
    drop(held);
    siege.alice_works().await;
    siege.logged_at_most(200);
}
