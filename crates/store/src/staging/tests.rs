use proptest::prelude::*;

use super::*;

fn folder() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = disk::open_or_create_root(temp.path()).unwrap();
    (temp, dir)
}

fn path(text: &str) -> FilePath {
    FilePath::resolve(&FilePath::root(), text.as_bytes()).unwrap()
}

const NOW: Timestamp = Timestamp {
    seconds: 4_000_000_000,
    nanos: 0,
};

#[test]
fn records_round_trip_with_any_path() {
    let (_temp, dir) = folder();
    let target = FilePath::resolve(&FilePath::root(), b"/a b/\xff%\n").unwrap();
    let id = StagingId::of(&target);
    let record = Record::new(&target, Some(5), Some(NOW), Timestamp::default());
    record.save(&dir, &id).unwrap();
    assert_eq!(find(&dir, &id, &target).unwrap(), None, "no bytes, no upload");
    disk::write_at(&disk::open_own(&dir, &id.part()).unwrap(), b"abc", 0).unwrap();
    assert_eq!(find(&dir, &id, &target).unwrap(), Some((record, 3)));
    let uploads = list(&dir).unwrap();
    assert_eq!(uploads[0].1.path, target);
    assert_eq!(uploads[0].1.modified, Some(NOW));
}

#[test]
fn recovery_counts_what_can_be_resumed_and_deletes_the_rest() {
    let (temp, dir) = folder();
    let kept = path("/kept");
    let id = StagingId::of(&kept);
    Record::new(&kept, None, None, Timestamp::default())
        .save(&dir, &id)
        .unwrap();
    for (name, text) in [
        (id.part(), "12345"),
        ("copy-1.part".into(), "orphan"),
        ("feed.json".into(), "{}"),
        ("torn.json".into(), "{\"vers"),
        ("torn.part".into(), "123"),
        ("new.json".into(), "{\"version\":2,\"anything\":[]}"),
        ("new.part".into(), "1234567"),
        ("left.tmp".into(), ""),
    ] {
        std::fs::write(temp.path().join(name), text).unwrap();
    }
    let ledger = Ledger::default();
    let now = Timestamp::from(std::time::SystemTime::now());
    recover(&dir, &ledger, Duration::from_secs(60), now).unwrap();
    let usage = ledger.usage(0);
    assert_eq!((usage.pending, usage.uploads), (12, 2));
    let mut left: Vec<_> = Names::of(&dir).unwrap().map(Result::unwrap).collect();
    left.sort();
    let mut expected: [std::ffi::OsString; 4] = [
        id.part().into(),
        id.record().into(),
        "new.json".into(),
        "new.part".into(),
    ];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn recovery_deletes_what_has_expired() {
    let (_temp, dir) = folder();
    let target = path("/old");
    let id = StagingId::of(&target);
    Record::new(&target, None, None, Timestamp::default())
        .save(&dir, &id)
        .unwrap();
    disk::open_own(&dir, &id.part()).unwrap();
    recover(&dir, &Ledger::default(), Duration::from_secs(1), NOW).unwrap();
    assert_eq!(Names::of(&dir).unwrap().count(), 0);
}

#[test]
fn record_of_another_version_is_refused_with_both_versions() {
    let (temp, dir) = folder();
    let target = path("/x");
    let id = StagingId::of(&target);
    std::fs::write(temp.path().join(id.record()), "{\"version\":7}").unwrap();
    let error = find(&dir, &id, &target).unwrap_err();
    assert!(
        matches!(
            error,
            Error::StagingVersion {
                found: 7,
                known: RECORD_VERSION,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn escaping_is_reversible_for_every_byte() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unescape(&escape(&all)), Some(all));
    assert_eq!(unescape("%4"), None);
    assert_eq!(unescape("%zz"), None);
}

proptest! {
    #[test]
    fn unescape_never_panics(text in ".*") {
        let _ = unescape(&text);
    }
}
