//! The server's side of the control socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ftp_store::{Pace, ScrubOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::report::{Finding, RecountReport, ScrubReport, StatusReport, TransferReport, UsageReport, UserReport};
use super::{
    Ask, BEAT_INTERVAL, FILE, LINE_TIMEOUT, MAX_CONNECTIONS, MAX_QUESTION_BYTES, NEW_FILE, Re, from_line, to_line,
    with_address,
};
use crate::gate::Gate;
use crate::site::Site;
use crate::{audit, care};

/// The socket, bound. Removed when dropped.
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// What is answered from.
pub(crate) struct Desk {
    pub(crate) site: Arc<Site>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) address: SocketAddr,
    pub(crate) began: Instant,
    /// Long answers end with the server.
    pub(crate) drain: CancellationToken,
}

impl Control {
    /// Binds the socket in the state directory, whose lock the caller holds: what is there is left over.
    ///
    /// # Errors
    /// When something else has the name, or the address cannot be used.
    pub(crate) fn bind(state: &Path) -> Result<Self> {
        let path = state.join(FILE);
        let bind = || -> io::Result<UnixListener> {
            remove_left_over(&state.join(NEW_FILE))?;
            let listener = with_address(state, NEW_FILE, |path| std::os::unix::net::UnixListener::bind(path))?;
            // It gets its name when nobody else can connect to it any more.
            std::fs::set_permissions(state.join(NEW_FILE), std::fs::Permissions::from_mode(0o600))?;
            remove_left_over(&path)?;
            std::fs::rename(state.join(NEW_FILE), &path)?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        let listener = bind().with_context(|| format!("cannot make the control socket {}", path.display()))?;
        Ok(Self { listener, path })
    }

    /// Answers until it is dropped, which ends what is being answered as well.
    pub(crate) async fn run(&self, desk: &Arc<Desk>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut answering = tokio::task::JoinSet::new();
        loop {
            while answering.try_join_next().is_some() {}
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(cause) => {
                    audit::failure(None, "cannot accept control connections", &cause);
                    tokio::time::sleep(LINE_TIMEOUT).await;
                    continue;
                }
            };
            if !stream.peer_cred().is_ok_and(|peer| may_ask(&peer)) {
                audit::warning("a control connection of another user of this machine was refused");
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                // Without waiting: an empty socket takes a line, or nobody is there to read it.
                let _ = stream.try_write(&to_line(error(
                    "it answers others already; try again when they are done",
                )));
                continue;
            };
            let desk = Arc::clone(desk);
            answering.spawn(async move {
                desk.talk(stream).await;
                drop(place);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever meets a left-over socket is refused by the kernel.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_left_over(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is no socket; move it away", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The server's own user, and root.
fn may_ask(peer: &UCred) -> bool {
    peer.uid() == rustix::process::geteuid().as_raw() || peer.uid() == 0
}

/// Where answers go. A line that is not taken in time ends the conversation.
struct Line {
    write: OwnedWriteHalf,
}

impl Line {
    async fn say(&mut self, re: Re) -> io::Result<()> {
        let line = to_line(re);
        timeout(LINE_TIMEOUT, self.write.write_all(&line))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Desk {
    async fn talk(&self, stream: UnixStream) {
        let (read, write) = stream.into_split();
        let mut read = BufReader::new(read.take(MAX_QUESTION_BYTES));
        let mut line = Line { write };
        let mut question = Vec::new();
        if !matches!(
            timeout(LINE_TIMEOUT, read.read_until(b'\n', &mut question)).await,
            Ok(Ok(1..))
        ) {
            return;
        }
        let said = match from_line(&question) {
            Ok(ask) => {
                let answered = tokio::select! {
                    answered = self.answer(ask, &mut line) => Some(answered),
                    // Nobody listens any more.
                    () = closed(read) => return,
                    () = self.drain.cancelled() => None,
                };
                match answered {
                    Some(Ok(())) => line.say(Re::End).await,
                    Some(Err(error)) => Err(error),
                    None => line.say(error("the server is shutting down")).await,
                }
            }
            Err(misfit) => line.say(error(&misfit.to_string())).await,
        };
        if let Err(error) = said {
            tracing::debug!(%error, "control connection lost");
        }
    }

    async fn answer(&self, ask: Ask, line: &mut Line) -> io::Result<()> {
        match ask {
            Ask::Status => {
                let report = self.status().await;
                line.say(Re::Status(Box::new(report))).await
            }
            Ask::Recount { users } => {
                for user in self.users(users, line).await? {
                    let Some(home) = self.open(&user, line).await? else {
                        continue;
                    };
                    let counting = with_beats(line, home.recount(Pace::FULL)).await?;
                    let re = match counting {
                        Ok(recount) => {
                            audit::recounted(&user, &recount);
                            Re::Recount(RecountReport::new(&user, &recount))
                        }
                        Err(error) => failed(&user, &error),
                    };
                    line.say(re).await?;
                }
                Ok(())
            }
            Ask::Scrub { users, rate, adopt } => {
                for user in self.users(users, line).await? {
                    if let Some(home) = self.open(&user, line).await? {
                        scrub(&user, &home, rate, adopt, line).await?;
                    }
                }
                Ok(())
            }
        }
    }

    /// These users, or all of them.
    async fn users(&self, users: Vec<String>, line: &mut Line) -> io::Result<Vec<String>> {
        let all = self.site.all();
        for user in users.iter().filter(|user| !all.iter().any(|(name, _)| name == *user)) {
            let message = "the server knows no such user".to_owned();
            let user = user.clone();
            line.say(Re::Failed { user, message }).await?;
        }
        let is_asked = |name: &String| users.is_empty() || users.contains(name);
        Ok(all.into_iter().map(|(name, _)| name).filter(is_asked).collect())
    }

    /// The home of a user whose turn has come; `None` if it cannot be opened, which is told, or the user is gone.
    async fn open(&self, user: &str, line: &mut Line) -> io::Result<Option<ftp_store::Home>> {
        // Asked for only now: an account from before a reload would put its old quota in force.
        let Some(account) = self.site.account(user) else {
            return Ok(None);
        };
        match with_beats(line, self.site.open(&account)).await? {
            Ok(home) => Ok(Some(home)),
            Err(error) => {
                line.say(failed(user, &error)).await?;
                Ok(None)
            }
        }
    }

    async fn status(&self) -> StatusReport {
        let (connections, connections_before_login) = self.gate.connections();
        let limits = self.gate.limits();
        let mut users = Vec::new();
        for (user, account) in self.site.all() {
            let (sessions, sessions_limit) = account.sessions();
            let usage = match account.opened() {
                Some(home) => home.usage().await.ok().map(|usage| UsageReport {
                    used: usage.used,
                    pending: usage.pending,
                    reserved: usage.reserved,
                    entries: usage.entries,
                    uploads: usage.uploads,
                    limit: usage.bytes_limit,
                    entries_limit: usage.entries_limit,
                }),
                None => None,
            };
            users.push(UserReport {
                user,
                sessions,
                sessions_limit,
                home: account.home_dir().to_string_lossy().into_owned(),
                usage,
            });
        }
        let transfers = self.site.transfers().all().into_iter().map(|transfer| TransferReport {
            session: transfer.session,
            user: transfer.user.as_ref().to_owned(),
            op: transfer.op.to_owned(),
            path: ftp_proto::encode_name(transfer.path.as_bytes()),
            seconds: transfer.began.elapsed().as_secs_f64(),
        });
        StatusReport {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            address: self.address.to_string(),
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            draining: self.drain.is_cancelled(),
            connections,
            connections_before_login,
            sessions_limit: limits.sessions,
            sessions_before_login_limit: limits.sessions_before_login,
            sessions_per_address_limit: limits.sessions_per_address,
            users,
            transfers: transfers.collect(),
        }
    }
}

async fn scrub(user: &str, home: &ftp_store::Home, rate: Option<u64>, adopt: bool, line: &mut Line) -> io::Result<()> {
    let options = ScrubOptions {
        pace: rate.map_or(Pace::FULL, Pace::per_second),
        adopt,
        part: None,
    };
    let began = Instant::now();
    let mut scrub = match home.scrub(options).await {
        Ok(scrub) => scrub,
        Err(error) => return line.say(failed(user, &error)).await,
    };
    loop {
        let more = match with_beats(line, scrub.step()).await? {
            Ok(more) => more,
            Err(error) => return line.say(failed(user, &error)).await,
        };
        while let Some(finding) = scrub.take() {
            care::log_finding(user, &finding);
            line.say(Re::Finding(Finding::new(user, &finding))).await?;
        }
        if !more {
            let (summary, seconds) = (scrub.summary(), began.elapsed().as_secs_f64());
            audit::scrubbed(user, &summary, seconds);
            return line.say(Re::Scrub(ScrubReport::new(user, &summary, seconds))).await;
        }
    }
}

/// Waits for `work`, and shows signs of life meanwhile.
async fn with_beats<T>(line: &mut Line, work: impl Future<Output = T>) -> io::Result<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(BEAT_INTERVAL) => line.say(Re::Beat).await?,
        }
    }
}

/// Completes when the other side has closed, or says what it was not asked.
async fn closed(mut read: BufReader<tokio::io::Take<OwnedReadHalf>>) {
    let _ = read.read_u8().await;
}

fn error(message: &str) -> Re {
    Re::Error {
        message: message.to_owned(),
    }
}

fn failed(user: &str, error: &ftp_store::Error) -> Re {
    Re::Failed {
        user: user.to_owned(),
        message: audit::Chain(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use ftp_store::{Store, StoreOptions};

    use super::*;
    use crate::config::{Limits, UserConfig};
    use crate::site::tests::user;

    /// The configuration of alice and bob, of whom bob has this password and quota.
    fn users(dir: &Path, password: &str, quota: u64) -> BTreeMap<String, UserConfig> {
        let bob = UserConfig {
            quota: Some(quota),
            ..user(&dir.join("bob"), password)
        };
        [("alice", user(&dir.join("alice"), "a")), ("bob", bob)]
            .map(|(name, user)| (name.to_owned(), user))
            .into()
    }

    #[test]
    fn a_round_over_all_homes_leaves_the_quota_alone_that_a_reload_has_put_in_force_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        // One thread for all that touches a disk: whoever holds it makes the store slow.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let site = Arc::new(Site::new(Store::new(StoreOptions::default()), dir.path()).unwrap());
            let limits = Limits::default();
            site.apply(&users(dir.path(), "b", 1000), &limits);
            site.open_all(|name, error| panic!("{name}: {error}")).await;
            let desk = Desk {
                site: Arc::clone(&site),
                gate: Gate::new(limits.clone()),
                address: SocketAddr::from(([127, 0, 0, 1], 9)),
                began: Instant::now(),
                drain: CancellationToken::new(),
            };
            let (release, held) = mpsc::channel::<()>();
            let slow = tokio::task::spawn_blocking(move || held.recv().unwrap_err());
            let (mut here, there) = UnixStream::pair().unwrap();
            let round = tokio::spawn(async move { desk.talk(there).await });
            here.write_all(&to_line(Ask::Recount { users: Vec::new() }))
                .await
                .unwrap();
            let mut lines = BufReader::new(here).lines();
            let beat = tokio::select! {
                line = lines.next_line() => line.unwrap().unwrap(),
                // The clock stands still while the thread is held.
                () = async {
                    loop {
                        tokio::time::advance(BEAT_INTERVAL / 10).await;
                        tokio::task::yield_now().await;
                    }
                } => unreachable!(),
            };
            // It waits for alice's home.
            assert_eq!(from_line::<Re>(beat.as_bytes()).unwrap(), Re::Beat);
            site.apply(&users(dir.path(), "new", 2000), &limits);
            drop(release);
            slow.await.unwrap();
            round.await.unwrap();
            let home = site
                .account("bob")
                .unwrap()
                .opened()
                .expect("its turn came after the reload");
            assert_eq!(home.usage().await.unwrap().bytes_limit, Some(2000));
        });
    }
}
