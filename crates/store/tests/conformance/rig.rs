//! A store over a fresh directory, and the shortest way to its operations.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_store::{
    Durability, FilePath, Home, Kind, Quota, Result, Resume, StagedUpload, Store, StoreOptions, Stored, Upload,
    UploadSpec, Usage,
};

/// How long a test waits for something that must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    temp: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) home: Home,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with_quota(Quota::default()).await
    }

    pub(crate) async fn with_bytes(bytes: u64) -> Self {
        Self::with_quota(Quota {
            bytes: Some(bytes),
            ..Quota::default()
        })
        .await
    }

    pub(crate) async fn with_quota(quota: Quota) -> Self {
        Self::with(quota, Durability::None).await
    }

    pub(crate) async fn with(quota: Quota, durability: Durability) -> Self {
        Self::open(tempfile::tempdir().unwrap(), quota, durability).await
    }

    /// A home on a memory file system, where there is one in the usual place.
    pub(crate) async fn in_memory(quota: Quota) -> Option<Self> {
        const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
        let shared = "/dev/shm";
        rustix::fs::statfs(shared)
            .ok()
            .filter(|found| found.f_type == TMPFS_MAGIC)?;
        let temp = tempfile::tempdir_in(shared).ok()?;
        Some(Self::open(temp, quota, Durability::None).await)
    }

    /// A home in which an administrator has been before it is opened.
    pub(crate) async fn prepared(prepare: impl FnOnce(&Path)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("home")).unwrap();
        std::fs::create_dir(temp.path().join("outside")).unwrap();
        prepare(&temp.path().join("home"));
        Self::open(temp, Quota::default(), Durability::None).await
    }

    async fn open(temp: tempfile::TempDir, quota: Quota, durability: Durability) -> Self {
        let store = Store::new(StoreOptions {
            durability,
            ..StoreOptions::default()
        });
        let home = store.open_home(&temp.path().join("home"), quota).await.unwrap();
        Self { temp, store, home }
    }

    /// The home's directory on disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.temp.path().join("home")
    }

    /// The directory beside a prepared home.
    pub(crate) fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    /// Writes a file behind the store's back, as long ago as it takes for its time to be of use.
    pub(crate) fn place(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.disk().join(name), bytes).unwrap();
        self.age(name);
    }

    /// Makes a file old.
    #[expect(clippy::disallowed_methods, reason = "a time of a file")]
    pub(crate) fn age(&self, name: &str) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.disk().join(name))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
    }

    /// Changes what is in a file, and neither its size nor its time.
    pub(crate) fn rot(&self, name: &str, bytes: &[u8]) {
        let disk = self.disk().join(name);
        let before = std::fs::metadata(&disk).unwrap();
        std::fs::write(&disk, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&disk).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        assert_eq!(before.len(), bytes.len() as u64);
    }

    pub(crate) async fn put(&self, at: &str, bytes: &[u8]) -> Stored {
        put(&self.home, &path(at), bytes).await.unwrap()
    }

    /// The usage at rest, which must agree with a walk over the disk.
    pub(crate) async fn check_usage(&self) -> Usage {
        check_usage(&self.home, &self.disk()).await
    }
}

/// The usage at rest, which must agree with a walk over the disk. A dropped upload may still be about
/// to let go, so they are compared until they agree or patience ends.
pub(crate) async fn check_usage(home: &Home, disk: &Path) -> Usage {
    let mut last = None;
    let agreed = async {
        loop {
            let usage = home.usage().await.unwrap();
            let walked = walk(disk).unwrap_or_default();
            last = Some((usage, walked));
            if usage.reserved == 0 && counts(&usage) == walked {
                return usage;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PATIENCE, agreed).await {
        Ok(usage) => usage,
        Err(_) => panic!("usage and disk never agree: {last:?}"),
    }
}

/// Tells that a test could not try something here, and why.
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to know")]
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {}", why.trim());
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("what must happen happens in time")
}

pub(crate) fn path(text: &str) -> FilePath {
    FilePath::resolve(&FilePath::root(), text.as_bytes()).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, bytes)
}

/// Bytes that no two blocks of have in common.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// A replacing upload of known size.
pub(crate) fn spec(size: usize) -> UploadSpec {
    UploadSpec {
        size: Some(size as u64),
        replace: true,
        ..UploadSpec::default()
    }
}

pub(crate) async fn put(home: &Home, at: &FilePath, bytes: &[u8]) -> Result<Stored> {
    let mut upload = home
        .begin_upload(
            at,
            UploadSpec {
                resume: Resume::Never,
                ..spec(bytes.len())
            },
        )
        .await?;
    write(&mut upload, 0, bytes).await?;
    upload.commit(bytes.len() as u64, sha256(bytes)).await
}

/// Writes in chunks of 64 KiB.
pub(crate) async fn write(upload: &mut Upload, offset: usize, bytes: &[u8]) -> Result<()> {
    let mut at = offset as u64;
    for chunk in bytes.chunks(64 * 1024) {
        upload.write_at(at, Bytes::copy_from_slice(chunk)).await?;
        at += chunk.len() as u64;
    }
    Ok(())
}

pub(crate) async fn read(home: &Home, at: &FilePath) -> Result<Vec<u8>> {
    let file = home.open_read(at).await?;
    let length = usize::try_from(file.size()).unwrap();
    Ok(file.read_at(0, length, BytesMut::new()).await?.to_vec())
}

/// Bytes, entries, staged bytes, staged files, bytes in the trash, entries in the trash.
type Counts = (u64, u64, u64, u64, u64, u64);

/// What must agree with a walk.
fn counts(usage: &Usage) -> Counts {
    (
        usage.used,
        usage.entries,
        usage.pending,
        usage.uploads,
        usage.trash,
        usage.trash_entries,
    )
}

/// What is on the disk; an error if it changes meanwhile.
fn walk(home: &Path) -> std::io::Result<Counts> {
    let reserved = home.join(".ftpd");
    let (used, entries) = measure(home, |path| path != reserved)?;
    let trash = reserved.join("trash");
    let (trashed, trash_entries) = measure(&trash, |path| {
        !(path.parent() == Some(&trash) && path.extension() == Some(OsStr::new("json")))
    })?;
    let (mut pending, mut uploads) = (0, 0);
    for entry in std::fs::read_dir(reserved.join("staging"))? {
        let entry = entry?;
        if entry.path().extension() == Some(OsStr::new("part")) {
            pending += entry.metadata()?.size();
            uploads += 1;
        }
    }
    Ok((used, entries, pending, uploads, trashed, trash_entries))
}

/// Bytes and entries beneath a directory, of what `counts` counts.
fn measure(top: &Path, counts: impl Fn(&Path) -> bool) -> std::io::Result<(u64, u64)> {
    let (mut bytes, mut entries) = (0, 0);
    let mut dirs = vec![top.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if !counts(&entry.path()) {
                continue;
            }
            entries += 1;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if meta.is_file() {
                bytes += meta.size();
            }
        }
    }
    Ok((bytes, entries))
}

/// Everything that is staged.
pub(crate) async fn staged(home: &Home) -> Vec<StagedUpload> {
    let (mut listing, mut all) = (home.uploads(), Vec::new());
    while let Some(page) = listing.next_page().await.unwrap() {
        all.extend(page);
    }
    all
}

/// All names of a directory, sorted, with their kinds.
pub(crate) async fn list(home: &Home, at: &str) -> Vec<(String, Kind)> {
    let mut listing = home.list(&path(at), false).await.unwrap();
    let mut names = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        names.extend(
            page.into_iter()
                .map(|entry| (entry.name.to_string_lossy().into_owned(), entry.kind)),
        );
    }
    names.sort_by(|one, other| one.0.cmp(&other.0));
    names
}

/// Fails unless the expression is the error; shows what it was instead.
#[macro_export]
macro_rules! assert_err {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            Err(error) => panic!("another error: {error} ({error:?})"),
            Ok(_) => panic!("no error"),
        }
    };
}
