//! The native protocol of `docs/protocol.md`: TLS, hello, SCRAM login, pipelined requests.

mod change;
mod download;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod group;
mod login;
mod many;
mod record;
mod reply;
mod request;
mod rules;
mod session;
mod small;
mod trash;
mod upload;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use ftp_proto::scram::Binding;

use crate::audit::{self, Strangers, Who};
use crate::gate::{Gate, Permit};
use crate::site::Site;
use crate::tls;
use wire::{Ingoing, Outgoing};

/// Why a connection is closed that did not log in while others needed its place.
const DISPLACED: &str = "no login yet when others needed the place";

/// What every connection of this door needs.
pub(crate) struct Door {
    pub(crate) site: Arc<Site>,
    pub(crate) gate: Arc<Gate>,
    /// Where work that outlives its session's wait is counted.
    pub(crate) tasks: TaskTracker,
    /// What may be logged of connections that do not come to a login.
    pub(crate) strangers: Strangers,
    /// No new requests; transfers may end.
    pub(crate) drain: CancellationToken,
    /// Everything ends now.
    pub(crate) cut: CancellationToken,
}

impl Door {
    /// Serves a TCP connection from its first byte to its end.
    pub(crate) async fn serve(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        session: u64,
        permit: Permit,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) {
        if !self.lets_in(&permit, peer, session).await {
            return;
        }
        // Without it, small replies would wait for the client's acknowledgements.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else {
            let (read, write) = tcp.into_split();
            let halves = (Box::new(read) as Ingoing, Outgoing::Bare(write));
            return self.talk(halves, Binding::None, peer, session, permit).await;
        };
        let accepting = Box::pin(timeout(self.gate.limits().tls_timeout, tls::accept(tcp, tls)));
        let accepted = tokio::select! {
            () = self.drain.cancelled() => return,
            () = permit.displaced().cancelled() => return self.login_failed(session, peer, None, DISPLACED),
            accepted = accepting => accepted,
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.login_failed(session, peer, None, &format!("TLS failed: {error}")),
            Err(_) => return self.login_failed(session, peer, None, "TLS took too long"),
        };
        match tls::binding(&stream) {
            Ok(binding) => self.talk(wire::halves(stream), binding, peer, session, permit).await,
            Err(error) => audit::failure(Some(session), "cannot bind the login to TLS", &error),
        }
    }

    /// Lets a connection wait that comes too soon after others of its address. Whether it still has its place then.
    async fn lets_in(&self, permit: &Permit, peer: SocketAddr, session: u64) -> bool {
        if permit.knock().is_zero() {
            return true;
        }
        tokio::select! {
            biased;
            () = self.drain.cancelled() => false,
            // The place is somebody else's by now, and the descriptor is one too many.
            () = permit.displaced().cancelled() => {
                self.login_failed(session, peer, None, DISPLACED);
                false
            }
            () = tokio::time::sleep(permit.knock()) => true,
        }
    }

    /// Logs that a connection did not come to a login, unless its address has had enough lines.
    fn login_failed(&self, session: u64, peer: SocketAddr, user: Option<&str>, cause: &str) {
        if self.strangers.may_log(peer.ip()) {
            audit::login_failed(session, peer, user, cause);
        }
    }

    /// Serves a connection on which only frames travel.
    pub(crate) async fn talk(
        &self,
        (read, write): (Ingoing, Outgoing),
        binding: Binding,
        peer: SocketAddr,
        session: u64,
        mut permit: Permit,
    ) {
        let began = Instant::now();
        let logging_in = Box::pin(login::run(self, read, write, binding, peer, session));
        let entered = tokio::select! {
            () = self.drain.cancelled() => return,
            () = permit.displaced().cancelled() => return self.login_failed(session, peer, None, DISPLACED),
            entered = logging_in => entered,
        };
        let Some(entered) = entered else { return };
        permit.logged_in();
        let who = Who::new(session, peer, Some(entered.user.clone()));
        audit::login(&who, began.elapsed().as_secs_f64());
        // Boxed, so that a connection has room for what it needs now only.
        Box::pin(session::run(self, entered, who, permit.toll())).await;
    }
}
