//! Errors injected at every position of every operation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::order::{Answers, missing};
use ftp_client::{Algorithm, Client, Error, ErrorKind, GetItem, Kind, PutItem, RemotePath, TransferOptions};
use ftp_tests::{Call, Counts, Effect, Errno, Fault, MIB, Plan, Rig, Tracer, noise, snapshot, walk};

/// More calls than any of these operations makes.
const MANY: u64 = 400;

/// What is tried while something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    PutNew,
    PutSmall,
    PutLarge,
    Copy,
    MakeDir,
    Rename,
    RenameOver,
    Remove,
    RemoveTree,
    Restore,
    RestoreOver,
    RestorePart,
    Purge,
    Get,
    List,
    Stat,
    Sum,
    Trash,
    Versions,
}

/// The acts that change something.
const CHANGES: &[Act] = ACTS.split_at(13).0;

const ACTS: [Act; 19] = [
    Act::PutNew,
    Act::PutSmall,
    Act::PutLarge,
    Act::Copy,
    Act::MakeDir,
    Act::Rename,
    Act::RenameOver,
    Act::Remove,
    Act::RemoveTree,
    Act::Restore,
    Act::RestoreOver,
    Act::RestorePart,
    Act::Purge,
    Act::Get,
    Act::List,
    Act::Stat,
    Act::Sum,
    Act::Trash,
    Act::Versions,
];

impl Act {
    /// Whether it begins with something in the trash.
    fn needs_trash(self) -> bool {
        use Act::{Purge, Restore, RestoreOver, RestorePart, Trash, Versions};
        matches!(self, Restore | RestoreOver | RestorePart | Purge | Trash | Versions)
    }

    /// Whether a failure may leave this behind: the old state or the new one, but for what goes in steps.
    fn may_leave(self, before: &State, found: &State, after: &State) -> bool {
        let is_part = |whole: &State| found.iter().all(|(path, data)| whole.get(path) == Some(data));
        let is_between = match self {
            // The directory is made first.
            Self::PutNew | Self::RestorePart => {
                before.iter().all(|(path, data)| found.get(path) == Some(data)) && is_part(after)
            }
            Self::RemoveTree => is_part(before) && after.iter().all(|(path, data)| found.get(path) == Some(data)),
            _ => false,
        };
        found == before || found == after || is_between
    }
}

/// Everything in a home, with the contents of files.
type State = BTreeMap<PathBuf, Option<Vec<u8>>>;

struct Bench {
    rig: Rig,
    tracer: Arc<Tracer>,
    client: Client,
    home: PathBuf,
}

fn remote(path: &str) -> RemotePath {
    RemotePath::from(path)
}

/// What a user sees.
fn visible(home: &Path) -> State {
    let mut all = State::new();
    for entry in fs::read_dir(home).unwrap() {
        let entry = entry.unwrap();
        let name = PathBuf::from(entry.file_name());
        if name.as_os_str() == ".ftpd" {
            continue;
        }
        if entry.path().is_dir() {
            let below = snapshot(&entry.path()).into_iter();
            all.extend(below.map(|(path, content)| (name.join(path), content)));
            all.insert(name, None);
        } else {
            all.insert(name, Some(fs::read(entry.path()).unwrap()));
        }
    }
    all
}

impl Bench {
    async fn start(test: &str) -> Option<Self> {
        // One blocking thread after the other makes the order of calls the same each time.
        let (rig, tracer) = Plan::new().plaintext().user("alice", "").start_traced(test)?;
        tracer.ignore();
        let mut options = rig.connect_options("alice");
        options.tls = false;
        fs::write(rig.local("old"), noise(70_000, 1)).unwrap();
        fs::write(rig.local("small"), noise(3000, 2)).unwrap();
        fs::write(rig.local("large"), noise(usize::try_from(2 * MIB).unwrap() + 77, 3)).unwrap();
        let client = rig.client_with(options);
        let home = rig.home("alice");
        let mut bench = Self {
            rig,
            tracer,
            client,
            home,
        };
        bench.reset(Act::List).await;
        Some(bench)
    }

    /// The state in which an act begins.
    async fn reset(&mut self, act: Act) {
        for (name, _) in visible(&self.home) {
            let path = remote(name.to_str().unwrap());
            // What is in a directory goes with it.
            if name.components().count() > 1 {
                continue;
            }
            if self.home.join(&name).is_dir() {
                self.client.rmdir(&path, true, true).await.unwrap();
            } else {
                self.client.rm(&path, true).await.unwrap();
            }
        }
        for path in ["f", "g", "dir/sub/inner"] {
            self.put("old", path).await.unwrap();
        }
        if act.needs_trash() {
            self.client.purge(None).await.unwrap();
            for path in ["gone", "lost/inner", "lost/other"] {
                self.put("small", path).await.unwrap();
            }
            self.client.rm(&remote("gone"), false).await.unwrap();
            self.client.rmdir(&remote("lost"), true, false).await.unwrap();
        }
    }

    async fn put(&mut self, local: &str, path: &str) -> Result<(), Error> {
        let local = self.rig.local(local);
        let size = fs::metadata(&local).unwrap().len();
        let item = PutItem {
            local,
            remote: remote(path),
            kind: Kind::File,
            size,
        };
        let options = TransferOptions {
            force: true,
            parents: true,
            ..TransferOptions::default()
        };
        let mut outcomes = self.client.put(vec![item], &options).await;
        outcomes.remove(0).result.map(drop)
    }

    async fn get(&mut self) -> Result<(), Error> {
        let local = self.rig.local("back");
        let _ = fs::remove_file(&local);
        let item = GetItem {
            remote: remote("f"),
            local,
            kind: Kind::File,
            size: 70_000,
            within: None,
        };
        let mut outcomes = self.client.get(vec![item], &TransferOptions::default()).await;
        outcomes.remove(0).result?;
        assert_eq!(
            fs::read(self.rig.local("back")).unwrap(),
            fs::read(self.rig.local("old")).unwrap()
        );
        Ok(())
    }

    async fn bring_back(&mut self, path: &str, to: Option<&str>) -> Result<(), Error> {
        let (path, to) = (remote(path), to.map(remote));
        let restored = self.client.restore(None, Some(&path), to.as_ref(), true);
        restored.await.map(drop)
    }

    async fn count_items(&mut self, path: Option<&str>, expected: usize) -> Result<(), Error> {
        let mut items = 0;
        let path = path.map(remote);
        self.client
            .trash(path.as_ref(), |_| {
                items += 1;
                true
            })
            .await?;
        assert_eq!(items, expected);
        Ok(())
    }

    async fn run(&mut self, act: Act) -> Result<(), Error> {
        match act {
            Act::PutNew => self.put("small", "n/new").await,
            Act::PutSmall => self.put("small", "f").await,
            Act::PutLarge => self.put("large", "f").await,
            Act::Copy => self.client.cp(&remote("f"), &remote("g"), true).await.map(drop),
            Act::MakeDir => self.client.mkdir(&remote("made"), false).await,
            Act::Rename => self.client.mv(&remote("f"), &remote("dir/moved"), false).await,
            Act::RenameOver => self.client.mv(&remote("f"), &remote("g"), true).await,
            Act::Remove => self.client.rm(&remote("f"), false).await,
            Act::RemoveTree => self.client.rmdir(&remote("dir"), true, false).await,
            Act::Restore => self.bring_back("gone", None).await,
            Act::RestoreOver => self.bring_back("gone", Some("f")).await,
            Act::RestorePart => self.bring_back("lost/inner", None).await,
            Act::Purge => self.client.purge(None).await.map(drop),
            Act::Trash => self.count_items(None, 2).await,
            Act::Versions => self.count_items(Some("lost/inner"), 1).await,
            Act::Get => self.get().await,
            Act::List => {
                let mut listing = self.client.list(&remote("/"), true).await?;
                let mut names = 0;
                while let Some(page) = listing.next_page().await? {
                    names += page.len();
                }
                assert_eq!(names, 3);
                Ok(())
            }
            Act::Stat => self.client.stat(&remote("f"), true).await.map(drop),
            Act::Sum => {
                let (digest, size, _) = self.client.sum(&remote("f"), Algorithm::Sha256, true).await?;
                assert_eq!(size, 70_000);
                assert_eq!(digest.hex(), ftp_tests::sha256(&self.rig.local("old")));
                Ok(())
            }
        }
    }

    /// Lets the calls of `act` fail, one after the other, and looks at what that does. Returns everything that is wrong.
    async fn fail_everywhere(&mut self, act: Act, how: Faults) -> Vec<String> {
        self.reset(act).await;
        let before = visible(&self.home);
        self.run(act).await.unwrap();
        let after = visible(&self.home);
        self.reset(act).await;
        assert_eq!(visible(&self.home), before);
        let mut wrong = Vec::new();
        for position in 0..MANY {
            self.tracer.listen();
            let hits = self.tracer.inject(how.fault(&self.home, position));
            let result = self.run(act).await;
            let hit = hits.count() > 0;
            self.tracer.clear();
            let told = format!("{act:?}, {how:?} at call {position}, {:?}: {result:?}", hits.first());

            let found = visible(&self.home);
            match &result {
                Ok(()) if found == after => {
                    let missing = missing(&self.tracer.calls(), &self.home, Answers::Next);
                    if !missing.is_empty() {
                        wrong.push(format!("{told}: not durable: {missing:?}"));
                    }
                }
                Ok(()) => wrong.push(format!("{told}: it is not done")),
                Err(error) => {
                    if !hit || !how.admits(error) {
                        wrong.push(format!("{told}: it is not told"));
                    }
                    if !act.may_leave(&before, &found, &after) {
                        wrong.push(format!("{told}: it left {:?}", found.keys()));
                    }
                }
            }
            if let Err(counts) = self.check_counts().await {
                wrong.push(format!("{told}: {counts}"));
            }
            // What a purge has left cannot be seen, and must be gone as well.
            if found != after || (act == Act::Purge && result.is_err()) {
                if let Err(error) = self.run(act).await {
                    wrong.push(format!("{told}, and again: {error:?}"));
                } else if visible(&self.home) != after {
                    wrong.push(format!("{told}, and again: it is not done"));
                }
                if let Err(counts) = self.check_counts().await {
                    wrong.push(format!("{told}, and again: {counts}"));
                }
            }
            if visible(&self.home) != before || act.needs_trash() {
                self.reset(act).await;
            }
            if !hit {
                return wrong;
            }
        }
        panic!("{act:?} has no end");
    }

    /// `df` agrees with the disk, and nothing is left in the staging folder that it does not count.
    async fn check_counts(&mut self) -> Result<(), String> {
        let mut last = None;
        // What is wound up behind an answer is wound up soon.
        for _ in 0..3000 {
            let usage = self.client.df().await.unwrap();
            let disk = walk(&self.home).unwrap();
            let counted = Counts {
                used: usage.used,
                entries: usage.entries,
                pending: usage.pending,
                uploads: usage.uploads,
                trash: usage.trash,
                trash_entries: usage.trash_entries,
            };
            if usage.reserved == 0 && counted == disk {
                return Ok(());
            }
            last = Some((counted, usage.reserved, disk));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (counted, reserved, disk) = last.unwrap();
        Err(format!(
            "df says {counted:?} and {reserved} reserved, the disk has {disk:?}"
        ))
    }
}

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug)]
struct Faults {
    effect: Effect,
    calls: &'static [&'static str],
    /// From the first on for as long as it lasts, not once.
    lasting: bool,
    /// The kind of error the client may be told; none if it must not notice.
    told: Option<ErrorKind>,
}

/// Every call.
const ANY: [&str; 0] = [];
/// Calls that can be interrupted, on a network file system at least.
const INTERRUPTIBLE: [&str; 16] = [
    "openat",
    "openat2",
    "read",
    "pread64",
    "preadv2",
    "sendfile",
    "write",
    "pwrite64",
    "pwritev2",
    "fsync",
    "syncfs",
    "ftruncate",
    "copy_file_range",
    "fstatfs",
    "getdents64",
    "flock",
];

/// Calls that need room.
const WRITES: [&str; 12] = [
    "write",
    "pwrite64",
    "ftruncate",
    "copy_file_range",
    "fsetxattr",
    "mkdirat",
    "renameat",
    "renameat2",
    "linkat",
    "utimensat",
    "fsync",
    "syncfs",
];

/// Calls that a read-only file system refuses.
const CHANGING: [&str; 11] = [
    "write",
    "pwrite64",
    "ftruncate",
    "copy_file_range",
    "fsetxattr",
    "mkdirat",
    "renameat",
    "renameat2",
    "linkat",
    "unlinkat",
    "utimensat",
];

impl Faults {
    fn fault(self, home: &Path, position: u64) -> Fault {
        let home = home.to_owned();
        let fault = Fault::new(self.effect, move |call: &Call| {
            call.within(&home) && (self.calls.is_empty() || call.is(self.calls))
        });
        let fault = fault.after(position);
        if self.lasting { fault } else { fault.once() }
    }

    /// Whoever is refused is told by something to act on, and the connection stays.
    fn admits(self, error: &Error) -> bool {
        matches!(error, Error::Refused(_)) && self.told == Some(error.kind())
    }
}

async fn all(test: &str, acts: &[Act], faults: &[Faults]) {
    let Some(mut bench) = Bench::start(test).await else {
        return;
    };
    let mut wrong = Vec::new();
    for how in faults {
        for act in acts {
            wrong.extend(bench.fail_everywhere(*act, *how).await);
        }
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

fn failing(errno: Errno, calls: &'static [&'static str], told: ErrorKind) -> [Faults; 2] {
    [false, true].map(|lasting| Faults {
        effect: Effect::Fail(errno),
        calls,
        lasting,
        told: Some(told),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_output_error_at_any_call_loses_and_miscounts_nothing() {
    all("I/O errors", &ACTS, &failing(Errno::EIO, &ANY, ErrorKind::Other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_any_call_loses_and_miscounts_nothing() {
    all(
        "a full disk",
        CHANGES,
        &failing(Errno::ENOSPC, &WRITES, ErrorKind::Space),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_quota_that_is_used_up_loses_and_miscounts_nothing() {
    all(
        "a used-up disk quota",
        CHANGES,
        &failing(Errno::EDQUOT, &WRITES, ErrorKind::Space),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_at_any_call_loses_and_miscounts_nothing() {
    let [_, lasting] = failing(Errno::EROFS, &CHANGING, ErrorKind::NotPermitted);
    all("a disk that becomes read-only", CHANGES, &[lasting]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_interrupted_calls_short_writes_and_missing_attributes() {
    let unnoticed = |effect, calls, lasting| Faults {
        effect,
        calls,
        lasting,
        told: None,
    };
    let faults = [
        unnoticed(Effect::Fail(Errno::EINTR), &INTERRUPTIBLE[..], false),
        unnoticed(Effect::Short(999), &["pwrite64", "copy_file_range"], true),
        unnoticed(Effect::Fail(Errno::EOPNOTSUPP), &["fsetxattr", "fgetxattr"], true),
    ];
    all("small disturbances", &ACTS, &faults).await;
}
