//! A client that says whatever it is told to, and a server that knows nobody.

use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ftp_client::Secret;
use ftp_proto::scram::{Binding, ClientExchange, Credential, DerivedKeys, EXPORTER_LABEL};
use ftp_proto::{
    ClientHello, Fault, Frame, FrameReader, FrameWriter, LoginReply, LoginRequest, Op, PROTOCOL_VERSION, Re, Reply,
    Request, ServerHello,
};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::middle::{acceptor, connect_tls};

/// What a narrow connection takes in before it is read.
const NARROW_BYTES: u32 = 32 * 1024;

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Plain TCP.
    Plain,
    /// The same of a client that takes little in at a time, as over a slow network.
    Narrow,
    /// TLS 1.3 that trusts any certificate.
    Tls,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection of frames without any manners.
pub struct Raw {
    reader: FrameReader<ReadHalf<Box<dyn Io>>>,
    writer: WriteHalf<Box<dyn Io>>,
    binding: Binding,
    id: u64,
}

impl Raw {
    /// Connects and says nothing.
    pub async fn connect(address: SocketAddr, channel: Channel) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if channel == Channel::Narrow {
            socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        }
        let tcp = socket.connect(address).await.unwrap();
        Self::over(tcp, channel).await.unwrap()
    }

    /// Connects from another address of this machine and says nothing. On a loopback network each
    /// 127.x.y.z is one.
    ///
    /// # Errors
    /// When the server does not want it.
    pub async fn connect_from(source: IpAddr, address: SocketAddr, channel: Channel) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        Self::over(socket.connect(address).await?, channel).await
    }

    async fn over(tcp: TcpStream, channel: Channel) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let (io, binding): (Box<dyn Io>, _) = match channel {
            Channel::Plain | Channel::Narrow => (Box::new(tcp), Binding::None),
            Channel::Tls => {
                let stream = connect_tls(tcp).await?;
                let mut material = [0; 32];
                let tls = stream.get_ref().1;
                tls.export_keying_material(&mut material, EXPORTER_LABEL, None).unwrap();
                (Box::new(stream), Binding::TlsExporter(material))
            }
        };
        let (read, writer) = tokio::io::split(io);
        Ok(Self {
            reader: FrameReader::new(read),
            writer,
            binding,
            id: 0,
        })
    }

    /// Says hello and begins a login as this user, who is named as is; the answer to it comes back.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn challenge(&mut self, user: &str) -> Result<String, Fault> {
        let message = format!("p=tls-exporter,,n={user},r=abcdefghijklmnopqrstuvwxyz");
        let mechanism = self.binding.mechanism().to_owned();
        self.send(&hello()).await;
        self.send(&LoginRequest::Login { mechanism, message }).await;
        assert!(matches!(self.login_reply().await?, LoginReply::Hello(_)));
        match self.login_reply().await? {
            LoginReply::Challenge { message } => Ok(message),
            other => panic!("no challenge: {other:?}"),
        }
    }

    /// Connects and logs in as an honest client does.
    pub async fn login(address: SocketAddr, channel: Channel, user: &str, password: &str) -> Self {
        let mut raw = Self::connect(address, channel).await;
        raw.try_login(user, password).await.unwrap();
        raw
    }

    /// Logs in; the messages that were sent come back.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn try_login(&mut self, user: &str, password: &str) -> Result<Vec<LoginRequest>, Fault> {
        let credential = Credential::Password(Secret::new(password.to_owned()));
        let (sent, _) = self.try_login_as(user, &credential, async || {}).await?;
        Ok(sent)
    }

    /// The same, with something that happens between the challenge and the proof.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn try_login_between(
        &mut self,
        user: &str,
        password: &str,
        between: impl AsyncFnOnce(),
    ) -> Result<Vec<LoginRequest>, Fault> {
        let credential = Credential::Password(Secret::new(password.to_owned()));
        let (sent, _) = self.try_login_as(user, &credential, between).await?;
        Ok(sent)
    }

    /// Logs in by a password or by keys, with something that happens between the challenge and the proof; the
    /// messages that were sent come back, and the keys.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn try_login_as(
        &mut self,
        user: &str,
        credential: &Credential,
        between: impl AsyncFnOnce(),
    ) -> Result<(Vec<LoginRequest>, DerivedKeys), Fault> {
        let (mut exchange, message) = ClientExchange::start(user, self.binding).unwrap();
        let mechanism = self.binding.mechanism().to_owned();
        let mut sent = vec![hello(), LoginRequest::Login { mechanism, message }];
        for message in &sent {
            self.send(message).await;
        }
        assert!(matches!(self.login_reply().await?, LoginReply::Hello(_)));
        let LoginReply::Challenge { message } = self.login_reply().await? else {
            panic!("no challenge")
        };
        let message = exchange.respond(&message, credential).unwrap();
        sent.push(LoginRequest::Proof { message });
        between().await;
        self.send(&sent[2]).await;
        let LoginReply::Welcome { message } = self.login_reply().await? else {
            panic!("no welcome")
        };
        let keys = exchange.finish(&message).unwrap();
        self.reader.open();
        Ok((sent, keys))
    }

    /// The next answer before the login is done.
    ///
    /// # Errors
    /// What the server refuses.
    pub async fn login_reply(&mut self) -> Result<LoginReply, Fault> {
        match serde_json::from_value(self.receive().await.expect("an answer")).unwrap() {
            LoginReply::Error(fault) => Err(fault),
            reply => Ok(reply),
        }
    }

    /// Sends a request under a fresh id.
    pub async fn request(&mut self, op: Op) -> u64 {
        self.id += 1;
        let id = self.id;
        self.send(&Request { id, op }).await;
        id
    }

    /// Sends a request, and waits for its answer.
    pub async fn ask(&mut self, op: Op) -> Re {
        let id = self.request(op).await;
        self.answer(id).await
    }

    /// The next answer, which must be to this request.
    pub async fn answer(&mut self, id: u64) -> Re {
        let reply = self.reply().await.expect("an answer");
        assert_eq!(reply.id, id, "{reply:?}");
        reply.re
    }

    /// The next answer but beats; `None` at the end of the connection.
    pub async fn reply(&mut self) -> Option<Reply> {
        loop {
            let reply: Reply = serde_json::from_value(self.receive().await?).unwrap();
            if reply.re != Re::Beat {
                return Some(reply);
            }
        }
    }

    /// Reads the rest of a body: its bytes and what ended it.
    pub async fn body(&mut self, id: u64) -> (Vec<u8>, Re) {
        let mut bytes = Vec::new();
        loop {
            match self.frame().await.expect("a body has an end") {
                Frame::Data(chunk) => bytes.extend_from_slice(&chunk),
                Frame::Header(json) => {
                    let reply: Reply = serde_json::from_slice(&json).unwrap();
                    match reply.re {
                        Re::Beat | Re::At { .. } => {}
                        re => {
                            assert_eq!(reply.id, id);
                            return (bytes, re);
                        }
                    }
                }
            }
        }
    }

    /// The next header as JSON; `None` at the end of the connection.
    pub async fn receive(&mut self) -> Option<Value> {
        match self.frame().await? {
            Frame::Header(json) => Some(serde_json::from_slice(&json).unwrap()),
            Frame::Data(bytes) => panic!("{} bytes of data", bytes.len()),
        }
    }

    /// The next frame; `None` at the end of the connection, however it came.
    pub async fn frame(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.reader.next())
            .await
            .expect("the server answers or closes")
            .unwrap_or_default()
    }

    /// Sends a header.
    pub async fn send(&mut self, message: &impl Serialize) {
        let json = serde_json::to_vec(message).unwrap();
        self.frame_of(0x01, &json).await;
    }

    /// Sends a frame of file bytes.
    pub async fn data(&mut self, bytes: &[u8]) {
        self.frame_of(0x02, bytes).await;
    }

    /// Sends a frame of any kind.
    pub async fn frame_of(&mut self, kind: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len() + 1).unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend_from_slice(payload);
        self.bytes(&frame).await;
    }

    /// Sends bytes as they are. A server that has closed does not mind.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.try_bytes(bytes).await;
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed.
    pub async fn try_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }
}

/// An honest greeting.
pub(crate) fn hello() -> LoginRequest {
    LoginRequest::Hello(ClientHello {
        version: PROTOCOL_VERSION,
        agent: "ftp-tests".to_owned(),
    })
}

/// A server with a certificate of its own that knows no verifier and claims that every login is
/// right. Lives as long as the test's runtime; what clients proved to it comes through the channel.
pub async fn pretend_server(proofs: tokio::sync::mpsc::UnboundedSender<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, proofs) = (acceptor.clone(), proofs.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(tcp).await.unwrap();
                let (read, write) = tokio::io::split(stream);
                pretend(FrameReader::new(read), FrameWriter::new(write), proofs).await
            });
        }
    });
    address
}

/// One login of which everything is right but the knowledge.
async fn pretend<R, W>(
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    proofs: tokio::sync::mpsc::UnboundedSender<String>,
) -> Option<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = ServerHello {
        version: PROTOCOL_VERSION,
        agent: "ftpd".to_owned(),
        mechanisms: vec![ftp_proto::scram::MECHANISM_PLUS.to_owned()],
        digests: vec!["sha256".to_owned()],
        limits: ftp_proto::Limits::default(),
    };
    writer.send(&LoginReply::Hello(hello)).await.ok()?;
    loop {
        let Frame::Header(json) = reader.next().await.ok()?? else {
            return None;
        };
        let reply = match serde_json::from_slice(&json).ok()? {
            LoginRequest::Hello(_) => continue,
            LoginRequest::Login { message, .. } => {
                let nonce = message.rsplit_once("r=")?.1.to_owned();
                let salt = STANDARD.encode("any salt at all");
                LoginReply::Challenge {
                    message: format!("r={nonce}theirs,s={salt},i=4096"),
                }
            }
            LoginRequest::Proof { message } => {
                proofs.send(message).ok()?;
                LoginReply::Welcome {
                    message: format!("v={}", STANDARD.encode([7; 32])),
                }
            }
        };
        writer.send(&reply).await.ok()?;
    }
}
