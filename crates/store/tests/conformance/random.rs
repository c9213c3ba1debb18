//! Any mix of operations over several tasks: the counts agree with the disk, now and in the next life.

use std::time::Duration;

use ftp_store::{
    Disposal, Durability, FilePath, Home, Quota, Resume, Store, StoreOptions, TrashPolicy, UploadSpec, Wanted,
};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::rig::{check_usage, noise, path, sha256, spec, write};

/// Small enough that refusals are frequent.
const QUOTA: Quota = Quota {
    bytes: Some(600_000),
    entries: Some(14),
    trash: TrashPolicy {
        bytes: 400_000,
        age: Duration::from_secs(3600),
    },
};

#[derive(Clone, Debug)]
enum Step {
    Copy(usize, usize, bool),
    Discard(usize),
    MakeDir(usize),
    Purge(usize),
    Remove(usize, bool),
    RemoveDir(usize, bool, bool),
    Rename(usize, usize, bool),
    Restore(usize, usize, bool),
    Upload {
        at: usize,
        size: usize,
        sent: usize,
        known: bool,
        replace: bool,
        resume: Resume,
        end: End,
    },
}

#[derive(Clone, Copy, Debug)]
enum End {
    Abort,
    Commit,
    Drop,
    WrongDigest,
}

/// A few names that often collide, some in directories that come and go.
const NAMES: [&str; 8] = ["/a", "/b", "/c", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a"];

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn step() -> impl Strategy<Value = Step> {
    let resume = prop_oneof![Just(Resume::Auto), Just(Resume::Always), Just(Resume::Never)];
    let end =
        prop_oneof![1 => Just(End::Abort), 3 => Just(End::Commit), 1 => Just(End::Drop), 1 => Just(End::WrongDigest)];
    let upload = (
        name(),
        prop_oneof![0..2000usize, 60_000..300_000usize],
        any::<prop::sample::Index>(),
        any::<bool>(),
        any::<bool>(),
        resume,
        end,
    );
    prop_oneof![
        1 => (name(), name(), any::<bool>()).prop_map(|(from, to, replace)| Step::Copy(from, to, replace)),
        1 => name().prop_map(Step::Discard),
        2 => name().prop_map(Step::MakeDir),
        1 => name().prop_map(Step::Purge),
        2 => (name(), any::<bool>()).prop_map(|(at, forever)| Step::Remove(at, forever)),
        2 => (name(), any::<bool>(), any::<bool>())
            .prop_map(|(at, recursive, forever)| Step::RemoveDir(at, recursive, forever)),
        2 => (name(), name(), any::<bool>()).prop_map(|(from, to, replace)| Step::Restore(from, to, replace)),
        2 => (name(), name(), any::<bool>()).prop_map(|(from, to, replace)| Step::Rename(from, to, replace)),
        6 => upload.prop_map(|(at, size, sent, known, replace, resume, end)| Step::Upload {
            at,
            size,
            sent: sent.index(size + 1),
            known,
            replace,
            resume,
            end,
        }),
    ]
}

fn at(index: usize) -> FilePath {
    path(NAMES[index])
}

fn disposal(forever: bool) -> Disposal {
    if forever { Disposal::Forever } else { Disposal::Trash }
}

/// Refusals are part of the game; what counts is what they leave.
async fn perform(home: &Home, step: Step) {
    match step {
        Step::Copy(from, to, replace) => drop(home.copy(&at(from), &at(to), replace).await),
        Step::Discard(which) => drop(home.discard_upload(&at(which)).await),
        Step::MakeDir(which) => drop(home.make_dir(&at(which), which % 2 == 0).await),
        Step::Purge(which) => {
            let versions = home.versions(&at(which), None).await.unwrap();
            let ids = versions.into_iter().map(|item| item.id).collect();
            drop(home.purge(Some(ids)).await);
        }
        Step::Remove(which, forever) => drop(home.remove_file(&at(which), disposal(forever)).await),
        Step::RemoveDir(which, recursive, forever) => {
            drop(home.remove_dir(&at(which), recursive, disposal(forever)).await);
        }
        Step::Rename(from, to, replace) => drop(home.rename(&at(from), &at(to), replace).await),
        Step::Restore(which, to, replace) => {
            let wanted = Wanted::Path(at(which), None);
            drop(home.restore(&wanted, Some(&at(to)), replace).await);
        }
        Step::Upload {
            at: which,
            size,
            sent,
            known,
            replace,
            resume,
            end,
        } => {
            let spec = UploadSpec {
                size: known.then_some(size as u64),
                replace,
                resume,
                make_parents: which % 2 == 1,
                ..spec(size)
            };
            let Ok(mut upload) = home.begin_upload(&at(which), spec).await else {
                return;
            };
            let bytes = noise(size);
            let held = usize::try_from(upload.held()).unwrap().min(size);
            let sent = match end {
                End::Commit | End::WrongDigest => size,
                End::Abort | End::Drop => sent.max(held),
            };
            if held > 0 && upload.held_blocks().await.is_err() {
                return;
            }
            if write(&mut upload, held, &bytes[held..sent]).await.is_err() {
                return;
            }
            match end {
                End::Abort => drop(upload.abort().await),
                End::Commit => drop(upload.commit(size as u64, sha256(&bytes)).await),
                End::Drop => drop(upload),
                End::WrongDigest => drop(upload.commit(size as u64, sha256(b"wrong")).await),
            }
        }
    }
}

fn live(dir: &std::path::Path, durability: Durability, tasks: Vec<Vec<Step>>) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::new(StoreOptions {
            durability,
            ..StoreOptions::default()
        });
        let home = store.open_home(dir, QUOTA).await.unwrap();
        check_usage(&home, dir).await;
        let tasks: Vec<_> = tasks
            .into_iter()
            .map(|steps| {
                let home = home.clone();
                tokio::spawn(async move {
                    for step in steps {
                        perform(&home, step).await;
                        let usage = home.usage().await.unwrap();
                        assert!(usage.used + usage.pending + usage.reserved <= QUOTA.bytes.unwrap());
                        assert!(usage.entries <= QUOTA.entries.unwrap());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let usage = check_usage(&home, dir).await;
        // At rest, the trash has given way to everything else.
        assert!(usage.used + usage.pending + usage.trash <= QUOTA.bytes.unwrap());
        assert!(usage.trash <= QUOTA.trash.bytes);
        assert!(usage.entries + usage.trash_entries <= QUOTA.entries.unwrap());
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_agree_with_the_disk_after_any_mix_and_in_the_next_life(
        lives in prop::collection::vec(prop::collection::vec(prop::collection::vec(step(), 1..14), 1..4), 2),
        durable in any::<bool>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let durability = if durable { Durability::Full } else { Durability::None };
        for tasks in lives {
            live(temp.path(), durability, tasks);
        }
        live(temp.path(), durability, Vec::new());
    }
}
