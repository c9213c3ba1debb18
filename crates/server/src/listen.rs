//! Accepting connections: never ends because of an error, never spins, and spends nothing on a
//! connection before it has a permit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Allowance};
use crate::gate::{Gate, Permit, Refusal};

/// The pause after an error that concerns the server rather than one connection, such as no more file
/// descriptors: accepting at once would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Log lines a minute for such errors, of which there may be five a second.
const ERROR_LINES: u32 = 2;

/// At most one log line in so long for connections that are turned away.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Accepts until `stop` and hands each admitted connection to `serve`.
pub(crate) async fn accept(
    listener: TcpListener,
    gate: Arc<Gate>,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, Permit),
) {
    let mut refusals = RefusalLog { last: None, since: 0 };
    let mut errors = Allowance::new(ERROR_LINES);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match gate.admit(peer.ip()) {
                Ok(permit) => serve(stream, peer, permit),
                Err(refusal) => refusals.note(peer, refusal),
            },
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if errors.take() {
                    let before = errors.held_back();
                    audit::failure(None, &cannot_accept(before), &error);
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn cannot_accept(before: u64) -> String {
    match before {
        0 => "cannot accept connections".to_owned(),
        _ => format!("cannot accept connections, as {before} more times since the last such line"),
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Keeps a flood of refused connections from flooding the log.
struct RefusalLog {
    last: Option<Instant>,
    since: u64,
}

impl RefusalLog {
    fn note(&mut self, peer: SocketAddr, refusal: Refusal) {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < REFUSAL_LOG_INTERVAL)
        {
            self.since += 1;
            return;
        }
        let reason = match self.since {
            0 => refusal.to_string(),
            more => format!("{refusal} ({more} more since the last such line)"),
        };
        audit::session_refused(peer, &reason);
        (self.last, self.since) = (Some(now), 0);
    }
}
