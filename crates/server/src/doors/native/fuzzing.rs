//! Whole sessions: any client, however hostile, against the real request loop over a real store.

#[path = "../../../../../fuzz/shared/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ftp_proto::scram::Verifier;
use ftp_proto::{
    Code, Frame, FrameReader, FrameWriter, Op, Re, Reply, Request, ResumeMode, Secret, begin_data, seal_data,
};
use ftp_store::{Store, StoreOptions, TrashPolicy};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use self::script::{Body, Grammar, Step};
use super::login::Entered;
use super::*;
use crate::audit::Strangers;
use crate::config::{Limits, Rights, UserConfig};
use crate::fuzzing::memory;
use crate::pace::{Rates, Toll};

/// What may be in the home, small enough that scripts meet the limits.
const QUOTA: u64 = 400_000;
const MAX_FILES: u64 = 24;
/// Longer than any time limit of a session.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What lies outside the home, and must neither change nor be read.
const SECRET: &[u8] = b"not for alice";
/// So many steps show everything; more are only slow.
const MOST_STEPS: usize = 200;

/// One line for each request, or for several that belong together. A new request gets a line here, and
/// one in `fuzz/corpus/session`.
const GRAMMAR: Grammar = Grammar {
    steps: &[
        r#"{"id":0,"op":"beat"}"#,
        r#"{"id":ID,"op":"cancel","target":ID}"#,
        r#"{"id":ID,"op":"cd","path":"PATH"}"#,
        r#"{"id":ID,"op":"cp","from":"PATH","to":"PATH","replace":FLAG}"#,
        r#"{"id":ID,"op":"df"}"#,
        r#"{"id":ID,"op":"discard","path":"PATH"}"#,
        r#"{"id":ID,"op":"get","path":"PATH","offset":NUMBER}"#,
        r#"{"id":ID,"op":"get","path":"PATH","offset":NUMBER,"length":NUMBER,"digest":"blake3"}"#,
        r#"{"id":ID,"op":"get","path":"PATH","have":{"length":5,"block":65536,"blake3":"6zFvJvTXGr8WEG1lUQb52fwuc8frZCoU2U39sKibL+g="}}"#,
        r#"{"id":ID,"op":"ls","path":"PATH","digests":FLAG}"#,
        r#"{"id":ID,"op":"mkdir","path":"PATH","parents":FLAG}"#,
        r#"{"id":ID,"op":"mv","from":"PATH","to":"PATH","replace":FLAG}"#,
        r#"{"id":ID,"op":"ping"}"#,
        r#"{"id":ID,"op":"put","path":"PATH","size":NUMBER,"replace":FLAG,"parents":FLAG,"ask":FLAG}"#,
        r#"{"id":ID,"op":"pwd"}"#,
        r#"{"id":ID,"op":"purge"}"#,
        r#"{"id":ID,"op":"purge","items":[NUMBER]}"#,
        r#"{"id":ID,"op":"quit"}"#,
        r#"{"id":ID,"op":"restore","item":NUMBER,"replace":FLAG}"#,
        r#"{"id":ID,"op":"restore","path":"PATH","to":"PATH","replace":FLAG}"#,
        r#"{"id":ID,"op":"rm","path":"PATH","forever":FLAG}"#,
        r#"{"id":ID,"op":"rmdir","path":"PATH","recursive":FLAG,"forever":FLAG}"#,
        r#"{"id":ID,"op":"stat","path":"PATH","digest":FLAG}"#,
        r#"{"id":ID,"op":"sum","path":"PATH","digest":"md5","fresh":FLAG}"#,
        r#"{"id":ID,"op":"trash"}"#,
        r#"{"id":ID,"op":"trash","path":"PATH"}"#,
        r#"{"id":ID,"op":"uploads"}"#,
        r#"{"id":ID,"op":"at","offset":NUMBER}"#,
        r#"{"id":ID,"op":"end","length":$L,"digest":"$D"}"#,
        r#"{"id":ID,"op":"end","length":NUMBER,"digest":"md5:b1946ac92492d2347c6235b4d2611184"}"#,
        r#"{"id":ID,"op":"fail","message":"PATH"}"#,
        r#"{"id":ID,"op":"from_the_future","path":"PATH"}"#,
        "{\"id\":ID,\"op\":\"put\",\"path\":\"PATH\",\"replace\":FLAG,\"parents\":FLAG}\n=hello\n{\"id\":ID,\"op\":\"end\",\"length\":$L,\"digest\":\"$D\"}",
        "{\"id\":ID,\"op\":\"put\",\"path\":\"PATH\",\"ask\":true,\"size\":70000,\"mtime\":[5,7],\"replace\":FLAG}\n*NUMBER\n*60000\n{\"id\":ID,\"op\":\"fail\",\"message\":\"\"}",
        "{\"id\":ID,\"op\":\"put\",\"path\":\"PATH\",\"ask\":true,\"size\":70000,\"mtime\":[5,7],\"resume\":\"always\"}\n{\"id\":ID,\"op\":\"at\",\"offset\":NUMBER}\n*NUMBER\n{\"id\":ID,\"op\":\"end\",\"length\":$L,\"digest\":\"$D\"}",
        "=data",
        "*NUMBER",
        "!\u{0}\u{0}",
        "+NUMBER",
        ".",
        "&",
        "~",
    ],
    paths: &[
        "/",
        "",
        ".",
        "..",
        "f",
        "/f",
        "/d",
        "d/e",
        "d/e/f",
        "new",
        "new/x",
        "d/new",
        "in",
        "in/e",
        "out",
        "out/secret",
        "dangling",
        "loop",
        "loop/x",
        ".ftpd",
        ".ftpd/staging",
        "/d/../f",
        "../alice/f",
        "caf\\u0000e9",
        "\\u0000zz",
        "a\\nb",
    ],
    numbers: &[
        "0",
        "1",
        "5",
        "6",
        "65536",
        "70000",
        "262144",
        "262145",
        "400001",
        "18446744073709551615",
    ],
};

/// A change of a script, for libFuzzer.
pub fn mutate_session(data: &mut [u8], length: usize, seed: u32) -> usize {
    GRAMMAR.mutate(data, length, seed)
}

/// A script of `fuzz/shared/script.rs` from the client's side. `&` goes on with the other of two sessions, `.`
/// waits until nothing more comes, and a first line `%` with the letters of `r`, `w` and `d` says what alice may.
pub fn session(input: &[u8]) {
    // A clock that goes on whenever everybody waits: silence costs no time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(play(input));
}

#[cfg(test)]
#[test]
fn sessions_put_together_by_chance_keep_the_promises() {
    for seed in script::rounds() {
        // Shown when it fails.
        eprintln!("seed {seed}");
        session(&GRAMMAR.random(seed));
    }
}

async fn play(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n').take(MOST_STEPS).peekable();
    let rights = match lines.next_if(|line| line.starts_with(b"%")) {
        Some(letters) => Rights {
            read: letters.contains(&b'r'),
            write: letters.contains(&b'w'),
            delete: letters.contains(&b'd'),
        },
        None => Rights::ALL,
    };
    let house = House::new(rights);
    let mut peers = [house.enter(), house.enter()];
    let mut current = 0;
    for line in lines {
        match line {
            b"&" => current = 1 - current,
            line => peers[current].step(line).await,
        }
    }
    for peer in peers {
        peer.leave().await;
    }
    house.check().await;
}

/// A door with one user, alice, whose home is not empty.
struct House {
    door: Arc<Door>,
    dir: tempfile::TempDir,
}

impl House {
    fn new(rights: Rights) -> Self {
        static VERIFIER: OnceLock<Verifier> = OnceLock::new();
        let dir = tempfile::tempdir_in(memory()).expect("a directory");
        furnish(dir.path()).expect("files can be made");
        let options = StoreOptions {
            durability: ftp_store::Durability::None,
            ..StoreOptions::default()
        };
        let site = Site::new(Store::new(options), &dir.path().join("state")).expect("a site");
        let verifier = VERIFIER.get_or_init(|| {
            Verifier::with_salt(&Secret::new("pencil".to_owned()), b"salt", 4096).expect("the password is plain")
        });
        let alice = UserConfig {
            verifier: verifier.clone(),
            home: dir.path().join("alice"),
            quota: Some(QUOTA),
            max_files: Some(MAX_FILES),
            rights,
            max_sessions: 4,
            trash: TrashPolicy {
                bytes: QUOTA / 2,
                age: LONGEST,
            },
            max_upload: None,
            max_download: None,
        };
        // Rates only slow a script down.
        let limits = Limits {
            nuisances_per_user: None,
            nuisances_per_address: None,
            ..Limits::default()
        };
        site.apply(&BTreeMap::from([("alice".to_owned(), alice)]), &limits);
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
        }
    }

    /// A session of alice, logged in.
    fn enter(&self) -> Peer {
        let (here, there) = tokio::io::duplex(16 * 1024);
        let (read, write) = wire::halves(there);
        let (_, account) = self.door.site.look_up("alice");
        let account = account.expect("alice is known");
        let entered = Entered {
            user: "alice".to_owned(),
            seat: account.take_seat().expect("there are four"),
            account,
            reader: FrameReader::new(read),
            writer: FrameWriter::new(write),
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let who = Who::new(1, peer, Some("alice".to_owned()));
        let toll = Toll::new(Rates::default());
        let door = Arc::clone(&self.door);
        let server = tokio::spawn(async move { session::run(&door, entered, who, &toll).await });
        let (read, write) = tokio::io::split(here);
        let reader = tokio::spawn(listen(read));
        Peer {
            write,
            reader,
            server,
            body: Body::default(),
            ended: false,
        }
    }

    /// What holds after all sessions, whatever they were.
    async fn check(self) {
        let tasks = &self.door.tasks;
        tasks.close();
        timeout(LONGEST, tasks.wait())
            .await
            .expect("work that was left goes on to its end");
        let (_, account) = self.door.site.look_up("alice");
        let home = self
            .door
            .site
            .open(&account.expect("alice is known"))
            .await
            .expect("it is open");
        assert!(
            self.dir.path().join("alice/.ftpd/staging").is_dir(),
            "nobody removes it, and nothing in it would count"
        );
        let Rest { usage, stored, staged } = at_rest(&home, &self.dir.path().join("alice")).await;
        assert_eq!(
            (usage.used, usage.entries),
            (stored.bytes, stored.entries),
            "what is counted is what is there"
        );
        assert_eq!(usage.reserved, 0, "nothing is running any more");
        assert_eq!(
            (usage.pending, usage.uploads),
            (staged.parts, staged.uploads),
            "{:?}",
            staged.names
        );
        assert_eq!(
            staged.entries,
            2 * staged.uploads,
            "each has its record, and nothing else is left: {:?}",
            staged.names
        );
        assert!(
            usage.used + usage.pending + usage.trash <= QUOTA
                && usage.entries + usage.trash_entries <= MAX_FILES
                && usage.trash <= usage.trash_limit,
            "{usage:?}"
        );

        let outside = count(&self.dir.path().join("outside"), false);
        assert_eq!(outside.names, ["secret"], "nobody may write outside the home");
        let secret = fs::read(self.dir.path().join("outside/secret")).expect("it is still there");
        assert_eq!(secret, SECRET);
        let top: Vec<_> = count_names(self.dir.path());
        assert_eq!(top, ["alice", "outside", "state"]);
    }
}

/// A home once nothing is running: what is counted, and what is there.
struct Rest {
    usage: ftp_store::Usage,
    stored: Found,
    staged: Found,
}

/// What a session leaves behind when it is cut goes on to its end on a thread that nobody waits for. So this looks
/// until all agrees, and returns what it saw at that moment: to look once more could see the next.
async fn at_rest(home: &ftp_store::Home, dir: &Path) -> Rest {
    /// A blocking call takes far less, also on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);
    let began = std::time::Instant::now();
    loop {
        let usage = home.usage().await.expect("it can be asked");
        let staged = count(&dir.join(".ftpd/staging"), false);
        let stored = count(dir, true);
        let is_settled = usage.reserved == 0
            && (usage.pending, usage.uploads) == (staged.parts, staged.uploads)
            && staged.entries == 2 * staged.uploads
            && (usage.used, usage.entries) == (stored.bytes, stored.entries);
        if is_settled || began.elapsed() > PATIENCE {
            return Rest { usage, stored, staged };
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A home with a file, directories, and links of every kind; and what lies beside it.
fn furnish(dir: &Path) -> std::io::Result<()> {
    let home = dir.join("alice");
    fs::create_dir_all(home.join("d/e"))?;
    fs::create_dir(dir.join("outside"))?;
    fs::create_dir(dir.join("state"))?;
    fs::write(dir.join("outside/secret"), SECRET)?;
    fs::write(home.join("f"), "hello\n")?;
    symlink("d", home.join("in"))?;
    symlink("../outside", home.join("out"))?;
    symlink("nowhere", home.join("dangling"))?;
    symlink("loop", home.join("loop"))
}

#[derive(Default)]
struct Found {
    bytes: u64,
    entries: u64,
    /// The bytes of staged uploads, and how many.
    parts: u64,
    uploads: u64,
    names: Vec<String>,
}

fn count_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("it is there")
        .map(|entry| entry.expect("as before").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Everything beneath a directory; of a home, without what the server keeps there. What goes meanwhile does not count:
/// until all is at rest it is counted again.
fn count(dir: &Path, is_home: bool) -> Found {
    let mut found = Found::default();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        found.names.push(name.to_string_lossy().into_owned());
        let Ok(metadata) = entry.metadata() else { continue };
        if is_home && name == ftp_store::RESERVED_NAME {
            continue;
        }
        found.entries += 1;
        if metadata.is_dir() {
            let below = count(&entry.path(), false);
            (found.bytes, found.entries) = (found.bytes + below.bytes, found.entries + below.entries);
        } else if metadata.is_file() {
            found.bytes += metadata.len();
        }
        if name.to_string_lossy().ends_with(".part") {
            (found.parts, found.uploads) = (found.parts + metadata.len(), found.uploads + 1);
        }
    }
    found.names.sort();
    found
}

/// The client's end of a session.
struct Peer {
    write: WriteHalf<DuplexStream>,
    reader: JoinHandle<()>,
    server: JoinHandle<()>,
    body: Body,
    ended: bool,
}

impl Peer {
    async fn step(&mut self, line: &[u8]) {
        if line == b"." {
            // The clock goes on only when nobody has anything to do.
            return tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match Step::parse(line) {
            Step::Data(bytes) => {
                self.body.write(&bytes);
                for chunk in bytes
                    .chunks(ftp_proto::MAX_DATA_BYTES)
                    .chain(bytes.is_empty().then_some(&[][..]))
                {
                    let mut frame = begin_data(chunk.len());
                    frame.extend_from_slice(chunk);
                    self.send(&seal_data(frame).expect("no longer than allowed")).await;
                }
            }
            Step::End => self.end().await,
            Step::Header(line) => {
                let json = self.body.fill_in(line);
                self.follow(&json);
                let length = u32::try_from(json.len() + 1).expect("inputs are small");
                self.send(&[&length.to_be_bytes()[..], &[1], &json].concat()).await;
            }
            Step::Raw(bytes) => self.send(bytes).await,
            Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }

    /// Keeps the body in step with what is announced.
    fn follow(&mut self, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(Request {
                op: Op::Put { ask, resume, .. },
                ..
            }) if !ask || resume == ResumeMode::Never => self.body.begin(),
            Ok(Request {
                op: Op::At { offset }, ..
            }) => self.body.seek(offset),
            _ => {}
        }
    }

    /// A server that has ended its session takes nothing more, which is no fault.
    async fn send(&mut self, bytes: &[u8]) {
        if !self.ended && self.write.write_all(bytes).await.is_err() {
            self.ended = true;
        }
    }

    async fn end(&mut self) {
        self.ended = true;
        drop(self.write.shutdown().await);
    }

    async fn leave(mut self) {
        self.end().await;
        let over = timeout(LONGEST, self.server).await;
        over.expect("every session ends").expect("no session panics");
        self.reader.await.expect("what the server says makes sense");
    }
}

/// Takes in everything that the server says, and judges it.
async fn listen(read: ReadHalf<DuplexStream>) {
    let mut reader = FrameReader::new(read);
    reader.open();
    while let Some(frame) = reader.next().await.expect("frames of legal length") {
        match frame {
            Frame::Data(bytes) => assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET)),
            Frame::Header(json) => {
                let reply: Reply = serde_json::from_slice(&json).expect("replies of this version");
                match reply.re {
                    Re::Error(fault) | Re::Bye(fault) => assert_ne!(fault.code, Code::Internal, "{fault:?}"),
                    Re::Unknown => panic!("an unknown reply"),
                    _ => {}
                }
            }
        }
    }
}
