//! Thousands of paths against a model that knows the tree: what may be reached is reached, and nothing else.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use ftp_store::{Error, FilePath, Home, PathError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rig::{Rig, read};

/// What stands in the home and around it: names from the home's parent on.
enum Node {
    Dir,
    File,
    Link(&'static str),
}

/// The tree. `.ftpd` is made by the store.
const TREE: &[(&str, Node)] = &[
    ("outside", Node::Dir),
    ("outside/file", Node::File),
    ("outside/dir", Node::Dir),
    ("home", Node::Dir),
    ("home/file", Node::File),
    ("home/dir", Node::Dir),
    ("home/dir/file", Node::File),
    ("home/dir/deep", Node::Dir),
    ("home/dir/deep/file", Node::File),
    ("home/dir/.ftpd", Node::Dir),
    ("home/dir/.ftpd/file", Node::File),
    ("home/in", Node::Link("dir/deep")),
    ("home/chain", Node::Link("in")),
    ("home/here", Node::Link(".")),
    ("home/loop", Node::Link("loop")),
    ("home/pong", Node::Link("dir/ping")),
    ("home/dir/ping", Node::Link("../pong")),
    ("home/gone", Node::Link("nowhere")),
    ("home/tofile", Node::Link("dir/file")),
    ("home/out", Node::Link("../outside")),
    ("home/outfile", Node::Link("../outside/file")),
    ("home/absolute", Node::Link("/etc")),
    ("home/round", Node::Link("../home/dir")),
    ("home/own", Node::Link(".ftpd")),
    ("home/ownlock", Node::Link(".ftpd/lock")),
    ("home/dir/up", Node::Link("..")),
    ("home/dir/upup", Node::Link("../..")),
    ("home/dir/down", Node::Link("deep/../file")),
    ("home/dir/deep/far", Node::Link("../../in/file")),
];

/// What paths are made of: every name of the tree, and what paths mean something by.
const PIECES: [&str; 33] = [
    "file",
    "dir",
    "deep",
    "in",
    "chain",
    "here",
    "loop",
    "pong",
    "ping",
    "gone",
    "tofile",
    "out",
    "outfile",
    "absolute",
    "round",
    "own",
    "ownlock",
    "up",
    "upup",
    "down",
    "far",
    ".ftpd",
    ".FTPD",
    ".Ftpd",
    ".ftp\u{ad}d",
    "lock",
    "staging",
    "outside",
    "none",
    ".",
    "..",
    "..",
    "",
];

/// What a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    File,
    Dir,
    /// It leads out.
    Outside,
    /// A link leads it to the store's own, where nothing can be reached.
    Own,
    /// Nothing, or something that it can not lead through.
    Nothing,
}

/// The model: where a path leads, from names and links alone.
fn meaning(text: &[u8]) -> Result<Meaning, PathError> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in text.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop().ok_or(PathError::OutsideHome)?),
            name if name.len() > 255 => return Err(PathError::ComponentTooLong { bytes: name.len() }),
            name => names.push(name),
        }
    }
    if names.len() > 256 {
        return Err(PathError::TooDeep);
    }
    if names.first().is_some_and(|first| is_own(first)) {
        return Err(PathError::Reserved);
    }
    let nodes: BTreeMap<&str, &Node> = TREE.iter().map(|(name, node)| (*name, node)).collect();
    let mut left: Vec<String> = names
        .iter()
        .rev()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let (mut at, mut links) = (vec!["home".to_owned()], 0);
    while let Some(name) = left.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." if at.len() == 1 => return Ok(Meaning::Outside),
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        if at.len() == 2 && is_own(at[1].as_bytes()) {
            return Ok(Meaning::Own);
        }
        match nodes.get(at.join("/").as_str()) {
            Some(Node::Dir) => {}
            Some(Node::File) if left.iter().all(|name| matches!(name.as_str(), "" | ".")) => return Ok(Meaning::File),
            Some(Node::File) | None => return Ok(Meaning::Nothing),
            Some(Node::Link(target)) => {
                links += 1;
                if links > 40 {
                    // Links without an end lead to nothing.
                    return Ok(Meaning::Nothing);
                }
                if target.starts_with('/') {
                    return Ok(Meaning::Outside);
                }
                at.pop();
                left.extend(target.rsplit('/').map(str::to_owned));
            }
        }
    }
    Ok(Meaning::Dir)
}

fn is_own(name: &[u8]) -> bool {
    String::from_utf8_lossy(name)
        .replace('\u{ad}', "")
        .eq_ignore_ascii_case(".ftpd")
}

fn build(home: &Path) {
    let top = home.parent().unwrap();
    for (name, node) in TREE {
        let at = top.join(name);
        match node {
            Node::Dir => std::fs::create_dir_all(at).unwrap(),
            Node::File => std::fs::write(&at, if name.starts_with("home") { "inside" } else { "secret" }).unwrap(),
            Node::Link(target) => symlink(target, at).unwrap(),
        }
    }
}

/// Asks for the path in each way that follows links to its end.
async fn ask(home: &Home, text: &[u8]) -> Result<Meaning, PathError> {
    let path = FilePath::resolve(&FilePath::root(), text)?;
    let found = match read(home, &path).await {
        Ok(bytes) => {
            assert_eq!(bytes, b"inside", "{path}");
            Meaning::File
        }
        Err(Error::IsDirectory { .. }) => Meaning::Dir,
        Err(Error::OutsideHome { .. }) => Meaning::Outside,
        Err(Error::NotFound { .. } | Error::NotDirectory { .. }) => Meaning::Nothing,
        Err(error) => panic!("{path}: {error:?}"),
    };
    let listed = home.list(&path, true).await;
    match (found, listed) {
        (Meaning::Dir, Ok(mut listing)) => {
            while let Some(page) = listing.next_page().await.unwrap() {
                let own = |name: &[u8]| is_own(name) && path.is_root();
                assert!(page.iter().all(|entry| !own(entry.name.as_bytes())), "{path}");
            }
        }
        (Meaning::Outside, Err(Error::OutsideHome { .. })) | (Meaning::File | Meaning::Nothing, Err(_)) => {}
        (found, listed) => panic!("{path} is {found:?}, and its listing {:?}", listed.err()),
    }
    Ok(found)
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        40 => prop::sample::select(&PIECES[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>().prop_filter("no NUL", |byte| *byte != 0), 0..4),
        1 => Just(vec![b'n'; 255]),
        1 => Just(vec![b'n'; 256]),
    ];
    (any::<bool>(), prop::collection::vec(piece, 0..9)).prop_map(|(absolute, pieces)| {
        let mut text = if absolute { vec![b'/'] } else { Vec::new() };
        text.extend(pieces.join(&b'/'));
        text
    })
}

#[test]
fn every_path_leads_where_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::prepared(build));
    let cases = std::env::var("PROPTEST_CASES").map_or(3_000, |text| text.parse().unwrap());
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    };
    let asked = TestRunner::new(config).run(&paths(), |text| {
        let found = runtime.block_on(ask(&rig.home, &text));
        let expected = match (meaning(&text), &found) {
            // What is not there is not there, even where nothing may be looked for.
            (Ok(Meaning::Own), Ok(Meaning::Outside | Meaning::Nothing)) => found.clone(),
            (expected, _) => expected,
        };
        prop_assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&text));
        Ok(())
    });
    asked.unwrap();
    assert_eq!(std::fs::read(rig.outside().join("file")).unwrap(), b"secret");
}
