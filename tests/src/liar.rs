//! A server that proves itself as a real one does, and then lies.
//!
//! It speaks TLS, knows the verifier of its user, and says from then on what its script says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ftp_client::{Client, Secret};
use ftp_proto::scram::{
    Binding, ClientFirst, EXPORTER_LABEL, MECHANISM_PLUS, MIN_ITERATIONS, ServerExchange, Verifier,
};
use ftp_proto::{
    BEAT_INTERVAL, Code, Fault, Frame, FrameReader, Limits, LoginReply, LoginRequest, Op, PROTOCOL_VERSION, Re, Reply,
    Request, ServerHello,
};
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_rustls::server::TlsStream;

use crate::middle::acceptor;
use crate::{Cli, PASSWORD};

/// The user whose verifier it knows.
const USER: &str = "alice";

/// How it bends the messages of the login: both are given what the client said, and the honest answer.
#[derive(Clone, Copy, Debug)]
pub struct Forge {
    /// The server-first-message.
    pub challenge: fn(&str, String) -> String,
    /// The server-final-message.
    pub welcome: fn(&str, String) -> String,
    /// What it says instead of a challenge.
    pub refusal: Option<&'static str>,
}

impl Default for Forge {
    fn default() -> Self {
        Self {
            challenge: |_, honest| honest,
            welcome: |_, honest| honest,
            refusal: None,
        }
    }
}

/// A lying server, with a directory for its victim. Ends when dropped.
#[derive(Debug)]
pub struct Liar {
    address: SocketAddr,
    directory: TempDir,
    _alive: oneshot::Sender<()>,
}

impl Liar {
    /// A server that runs the script for each request.
    pub fn start(script: impl AsyncFn(&mut Deceived, Request) + Send + 'static) -> Self {
        Self::with(Forge::default(), script)
    }

    /// The same with a login that is bent.
    pub fn with(forge: Forge, script: impl AsyncFn(&mut Deceived, Request) + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (alive, end) = oneshot::channel();
        // A thread of its own, so that scripts need not be `Send` and tests may block.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let set = LocalSet::new();
            set.block_on(&runtime, async move {
                tokio::select! {
                    () = accept(listener, forge, Rc::new(script)) => {}
                    _ = end => {}
                }
            });
        });
        let directory = tempfile::Builder::new().prefix("ftp-tests-").tempdir().unwrap();
        for name in ["client", "local", "outside"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self {
            address,
            directory,
            _alive: alive,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The victim's command line, which does not try again.
    pub fn cli(&self) -> Cli {
        let (home, local) = (self.directory.path().join("client"), self.local(""));
        Cli::new(USER, self.address, PASSWORD, &home, &local)
    }

    /// The victim's client without a command line, told nothing and never replacing anything.
    pub fn client(&self) -> Client {
        crate::rig::client(USER, self.address)
    }

    /// A file in the directory where the victim works.
    pub fn local(&self, name: &str) -> PathBuf {
        self.directory.path().join("local").join(name)
    }

    /// A directory beside it, in which nothing may ever be touched.
    pub fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    /// Everything that the victim has on disk but its own configuration.
    pub fn disk(&self) -> &Path {
        self.directory.path()
    }
}

async fn accept<S>(listener: std::net::TcpListener, forge: Forge, script: Rc<S>)
where
    S: AsyncFn(&mut Deceived, Request) + 'static,
{
    let listener = TcpListener::from_std(listener).unwrap();
    let acceptor = acceptor();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, script) = (acceptor.clone(), Rc::clone(&script));
        tokio::task::spawn_local(async move {
            let stream = acceptor.accept(tcp).await.ok()?;
            let mut deceived = Deceived::login(stream, forge).await?;
            while let Some(request) = deceived.request().await {
                script(&mut deceived, request).await;
            }
            Some(())
        });
    }
}

/// A connection of somebody who believes that the server is honest.
#[derive(Debug)]
pub struct Deceived {
    reader: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
}

impl Deceived {
    async fn login(stream: TlsStream<TcpStream>, forge: Forge) -> Option<Self> {
        let mut material = [0; 32];
        let tls = stream.get_ref().1;
        tls.export_keying_material(&mut material, EXPORTER_LABEL, None).unwrap();
        let binding = Binding::TlsExporter(material);
        let (read, writer) = tokio::io::split(stream);
        let mut new = Self {
            reader: FrameReader::new(read),
            writer,
        };
        let limits = Limits::default();
        let hello = ServerHello {
            version: PROTOCOL_VERSION,
            agent: "ftpd".to_owned(),
            mechanisms: vec![MECHANISM_PLUS.to_owned()],
            digests: vec!["sha256".to_owned()],
            limits,
        };
        new.say(&LoginReply::Hello(hello)).await;
        let secret = Secret::new(PASSWORD.to_owned());
        let verifier = Verifier::with_salt(&secret, b"a salt of the liar", MIN_ITERATIONS).unwrap();
        let mut exchange = None;
        loop {
            let Frame::Header(json) = new.reader.next().await.ok()?? else {
                return None;
            };
            match serde_json::from_slice(&json).ok()? {
                LoginRequest::Hello(_) => {}
                LoginRequest::Login { .. } if forge.refusal.is_some() => {
                    let fault = Fault::new(Code::LoginFailed, forge.refusal?);
                    new.say(&LoginReply::Error(fault)).await;
                }
                LoginRequest::Login { message, .. } => {
                    let first = ClientFirst::parse(&message, &binding).ok()?;
                    let (begun, honest) = ServerExchange::start(&first, &verifier, true, &binding).ok()?;
                    exchange = Some(begun);
                    let message = (forge.challenge)(&message, honest);
                    new.say(&LoginReply::Challenge { message }).await;
                }
                LoginRequest::Proof { message } => {
                    // A bent challenge makes a proof that no honest server accepts.
                    let honest = exchange.take()?.finish(&message).unwrap_or_default();
                    let message = (forge.welcome)(&message, honest);
                    new.say(&LoginReply::Welcome { message }).await;
                    new.reader.open();
                    return Some(new);
                }
            }
        }
    }

    /// The next request or part of a body, without beats and bytes; `None` when the victim is gone.
    pub async fn request(&mut self) -> Option<Request> {
        loop {
            if let Frame::Header(json) = self.reader.next().await.ok()?? {
                let request: Request = serde_json::from_slice(&json).unwrap();
                if request.op != Op::Beat {
                    return Some(request);
                }
            }
        }
    }

    /// Passes over the body of an upload up to its end.
    pub async fn take_body(&mut self) {
        while let Some(request) = self.request().await {
            if matches!(request.op, Op::End { .. } | Op::Fail { .. }) {
                return;
            }
        }
    }

    /// Answers the request `id`.
    pub async fn reply(&mut self, id: u64, re: Re) {
        self.say(&Reply { id, re }).await;
    }

    /// Sends a header of any form.
    pub async fn say(&mut self, message: &impl Serialize) {
        let json = serde_json::to_vec(message).unwrap();
        self.frame(0x01, &json).await;
    }

    /// Sends file bytes. Whether anybody listens comes back.
    pub async fn data(&mut self, bytes: &[u8]) -> bool {
        self.frame(0x02, bytes).await
    }

    /// Sends a frame of any kind.
    pub async fn frame(&mut self, kind: u8, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len() + 1).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend_from_slice(payload);
        self.bytes(&frame).await
    }

    /// Sends bytes as they are. Whether anybody listens comes back.
    pub async fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.writer.write_all(bytes).await.is_ok() && self.writer.flush().await.is_ok()
    }

    /// Ends the connection.
    pub async fn shut(&mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// Gives nothing but signs of life until the victim is gone.
    pub async fn beat_for_ever(&mut self) {
        let beat = serde_json::to_vec(&Reply { id: 0, re: Re::Beat }).unwrap();
        while self.frame(0x01, &beat).await {
            tokio::time::sleep(BEAT_INTERVAL).await;
        }
    }
}
