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
mod changes;
mod groups;
mod login;
mod rates;
mod requests;
mod resume;
mod rights;
mod silence;
mod surplus;
mod transfers;

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
