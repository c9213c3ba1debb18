//! Rates as a client meets them, by a paused clock: only waits for a rate let it advance.

use std::time::Duration;

use ftp_proto::{BEAT_INTERVAL, PEER_TIMEOUT};
use tokio::time::{sleep, timeout};

use super::*;

pub(super) const KIB: u64 = 1024;

pub(super) fn house(change: impl FnOnce(&mut Limits)) -> House {
    let mut limits = Limits::default();
    change(&mut limits);
    House::with_limits(Rights::ALL, None, limits)
}

pub(super) fn slow_up(rate: u64) -> House {
    house(|limits| limits.upload_per_user = Some(rate))
}

fn slow_down(rate: u64) -> House {
    house(|limits| limits.download_per_user = Some(rate))
}

impl Peer {
    pub(super) async fn put_small(&mut self, id: u64, path: &str, bytes: &[u8]) {
        self.send(id, put(path, Some(bytes.len() as u64), false)).await;
        if !bytes.is_empty() {
            self.send_data(bytes).await;
        }
        self.send(id, end(bytes)).await;
    }

    async fn put_large(&mut self, path: &str, bytes: &[u8]) {
        self.send(1, put(path, Some(bytes.len() as u64), true)).await;
        assert_eq!(self.reply().await, (1, Re::Go { have: None }));
        for chunk in bytes.chunks(MAX_DATA_BYTES) {
            self.send_data(chunk).await;
        }
        self.send(1, end(bytes)).await;
        self.stored().await;
    }

    pub(super) async fn stored(&mut self) {
        let reply = self.reply().await;
        assert!(matches!(reply, (_, Re::Stored(_))), "{reply:?}");
    }

    /// Waits until nothing is owed any more, and asks for that.
    pub(super) async fn ping(&mut self) {
        self.send(1000, Op::Ping).await;
        assert_eq!(self.reply().await, (1000, Re::Ok));
    }

    /// Reads data until the next reply that is no beat; how many bytes, and how many beats came.
    async fn body(&mut self) -> (usize, usize, Re) {
        let (mut received, mut beats) = (0, 0);
        loop {
            match timeout(PEER_TIMEOUT, self.frame()).await.expect("a sign of life") {
                Some(Frame::Data(bytes)) => received += bytes.len(),
                Some(Frame::Header(json)) => match serde_json::from_slice::<Reply>(&json).unwrap().re {
                    Re::Beat => beats += 1,
                    re => return (received, beats, re),
                },
                None => panic!("the session goes on"),
            }
        }
    }
}

/// About `least` by the paused clock: headers count too, and the last thing taken is owed for.
#[track_caller]
pub(super) fn took(began: Instant, least: u64) {
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let least = least as f64;
    assert!(
        (least - 0.5..least + 0.9).contains(&seconds),
        "{seconds} s instead of {least} s"
    );
}

#[tokio::test(start_paused = true)]
async fn large_uploads_of_all_sessions_of_a_user_share_one_rate() {
    let house = slow_up(256 * KIB);
    let (mut one, mut other) = (house.enter().await, house.enter().await);
    let (a, b) = (vec![1; 1 << 20], vec![2; 1 << 20]);
    let began = Instant::now();
    tokio::join!(one.put_large("/a", &a), other.put_large("/b", &b));
    // Not only afterwards: all but what was saved and what was read ahead of each.
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    // The first answer leaves as soon as the session's own debt is taken, the second when all debts are paid.
    one.ping().await;
    one.ping().await;
    // 2 MiB at 256 KiB/s, of which a second's worth was saved.
    took(began, 7);
    assert_eq!((house.file("a"), house.file("b")), (a, b));
}

#[tokio::test(start_paused = true)]
async fn small_uploads_pass_through_the_same_bucket() {
    let house = slow_up(64 * KIB);
    let mut peer = house.enter().await;
    let began = Instant::now();
    for id in 1..=32 {
        peer.put_small(id, &format!("/{id}"), &[7; 16 * KIB as usize]).await;
        peer.stored().await;
    }
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    peer.ping().await;
    took(began, 7);
}

#[tokio::test(start_paused = true)]
async fn downloads_and_listings_pass_through_their_own_bucket() {
    let house = house(|limits| {
        limits.download_per_user = Some(64 * KIB);
        limits.upload_per_user = Some(64 * KIB);
    });
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), vec![3; 512 * KIB as usize]).unwrap();
    let began = Instant::now();
    peer.send(1, get("/f")).await;
    assert!(matches!(peer.reply().await, (1, Re::Begin { .. })));
    let (received, _, last) = peer.body().await;
    assert_eq!(received, 512 * KIB as usize);
    assert!(matches!(last, Re::End { .. }), "{last:?}");
    peer.ping().await;
    took(began, 7);

    std::fs::create_dir(house.dir.path().join("alice/d")).unwrap();
    for number in 0..2000 {
        std::fs::write(house.dir.path().join(format!("alice/d/{number:0200}")), "").unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    peer.send(
        2,
        Op::Ls {
            path: "/d".to_owned(),
            digests: false,
        },
    )
    .await;
    let mut bytes = 0;
    loop {
        match peer.frame().await {
            Some(Frame::Header(json)) => {
                bytes += json.len() as u64;
                if serde_json::from_slice::<Reply>(&json).unwrap().re == Re::Ok {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    peer.ping().await;
    assert!(bytes > 256 * KIB, "{bytes}");
    took(began, bytes / (64 * KIB) - 1);
    // What was uploaded meanwhile is a few requests.
    let began = Instant::now();
    peer.put_small(3, "/small", &[1; 32 * KIB as usize]).await;
    peer.stored().await;
    took(began, 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_of_the_trash_is_paid_for_page_by_page() {
    let house = slow_down(16 * KIB);
    house.change(|alice| {
        alice.max_download = Some(16 * KIB);
        alice.trash = ftp_store::TrashPolicy {
            bytes: 1 << 20,
            age: Duration::from_secs(3600),
        };
    });
    let mut peer = house.enter().await;
    for number in 0..600 {
        let path = format!("/{number:0200}");
        std::fs::write(house.dir.path().join("alice").join(&path[1..]), "x").unwrap();
        peer.send(1, Op::Rm { path, forever: false }).await;
        assert_eq!(peer.reply().await, (1, Re::Ok));
    }
    peer.ping().await;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    peer.send(2, Op::Trash { path: None }).await;
    let (mut bytes, mut listed) = (0, 0);
    loop {
        let Some(Frame::Header(json)) = peer.frame().await else {
            panic!("the list has an end")
        };
        bytes += json.len() as u64;
        match serde_json::from_slice::<Reply>(&json).unwrap().re {
            Re::Trash { items } => listed += items.len(),
            Re::Beat => {}
            re => break assert_eq!(re, Re::Ok),
        }
    }
    assert_eq!(listed, 600);
    // All of it but the end, before which everything is paid for.
    took(began, bytes / (16 * KIB) - 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_rate_hears_beats_all_the_time_and_is_not_taken_for_dead() {
    let house = slow_down(KIB);
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), vec![3; 3 * MAX_DATA_BYTES]).unwrap();
    peer.send(1, get("/f")).await;
    assert!(matches!(peer.reply().await, (1, Re::Begin { .. })));
    let began = Instant::now();
    let (received, beats, last) = peer.body().await;
    assert_eq!(received, 3 * MAX_DATA_BYTES);
    assert!(matches!(last, Re::End { .. }), "{last:?}");
    let expected = began.elapsed().as_secs() / BEAT_INTERVAL.as_secs();
    assert!(beats as u64 >= expected - 3, "{beats} of {expected}");

    let house = slow_up(KIB);
    let mut peer = house.enter().await;
    let source = vec![5; 4 * MAX_DATA_BYTES];
    peer.send(1, put("/f", Some(source.len() as u64), true)).await;
    assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
    let Peer { reader, writer, .. } = &mut peer;
    let sending = async {
        for chunk in source.chunks(MAX_DATA_BYTES) {
            let mut frame = begin_data(chunk.len());
            frame.extend_from_slice(chunk);
            writer.data(&seal_data(frame).unwrap());
            writer.flush().await.unwrap();
        }
        let op = end(&source);
        writer.send(&Request { id: 1, op }).await.unwrap();
    };
    let hearing = async {
        loop {
            let frame = timeout(PEER_TIMEOUT, reader.next()).await.expect("a sign of life");
            let Some(Frame::Header(json)) = frame.unwrap() else {
                panic!("the session goes on")
            };
            let Reply { re, .. } = serde_json::from_slice(&json).unwrap();
            if re != Re::Beat {
                break re;
            }
        }
    };
    let ((), last) = tokio::join!(sending, hearing);
    assert!(matches!(last, Re::Stored(_)), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_waits_can_be_cancelled() {
    let house = slow_down(KIB);
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), vec![3; 8 * MAX_DATA_BYTES]).unwrap();
    peer.send(1, get("/f")).await;
    assert!(matches!(peer.reply().await, (1, Re::Begin { .. })));
    assert!(matches!(peer.frame().await, Some(Frame::Data(_))));
    let began = Instant::now();
    peer.send(2, Op::Cancel { target: 1 }).await;
    let (received, _, last) = peer.body().await;
    // One chunk is on its way, for what was saved lets it pass.
    assert!(received <= MAX_DATA_BYTES, "{received}");
    assert!(
        matches!(
            last,
            Re::Error(Fault {
                code: Code::Cancelled,
                ..
            })
        ),
        "{last:?}"
    );
    took(began, 0);

    let house = slow_up(KIB);
    let mut peer = house.enter().await;
    peer.send(1, put("/g", None, true)).await;
    assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
    let began = Instant::now();
    peer.send_data(&[1; 8 * KIB as usize]).await;
    peer.send_data(&[1; 8 * KIB as usize]).await;
    peer.send(2, Op::Cancel { target: 1 }).await;
    assert_eq!(peer.fault(1).await.code, Code::Cancelled);
    took(began, 0);
}

#[tokio::test(start_paused = true)]
async fn a_running_transfer_follows_a_changed_rate() {
    let house = slow_down(KIB);
    let mut peer = house.enter().await;
    std::fs::write(house.dir.path().join("alice/f"), vec![3; 8 * MAX_DATA_BYTES]).unwrap();
    peer.send(1, get("/f")).await;
    assert!(matches!(peer.reply().await, (1, Re::Begin { .. })));
    assert!(matches!(peer.frame().await, Some(Frame::Data(_))));
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    house.change(|alice| alice.max_download = Some(512 * KIB));
    let (received, _, last) = peer.body().await;
    assert_eq!(received, 7 * MAX_DATA_BYTES);
    assert!(matches!(last, Re::End { .. }), "{last:?}");
    took(began, 3);

    peer.send(2, get("/f")).await;
    assert!(matches!(peer.reply().await, (2, Re::Begin { .. })));
    let began = Instant::now();
    house.change(|alice| alice.max_download = None);
    assert_eq!(peer.body().await.0, 8 * MAX_DATA_BYTES);
    took(began, 0);
}

#[tokio::test(start_paused = true)]
async fn nuisances_slow_a_user_down_and_cut_nobody() {
    let house = house(|limits| limits.nuisances_per_user = Some(10));
    let mut peer = house.enter().await;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    for _ in 0..16 {
        peer.ping().await;
    }
    for _ in 0..15 {
        peer.send(
            1,
            Op::Rm {
                path: "/absent".to_owned(),
                forever: false,
            },
        )
        .await;
        assert_eq!(peer.fault(1).await.code, Code::NotFound);
    }
    for _ in 0..10 {
        peer.put_small(2, "/../out", b"x").await;
        assert_eq!(peer.fault(2).await.code, Code::OutsideHome);
    }
    took(began, 3);
    // Another connection does not help.
    let began = Instant::now();
    let mut again = house.enter().await;
    for _ in 0..10 {
        again.ping().await;
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nuisances_and_requests_of_an_address_count_for_all_its_users() {
    let house = house(|limits| {
        limits.nuisances_per_address = Some(10);
        limits.nuisances_per_user = None;
        limits.requests_per_address = Some(20);
    });
    let (mut one, mut other) = (house.enter().await, house.enter().await);
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    for _ in 0..11 {
        one.ping().await;
        other.ping().await;
    }
    took(began, 1);
    sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    for id in 0..62 {
        one.send(id, Op::Df).await;
        assert!(matches!(one.reply().await, (_, Re::Usage(_))));
    }
    took(began, 2);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_an_address_count_for_all_its_users_and_follow_a_reload() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let house = House::with_limits(
        Rights::ALL,
        None,
        limits(|limits| {
            // The user may have more than the address.
            limits.upload_per_user = Some(1024 * KIB);
            limits.upload_per_address = Some(256 * KIB);
            limits.download_per_address = Some(128 * KIB);
        }),
    );
    let mut bob = house.alice.clone();
    bob.home = house.dir.path().join("bob");
    let both = [("alice".to_owned(), house.alice.clone()), ("bob".to_owned(), bob)].into();
    house.door.site.apply(&both, &Limits::default());
    let mut alice = house.enter().await;
    let mut bob = house.connect();
    bob.log_in("bob", "pencil").await.unwrap();
    bob.ping().await;
    let source = vec![1; 1 << 20];
    let began = Instant::now();
    tokio::join!(alice.put_large("/a", &source), bob.put_large("/b", &source));
    // All but what was saved and what was read ahead of each.
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    alice.ping().await;
    alice.ping().await;
    // 2 MiB at 256 KiB/s, of which a second's worth was saved.
    took(began, 7);

    sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    alice.send(1, get("/a")).await;
    assert!(matches!(alice.reply().await, (1, Re::Begin { .. })));
    assert_eq!(alice.body().await.0, source.len());
    alice.ping().await;
    took(began, 7);

    alice.send(2, get("/a")).await;
    assert!(matches!(alice.reply().await, (2, Re::Begin { .. })));
    let began = Instant::now();
    house.door.gate.set_limits(Limits::default());
    assert_eq!(alice.body().await.0, source.len());
    alice.put_large("/c", &source).await;
    took(began, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_leaves_its_debts_behind() {
    let house = slow_up(64 * KIB);
    let mut peer = house.enter().await;
    let began = Instant::now();
    for round in 1..=4 {
        // Gone before it could be asked to wait.
        peer.put_small(round, &format!("/{round}"), &[7; 256 * KIB as usize])
            .await;
        peer.hang_up().await;
        peer = house.connect();
        peer.log_in("alice", "pencil").await.unwrap();
    }
    // The debt of the last one is not waited for by the first answer.
    peer.ping().await;
    peer.ping().await;
    took(began, 15);
}

#[tokio::test(start_paused = true)]
async fn by_default_nothing_that_a_sound_client_does_waits() {
    let house = House::new();
    let mut peer = house.enter().await;
    let began = Instant::now();
    for round in 0..2 {
        for id in 1..=600 {
            peer.put_small(id, &format!("/{id}"), b"").await;
            match peer.reply().await {
                (_, Re::Stored(_)) if round == 0 => {}
                // Whoever uploads a tree again is told so of each file.
                (_, Re::Error(Fault { code: Code::Exists, .. })) if round == 1 => {}
                other => panic!("{other:?}"),
            }
            peer.send(
                id,
                Op::Stat {
                    path: "/absent".to_owned(),
                    digest: false,
                },
            )
            .await;
            assert_eq!(peer.fault(id).await.code, Code::NotFound);
        }
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}
