//! What happens meanwhile: a store that takes its time, and a place that is given to somebody else.

use std::sync::mpsc;
use std::time::Duration;

use ftp_proto::BEAT_INTERVAL;

use super::*;

/// Requests whose answer comes from the store, with the data that a small upload needs.
pub(super) fn requests() -> Vec<(&'static str, Op)> {
    let (path, text) = (|| "/dir".to_owned(), |text: &str| text.to_owned());
    vec![
        ("cd", Op::Cd { path: path() }),
        (
            "cp",
            Op::Cp {
                from: text("/file"),
                to: text("/copy"),
                replace: false,
            },
        ),
        ("df", Op::Df),
        ("discard", Op::Discard { path: text("/staged") }),
        ("get", get("/file")),
        (
            "ls",
            Op::Ls {
                path: path(),
                digests: false,
            },
        ),
        (
            "mkdir",
            Op::Mkdir {
                path: text("/new"),
                parents: false,
            },
        ),
        (
            "mv",
            Op::Mv {
                from: text("/file"),
                to: text("/moved"),
                replace: false,
            },
        ),
        ("put", put("/large", Some(1), true)),
        (
            "restore",
            Op::Restore {
                item: Some(1),
                path: None,
                to: None,
                replace: false,
            },
        ),
        (
            "rm",
            Op::Rm {
                path: text("/file"),
                forever: false,
            },
        ),
        (
            "rmdir",
            Op::Rmdir {
                path: path(),
                recursive: true,
                forever: false,
            },
        ),
        (
            "stat",
            Op::Stat {
                path: path(),
                digest: true,
            },
        ),
        (
            "sum",
            Op::Sum {
                path: text("/file"),
                digest: Algorithm::Sha256,
                fresh: false,
            },
        ),
        ("trash", Op::Trash { path: None }),
        ("purge", Op::Purge { items: None }),
        ("uploads", Op::Uploads),
    ]
}

#[test]
fn beats_leave_whatever_the_store_takes_its_time_for() {
    // One thread for all that touches a disk: whoever holds it makes the store slow.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    for (name, op) in requests() {
        runtime.block_on(async {
            let house = House::new();
            let mut peer = house.enter().await;
            std::fs::create_dir(house.alice.home.join("dir")).unwrap();
            std::fs::write(house.alice.home.join("file"), "text").unwrap();
            let (release, held) = mpsc::channel::<()>();
            let (holds, holding) = tokio::sync::oneshot::channel();
            let slow = tokio::task::spawn_blocking(move || {
                holds.send(()).unwrap();
                held.recv().unwrap_err();
            });
            holding.await.unwrap();
            peer.send(7, op).await;
            let beat = tokio::select! {
                frame = peer.frame() => frame,
                () = async {
                    // The clock stands still while the thread is held.
                    for _ in 0..100 {
                        tokio::time::advance(BEAT_INTERVAL / 10).await;
                        tokio::task::yield_now().await;
                    }
                } => None,
            };
            drop(release);
            slow.await.unwrap();
            let Some(Frame::Header(json)) = beat else {
                panic!("{name}: no beat");
            };
            let reply: Reply = serde_json::from_slice(&json).unwrap();
            assert_eq!((reply.id, reply.re), (0, Re::Beat), "{name}");
            assert_eq!(peer.reply().await.0, 7, "{name}");
            peer.hang_up().await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_displaced_while_it_waits_to_be_let_in_is_sent_away_at_once() {
    let limits = Limits {
        connects_per_address: Some(1),
        sessions_before_login: 4,
        ..Limits::default()
    };
    let house = House::with_limits(Rights::ALL, None, limits);
    let peer = |host: u8| SocketAddr::from(([192, 0, 2, host], 9));
    let admit = |host| house.door.gate.admit(peer(host).ip()).unwrap();
    drop((admit(1), admit(1)));
    let (waits, comes_late) = (admit(1), admit(1));
    let _others = [admit(2), admit(3)];
    let began = Instant::now();
    let waiting = house.door.lets_in(&waits, peer(1), 1);
    let newcomer = async { admit(4) };
    let (is_let_in, _newcomer) = tokio::join!(waiting, newcomer);
    assert!(!is_let_in);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(house.door.lets_in(&comes_late, peer(1), 2).await);
    assert!(began.elapsed() >= Duration::from_secs(1));
}
