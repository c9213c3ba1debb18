//! A link with a long way and a known width, as a proxy: the kernel's own means for it are seldom there.
//!
//! All connections share the width, in each direction for itself. What the proxy cannot show is loss, and what a
//! sender's congestion control makes of a long way: bytes wait here, acknowledged already.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The time there and back.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(50);

/// The width, in bytes a second: 1 Gbit/s.
pub(crate) const BYTES_PER_SECOND: u64 = 125_000_000;

/// What is read at once: half a millisecond of the width.
const PIECE: usize = 64 * 1024;

/// What may be under way in one direction of a connection: more than width times way, so that only these bound it.
const UNDER_WAY: usize = 8 * 1024 * 1024;

/// A link to one server. Dropping it takes no more connections.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    closed: Arc<Mutex<bool>>,
}

/// When one direction of the link is free again.
type Lane = Arc<Mutex<Instant>>;

/// Bytes under way, with the time at which each piece arrives.
#[derive(Debug, Default)]
struct Line {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    ended: bool,
}

impl Link {
    /// A link to a port of the loopback.
    pub(crate) fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let link = Self {
            port: listener.local_addr()?.port(),
            closed: Arc::default(),
        };
        let closed = Arc::clone(&link.closed);
        let lanes = [Instant::now(); 2].map(|now| Arc::new(Mutex::new(now)));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if *locked(&closed) {
                    return;
                }
                let lanes = lanes.clone();
                // Whatever fails here, the client notes as a connection that ends.
                thread::spawn(move || join(&client, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), lanes));
            }
        });
        Ok(link)
    }

    /// Where clients find it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        *locked(&self.closed) = true;
        // Wakes the thread that accepts; if it is gone, all the better.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn join(client: &TcpStream, server: SocketAddr, lanes: [Lane; 2]) -> Result<()> {
    client.set_nodelay(true)?;
    // A real connection is there after one round trip; on the loopback it was there at once.
    thread::sleep(ROUND_TRIP);
    let server = TcpStream::connect(server)?;
    server.set_nodelay(true)?;
    let [up, down] = lanes;
    for (from, to, lane) in [(client, &server, up), (&server, client, down)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let line = Arc::new((Mutex::new(Line::default()), Condvar::new()));
        let sending = Arc::clone(&line);
        thread::spawn(move || take(from, &lane, &line));
        thread::spawn(move || give(to, &sending));
    }
    Ok(())
}

/// Takes bytes and tells when they arrive.
fn take(mut from: TcpStream, lane: &Lane, (line, changed): &(Mutex<Line>, Condvar)) {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            locked(line).ended = true;
            changed.notify_all();
            return;
        }
        let passed = {
            let mut free = locked(lane);
            *free = (*free).max(Instant::now()) + Duration::from_nanos(read as u64 * 1_000_000_000 / BYTES_PER_SECOND);
            *free
        };
        let state = locked(line);
        let mut state = changed
            .wait_while(state, |it| it.bytes > UNDER_WAY)
            .unwrap_or_else(PoisonError::into_inner);
        state.bytes += read;
        state
            .pieces
            .push_back((passed + ROUND_TRIP / 2, buffer[..read].to_vec()));
        changed.notify_all();
    }
}

/// Gives bytes on when they have arrived.
fn give(mut to: TcpStream, (line, changed): &(Mutex<Line>, Condvar)) {
    loop {
        let state = locked(line);
        let waiting = |it: &mut Line| it.pieces.is_empty() && !it.ended;
        let mut state = changed
            .wait_while(state, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        let Some((arrives, piece)) = state.pieces.pop_front() else {
            // The other end may be gone already.
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        drop(state);
        thread::sleep(arrives.saturating_duration_since(Instant::now()));
        let given = to.write_all(&piece);
        let mut state = locked(line);
        state.bytes -= piece.len();
        if given.is_err() {
            // Nobody reads any more: what still comes is thrown away, and the sender finds out.
            state.bytes = 0;
            let _ = to.shutdown(Shutdown::Both);
        }
        changed.notify_all();
        if given.is_err() {
            return;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
