//! Clients that want to do harm: what they send, hold back, or flood the server with costs it bounded
//! memory and a bounded log, and a well-behaved user works meanwhile.

mod bodies;
mod descriptors;
mod floods;
mod frames;
mod slow;
mod strangers;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ftp_client::{GetItem, Kind, PutItem, RemotePath, TransferOptions};
use ftp_digest::Algorithm;
use ftp_proto::{Op, Request, ResumeMode};
use ftp_tests::{Channel, PASSWORD, Plan, Raw, Rig, Vitals, noise};

/// What a server may grow by for reasons of its own: pages of the program that are used for the first
/// time, stacks of its blocking threads, one honest session at work, and what the allocator keeps.
const OWN_KIB: u64 = 8 * 1024;

/// A server with alice, who behaves, and mallory, who does not.
struct Siege {
    rig: Rig,
    /// The most memory it had before the attack.
    before_kib: u64,
    visits: AtomicUsize,
}

impl Siege {
    fn start() -> Self {
        Self::of(Plan::new())
    }

    fn of(plan: Plan) -> Self {
        // What the rates hold back would prove nothing of what is behind them.
        let unlimited = "connects_per_address = \"unlimited\"\nnuisances_per_user = \"unlimited\"\n\
                         nuisances_per_address = \"unlimited\"";
        Self::within_rates(plan.limits(unlimited))
    }

    /// The same with the rates of the default.
    fn within_rates(plan: Plan) -> Self {
        let rig = plan
            .server("durability = \"none\"")
            .user("alice", "")
            .user("mallory", "quota = \"64 MiB\"")
            .start();
        let before_kib = Vitals::of(rig.server().pid()).peak_kib();
        Self {
            rig,
            before_kib,
            visits: AtomicUsize::new(0),
        }
    }

    fn address(&self) -> SocketAddr {
        self.rig.address()
    }

    fn server(&self) -> Vitals {
        Vitals::of(self.rig.server().pid())
    }

    async fn mallory(&self) -> Raw {
        self.login("mallory").await
    }

    async fn login(&self, user: &str) -> Raw {
        let mut raw = Raw::connect_from(host(2), self.address(), Channel::Tls).await.unwrap();
        raw.try_login(user, PASSWORD).await.unwrap();
        raw
    }

    /// Somebody who has not logged in.
    async fn stranger(&self, channel: Channel) -> io::Result<Raw> {
        Raw::connect_from(host(3), self.address(), channel).await
    }

    /// Alice logs in from her own address, uploads, downloads, and leaves.
    async fn alice_works(&self) {
        let visit = self.visits.fetch_add(1, Ordering::Relaxed);
        let bytes = noise(300_000, visit as u64);
        let (source, back) = (self.rig.local("source"), self.rig.local("back"));
        fs::write(&source, &bytes).unwrap();
        let remote = RemotePath::from(format!("visit {visit}").as_str());
        let (kind, size) = (Kind::File, bytes.len() as u64);
        let mut client = self.rig.client("alice");
        let options = TransferOptions {
            force: true,
            ..TransferOptions::default()
        };
        let item = PutItem {
            local: source,
            remote: remote.clone(),
            kind,
            size,
        };
        client.put(vec![item], &options).await[0].result.as_ref().unwrap();
        let item = GetItem {
            remote,
            local: back.clone(),
            kind,
            size,
            within: None,
        };
        client.get(vec![item], &options).await[0].result.as_ref().unwrap();
        assert!(fs::read(back).unwrap() == bytes);
        client.quit().await.unwrap();
    }

    /// Runs an attack, during which alice works all the time.
    async fn attacked<T>(&self, attack: impl Future<Output = T>) -> T {
        let is_over = AtomicBool::new(false);
        let attacking = async {
            let result = attack.await;
            is_over.store(true, Ordering::Relaxed);
            result
        };
        let working = async {
            while !is_over.load(Ordering::Relaxed) {
                self.alice_works().await;
            }
        };
        tokio::join!(attacking, working).0
    }

    /// The server has never taken more memory than it had, what it may take for itself, and so much for
    /// those who attack it.
    #[track_caller]
    fn took_at_most(&self, kib: u64) {
        let grown = self.server().peak_kib() - self.before_kib;
        assert!(
            grown <= OWN_KIB + kib,
            "the server took {grown} KiB more, and {kib} KiB are due"
        );
    }

    /// How often alice has worked.
    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// The log has so many lines at the most.
    #[track_caller]
    fn logged_at_most(&self, lines: usize) {
        let logged = self.rig.log().events().len();
        assert!(logged <= lines, "{logged} lines are logged, and {lines} are due");
    }
}

/// An address of its own on the loopback network.
fn host(number: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, number])
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[kind], payload].concat()
}

fn header(id: u64, op: Op) -> Vec<u8> {
    frame(1, &serde_json::to_vec(&Request { id, op }).unwrap())
}

fn put(path: &str, size: Option<u64>, ask: bool) -> Op {
    Op::Put {
        path: path.to_owned(),
        size,
        mtime: None,
        digest: Algorithm::Sha256,
        replace: true,
        parents: false,
        ask,
        resume: ResumeMode::Never,
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
