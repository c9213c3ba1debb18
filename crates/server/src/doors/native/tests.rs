//! Sessions over small in-memory pipes: no network, and where time matters, no clock.

use std::sync::Arc;

use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::scram::{Binding, ClientExchange, Credential, Verifier};
use ftp_proto::{
    ClientHello, Code, Fault, Frame, FrameReader, FrameWriter, LoginReply, LoginRequest, MAX_DATA_BYTES, Op,
    PROTOCOL_VERSION, Re, Reply, Request, ResumeMode, Secret, begin_data, seal_data,
};
use ftp_store::{Store, StoreOptions};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Limits, Rights, UserConfig};

mod busy;
mod groups;
mod rates;
mod resume;
mod surplus;

/// A pipe so small that no frame fits into it.
const PIPE_BYTES: usize = 37;

/// A door with one user, alice, whose password is `pencil`.
struct House {
    door: Arc<Door>,
    dir: tempfile::TempDir,
    alice: UserConfig,
}

impl House {
    fn new() -> Self {
        Self::with(Rights::ALL, Some(10_000_000))
    }

    fn with(rights: Rights, quota: Option<u64>) -> Self {
        Self::with_limits(rights, quota, Limits::default())
    }

    /// Alice's rates are those of the limits.
    fn with_limits(rights: Rights, quota: Option<u64>, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            durability: ftp_store::Durability::None,
            ..StoreOptions::default()
        };
        let site = Site::new(Store::new(options), dir.path()).unwrap();
        let alice = UserConfig {
            verifier: Verifier::with_salt(&Secret::new("pencil".to_owned()), b"salt", 4096).unwrap(),
            home: dir.path().join("alice"),
            quota,
            max_files: None,
            rights,
            trash: ftp_store::TrashPolicy::default(),
            max_sessions: 4,
            max_upload: limits.upload_per_user,
            max_download: limits.download_per_user,
        };
        site.apply(&[("alice".to_owned(), alice.clone())].into(), &limits);
        let door = Door {
            site: Arc::new(site),
            gate: Gate::new(limits),
            tasks: TaskTracker::new(),
            strangers: Strangers::new(),
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        Self {
            door: Arc::new(door),
            dir,
            alice,
        }
    }

    /// As a reload of the configuration does.
    fn change(&self, change: impl FnOnce(&mut UserConfig)) {
        let mut alice = self.alice.clone();
        change(&mut alice);
        self.door
            .site
            .apply(&[("alice".to_owned(), alice)].into(), &Limits::default());
    }

    /// A connection on which nothing was said yet.
    fn connect(&self) -> Peer {
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let permit = self.door.gate.admit(peer.ip()).unwrap();
        let door = Arc::clone(&self.door);
        let server = tokio::spawn(async move { door.talk(wire::halves(there), Binding::None, peer, 1, permit).await });
        let (read, write) = tokio::io::split(here);
        Peer {
            reader: FrameReader::new(read),
            writer: FrameWriter::new(write),
            server,
        }
    }

    async fn enter(&self) -> Peer {
        let mut peer = self.connect();
        peer.log_in("alice", "pencil").await.unwrap();
        // The first answer says that the home is open.
        peer.send(0, Op::Ping).await;
        assert_eq!(peer.reply().await, (0, Re::Ok));
        peer
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join("alice").join(name)).unwrap()
    }
}

/// The client's end.
struct Peer {
    reader: FrameReader<ReadHalf<DuplexStream>>,
    writer: FrameWriter<WriteHalf<DuplexStream>>,
    server: JoinHandle<()>,
}

impl Peer {
    async fn login_reply(&mut self) -> Option<LoginReply> {
        match self.reader.next().await.unwrap()? {
            Frame::Header(json) => Some(serde_json::from_slice(&json).unwrap()),
            Frame::Data(_) => panic!("data before the login"),
        }
    }

    async fn log_in(&mut self, user: &str, password: &str) -> Result<(), Fault> {
        // Both sides speak first, and the pipe holds neither hello: one has to listen.
        assert!(matches!(self.login_reply().await, Some(LoginReply::Hello(_))));
        let hello = ClientHello {
            version: PROTOCOL_VERSION,
            agent: "test".to_owned(),
        };
        self.writer.send(&LoginRequest::Hello(hello)).await.unwrap();
        let (mut exchange, message) = ClientExchange::start(user, Binding::None).unwrap();
        let mechanism = Binding::None.mechanism().to_owned();
        self.writer
            .send(&LoginRequest::Login { mechanism, message })
            .await
            .unwrap();
        let Some(LoginReply::Challenge { message }) = self.login_reply().await else {
            panic!("a challenge is due")
        };
        let credential = Credential::Password(Secret::new(password.to_owned()));
        let message = exchange.respond(&message, &credential).unwrap();
        self.writer.send(&LoginRequest::Proof { message }).await.unwrap();
        match self.login_reply().await {
            Some(LoginReply::Welcome { message }) => {
                exchange.finish(&message).unwrap();
                self.reader.open();
                Ok(())
            }
            Some(LoginReply::Error(fault)) => Err(fault),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Sends a header; what the server sends meanwhile waits in the pipe.
    async fn send(&mut self, id: u64, op: Op) {
        self.writer.send(&Request { id, op }).await.unwrap();
    }

    async fn send_data(&mut self, bytes: &[u8]) {
        let mut frame = begin_data(bytes.len());
        frame.extend_from_slice(bytes);
        self.writer.data(&seal_data(frame).unwrap());
        self.writer.flush().await.unwrap();
    }

    async fn frame(&mut self) -> Option<Frame> {
        self.reader.next().await.unwrap()
    }

    async fn reply(&mut self) -> (u64, Re) {
        loop {
            match self.frame().await {
                Some(Frame::Header(json)) => {
                    let Reply { id, re } = serde_json::from_slice(&json).unwrap();
                    if re != Re::Beat {
                        return (id, re);
                    }
                }
                other => panic!("a reply is due, not {other:?}"),
            }
        }
    }

    async fn fault(&mut self, id: u64) -> Fault {
        match self.reply().await {
            (answered, Re::Error(fault)) if answered == id => fault,
            other => panic!("an error for {id} is due, not {other:?}"),
        }
    }

    /// Ends the connection and waits until the server's side has ended too.
    async fn hang_up(self) {
        drop((self.reader, self.writer));
        self.server.await.unwrap();
    }
}

fn put(path: &str, size: Option<u64>, ask: bool) -> Op {
    Op::Put {
        path: path.to_owned(),
        size,
        mtime: None,
        digest: Algorithm::Sha256,
        replace: false,
        parents: false,
        ask,
        resume: ResumeMode::Auto,
    }
}

fn get(path: &str) -> Op {
    Op::Get {
        path: path.to_owned(),
        offset: 0,
        length: None,
        digest: Algorithm::Sha256,
        have: None,
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, bytes)
}

fn end(bytes: &[u8]) -> Op {
    Op::End {
        length: bytes.len() as u64,
        digest: sha256(bytes),
    }
}

#[tokio::test]
async fn a_login_passes_through_the_smallest_pipe() {
    let house = House::new();
    let mut peer = house.enter().await;
    peer.send(7, Op::Pwd).await;
    assert_eq!(peer.reply().await, (7, Re::Cwd { path: "/".to_owned() }));
    peer.send(8, Op::Quit).await;
    assert_eq!(peer.reply().await, (8, Re::Ok));
    assert!(peer.frame().await.is_none(), "the server closes after `quit`");
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_and_unknown_users_get_the_same_answer() {
    let house = House::new();
    let wrong = house.connect().log_in("alice", "pen").await.unwrap_err();
    let unknown = house.connect().log_in("mallory", "pencil").await.unwrap_err();
    assert_eq!(wrong.code, Code::LoginFailed);
    assert_eq!(wrong, unknown);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_not_waited_for() {
    let house = House::new();
    let mut silent = house.connect();
    assert!(matches!(silent.login_reply().await, Some(LoginReply::Hello(_))));
    assert!(silent.frame().await.is_none(), "no hello in time");

    let mut slow = house.connect();
    let hello = ClientHello {
        version: PROTOCOL_VERSION,
        agent: String::new(),
    };
    assert!(matches!(slow.login_reply().await, Some(LoginReply::Hello(_))));
    slow.writer.send(&LoginRequest::Hello(hello)).await.unwrap();
    assert!(slow.frame().await.is_none(), "no login in time");
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_and_a_beating_one_is_kept_until_the_idle_limit() {
    let house = House::new();
    let mut dead = house.enter().await;
    let (_, last) = dead.reply().await;
    assert!(matches!(
        last,
        Re::Bye(Fault {
            code: Code::TimedOut,
            ..
        })
    ));

    let mut idle = house.enter().await;
    let began = Instant::now();
    let last = loop {
        tokio::select! {
            reply = idle.reply() => break reply,
            () = tokio::time::sleep(ftp_proto::BEAT_INTERVAL) => idle.send(0, Op::Beat).await,
        }
    };
    assert!(matches!(
        last,
        (
            0,
            Re::Bye(Fault {
                code: Code::TimedOut,
                ..
            })
        )
    ));
    assert!(began.elapsed() >= Limits::default().idle_timeout);
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let house = House::new();
    let mut peer = house.connect();
    let hello = ClientHello {
        version: 99,
        agent: String::new(),
    };
    assert!(matches!(peer.login_reply().await, Some(LoginReply::Hello(_))));
    peer.writer.send(&LoginRequest::Hello(hello)).await.unwrap();
    assert!(matches!(
        peer.login_reply().await,
        Some(LoginReply::Error(Fault {
            code: Code::Version,
            ..
        }))
    ));
}

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

#[tokio::test]
async fn a_connection_holds_room_only_for_what_it_does() {
    let house = House::new();
    let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let permit = house.door.gate.admit(peer.ip()).unwrap();
    let (_here, there) = tokio::io::duplex(PIPE_BYTES);
    let future = house.door.talk(wire::halves(there), Binding::None, peer, 1, permit);
    // The futures of a login and of each request are boxed while they run; all of them would be ten times
    // as much.
    assert!(size_of_val(&future) < 1200, "{} bytes", size_of_val(&future));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_by_the_byte_is_waited_for_no_longer_than_silence() {
    let house = House::new();
    for kind in [1, 2] {
        let Peer {
            mut reader,
            mut writer,
            server,
        } = house.enter().await;
        let reading = tokio::spawn(async move { while let Ok(Some(_)) = reader.next().await {} });
        let began = Instant::now();
        let mut frame = vec![0, 0, 1, 0, kind];
        frame.resize(260, b' ');
        let mut sent = 0;
        for byte in frame {
            writer.data(&[byte]);
            if writer.flush().await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        // A beat can not stand within a frame, so what arrived whole last counts.
        assert!(sent > 50 && sent < 70, "{sent} bytes");
        assert!(began.elapsed() < ftp_proto::PEER_TIMEOUT + std::time::Duration::from_secs(5));
        server.await.unwrap();
        reading.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_its_answer_is_cut_though_it_beats() {
    let house = House::new();
    let home = house.dir.path().join("alice");
    for (name, op) in [
        ("large", get("/large")),
        (
            "listing",
            Op::Ls {
                path: "/".to_owned(),
                digests: false,
            },
        ),
    ] {
        let mut peer = house.enter().await;
        std::fs::write(home.join(name), vec![7; 1_000_000]).unwrap();
        let began = Instant::now();
        peer.send(1, op).await;
        let beat = Request { id: 0, op: Op::Beat };
        // The pipe is small: at some time a beat is not taken either, and then the other end is gone.
        while timeout(ftp_proto::PEER_TIMEOUT, peer.writer.send(&beat))
            .await
            .is_ok_and(|sent| sent.is_ok())
        {
            tokio::time::sleep(ftp_proto::BEAT_INTERVAL).await;
            assert!(began.elapsed() < 3 * ftp_proto::PEER_TIMEOUT, "{name} is held for ever");
        }
        peer.server.await.unwrap();
    }
}
