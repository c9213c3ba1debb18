//! Requests that travel together, and are done together.

use super::*;

impl Peer {
    /// Sends all of it without waiting, and takes so many frames.
    async fn exchange(&mut self, requests: Vec<(u64, Op)>, frames: usize) -> Vec<Frame> {
        let Self { reader, writer, .. } = self;
        for (id, op) in requests {
            let is_file = matches!(op, Op::Put { .. });
            writer.header(&Request { id, op }).unwrap();
            if is_file {
                let body = id.to_string();
                let mut frame = begin_data(body.len());
                frame.extend_from_slice(body.as_bytes());
                writer.data(&seal_data(frame).unwrap());
                let op = end(body.as_bytes());
                writer.header(&Request { id, op }).unwrap();
            }
        }
        let mut taken = Vec::new();
        let reading = async {
            while taken.len() < frames {
                taken.push(reader.next().await.unwrap().expect("the session goes on"));
            }
        };
        let (sent, ()) = tokio::join!(writer.flush(), reading);
        sent.unwrap();
        taken
    }
}

fn reply(frame: &Frame) -> (u64, Re) {
    let Frame::Header(json) = frame else {
        panic!("a reply is due, not {frame:?}");
    };
    let Reply { id, re } = serde_json::from_slice(json).unwrap();
    (id, re)
}

fn mkdir(path: &str) -> Op {
    Op::Mkdir {
        path: path.to_owned(),
        parents: true,
    }
}

fn code(re: &Re) -> Option<Code> {
    match re {
        Re::Error(fault) => Some(fault.code),
        _ => None,
    }
}

#[tokio::test]
async fn uploads_and_their_directories_are_answered_in_order_also_where_some_fail() {
    let house = House::new();
    let mut peer = house.enter().await;
    let requests = vec![
        (1, mkdir("/d/e")),
        (2, put("/d/e/a", None, false)),
        (3, put("/none/b", None, false)),
        (4, mkdir("/.ftpd/x")),
        // Beneath a file that is on its way, and in the place of one.
        (5, mkdir("/d/e/a/f")),
        (6, put("/d/e/a", None, false)),
        (7, put("/d/e", None, false)),
        (8, put("/d/g", None, false)),
        (
            9,
            Op::Stat {
                path: "/d/g".to_owned(),
                digest: true,
            },
        ),
    ];
    let taken = peer.exchange(requests, 9).await;
    let replies: Vec<_> = taken.iter().map(reply).collect();
    let ids: Vec<_> = replies.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(replies[0].1, Re::Ok);
    let stored = |index: usize, body: &str| matches!(&replies[index].1, Re::Stored(stored) if stored.digest == sha256(body.as_bytes()));
    assert!(stored(1, "2") && stored(7, "8"), "{replies:?}");
    let codes: Vec<_> = replies[2..7].iter().map(|(_, re)| code(re)).collect();
    assert_eq!(
        codes,
        [
            Some(Code::NotFound),
            Some(Code::BadName),
            Some(Code::NotDirectory),
            Some(Code::Exists),
            Some(Code::IsDirectory),
        ]
    );
    assert!(matches!(&replies[8].1, Re::Entry(entry) if entry.digest == Some(sha256(b"8"))));
    assert_eq!(house.file("d/e/a"), b"2");
}

#[tokio::test]
async fn more_uploads_than_may_be_pending_all_arrive() {
    let house = House::new();
    let mut peer = house.enter().await;
    let requests = (1..=1000).map(|id| (id, put(&format!("/{id}"), None, false)));
    let taken = peer.exchange(requests.collect(), 1000).await;
    for (frame, id) in taken.iter().zip(1..) {
        let (answered, re) = reply(frame);
        assert!(answered == id && matches!(re, Re::Stored(_)), "{answered} {re:?}");
    }
    assert_eq!(house.file("1000"), b"1000");
}

#[tokio::test]
async fn downloads_in_one_go_are_answered_in_order_whatever_they_are() {
    let house = House::new();
    let mut peer = house.enter().await;
    let taken = peer
        .exchange(vec![(1, put("/a", None, false)), (2, put("/b", None, false))], 2)
        .await;
    assert_eq!(taken.len(), 2);
    // Without a kept digest, and too large for one frame.
    std::fs::write(house.dir.path().join("alice/plain"), b"plain").unwrap();
    std::fs::write(house.dir.path().join("alice/large"), vec![7; MAX_DATA_BYTES + 1]).unwrap();
    let range = Op::Get {
        path: "/a".to_owned(),
        offset: 0,
        length: Some(0),
        digest: Algorithm::Sha256,
        have: None,
    };
    let requests = vec![
        (10, get("/a")),
        (11, get("/none")),
        (12, get("/plain")),
        (13, get("/../a")),
        (14, range),
        (15, get("/large")),
        (16, Op::Cancel { target: 18 }),
        (17, get("/b")),
    ];
    // Of each file its beginning, its data and its end; of the large one two frames of data.
    let taken = peer.exchange(requests, 3 + 1 + 3 + 1 + 2 + 4 + 1 + 3).await;
    let mut told = Vec::new();
    for frame in &taken {
        told.push(match frame {
            Frame::Data(bytes) => format!("{}", bytes.len()),
            Frame::Header(_) => match reply(frame) {
                (id, Re::Begin { body, .. }) => format!("{id} begins {body}"),
                (id, Re::End { length, .. }) => format!("{id} ends {length}"),
                (id, Re::Ok) => format!("{id} ok"),
                (id, re) => format!("{id} {:?}", code(&re).unwrap()),
            },
        });
    }
    let expected = [
        "10 begins 1",
        "1",
        "10 ends 1",
        "11 NotFound",
        "12 begins 5",
        "5",
        "12 ends 5",
        "13 OutsideHome",
        "14 begins 0",
        "14 ends 0",
        "15 begins 262145",
        "262144",
        "1",
        "15 ends 262145",
        "16 ok",
        "17 begins 1",
        "1",
        "17 ends 1",
    ];
    assert_eq!(told, expected);
}
