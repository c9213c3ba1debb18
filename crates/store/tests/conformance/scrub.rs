//! Comparing stored files with their digests.

use std::path::Path;

use ftp_store::{Disposal, Error, Finding, Pace, Part, Scrub, ScrubFault, ScrubOptions, ScrubSummary};

use crate::assert_err;
use crate::rig::{Rig, noise, path, sha256};

const OPTIONS: ScrubOptions = ScrubOptions {
    pace: Pace::FULL,
    adopt: false,
    part: None,
};

const ADOPT: ScrubOptions = ScrubOptions { adopt: true, ..OPTIONS };

async fn run(mut scrub: Scrub) -> (Vec<Finding>, ScrubSummary) {
    let mut findings = Vec::new();
    while let Some(finding) = scrub.next().await.unwrap() {
        findings.push(finding);
    }
    (findings, scrub.summary())
}

#[tokio::test]
async fn scrub_names_what_rotted_with_its_figures_and_leaves_it_as_it_is() {
    let rig = Rig::new().await;
    let large = noise(9_000_000);
    rig.home.make_dir(&path("/dir"), false).await.unwrap();
    let stored = rig.put("/dir/rotten", &large).await;
    rig.put("/sound", &large).await;
    rig.put("/empty", b"").await;
    let mut rotten = large.clone();
    rotten[5_000_000] ^= 1;
    rig.rot("dir/rotten", &rotten);
    for adopt in [OPTIONS, ADOPT, OPTIONS] {
        let (findings, summary) = run(rig.home.scrub(adopt).await.unwrap()).await;
        let expected = Finding {
            path: Path::new("/dir/rotten").to_owned(),
            fault: ScrubFault::Damaged {
                expected: sha256(&large),
                found: sha256(&rotten),
                size: 9_000_000,
                modified: stored.modified,
            },
        };
        assert_eq!(findings, [expected]);
        assert_eq!(
            summary,
            ScrubSummary {
                sound: 2,
                damaged: 1,
                bytes: 18_000_000,
                ..ScrubSummary::default()
            }
        );
        assert!(!summary.is_clean());
    }
}

#[tokio::test]
async fn files_without_a_true_digest_are_counted_and_get_one_only_when_asked() {
    let rig = Rig::new().await;
    rig.place("by hand", b"abc");
    rig.put("/changed", b"old").await;
    rig.place("changed", b"newer");
    rig.put("/sound", b"sound").await;
    std::fs::write(rig.disk().join("young"), "abc").unwrap();
    let (_, summary) = run(rig.home.scrub(OPTIONS).await.unwrap()).await;
    assert_eq!((summary.without_digest, summary.outdated, summary.sound), (2, 1, 1));
    assert_eq!(summary.bytes, 5);
    // A download that is under way takes the new digest for no change.
    let file = rig.home.open_read(&path("/by hand")).await.unwrap();
    let (findings, summary) = run(rig.home.scrub(ADOPT).await.unwrap()).await;
    assert_eq!(findings, []);
    assert_eq!(
        (summary.adopted, summary.without_digest, summary.outdated, summary.sound),
        (2, 1, 0, 1)
    );
    assert!(file.unchanged().await.unwrap());
    let entry = rig.home.stat(&path("/changed"), true).await.unwrap();
    assert_eq!(entry.digest, Some(sha256(b"newer")));
    let (_, summary) = run(rig.home.scrub(OPTIONS).await.unwrap()).await;
    assert_eq!((summary.sound, summary.without_digest), (3, 1));
}

#[tokio::test]
async fn files_changed_replaced_moved_and_deleted_meanwhile_are_no_rot() {
    let rig = Rig::new().await;
    let large = noise(20_000_000);
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("cut", |file| {
            std::fs::File::options()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(5_000_000)
                .unwrap();
        }),
        ("written", |file| {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 19_000_000).unwrap();
        }),
        ("deleted", |file| std::fs::remove_file(file).unwrap()),
        ("replaced", |file| {
            let new = file.with_extension("new");
            std::fs::write(&new, "new").unwrap();
            std::fs::rename(new, file).unwrap();
        }),
    ];
    for (name, change) in changes {
        rig.put("/f", &large).await;
        let mut scrub = rig.home.scrub(OPTIONS).await.unwrap();
        assert!(scrub.step().await.unwrap(), "{name}: it is in the middle");
        change(&rig.disk().join("f"));
        let (findings, summary) = run(scrub).await;
        assert_eq!(findings, [], "{name}");
        assert_eq!((summary.changed, summary.sound, summary.damaged), (1, 0, 0), "{name}");
    }
    // The store's own actions do not even make it look changed.
    rig.put("/f", &large).await;
    let mut scrub = rig.home.scrub(OPTIONS).await.unwrap();
    assert!(scrub.step().await.unwrap());
    rig.home.rename(&path("/f"), &path("/g"), false).await.unwrap();
    rig.home.remove_file(&path("/g"), Disposal::Trash).await.unwrap();
    assert_eq!(run(scrub).await.1.sound, 1);
}

#[tokio::test]
async fn parts_see_every_file_once_wherever_it_is_moved() {
    let rig = Rig::new().await;
    for file in 0..50 {
        rig.put(&format!("/{file}"), b"x").await;
    }
    let mut summary = ScrubSummary::default();
    for index in 0..7 {
        let part = Some(Part { index, of: 7 });
        summary.add(
            &run(rig.home.scrub(ScrubOptions { part, ..OPTIONS }).await.unwrap())
                .await
                .1,
        );
        let (from, to) = (format!("/{index}"), format!("/moved{index}"));
        rig.home.rename(&path(&from), &path(&to), false).await.unwrap();
    }
    assert_eq!(summary.sound, 50);
}

#[tokio::test]
async fn home_that_no_server_has_open_is_scrubbed_and_digests_given_unless_one_opens_it() {
    let rig = Rig::new().await;
    rig.put("/f", b"good").await;
    rig.place("by hand", b"abc");
    rig.rot("f", b"evil");
    let scrub = async |options| Scrub::of_closed_home(&rig.disk(), options).await.unwrap();
    let (findings, summary) = run(scrub(OPTIONS).await).await;
    assert_eq!((findings.len(), summary.without_digest), (1, 1));
    // This rig's store has the home open.
    let mut adopting = scrub(ADOPT).await;
    let refused = async {
        while adopting.next().await?.is_some() {}
        Ok(())
    };
    assert_err!(refused.await, Error::InUse { .. });
    let closed = tempfile::tempdir().unwrap();
    std::fs::copy(rig.disk().join("by hand"), closed.path().join("f")).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(closed.path().join("f"))
        .unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let (_, summary) = run(Scrub::of_closed_home(closed.path(), ADOPT).await.unwrap()).await;
    assert_eq!(summary.adopted, 1);
    assert_err!(
        Scrub::of_closed_home(&closed.path().join("none"), OPTIONS).await,
        Error::Io { .. }
    );
}

#[tokio::test]
async fn what_cannot_be_reached_is_a_finding_and_the_rest_is_read() {
    let rig = Rig::new().await;
    rig.put("/sound", b"x").await;
    std::fs::create_dir_all(rig.disk().join("d/".repeat(260))).unwrap();
    let (findings, summary) = run(rig.home.scrub(OPTIONS).await.unwrap()).await;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].path, Path::new(&"/d".repeat(256)));
    assert!(matches!(&findings[0].fault, ScrubFault::Unreadable { cause } if cause.contains("too long")));
    assert_eq!((summary.unreadable, summary.sound), (1, 1));
}
