//! A TCP connection in the middle that breaks where it is told to.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustix::net::connect_unspec;

use crate::eventually;

/// How a slow link passes bytes on: in such pieces, with such a pause after each, so many times.
const SLOW_BYTES: usize = 512;
const SLOW_PAUSE: Duration = Duration::from_millis(1);
const SLOW_PIECES: u32 = 64;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Both ends lose it.
    Cut,
    /// One byte is changed; everything else goes on.
    Flip,
    /// Nothing comes through any more in this direction, and nobody is told.
    Stall,
    /// Both ends are told that the other one is gone (TCP RST), what was under way is lost.
    Reset,
    /// The next bytes come through in small pieces with pauses; then everything goes on.
    Slow,
    /// Nothing breaks, but whoever drives the test is told.
    Mark,
}

/// What happens to one connection: where, after how many bytes, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which way the bytes go that are counted.
    pub direction: Direction,
    /// How many of them pass before it happens.
    pub after: u64,
    /// What happens.
    pub what: Break,
}

/// A proxy on a port of its own. Connections that no fault is set for pass unharmed. Dropping it
/// ends them all.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that went through, up and down.
    passed: [AtomicU64; 2],
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    /// With their numbers in the order in which they were set.
    faults: VecDeque<(usize, Fault)>,
    live: Vec<TcpStream>,
    connections: usize,
    stalled: usize,
    /// Faults that have happened since they were last set.
    fired: Vec<usize>,
    /// Grows when what is stalled shall go on.
    released: usize,
    closed: bool,
}

impl Proxy {
    /// A proxy to the target.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                target,
                faults: VecDeque::new(),
                live: Vec::new(),
                connections: 0,
                stalled: 0,
                fired: Vec::new(),
                released: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            passed: Default::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if !accepting.accept(&client.unwrap()) {
                    return;
                }
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks the next connection that has no fault yet.
    #[must_use]
    pub fn and(self, direction: Direction, after: u64, what: Break) -> Self {
        let fault = Fault { direction, after, what };
        let mut state = self.shared.lock();
        let number = state.faults.len();
        state.faults.push_back((number, fault));
        drop(state);
        self
    }

    /// Forgets the faults set before, and breaks the next connections by these, one each.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.shared.lock();
        state.faults = faults.into_iter().enumerate().collect();
        state.fired.clear();
    }

    /// Which faults have happened since they were last set, as numbers in the order in which they were
    /// set.
    pub fn fired(&self) -> Vec<usize> {
        self.shared.lock().fired.clone()
    }

    /// How many bytes have come through in a direction, over all connections.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::Relaxed)
    }

    /// Later connections go elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Waits until a connection stalls.
    pub fn wait_for_stall(&self) {
        eventually("a connection stalls", || (self.shared.lock().stalled > 0).then_some(()));
    }

    /// Lets go on what is stalled.
    pub fn release(&self) {
        self.shared.lock().released += 1;
        self.shared.changed.notify_all();
    }

    /// Cuts all connections.
    pub fn sever(&self) {
        let mut state = self.shared.lock();
        for stream in state.live.drain(..) {
            // It may be over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        state.released += 1;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.sever();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether to go on accepting.
    fn accept(self: &Arc<Self>, client: &TcpStream) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        // A server that is gone is what some tests are about: the client finds itself cut.
        let Ok(server) = TcpStream::connect(state.target) else {
            return true;
        };
        state.connections += 1;
        let fault = state.faults.pop_front();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        state
            .live
            .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        let ends = [(client, &server, Direction::Up), (&server, client, Direction::Down)];
        for (from, to, direction) in ends {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let fault = fault
                .filter(|(_, fault)| fault.direction == direction)
                .map(|(number, fault)| (fault.after, (number, fault.what)));
            let shared = Arc::clone(self);
            thread::spawn(move || shared.copy(from, to, direction, fault));
        }
        true
    }

    fn copy(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        direction: Direction,
        mut fault: Option<(u64, (usize, Break))>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        let mut slow = 0;
        loop {
            let most = match fault {
                Some((left, _)) => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)).max(1),
                None => buffer.len(),
            };
            if let Some((0, (number, what))) = fault {
                self.lock().fired.push(number);
                match what {
                    Break::Cut => {
                        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                        return;
                    }
                    Break::Reset => {
                        // It may be over already.
                        let _ = (connect_unspec(&from), connect_unspec(&to));
                        return;
                    }
                    Break::Stall => self.stall(),
                    Break::Slow => slow = SLOW_PIECES,
                    Break::Mark => {}
                    Break::Flip => {
                        let mut byte = [0];
                        if from.read_exact(&mut byte).is_err() || to.write_all(&[byte[0] ^ 0xff]).is_err() {
                            return;
                        }
                    }
                }
                fault = None;
                continue;
            }
            let most = if slow > 0 { most.min(SLOW_BYTES) } else { most };
            let read = from.read(&mut buffer[..most]).unwrap_or(0);
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            self.passed[direction as usize].fetch_add(read as u64, Ordering::Relaxed);
            if let Some((left, _)) = &mut fault {
                *left -= read as u64;
            }
            if slow > 0 {
                slow -= 1;
                thread::sleep(SLOW_PAUSE);
            }
        }
    }

    fn stall(&self) {
        let mut state = self.lock();
        state.stalled += 1;
        let released = state.released;
        let mut state = self
            .changed
            .wait_while(state, |state| state.released == released)
            .unwrap();
        state.stalled -= 1;
    }
}
