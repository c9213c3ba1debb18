//! What the log says of changes and copies that go on when nobody waits for them any more.

use std::sync::mpsc;

use super::busy::requests;
use super::*;
use crate::logging::tests::logged;

/// Each change, with its name in the log.
fn changes() -> Vec<(&'static str, Op)> {
    let is_change = |name| ["mkdir", "mv", "rm", "rmdir", "purge"].contains(&name);
    let mut changes: Vec<_> = requests().into_iter().filter(|(name, _)| is_change(*name)).collect();
    assert_eq!(changes.len(), 5);
    let restore = Op::Restore {
        item: None,
        path: Some("/gone".to_owned()),
        to: None,
        replace: false,
    };
    changes.push(("restore", restore));
    changes
}

#[test]
fn a_change_that_outlives_its_session_is_logged() {
    for (name, op) in changes() {
        let lines = log_of(cut_in_the_middle(op));
        let ends = |line: &&serde_json::Value| line["event"] == "request" && line["op"] == name;
        let line = lines.iter().rfind(ends);
        assert_eq!(line.expect(name)["outcome"], "ok", "{name}");
        let session_end = lines.iter().position(|line| line["event"] == "session_end").unwrap();
        assert!(lines.iter().skip(session_end).any(|line| line["op"] == name), "{name}");
    }
}

#[test]
fn a_copy_that_is_given_up_has_one_line_which_says_how() {
    for (outcome, is_cancelled) in [("cancelled", true), ("lost", false)] {
        let lines = log_of(give_up_a_copy(is_cancelled));
        let of_copy = lines.iter().filter(|line| line["op"] == "cp");
        let outcomes: Vec<_> = of_copy.map(|line| (&line["event"], &line["outcome"])).collect();
        assert_eq!(outcomes, [(&"transfer".into(), &outcome.into())]);
    }
}

/// The log of `work`, for which one thread does all that touches a disk: whoever holds it makes the store slow.
fn log_of(work: impl Future<Output = ()>) -> Vec<serde_json::Value> {
    let (_, lines) = logged(|_| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(work);
    });
    lines
}

/// Holds that thread until the sender is dropped.
fn hold() -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (release, held) = mpsc::channel();
    let slow = tokio::task::spawn_blocking(move || {
        held.recv().unwrap_err();
    });
    (release, slow)
}

/// Has the client cancel a copy, or leave, while the store is at work for it.
async fn give_up_a_copy(is_cancelled: bool) {
    let house = House::new();
    let mut peer = house.enter().await;
    std::fs::write(house.alice.home.join("file"), "text").unwrap();
    let (release, slow) = hold();
    let (from, to) = ("/file".to_owned(), "/copy".to_owned());
    let replace = false;
    peer.send(7, Op::Cp { from, to, replace }).await;
    if is_cancelled {
        peer.send(8, Op::Cancel { target: 7 }).await;
        assert_eq!(peer.fault(7).await.code, Code::Cancelled);
        assert_eq!(peer.reply().await, (8, Re::Ok));
    }
    peer.hang_up().await;
    drop(release);
    slow.await.unwrap();
}

/// Has a session end while the store is at work for it.
async fn cut_in_the_middle(op: Op) {
    let house = House::new();
    let age = std::time::Duration::from_secs(1000);
    house.change(|alice| alice.trash = ftp_store::TrashPolicy { bytes: 1000, age });
    let mut peer = house.enter().await;
    std::fs::create_dir(house.alice.home.join("dir")).unwrap();
    for name in ["file", "gone"] {
        std::fs::write(house.alice.home.join(name), "text").unwrap();
    }
    let path = "/gone".to_owned();
    peer.send(1, Op::Rm { path, forever: false }).await;
    assert_eq!(peer.reply().await, (1, Re::Ok));
    let (release, slow) = hold();
    peer.send(7, op).await;
    while house.door.tasks.is_empty() {
        tokio::task::yield_now().await;
    }
    house.door.cut.cancel();
    let Peer { reader, writer, server } = peer;
    drop((reader, writer));
    server.await.unwrap();
    drop(release);
    slow.await.unwrap();
    house.door.tasks.close();
    house.door.tasks.wait().await;
}
