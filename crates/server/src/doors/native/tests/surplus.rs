//! More than an honest client sends: it is paid for, gains no time, and ends.

use std::time::Duration;

use ftp_proto::DATA_HEAD_BYTES;
use tokio::time::sleep;

use super::rates::{KIB, house, slow_up, took};
use super::*;
use crate::doors::native::small::MAX_SURPLUS_BYTES;
use crate::doors::native::wire::READ_AHEAD_BYTES;

/// Whole chunks that fit into what is passed over of a body, the allowed one included.
const PASSED: usize = (MAX_DATA_BYTES + MAX_SURPLUS_BYTES) / (MAX_DATA_BYTES + DATA_HEAD_BYTES);

impl Peer {
    /// Sends something until the server says goodbye, at most so many times; how often it was taken, and the
    /// goodbye.
    async fn flood(self, frame: &[u8], most: usize) -> (usize, Fault) {
        let Self {
            mut reader,
            mut writer,
            server,
        } = self;
        let reading = tokio::spawn(async move {
            loop {
                let Some(Frame::Header(json)) = reader.next().await.unwrap() else {
                    panic!("a goodbye is due")
                };
                match serde_json::from_slice::<Reply>(&json).unwrap().re {
                    Re::Bye(fault) => break (reader, fault),
                    Re::Beat => {}
                    re => panic!("a goodbye is due, not {re:?}"),
                }
            }
        });
        let mut sent = 0;
        while sent < most && !reading.is_finished() {
            writer.data(frame);
            writer.flush().await.unwrap();
            sent += 1;
        }
        let (_reader, fault) = reading.await.unwrap();
        drop(writer);
        server.await.unwrap();
        (sent, fault)
    }
}

fn beat(length: usize) -> Vec<u8> {
    let mut json = b"{\"id\":0,\"op\":\"beat\"}".to_vec();
    json.resize(json.len().max(length), b' ');
    let mut frame = u32::try_from(json.len() + 1).unwrap().to_be_bytes().to_vec();
    frame.push(1);
    frame.extend(json);
    frame
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_over_of_a_body_is_paid_for() {
    let no_write = Rights {
        write: false,
        ..Rights::ALL
    };
    let limits = Limits {
        upload_per_user: Some(64 * KIB),
        ..Limits::default()
    };
    for (rights, code) in [(Rights::ALL, Code::BadRequest), (no_write, Code::NotPermitted)] {
        let house = House::with_limits(rights, None, limits.clone());
        let mut peer = house.enter().await;
        let began = Instant::now();
        peer.send(1, put("/f", None, false)).await;
        for _ in 0..8 {
            peer.send_data(&[7; MAX_DATA_BYTES]).await;
        }
        peer.send(1, end(b"")).await;
        assert_eq!(peer.fault(1).await.code, code);
        peer.ping().await;
        // 2 MiB at 64 KiB/s, of which a second's worth was saved.
        took(began, 31);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_an_end_ends_the_session() {
    let house = House::new();
    let mut peer = house.enter().await;
    peer.send(1, put("/f", None, false)).await;
    for _ in 0..PASSED {
        peer.send_data(&[7; MAX_DATA_BYTES]).await;
    }
    peer.send(1, end(b"")).await;
    assert_eq!(peer.fault(1).await.code, Code::BadRequest);

    // Chunks without a byte are no way around it.
    for length in [MAX_DATA_BYTES, 0] {
        let mut peer = house.enter().await;
        peer.send(1, put("/f", None, false)).await;
        let mut frame = begin_data(length);
        frame.resize(DATA_HEAD_BYTES + length, 7);
        let frame = seal_data(frame).unwrap();
        let most = (MAX_DATA_BYTES + MAX_SURPLUS_BYTES) / frame.len();
        let (sent, fault) = peer.flood(&frame, 2 * most).await;
        assert_eq!(fault.code, Code::Protocol);
        assert!(fault.message.contains("without `ask`"), "{fault:?}");
        assert!(sent >= most && sent < 2 * most, "{sent} of {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_beats_is_slowed_and_gains_no_time() {
    let idle = Duration::from_secs(120);
    let rate = 20;
    for is_in_body in [false, true] {
        let house = house(|limits| {
            limits.idle_timeout = idle;
            limits.nuisances_per_user = Some(rate);
        });
        let mut peer = house.enter().await;
        if is_in_body {
            peer.send(1, put("/f", None, true)).await;
            assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
        }
        let began = Instant::now();
        let most = 1_000_000;
        let (sent, fault) = peer.flood(&beat(0), most).await;
        assert_eq!(fault.code, Code::TimedOut, "{is_in_body}");
        let took = began.elapsed();
        assert!(took >= idle && took < idle + Duration::from_secs(5), "{took:?}");
        // What the rate lets through, what costs nothing, and what was read ahead.
        let allowed = (idle.as_secs() + 2) * (rate + 1) + READ_AHEAD_BYTES as u64 / 100;
        assert!((sent as u64) < allowed, "{sent} of {allowed}");
    }
}

#[tokio::test(start_paused = true)]
async fn beats_with_much_in_them_are_paid_for_by_the_byte() {
    let house = slow_up(64 * KIB);
    let mut peer = house.enter().await;
    let began = Instant::now();
    let frame = beat(60_000);
    for _ in 0..100 {
        peer.writer.data(&frame);
        peer.writer.flush().await.unwrap();
    }
    // Not only when the next request comes.
    assert!(began.elapsed() >= Duration::from_secs(60), "{:?}", began.elapsed());
    // The first one was read ahead and is paid for with what came before it.
    for _ in 0..3 {
        peer.ping().await;
    }
    took(began, 100 * 60_000 / (64 * KIB) - 1);
}

#[tokio::test(start_paused = true)]
async fn beats_as_an_honest_client_sends_them_cost_nothing() {
    let house = house(|limits| limits.nuisances_per_user = Some(1));
    let mut peer = house.enter().await;
    sleep(Duration::from_secs(2)).await;
    for _ in 0..20 {
        for _ in 0..8 {
            peer.send(0, Op::Beat).await;
        }
        let began = Instant::now();
        peer.ping().await;
        took(began, 0);
        sleep(ftp_proto::BEAT_INTERVAL).await;
    }
    let began = Instant::now();
    // Those of an hour in which the server did not read.
    for _ in 0..240 {
        peer.send(0, Op::Beat).await;
    }
    peer.ping().await;
    assert!(began.elapsed() < Limits::default().idle_timeout);
}
