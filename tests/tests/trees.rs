//! Whole trees, as the library tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ftp_client::{Client, Conflict, Decision, Event, Observer, RemotePath, TransferOptions};
use ftp_tests::{Plan, Rig};

/// Writes down what it is told, and replaces everything.
#[derive(Default)]
struct Witness {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    planned: (u64, u64),
    /// The bytes of each file that have moved; `None` before any have.
    moved: BTreeMap<u64, Option<u64>>,
    finished: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
    passed_over: Vec<PathBuf>,
    failed: usize,
    decided: usize,
}

impl Observer for Witness {
    fn event(&self, event: &Event<'_>) {
        let mut seen = self.seen.lock().unwrap();
        match event {
            Event::Planned { files, bytes } => {
                assert!((*files, *bytes) >= seen.planned, "{files} files and {bytes} bytes");
                seen.planned = (*files, *bytes);
            }
            Event::Started { id, .. } => {
                assert!(seen.planned.0 > 0, "nothing was planned");
                assert!(seen.moved.insert(*id, None).is_none(), "{id} began twice");
            }
            Event::Moved { id, done } => drop(seen.moved.insert(*id, Some(*done))),
            Event::Finished { id, ends, result } => {
                assert_eq!(seen.moved[id], Some(result.size), "{}", ends.local.display());
                seen.finished.insert(ends.remote.as_wire().to_owned(), result.size);
            }
            Event::Failed { .. } => seen.failed += 1,
            Event::DirectoryMade { ends } => drop(seen.directories.insert(ends.remote.as_wire().to_owned())),
            Event::PassedOver { path, .. } => seen.passed_over.push(path.to_path_buf()),
            _ => {}
        }
    }

    fn decide(&self, _: &Conflict<'_>) -> Decision {
        self.seen.lock().unwrap().decided += 1;
        Decision::Replace
    }
}

async fn put(rig: &Rig, tree: PathBuf, options: &TransferOptions) -> Seen {
    let witness = Arc::new(Witness::default());
    let mut client = Client::new(rig.connect_options("alice"), Arc::clone(&witness) as Arc<dyn Observer>);
    client.put_trees(vec![(tree, RemotePath::from("tree"))], options).await;
    client.quit().await.unwrap();
    std::mem::take(&mut *witness.seen.lock().unwrap())
}

#[tokio::test]
async fn everything_in_a_tree_is_told_of_once() {
    let rig = Plan::new().user("alice", "").start();
    let tree = rig.local("tree");
    let mut files = BTreeMap::new();
    for (number, directory) in ["", "a", "a/deep", "b"].into_iter().enumerate() {
        fs::create_dir_all(tree.join(directory)).unwrap();
        for name in 0..200 {
            let path = PathBuf::from(directory).join(format!("file {name}"));
            let size = number * 1000 + name;
            fs::write(tree.join(&path), vec![7; size]).unwrap();
            files.insert(format!("tree/{}", path.display()), size as u64);
        }
    }
    fs::create_dir(tree.join("empty")).unwrap();
    symlink("file 1", tree.join("b/link")).unwrap();
    // Too large to go with the others.
    fs::write(tree.join("a/large"), vec![8; 3_000_000]).unwrap();
    files.insert("tree/a/large".to_owned(), 3_000_000);

    let seen = put(&rig, tree.clone(), &TransferOptions::default()).await;
    assert_eq!(seen.planned, (files.len() as u64, files.values().sum()));
    assert_eq!(seen.finished, files);
    let directories = ["tree", "tree/a", "tree/a/deep", "tree/b", "tree/empty"];
    assert_eq!(seen.directories, directories.map(str::to_owned).into());
    assert_eq!(seen.passed_over, [tree.join("b/link")]);
    assert_eq!(seen.failed, 0);
    for (path, size) in files {
        assert_eq!(fs::metadata(rig.home("alice").join(path)).unwrap().len(), size);
    }
}

#[tokio::test]
async fn more_existing_files_than_are_held_at_once_are_replaced() {
    // `ftp_client` holds 8,192.
    const FILES: usize = 8_500;
    let rig = Plan::new().user("alice", "").start();
    let (tree, home) = (rig.local("tree"), rig.home("alice").join("tree"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir_all(&home).unwrap();
    for number in 0..FILES {
        fs::write(home.join(number.to_string()), "").unwrap();
        fs::write(tree.join(number.to_string()), "new").unwrap();
    }
    let seen = put(&rig, tree, &TransferOptions::default()).await;
    assert_eq!((seen.finished.len(), seen.decided, seen.failed), (FILES, FILES, 0));
    for number in 0..FILES {
        assert_eq!(fs::read(home.join(number.to_string())).unwrap(), b"new");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_nothing_untold() {
    let mut rig = Plan::new().user("alice", "").start();
    let tree = rig.local("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..300 {
        fs::write(tree.join(number.to_string()), "new").unwrap();
    }
    let witness = Arc::new(Witness::default());
    let mut client = Client::new(rig.connect_options("alice"), Arc::clone(&witness) as Arc<dyn Observer>);
    rig.kill();
    let options = TransferOptions::default();
    client.put_trees(vec![(tree, RemotePath::from("tree"))], &options).await;
    let seen = witness.seen.lock().unwrap();
    // The directory is an item, too.
    assert_eq!((seen.finished.len(), seen.failed), (0, 301));
}
