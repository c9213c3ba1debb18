//! Sessions driven from here, many at a time: ours, FTP's, and HTTP's kept-alive connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ftp_client::{Credential, Secret};
use ftp_tests::{Channel, Raw, connect_tls};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::arena::{ACCOUNT, PASSWORD, TREE, tree_file};
use crate::peers::{Candidate, Daemon};

/// How many log in at the same time.
const AT_ONCE: usize = 32;

/// How long one login may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A session that is open. Dropping it closes the connection.
pub(super) enum Session {
    Own(#[expect(dead_code, reason = "held, not used")] Box<Raw>),
    Other(#[expect(dead_code, reason = "held, not used")] BufReader<Box<dyn Io>>),
}

/// How to log in to a candidate.
#[derive(Clone, Debug)]
pub(super) struct Door {
    address: SocketAddr,
    daemon: Daemon,
    tls: bool,
    /// What spares the client the work of deriving a key, as with a saved login.
    credential: Credential,
}

impl Door {
    /// The way into a daemon on this port.
    pub(super) async fn new(candidate: Candidate, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut credential = Credential::Password(Secret::new(PASSWORD.to_owned()));
        if candidate.is_own() {
            let mut raw = Raw::connect(address, channel(candidate.tls)).await;
            let done = raw.try_login_as(ACCOUNT, &credential, async || {}).await;
            let (_, keys) = done.map_err(|fault| anyhow::anyhow!("login refused: {fault:?}"))?;
            credential = Credential::Keys(keys);
        }
        Ok(Self {
            address,
            daemon: candidate.daemon,
            tls: candidate.tls,
            credential,
        })
    }

    /// Logs in once.
    async fn enter(&self) -> Result<Session> {
        if let Daemon::Own(_) = self.daemon {
            let mut raw = Raw::connect(self.address, channel(self.tls)).await;
            let done = raw.try_login_as(ACCOUNT, &self.credential, async || {}).await;
            done.map_err(|fault| anyhow::anyhow!("login refused: {fault:?}"))?;
            return Ok(Session::Own(Box::new(raw)));
        }
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        if self.daemon == Daemon::Nginx {
            let io: Box<dyn Io> = if self.tls {
                Box::new(connect_tls(tcp).await?)
            } else {
                Box::new(tcp)
            };
            return http(io).await.map(Session::Other);
        }
        ftp(tcp, self.tls).await.map(Session::Other)
    }
}

fn channel(tls: bool) -> Channel {
    if tls { Channel::Tls } else { Channel::Plain }
}

/// Asks for a small file and keeps the connection.
async fn http(io: Box<dyn Io>) -> Result<BufReader<Box<dyn Io>>> {
    let mut io = BufReader::new(io);
    let request = format!("GET /{TREE}/{} HTTP/1.1\r\nHost: bench\r\n\r\n", tree_file(0, 0));
    io.write_all(request.as_bytes()).await?;
    let mut length = None;
    loop {
        let mut line = String::new();
        io.read_line(&mut line).await?;
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(text.trim().parse::<usize>()?);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length.context("no answer with a length")?];
    io.read_exact(&mut body).await?;
    Ok(io)
}

async fn ftp(tcp: TcpStream, tls: bool) -> Result<BufReader<Box<dyn Io>>> {
    let io: Box<dyn Io> = if tls {
        let mut tcp = BufReader::new(tcp);
        reply(&mut tcp, "220").await?;
        tcp.write_all(b"AUTH TLS\r\n").await?;
        reply(&mut tcp, "234").await?;
        Box::new(connect_tls(tcp.into_inner()).await?)
    } else {
        Box::new(tcp)
    };
    let mut io = BufReader::new(io);
    if !tls {
        reply(&mut io, "220").await?;
    }
    io.write_all(format!("USER {ACCOUNT}\r\n").as_bytes()).await?;
    reply(&mut io, "331").await?;
    io.write_all(format!("PASS {PASSWORD}\r\n").as_bytes()).await?;
    reply(&mut io, "230").await?;
    Ok(io)
}

/// Reads one answer, which may have many lines.
async fn reply(io: &mut (impl AsyncBufRead + Unpin), code: &str) -> Result<()> {
    loop {
        let mut line = String::new();
        if io.read_line(&mut line).await? == 0 {
            bail!("closed instead of {code}");
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            if !line.starts_with(code) {
                bail!("{} instead of {code}", line.trim());
            }
            return Ok(());
        }
    }
}

/// Logs in so many times, some at once; what came of each. With `hold` the sessions stay open, else each ends at once.
pub(super) async fn enter(door: &Door, count: u32, hold: bool) -> Vec<Result<Option<Session>>> {
    let few = Arc::new(Semaphore::new(AT_ONCE));
    let mut entering = JoinSet::new();
    for _ in 0..count {
        let (door, few) = (door.clone(), Arc::clone(&few));
        entering.spawn(async move {
            let _one_of_few = few.acquire_owned().await?;
            let session = timeout(PATIENCE, door.enter())
                .await
                .context("no login within a minute")??;
            Ok(hold.then_some(session))
        });
    }
    let mut all = Vec::new();
    while let Some(done) = entering.join_next().await {
        // The rig of the tests panics where a server does not behave.
        all.push(done.unwrap_or_else(|error| Err(error.into())));
    }
    all
}

/// The first failure, with how many there were.
pub(super) fn check(all: &[Result<Option<Session>>]) -> Result<()> {
    let failed = all.iter().filter(|done| done.is_err()).count();
    match all.iter().find_map(|done| done.as_ref().err()) {
        Some(error) => bail!("{failed} of {} logins failed: {error:#}", all.len()),
        None => Ok(()),
    }
}
