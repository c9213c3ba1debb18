//! Hostile servers: whatever they answer, the client ends, writes nothing outside of where it was told to,
//! and calls nothing stored that was not proven.

#[path = "../../../../fuzz/shared/script.rs"]
mod script;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftp_digest::{Algorithm, Hasher};
use ftp_proto::scram::{Binding, Credential, DerivedKeys};
use ftp_proto::{Frame, FrameReader, FrameWriter, Limits, Op, Re, Reply, Request, begin_data, seal_data};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use self::script::{Body, Grammar, Step};
use crate::link::Link;
use crate::observer::{Conflict, Decision, Event, Observer};
use crate::stream::Io;
use crate::{
    Address, Client, ConnectOptions, GetItem, Kind, Outcome, PutItem, RemotePath, Resume, RetryPolicy, TransferOptions,
    login,
};

/// Longer than any time limit of the client.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What lies beside the target, and must stay.
const BESIDE: &[u8] = b"somebody else's";
/// So many steps show everything; more are only slow.
const MOST_STEPS: usize = 200;

/// One line for each reply, or for several that belong together. A new reply gets a line here, and one in
/// `fuzz/corpus/client`.
const GRAMMAR: Grammar = Grammar {
    steps: &[
        "?",
        r#"{"id":0,"re":"beat"}"#,
        r#"{"id":0,"re":"bye","code":"shutting_down","message":"PATH","retry":FLAG}"#,
        r#"{"id":$I,"re":"error","code":"not_found","message":"PATH","retry":FLAG}"#,
        r#"{"id":$I,"re":"error","code":"exists","message":"","existing":{"name":"PATH","kind":"file","size":NUMBER,"mtime":[5,7]}}"#,
        r#"{"id":$I,"re":"at","offset":NUMBER}"#,
        r#"{"id":$I,"re":"begin","size":NUMBER,"mtime":[5,7],"body":NUMBER}"#,
        r#"{"id":$I,"re":"cwd","path":"PATH"}"#,
        r#"{"id":$I,"re":"digest","digest":"$D","size":NUMBER,"kept":FLAG}"#,
        r#"{"id":$I,"re":"end","length":$L,"digest":"$D"}"#,
        r#"{"id":$I,"re":"end","length":NUMBER,"digest":"md5:b1946ac92492d2347c6235b4d2611184"}"#,
        r#"{"id":$I,"re":"entry","name":"PATH","kind":"dir","size":0,"mtime":[5,7]}"#,
        r#"{"id":$I,"re":"entry","name":"PATH","kind":"file","size":NUMBER,"mtime":[5,7],"digest":"$D"}"#,
        r#"{"id":$I,"re":"go"}"#,
        r#"{"id":$I,"re":"go","have":{"length":5}}"#,
        r#"{"id":$I,"re":"go","have":{"length":5,"block":65536,"blake3":"6zFvJvTXGr8WEG1lUQb52fwuc8frZCoU2U39sKibL+g="}}"#,
        r#"{"id":$I,"re":"ok"}"#,
        r#"{"id":$I,"re":"page","entries":[{"name":"PATH","kind":"file","size":NUMBER,"mtime":[5,7]},{"name":"PATH","kind":"dir","size":0,"mtime":[5,7]}]}"#,
        r#"{"id":$I,"re":"page","entries":[{"name":"PATH","kind":"link","size":NUMBER,"mtime":[5,7]}]}"#,
        r#"{"id":$I,"re":"stored","size":NUMBER,"mtime":[5,7],"digest":"$D","replaced":FLAG}"#,
        r#"{"id":$I,"re":"uploads","uploads":[{"path":"PATH","staged":NUMBER,"touched":[5,7]}]}"#,
        r#"{"id":$I,"re":"usage","used":NUMBER,"pending":0,"reserved":0,"free":NUMBER,"entries":1,"uploads":0}"#,
        r#"{"id":$I,"re":"from_the_future"}"#,
        "?\n{\"id\":$I,\"re\":\"begin\",\"size\":5,\"mtime\":[5,7],\"body\":5}\n=hello\n{\"id\":$I,\"re\":\"end\",\"length\":$L,\"digest\":\"$D\"}",
        "?\n{\"id\":$I,\"re\":\"entry\",\"name\":\"PATH\",\"kind\":\"dir\",\"size\":0,\"mtime\":[5,7]}\n?\n{\"id\":$I,\"re\":\"page\",\"entries\":[{\"name\":\"PATH\",\"kind\":\"file\",\"size\":NUMBER,\"mtime\":[5,7]}]}\n{\"id\":$I,\"re\":\"ok\"}",
        "=data",
        "*NUMBER",
        "!\u{0}\u{0}",
        "+NUMBER",
        "~",
    ],
    paths: &[
        "/",
        "",
        ".",
        "..",
        "../beside",
        "/etc",
        "a",
        "b",
        "a/b",
        ".a.ftp-part",
        ".a.ftp-part.json",
        "caf\\u0000e9",
        "\\u0000zz",
        "\\u00002f",
        "a\\nb",
        "part",
    ],
    numbers: &[
        "0",
        "1",
        "5",
        "65536",
        "262144",
        "262145",
        "18446744073709551610",
        "18446744073709551615",
    ],
};

/// A change of a script, for libFuzzer.
pub fn mutate_client(data: &mut [u8], length: usize, seed: u32) -> usize {
    GRAMMAR.mutate(data, length, seed)
}

/// A script of `fuzz/shared/script.rs` from the server's side. The first line says what the client wants: `tree`,
/// `file`, `pipe`, `put` or `ask`, with `!` behind it by force. `?` waits for a request, and `$I` is its id.
pub fn client(input: &[u8]) {
    run(async {
        let mut lines = input.split(|byte| *byte == b'\n').take(MOST_STEPS);
        let wish = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let script: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        let (here, there) = tokio::io::duplex(16 * 1024);
        let server = tokio::spawn(Server::new(there).play(script));
        let (read, write) = tokio::io::split(Box::new(here) as Box<dyn Io>);
        let link = Link::new(
            FrameReader::new(read),
            FrameWriter::new(write),
            Limits::default(),
            String::new(),
        );
        let mut client = Client::new(options(), Arc::new(Nobody));
        client.keep(link);
        let place = Place::new();
        let wanted = tokio::time::timeout(LONGEST, want(&mut client, &wish, &place));
        wanted.await.expect("no server keeps the client for ever");
        drop(client);
        server.await.expect("the requests make sense");
        place.check();
    });
}

/// A script before the login; `$N` stands for the client's nonce. Nobody without the verifier gets in.
pub fn client_login(input: &[u8]) {
    run(async {
        let script: Vec<Vec<u8>> = input
            .split(|byte| *byte == b'\n')
            .take(MOST_STEPS)
            .map(<[u8]>::to_vec)
            .collect();
        let (here, there) = tokio::io::duplex(16 * 1024);
        let server = tokio::spawn(Server::new(there).play(script));
        let options = options();
        let login = login::over(Box::new(here), Binding::None, &options);
        let login = tokio::time::timeout(LONGEST, login).await;
        let failed = login.expect("no server keeps the client for ever").is_err();
        assert!(failed, "the server does not know the verifier");
        server.await.expect("the requests make sense");
    });
}

#[cfg(test)]
#[test]
fn servers_put_together_by_chance_are_survived() {
    let wishes = [
        "tree", "tree!", "file", "old", "old!", "part", "part+", "pipe", "put", "put!", "ask",
    ];
    for (seed, wish) in script::rounds().zip(wishes.iter().cycle()) {
        // Shown when it fails.
        eprintln!("seed {seed} {wish}");
        client(&[wish.as_bytes(), b"\n", &GRAMMAR.random(seed)].concat());
    }
}

/// With a clock that goes on whenever everybody waits: silence costs no time.
fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(work);
}

fn options() -> ConnectOptions {
    ConnectOptions {
        // Where nobody answers, if the client comes to try.
        address: Address {
            host: "127.0.0.1".to_owned(),
            port: 1,
        },
        user: "alice".to_owned(),
        credential: Credential::Keys(DerivedKeys {
            salt: b"salt".to_vec(),
            iterations: 4096,
            client_key: [7; 32],
            server_key: [9; 32],
        }),
        tls: false,
        retry: RetryPolicy {
            retries: 0,
            ..RetryPolicy::default()
        },
        directory: None,
    }
}

/// Does what the first line of the script says.
async fn want(client: &mut Client, wish: &str, place: &Place) {
    let (target, remote) = (place.inside.join("tree"), RemotePath::from("/r"));
    let options = TransferOptions {
        force: wish.contains('!'),
        parents: true,
        resume: if wish.contains('+') {
            Resume::Always
        } else {
            Resume::Auto
        },
        ..TransferOptions::default()
    };
    let one = |local: PathBuf| GetItem {
        remote: remote.clone(),
        local,
        kind: Kind::File,
        size: 0,
        within: None,
    };
    match wish.trim_end_matches(['!', '+']) {
        "file" => proven(client.get(vec![one(place.inside.join("a"))], &options).await),
        // There is a file of this name, and a part of another.
        "old" => proven(client.get(vec![one(place.inside.join("old"))], &options).await),
        "part" => proven(client.get(vec![one(place.inside.join("part"))], &options).await),
        "pipe" => {
            let mut out = Vec::new();
            if let Ok(done) = client.get_stream(&remote, &mut out, &options).await {
                assert_eq!(Hasher::digest(Algorithm::Sha256, &out), done.digest);
            }
        }
        "put" => {
            let item = PutItem {
                local: place.inside.join("old"),
                remote,
                kind: Kind::File,
                size: 3,
            };
            drop(client.put(vec![item.clone(), item], &options).await);
            drop(
                client
                    .put_stream(&b"from a pipe"[..], &RemotePath::from("/p"), &options)
                    .await,
            );
        }
        "ask" => ask(client, &remote).await,
        _ => {
            let Ok(walk) = client.walk_remote(&remote, &target).await else {
                return;
            };
            let passed_over = walk.passed_over.iter().map(|(path, _)| path);
            for path in walk.items.iter().map(|item| &item.remote).chain(passed_over) {
                path.to_os_string();
            }
            let items = walk.items;
            assert!(items.iter().all(|item| item.local.starts_with(&target)));
            proven(client.get(items, &options).await);
        }
    }
}

/// Every request that moves no file.
async fn ask(client: &mut Client, path: &RemotePath) {
    if let Ok(found) = client.cd(path).await {
        found.to_os_string();
    }
    if let Ok(found) = client.pwd().await {
        found.to_os_string();
    }
    drop(client.stat(path, true).await);
    if let Ok(mut listing) = client.list(path, true).await {
        while let Ok(Some(_)) = listing.next_page().await {}
    }
    drop(client.df().await);
    drop(client.sum(path, Algorithm::Md5, true).await);
    drop(client.uploads().await);
    drop(client.cp(path, path, false).await);
    drop(client.mv(path, path, false).await);
    drop(client.rm(path, false).await);
    drop(client.ping().await);
    drop(client.quit().await);
}

/// What is called stored stands there as it was proven.
fn proven(outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        if let Ok(Some(done)) = outcome.result {
            // A later item of the list may have replaced it; then there is another outcome for it.
            let Ok(bytes) = fs::read(&outcome.local) else {
                continue;
            };
            if bytes.len() as u64 == done.size {
                assert_eq!(Hasher::digest(done.digest.algorithm(), &bytes), done.digest);
            }
        }
    }
}

/// A directory to download into, and one beside it.
struct Place {
    dir: tempfile::TempDir,
    inside: PathBuf,
}

impl Place {
    fn new() -> Self {
        let shared = Path::new("/dev/shm");
        let root = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        let dir = tempfile::tempdir_in(root).expect("a directory");
        let inside = dir.path().join("inside");
        fs::create_dir(&inside).expect("it is new");
        fs::write(dir.path().join("beside"), BESIDE).expect("as before");
        fs::write(inside.join("old"), "old").expect("as before");
        fs::write(inside.join(".part.ftp-part"), "hel").expect("as before");
        Self { dir, inside }
    }

    fn check(&self) {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .expect("it is there")
            .map(|entry| entry.expect("as before").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["beside", "inside"], "nothing may be written outside");
        assert_eq!(fs::read(self.dir.path().join("beside")).expect("it is there"), BESIDE);
    }
}

/// Somebody who is told everything and always says yes.
struct Nobody;

impl Observer for Nobody {
    fn event(&self, event: &Event<'_>) {
        // What would be shown.
        drop(format!("{event:?}"));
    }

    fn decide(&self, _: &Conflict<'_>) -> Decision {
        Decision::Replace
    }
}

/// The server's end of a session.
struct Server {
    write: WriteHalf<DuplexStream>,
    requests: tokio::sync::mpsc::UnboundedReceiver<Frame>,
    reader: JoinHandle<()>,
    body: Body,
    id: u64,
    nonce: String,
    ended: bool,
}

impl Server {
    fn new(there: DuplexStream) -> Self {
        let (read, write) = tokio::io::split(there);
        let (found, requests) = tokio::sync::mpsc::unbounded_channel();
        Self {
            write,
            requests,
            reader: tokio::spawn(listen(read, found)),
            body: Body::default(),
            id: 1,
            nonce: String::new(),
            ended: false,
        }
    }

    async fn play(mut self, script: Vec<Vec<u8>>) {
        for line in script {
            self.step(&line).await;
        }
        drop(self.write.shutdown().await);
        // A client that is gone says nothing more.
        self.reader.await.expect("the requests make sense");
    }

    async fn step(&mut self, line: &[u8]) {
        if line == b"?" {
            return self.hear().await;
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
            Step::End => self.ended = true,
            Step::Header(line) => {
                let filled = self.body.fill_in(line);
                let json = match String::from_utf8(filled) {
                    Ok(text) => text
                        .replace("$I", &self.id.to_string())
                        .replace("$N", &self.nonce)
                        .into_bytes(),
                    Err(error) => error.into_bytes(),
                };
                self.follow(&json);
                let length = u32::try_from(json.len() + 1).expect("inputs are small");
                self.send(&[&length.to_be_bytes()[..], &[1], &json].concat()).await;
            }
            Step::Raw(bytes) => self.send(bytes).await,
            Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }

    /// Waits for a request; a part of a body and a beat are none.
    async fn hear(&mut self) {
        while let Some(frame) = self.requests.recv().await {
            let Frame::Header(json) = frame else {
                continue;
            };
            if let Ok(Request { id, op }) = serde_json::from_slice(&json)
                && !matches!(
                    op,
                    Op::Beat | Op::At { .. } | Op::End { .. } | Op::Fail { .. } | Op::Unknown
                )
            {
                self.id = id;
                return;
            }
            let text = String::from_utf8_lossy(&json);
            if let Some((_, nonce)) = text.split_once(",r=") {
                self.nonce = nonce.trim_end_matches(['"', '}']).to_owned();
                return;
            }
        }
    }

    fn follow(&mut self, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(Reply {
                re: Re::Begin { .. }, ..
            }) => self.body.begin(),
            Ok(Reply {
                re: Re::At { offset }, ..
            }) => self.body.seek(offset),
            _ => {}
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        if !self.ended && self.write.write_all(bytes).await.is_err() {
            self.ended = true;
        }
    }
}

/// Takes in everything that the client says.
async fn listen(read: ReadHalf<DuplexStream>, found: tokio::sync::mpsc::UnboundedSender<Frame>) {
    let mut reader = FrameReader::new(read);
    reader.open();
    while let Some(frame) = reader.next().await.expect("frames of legal length") {
        // A script that has ended hears nothing.
        drop(found.send(frame));
    }
}
