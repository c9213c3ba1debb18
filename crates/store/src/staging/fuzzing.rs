//! The staging folder as a crash, a disk or another program may leave it.

use super::*;
use crate::disk::Kind;

/// Longer than a run.
const EXPIRY: Duration = Duration::from_secs(3600);

/// Lines: the name of a file, a space, its content. `?` in a name stands for the id of the path `/a`. What
/// stays is counted, and what is counted stays.
pub fn staging(input: &[u8]) {
    record(input);
    let temp = tempfile::tempdir_in(memory()).expect("a directory");
    let dir = disk::open_or_create_root(temp.path()).expect("it was just made");
    let known = FilePath::resolve(&FilePath::root(), b"a").expect("a plain name");
    let id = StagingId::of(&known);
    for line in input.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let (name, content) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let name = name.replace('?', &id.0);
        if FilePath::root().join(OsStr::new(&name)).is_ok() {
            // A name that is too long for the disk is none.
            drop(std::fs::write(temp.path().join(name), content));
        }
    }

    let ledger = Ledger::default();
    let elsewhere = tempfile::tempdir_in(memory()).expect("a directory");
    let reserved = disk::open_or_create_root(elsewhere.path()).expect("it was just made");
    let clock = HomeClock::open(&reserved).expect("a new home has no clock yet");
    recover(&dir, (&ledger, &Leftovers::default()), EXPIRY, &clock).expect("no content is too odd");
    let usage = ledger.usage(0);
    assert_eq!(
        (usage.uploads, usage.pending),
        parts(&dir),
        "what is counted is what is there"
    );

    let uploads = list(&dir, clock.now()).expect("as before");
    assert!(uploads.len() as u64 <= usage.uploads);
    for (id, upload) in &uploads {
        assert_eq!(StagingId::of(&upload.path), *id, "a record speaks for its own file");
        let (_, bytes) = find(&dir, id, &upload.path).expect("as before").expect("it was listed");
        assert_eq!(bytes, upload.staged);
    }
    // Once more: what was put in order is in order.
    let again = Ledger::default();
    recover(&dir, (&again, &Leftovers::default()), EXPIRY, &clock).expect("as before");
    assert_eq!(again.usage(0), usage);
    delete(&dir, &id).result.expect("it can be deleted, whatever it is");
    assert_eq!(find(&dir, &id, &known).ok().flatten(), None);
}

/// How many `.part` files there are, and their bytes.
fn parts(dir: &Dir) -> (u64, u64) {
    let names = names(dir)
        .expect("the folder can be read")
        .map(|name| name.expect("as before"));
    let parts = names.filter(|name| name.ends_with(PART));
    parts.fold((0, 0), |(count, bytes), name| {
        let meta = disk::stat_at(dir, OsStr::new(&name)).expect("it is there");
        assert_eq!(meta.kind, Kind::File);
        (count + 1, bytes + meta.size)
    })
}

/// Where files cost no disk, if there is such a place.
fn memory() -> std::path::PathBuf {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() {
        shared.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// A record survives being written and read again, and its path is one inside the home.
fn record(text: &[u8]) {
    let Found::Record(record) = parse(text) else {
        return;
    };
    let written = serde_json::to_vec(&record).expect("numbers and text");
    let Found::Record(again) = parse(&written) else {
        panic!("what was read can be written");
    };
    assert_eq!(again, record);
    if let Some(path) = record.path() {
        assert_eq!(unescape(&escape(&path)), Some(path.clone()));
    }
}
