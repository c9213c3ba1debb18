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
    let uploads = list(&dir, 0).unwrap();
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
    let clock = HomeClock::open(&dir).unwrap();
    recover(&dir, (&ledger, &Leftovers::default()), Duration::from_secs(60), &clock).unwrap();
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

#[tokio::test(start_paused = true)]
async fn what_rested_for_long_expires_whatever_the_times_of_its_files_are() {
    const EXPIRY: Duration = Duration::from_secs(100);
    let (_temp, dir) = folder();
    let target = path("/old");
    let id = StagingId::of(&target);
    let mut record = Record::new(&target, None, None, Timestamp::default());
    record.save(&dir, &id).unwrap();
    let part = disk::open_own(&dir, &id.part()).unwrap();
    for modified in [Timestamp::default(), NOW] {
        disk::set_modified(&part, modified).unwrap();
        let clock = HomeClock::open(&dir).unwrap();
        recover(&dir, (&Ledger::default(), &Leftovers::default()), EXPIRY, &clock).unwrap();
        let upload = look(&dir, &id, clock.now()).unwrap().unwrap();
        assert_eq!(upload.idle, Some(Duration::ZERO), "it rests since it was found");
    }
    let clock = HomeClock::open(&dir).unwrap();
    tokio::time::advance(EXPIRY - Duration::from_secs(1)).await;
    let upload = look(&dir, &id, clock.now()).unwrap().unwrap();
    assert!(!upload.has_expired(EXPIRY));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(look(&dir, &id, clock.now()).unwrap().unwrap().has_expired(EXPIRY));
    recover(&dir, (&Ledger::default(), &Leftovers::default()), EXPIRY, &clock).unwrap();
    assert_eq!(Names::of(&dir).unwrap().count(), 0);

    // A clock that was lost is set by the records, so that what rests later is not older.
    record.rest(5000);
    record.save(&dir, &id).unwrap();
    disk::open_own(&dir, &id.part()).unwrap();
    let lost = HomeClock::open(&dir).unwrap();
    recover(&dir, (&Ledger::default(), &Leftovers::default()), EXPIRY, &lost).unwrap();
    assert_eq!(lost.now(), 5000);
}

#[tokio::test(start_paused = true)]
async fn what_was_in_work_rests_by_a_clock_that_has_learnt_from_all_records() {
    let (_temp, dir) = folder();
    let ids: Vec<_> = (0..20)
        .map(|number| {
            let target = path(&format!("/{number}"));
            let id = StagingId::of(&target);
            let mut record = Record::new(&target, None, None, Timestamp::default());
            if number == 7 {
                record.rest(5_000_000);
            }
            record.save(&dir, &id).unwrap();
            disk::open_own(&dir, &id.part()).unwrap();
            id
        })
        .collect();
    let lost = HomeClock::open(&dir).unwrap();
    let expiry = Duration::from_secs(100);
    recover(&dir, (&Ledger::default(), &Leftovers::default()), expiry, &lost).unwrap();
    for id in ids {
        let upload = look(&dir, &id, lost.now()).unwrap().unwrap();
        assert_eq!(upload.idle, Some(Duration::ZERO));
    }
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
