//! Two sessions of one user that change the same names at the same time: the outcome is one that they could have had
//! one after the other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ftp_client::{Client, Code, Error, Kind, PutItem, RemotePath, TransferOptions};
use ftp_tests::{Rig, noise};

/// How often each pair is tried.
const ROUNDS: usize = 3;

/// What a session does. Files are told apart by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Put(&'static str, u8),
    PutNew(&'static str, u8),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    RenameOver(&'static str, &'static str),
    Copy(&'static str, &'static str),
    MakeDir(&'static str),
}

const ACTS: [Act; 9] = [
    Act::Put("a", 1),
    Act::Put("a", 2),
    Act::PutNew("b", 3),
    Act::Remove("a"),
    Act::Rename("a", "b"),
    Act::RenameOver("a", "b"),
    Act::RenameOver("b", "a"),
    Act::Copy("a", "b"),
    Act::MakeDir("b"),
];

/// What stands under a name: a file by its first byte, or a directory.
type State = BTreeMap<&'static str, Option<u8>>;

/// The sizes of the files, so that small and large ones take their different ways.
const SIZES: [usize; 4] = [4000, 700_000, 3000, 1_500_000];

impl Act {
    /// What it does when it is alone; the code of the refusal otherwise.
    fn apply(self, state: &mut State) -> Result<(), Code> {
        let file = |state: &State, name| match state.get(name) {
            None => Err(Code::NotFound),
            Some(None) => Err(Code::IsDirectory),
            Some(Some(file)) => Ok(*file),
        };
        match self {
            Self::Put(name, content) => {
                if state.get(name) == Some(&None) {
                    return Err(Code::IsDirectory);
                }
                state.insert(name, Some(content));
            }
            Self::PutNew(name, content) => {
                match state.get(name) {
                    None => state.insert(name, Some(content)),
                    Some(None) => return Err(Code::IsDirectory),
                    // The client sees that the same is there already.
                    Some(Some(present)) if *present == content => None,
                    Some(Some(_)) => return Err(Code::Exists),
                };
            }
            Self::Remove(name) => {
                file(state, name)?;
                state.remove(name);
            }
            Self::Rename(from, to) => {
                let moved = *state.get(from).ok_or(Code::NotFound)?;
                if state.contains_key(to) {
                    return Err(Code::Exists);
                }
                state.remove(from);
                state.insert(to, moved);
            }
            Self::RenameOver(from, to) => {
                let moved = *state.get(from).ok_or(Code::NotFound)?;
                match (state.get(to), moved) {
                    (Some(None), _) => return Err(Code::IsDirectory),
                    (Some(Some(_)), None) => return Err(Code::NotDirectory),
                    _ => {}
                }
                state.remove(from);
                state.insert(to, moved);
            }
            Self::Copy(from, to) => {
                let copied = file(state, from)?;
                if state.get(to) == Some(&None) {
                    return Err(Code::IsDirectory);
                }
                state.insert(to, Some(copied));
            }
            Self::MakeDir(name) => {
                if state.contains_key(name) {
                    return Err(Code::Exists);
                }
                state.insert(name, None);
            }
        }
        Ok(())
    }

    async fn run(self, client: &mut Client, rig: &Rig) -> Result<(), Error> {
        let path = |name: &str| RemotePath::from(name);
        match self {
            Self::Put(name, content) => put(client, rig, name, content, true).await,
            Self::PutNew(name, content) => put(client, rig, name, content, false).await,
            Self::Remove(name) => client.rm(&path(name), false).await,
            Self::Rename(from, to) => client.mv(&path(from), &path(to), false).await,
            Self::RenameOver(from, to) => client.mv(&path(from), &path(to), true).await,
            Self::Copy(from, to) => client.cp(&path(from), &path(to), true).await.map(drop),
            Self::MakeDir(name) => client.mkdir(&path(name), false).await,
        }
    }
}

async fn put(client: &mut Client, rig: &Rig, name: &str, content: u8, force: bool) -> Result<(), Error> {
    let item = PutItem {
        local: rig.local(&content.to_string()),
        remote: RemotePath::from(name),
        kind: Kind::File,
        size: SIZES[usize::from(content)] as u64,
    };
    let options = TransferOptions {
        force,
        ..TransferOptions::default()
    };
    client.put(vec![item], &options).await.remove(0).result.map(drop)
}

/// What is on the disk, every file proven to be whole.
fn found(home: &Path, files: &[Vec<u8>]) -> State {
    ["a", "b"]
        .into_iter()
        .filter(|name| home.join(name).exists())
        .map(|name| {
            let path = home.join(name);
            let is_whole = |file: &u8| fs::read(&path).unwrap() == files[usize::from(*file)];
            let content = path.is_file().then(|| (0..4).find(is_whole).unwrap());
            (name, content)
        })
        .collect()
}

/// Whether the results and the state can be those of both acts in this order. An upload that was taken over by
/// another says so and has done nothing.
fn explains(order: [(Act, &Result<(), Error>); 2], before: &State, after: &State, early: bool) -> bool {
    let mut state = before.clone();
    let results = order.map(|(act, told)| match told {
        Err(error) if matches!(error.code(), Some(Code::TakenOver | Code::Busy | Code::SourceChanged)) => true,
        // What stood in the way was gone before it could be told, so the client could not compare it.
        Err(Error::Refused(fault)) if fault.code == Code::Exists && fault.existing.is_none() => true,
        Ok(()) => match act {
            // A copy may have opened its source before the other act.
            Act::Copy(from, to) if early && matches!(before.get(from), Some(Some(_))) => {
                state.insert(to, before[from]);
                true
            }
            _ => act.apply(&mut state).is_ok(),
        },
        Err(error) => act.apply(&mut state).err() == error.code(),
    });
    results == [true, true] && state == *after
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_at_one_name_come_out_as_if_one_had_waited_for_the_other() {
    let rig = Rig::start();
    let files: Vec<_> = (0..4u8)
        .map(|seed| noise(SIZES[usize::from(seed)], seed.into()))
        .collect();
    for (number, bytes) in files.iter().enumerate() {
        fs::write(rig.local(&number.to_string()), bytes).unwrap();
    }
    let mut sessions = [rig.client("alice"), rig.client("alice")];
    let home = rig.home("alice");
    for (index, first) in ACTS.into_iter().enumerate() {
        for second in &ACTS[index..] {
            for round in 0..ROUNDS {
                let [one, two] = &mut sessions;
                for name in ["a", "b"] {
                    let _ = one.rmdir(&RemotePath::from(name), true, true).await;
                    let _ = one.rm(&RemotePath::from(name), true).await;
                }
                put(one, &rig, "a", 0, true).await.unwrap();
                // In half of the rounds the other name is taken.
                if round % 2 == 1 {
                    put(one, &rig, "b", 3, true).await.unwrap();
                }
                let before = found(&home, &files);
                let (told, other) = tokio::join!(first.run(one, &rig), second.run(two, &rig));
                let after = found(&home, &files);
                let is_explained = [false, true].into_iter().any(|early| {
                    explains([(first, &told), (*second, &other)], &before, &after, early)
                        || explains([(*second, &other), (first, &told)], &before, &after, early)
                });
                assert!(
                    is_explained,
                    "{first:?} {told:?} and {second:?} {other:?} made {after:?} of {before:?}"
                );
                let _ = one.discard(&RemotePath::from("a")).await;
                let _ = one.discard(&RemotePath::from("b")).await;
            }
        }
    }
    drop(sessions);
    rig.check_df("alice");
}
