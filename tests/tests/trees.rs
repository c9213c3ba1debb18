//! Whole trees, as the library tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ftp_client::{
    Client, Code, Conflict, ConnectOptions, Decision, Event, Fault, Kind, Observer, PutItem, RemotePath, RetryPolicy,
    Stored, Target, TransferOptions,
};
use ftp_proto::{Op, Re, Request};
use ftp_tests::{Break, Deceived, Direction, Liar, MIB, Plan, Proxy, write_noise};

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
                let moved = if result.identical { None } else { Some(result.size) };
                assert_eq!(seen.moved[id], moved, "{}", ends.local.display());
                let before = seen.finished.insert(ends.remote.as_wire().to_owned(), result.size);
                assert_eq!(before, None, "{}", ends.local.display());
            }
            Event::Failed { .. } => seen.failed += 1,
            Event::DirectoryMade { ends } => {
                assert!(seen.directories.insert(ends.remote.as_wire().to_owned()), "made twice");
            }
            Event::PassedOver { path, .. } => seen.passed_over.push(path.to_path_buf()),
            _ => {}
        }
    }

    fn decide(&self, _: &Conflict<'_>) -> Decision {
        self.seen.lock().unwrap().decided += 1;
        Decision::Replace
    }
}

async fn put(options: ConnectOptions, tree: PathBuf) -> Seen {
    let witness = Arc::new(Witness::default());
    let mut client = Client::new(options, Arc::clone(&witness) as Arc<dyn Observer>);
    let trees = vec![(tree, RemotePath::from("tree"))];
    client.put_trees(trees, &TransferOptions::default()).await;
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

    let seen = put(rig.connect_options("alice"), tree.clone()).await;
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
async fn more_existing_files_than_are_held_at_once_are_replaced_and_fetched() {
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
    let seen = put(rig.connect_options("alice"), tree).await;
    assert_eq!((seen.finished.len(), seen.decided, seen.failed), (FILES, FILES, 0));
    rig.cli("alice").run(["get", "-r", "tree", "back"]).ok();
    for directory in [home, rig.local("back")] {
        for number in 0..FILES {
            assert_eq!(fs::read(directory.join(number.to_string())).unwrap(), b"new");
        }
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
    let options = rig.connect_options("alice");
    rig.kill();
    let seen = put(options, tree).await;
    // The directory is an item, too.
    assert_eq!((seen.finished.len(), seen.failed), (0, 301));
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_loses_no_file() {
    const FILES: usize = 1_000;
    let rig = Plan::new().user("alice", "").start();
    let tree = rig.local("tree");
    fs::create_dir(&tree).unwrap();
    for number in 0..FILES {
        fs::write(tree.join(number.to_string()), vec![7; 4000]).unwrap();
    }
    let proxy = Proxy::start(rig.address())
        .and(Direction::Up, 1_000_000, Break::Cut)
        .and(Direction::Down, 30_000, Break::Cut)
        .and(Direction::Up, 2_000, Break::Cut)
        .and(Direction::Up, 1_500_000, Break::Cut);
    let options = ConnectOptions {
        address: proxy.address().to_string().parse::<Target>().unwrap().address,
        retry: RetryPolicy {
            first_pause: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        ..rig.connect_options("alice")
    };
    let seen = put(options, tree).await;
    assert_eq!(proxy.fired().len(), 4);
    assert_eq!((seen.finished.len(), seen.failed), (FILES, 0));
    for number in 0..FILES {
        let stored = fs::read(rig.home("alice").join("tree").join(number.to_string())).unwrap();
        assert_eq!(stored, vec![7; 4000]);
    }
}

/// Stores everything but what is called `busy`, or so it says.
async fn busy(server: &mut Deceived, request: Request) {
    let Op::Put { path, ask, mtime, .. } = request.op else {
        return server.reply(request.id, Re::Ok).await;
    };
    let is_busy = path.contains("bus");
    if ask && !is_busy {
        server.reply(request.id, Re::Go { have: None }).await;
    }
    let mut end = None;
    while !(ask && is_busy) && end.is_none() {
        let Some(part) = server.request().await else { return };
        if let Op::End { length, digest } = part.op {
            end = Some((length, digest));
        }
    }
    let re = match end {
        Some((size, digest)) if !is_busy => Re::Stored(Stored {
            size,
            mtime: mtime.unwrap(),
            digest,
            replaced: false,
        }),
        _ => Re::Error(Fault::new(Code::Busy, "another transfer holds it")),
    };
    server.reply(request.id, re).await;
}

#[tokio::test]
async fn a_file_that_stays_busy_keeps_no_other_from_its_place() {
    let liar = Liar::start(busy);
    let names = ["busy", "a", "large-busy", "large", "busier", "b"];
    let mut items = Vec::new();
    for name in names {
        let size = if name.starts_with("large") { 2 * MIB } else { 4000 };
        write_noise(&liar.local(name), size, size);
        items.push(PutItem {
            local: liar.local(name),
            remote: RemotePath::from(name),
            kind: Kind::File,
            size,
        });
    }
    for outcome in liar.client().put(items, &TransferOptions::default()).await {
        let code = outcome.result.as_ref().err().and_then(ftp_client::Error::code);
        let is_busy = outcome.local.to_string_lossy().contains("bus");
        assert_eq!(code, is_busy.then_some(Code::Busy), "{:?}", outcome.result);
        assert_eq!(outcome.result.is_err(), is_busy);
    }
}
