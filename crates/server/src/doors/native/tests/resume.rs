//! Prefixes that are gone on from: believed, or compared.

use std::fs;
use std::time::{Duration, SystemTime};

use ftp_digest::BlockHasher;
use ftp_proto::{BlockList, Stored, Timestamp};

use super::*;

const HALF: usize = 1_500_000;

fn source() -> Vec<u8> {
    (0..700_000u32).flat_map(u32::to_le_bytes).collect()
}

/// An upload of a file with a time.
fn dated(path: &str, bytes: &[u8]) -> Op {
    let mut op = put(path, Some(bytes.len() as u64), true);
    if let Op::Put { mtime, .. } = &mut op {
        *mtime = Some(Timestamp {
            seconds: 1_767_225_600,
            nanos: 0,
        });
    }
    op
}

fn held(path: &str, have: BlockList) -> Op {
    let mut op = get(path);
    if let Op::Get { have: held, .. } = &mut op {
        *held = Some(have);
    }
    op
}

impl Peer {
    async fn send_all(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_DATA_BYTES) {
            self.send_data(chunk).await;
        }
    }

    async fn have(&mut self, id: u64) -> BlockList {
        match self.reply().await {
            (answered, Re::Go { have: Some(have) }) if answered == id => have,
            other => panic!("the server holds a prefix: {other:?}"),
        }
    }

    async fn what_was_stored(&mut self) -> Stored {
        match self.reply().await {
            (_, Re::Stored(stored)) => stored,
            other => panic!("stored: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_large_upload_resumes_block_by_block() {
    let house = House::new();
    let source: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let half = 1_500_000;
    let mut peer = house.enter().await;
    peer.send(1, put("/big", Some(source.len() as u64), true)).await;
    assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
    for chunk in source[..half].chunks(MAX_DATA_BYTES) {
        peer.send_data(chunk).await;
    }
    peer.hang_up().await;

    let mut peer = house.enter().await;
    peer.send(1, put("/big", Some(source.len() as u64), true)).await;
    let (1, Re::Go { have: Some(have) }) = peer.reply().await else {
        panic!("the server holds a prefix")
    };
    assert_eq!(have.length, half as u64);
    assert!(have.parse().is_some());
    // Repairs the first block, though nothing is wrong with it, and goes on with the rest.
    peer.send(1, Op::At { offset: 0 }).await;
    peer.send_data(&source[..65_536]).await;
    peer.send(1, Op::At { offset: half as u64 }).await;
    for chunk in source[half..].chunks(MAX_DATA_BYTES) {
        peer.send_data(chunk).await;
    }
    peer.send(1, end(&source)).await;
    let (1, Re::Stored(stored)) = peer.reply().await else {
        panic!("stored")
    };
    assert_eq!(stored.digest, sha256(&source));
    assert_eq!(house.file("big"), source);
}

#[tokio::test]
async fn staged_bytes_of_the_same_size_and_time_are_believed_until_the_digest_says_otherwise() {
    for is_damaged in [false, true] {
        let house = House::new();
        let source = source();
        let mut begun = source[..HALF].to_vec();
        if is_damaged {
            begun[10] ^= 1;
        }
        let mut peer = house.enter().await;
        peer.send(1, dated("/big", &source)).await;
        assert_eq!(peer.reply().await, (1, Re::Go { have: None }));
        peer.send_all(&begun).await;
        peer.hang_up().await;

        let mut peer = house.enter().await;
        peer.send(1, dated("/big", &source)).await;
        assert_eq!(peer.have(1).await, BlockList::uncompared(HALF as u64));
        peer.send_all(&source[HALF..]).await;
        peer.send(1, end(&source)).await;
        if is_damaged {
            assert_eq!(peer.fault(1).await.code, Code::DigestMismatch);
            peer.send(2, dated("/big", &source)).await;
            let have = peer.have(2).await;
            assert_eq!(have.length, source.len() as u64);
            let mut own = BlockHasher::new(have.block);
            own.update(&source);
            let differing = own.finish().differing(&have.parse().unwrap());
            assert_eq!(differing, [(0, have.block)]);
            // Whoever goes away now leaves the doubt behind.
            peer.hang_up().await;
            peer = house.enter().await;
            peer.send(3, dated("/big", &source)).await;
            assert_eq!(peer.have(3).await, have);
            peer.send(3, Op::At { offset: 0 }).await;
            peer.send_data(&source[..usize::try_from(have.block).unwrap()]).await;
            peer.send(3, end(&source)).await;
        }
        assert_eq!(peer.what_was_stored().await.digest, sha256(&source));
        assert_eq!(house.file("big"), source);
    }
}

#[tokio::test]
async fn a_download_goes_on_behind_what_is_held_with_and_without_a_kept_digest() {
    let house = House::new();
    let source = source();
    let path = house.dir.path().join("alice/big");
    let mut peer = house.enter().await;
    fs::write(&path, &source).unwrap();
    // Long ago: a younger file keeps no digest.
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(then)
        .unwrap();
    // The first computes the digest and keeps it.
    for id in [1, 2] {
        peer.send(id, held("/big", BlockList::uncompared(HALF as u64))).await;
        let (_, Re::Begin { body, digest, .. }) = peer.reply().await else {
            panic!("it begins")
        };
        assert_eq!((body, digest.is_some()), ((source.len() - HALF) as u64, id == 2));
        let mut taken = Vec::new();
        while taken.len() < source.len() - HALF {
            match peer.frame().await {
                Some(Frame::Data(bytes)) => taken.extend_from_slice(&bytes),
                other => panic!("data are due, not {other:?}"),
            }
        }
        assert_eq!(taken, source[HALF..]);
        let length = source.len() as u64;
        let digest = sha256(&source);
        assert_eq!(peer.reply().await, (id, Re::End { length, digest }));
    }
    let all = BlockList::uncompared(source.len() as u64);
    peer.send(3, held("/big", all)).await;
    assert!(matches!(peer.reply().await, (3, Re::Begin { body: 0, .. })));
    assert!(matches!(peer.reply().await, (3, Re::End { .. })));
    let more = BlockList::uncompared(source.len() as u64 + 1);
    peer.send(4, held("/big", more)).await;
    assert_eq!(peer.fault(4).await.code, Code::SourceChanged);
}
