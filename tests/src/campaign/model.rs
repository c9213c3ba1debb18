//! What is known to be stored, and what an operation makes of it when nothing goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::pool::{self, Content};

/// Where the modification time of a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// Its source, kept with it.
    Source,
    /// The clock, when the step with this number took it in.
    Step(u64),
}

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) time: Time,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(Stored),
}

/// All names below a lane's directory.
pub(super) type Tree = BTreeMap<String, Node>;

/// What to do with a partial transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    Auto,
    Always,
    Never,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put {
        content: Content,
        to: String,
        force: bool,
        resume: Resume,
    },
    PutStdin {
        content: Content,
        to: String,
        force: bool,
    },
    /// Two at once to one name.
    Race {
        contents: [Content; 2],
        to: String,
    },
    /// A directory, over what is there.
    PutTree {
        variant: usize,
    },
    Get {
        from: String,
        to: String,
        force: bool,
        resume: Resume,
    },
    GetTree {
        from: String,
    },
    Rm {
        path: String,
        recursive: bool,
        force: bool,
    },
    Mv {
        from: String,
        to: String,
        force: bool,
    },
    Cp {
        from: String,
        to: String,
        force: bool,
    },
    Mkdir {
        path: String,
        parents: bool,
    },
    Discard {
        path: String,
    },
    /// Brings the newest version back from the trash.
    Restore {
        path: String,
        force: bool,
        /// What is there, by path; `None` if there is none.
        found: Option<Tree>,
    },
    Versions {
        path: String,
    },
    /// Deletes the item with the newest version for good.
    Purge {
        path: String,
        /// Its number, and all that is in it.
        item: Option<(u64, Tree)>,
    },
}

/// What an operation leads to when nothing goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// The exit code.
    pub(super) exit: i32,
    /// What may stand on the server afterwards; more than one only after a race.
    pub(super) after: Vec<Tree>,
    /// Whether it takes effect as a whole or not at all. Otherwise each name does for itself.
    pub(super) atomic: bool,
}

/// A lane's files, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) remote: Tree,
    pub(super) local: BTreeMap<String, Stored>,
    /// Targets of staged uploads.
    pub(super) staged: BTreeSet<String>,
}

/// Exit codes of `ftp-cli --help`.
pub(super) mod exit {
    pub(in super::super) const DONE: i32 = 0;
    pub(in super::super) const FAILED: i32 = 1;
    pub(in super::super) const LOGIN: i32 = 3;
    pub(in super::super) const NOT_FOUND: i32 = 4;
    pub(in super::super) const NOT_PERMITTED: i32 = 5;
    pub(in super::super) const SPACE: i32 = 6;
    pub(in super::super) const MISMATCH: i32 = 7;
    pub(in super::super) const CONNECTION: i32 = 8;
    pub(in super::super) const INTERRUPTED: i32 = 130;
}

impl Op {
    /// The name on the server that it is about.
    pub(super) fn subject(&self) -> &str {
        match self {
            Self::Put { to, .. } | Self::PutStdin { to, .. } | Self::Race { to, .. } => to,
            Self::PutTree { .. } => "tree",
            Self::Get { from, .. } | Self::GetTree { from } | Self::Mv { from, .. } | Self::Cp { from, .. } => from,
            Self::Rm { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Discard { path }
            | Self::Restore { path, .. }
            | Self::Versions { path }
            | Self::Purge { path, .. } => path,
        }
    }

    /// Whether the client goes on by itself after a lost connection.
    pub(super) fn is_retried(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::Race { .. } | Self::PutTree { .. } | Self::Get { .. } | Self::GetTree { .. }
        )
    }

    /// How many bytes it moves, about; for placing faults.
    pub(super) fn bytes(&self, model: &Model) -> u64 {
        let stored = |path: &str| match model.remote.get(path) {
            Some(Node::File(stored)) => stored.content.bytes(),
            _ => 0,
        };
        match self {
            Self::Put { content, .. } | Self::PutStdin { content, .. } => content.bytes(),
            Self::Race { contents, .. } => contents[0].bytes(),
            Self::PutTree { variant } => pool::tree(*variant).map(|(_, content)| content.bytes()).sum(),
            Self::Get { from, .. } => stored(from),
            Self::GetTree { from } => below(&model.remote, from).map(|(path, _)| stored(path)).sum(),
            _ => 0,
        }
    }
}

impl Model {
    /// What an undisturbed operation does. `step` is a number of its own.
    pub(super) fn expect(&self, op: &Op, step: u64) -> Expected {
        let refused = |exit| Expected {
            exit,
            after: vec![self.remote.clone()],
            atomic: true,
        };
        let done = |after| Expected {
            exit: exit::DONE,
            after: vec![after],
            atomic: true,
        };
        let file = |content, time| Node::File(Stored { content, time });
        match op {
            Op::Put { content, to, force, .. } => {
                let new = file(*content, Time::Source);
                match self.may_put(to, *force) {
                    // The same file needs no moving.
                    Err(exit::NOT_PERMITTED) if self.remote.get(to) == Some(&new) => done(self.remote.clone()),
                    Err(code) => refused(code),
                    Ok(()) => done(self.with(to, new)),
                }
            }
            Op::PutStdin { content, to, force } => match self.may_put(to, *force) {
                Err(code) => refused(code),
                Ok(()) => done(self.with(to, file(*content, Time::Step(step)))),
            },
            Op::Race { contents, to } => match self.may_put(to, true) {
                Err(code) => refused(code),
                Ok(()) => Expected {
                    exit: exit::DONE,
                    after: contents
                        .map(|content| self.with(to, file(content, Time::Source)))
                        .into(),
                    atomic: true,
                },
            },
            Op::PutTree { variant } => {
                let mut after = self.remote.clone();
                for dir in ["tree", "tree/sub", "tree/sub/deep"] {
                    after.insert(dir.to_owned(), Node::Dir);
                }
                for (name, content) in pool::tree(*variant) {
                    after.insert(format!("tree/{name}"), file(content, Time::Source));
                }
                Expected {
                    atomic: false,
                    ..done(after)
                }
            }
            Op::Get { from, to, force, .. } => match (self.remote.get(from), self.local.get(to)) {
                (None, _) => refused(exit::NOT_FOUND),
                (Some(Node::Dir), _) => refused(exit::FAILED),
                (Some(Node::File(there)), Some(here)) if !force && there != here => refused(exit::NOT_PERMITTED),
                _ => done(self.remote.clone()),
            },
            Op::GetTree { from } => match self.remote.get(from) {
                None => refused(exit::NOT_FOUND),
                Some(_) => done(self.remote.clone()),
            },
            Op::Rm { path, recursive, force } => match self.remote.get(path) {
                None if *force => done(self.remote.clone()),
                None => refused(exit::NOT_FOUND),
                Some(Node::Dir) if !recursive => refused(exit::FAILED),
                Some(_) => {
                    let gone: Vec<String> = below(&self.remote, path).map(|(path, _)| path.to_owned()).collect();
                    let mut after = self.remote.clone();
                    after.retain(|path, _| !gone.contains(path));
                    done(after)
                }
            },
            Op::Mv { from, to, force } => self.expect_move(from, to, *force).map_or_else(refused, done),
            Op::Cp { from, to, force } => match (self.remote.get(from), self.may_put(to, *force)) {
                (None, _) => refused(exit::NOT_FOUND),
                (Some(Node::Dir), _) => refused(exit::FAILED),
                (_, Err(code)) => refused(code),
                (Some(node), Ok(())) => done(self.with(to, *node)),
            },
            Op::Mkdir { path, parents } => match (self.remote.get(path), self.has_parent(path)) {
                (Some(_), _) if *parents => done(self.remote.clone()),
                (Some(_), _) => refused(exit::NOT_PERMITTED),
                (None, false) if !parents => refused(exit::NOT_FOUND),
                (None, _) => Expected {
                    atomic: false,
                    ..done(self.with_parents(path, Node::Dir))
                },
            },
            Op::Restore { path, force, found } => {
                self.expect_restored(path, *force, found.as_ref())
                    .map_or_else(refused, |after| Expected {
                        // Parents are made one by one before.
                        atomic: self.has_parent(path),
                        ..done(after)
                    })
            }
            Op::Versions { .. } | Op::Purge { .. } => done(self.remote.clone()),
            Op::Discard { path } if self.staged.contains(path) => done(self.remote.clone()),
            Op::Discard { .. } => refused(exit::NOT_FOUND),
        }
    }

    fn expect_move(&self, from: &str, to: &str, force: bool) -> Result<Tree, i32> {
        let moved = self.remote.get(from).ok_or(exit::NOT_FOUND)?;
        let name = from.rsplit('/').next().unwrap_or(from);
        let to = match self.remote.get(to) {
            Some(Node::Dir) => format!("{to}/{name}"),
            _ => to.to_owned(),
        };
        if to.starts_with(&format!("{from}/")) {
            return Err(exit::FAILED);
        }
        if !self.has_parent(&to) {
            return Err(exit::NOT_FOUND);
        }
        match (self.remote.get(&to), moved) {
            (Some(_), _) if !force => return Err(exit::NOT_PERMITTED),
            (Some(Node::Dir), _) | (Some(_), Node::Dir) => return Err(exit::FAILED),
            _ => {}
        }
        let mut after = self.remote.clone();
        for (path, node) in below(&self.remote, from) {
            after.remove(path);
            after.insert(format!("{to}{}", &path[from.len()..]), *node);
        }
        Ok(after)
    }

    fn expect_restored(&self, path: &str, force: bool, found: Option<&Tree>) -> Result<Tree, i32> {
        let found = found.ok_or(exit::NOT_FOUND)?;
        match (self.remote.get(path), found.get(path)) {
            (Some(_), _) if !force => return Err(exit::NOT_PERMITTED),
            (Some(Node::Dir), _) => return Err(exit::FAILED),
            (Some(_), Some(Node::Dir)) => return Err(exit::NOT_PERMITTED),
            _ => {}
        }
        let mut after = self.with_parents(path, Node::Dir);
        after.extend(found.clone());
        Ok(after)
    }

    fn may_put(&self, to: &str, force: bool) -> Result<(), i32> {
        match self.remote.get(to) {
            _ if !self.has_parent(to) => Err(exit::NOT_FOUND),
            Some(_) if !force => Err(exit::NOT_PERMITTED),
            _ => Ok(()),
        }
    }

    fn has_parent(&self, path: &str) -> bool {
        match path.rsplit_once('/') {
            None => true,
            Some((parent, _)) => self.remote.get(parent) == Some(&Node::Dir),
        }
    }

    /// With everything on the way to it as well.
    fn with_parents(&self, path: &str, node: Node) -> Tree {
        let mut after = self.with(path, node);
        for (end, _) in path.match_indices('/') {
            after.insert(path[..end].to_owned(), Node::Dir);
        }
        after
    }

    fn with(&self, path: &str, node: Node) -> Tree {
        let mut after = self.remote.clone();
        after.insert(path.to_owned(), node);
        after
    }
}

/// What stands at a path, and below it; below the empty path, everything.
pub(super) fn below<'a>(tree: &'a Tree, path: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
    tree.iter()
        .map(|(found, node)| (found.as_str(), node))
        .filter(move |(found, _)| {
            found
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(paths: &[&str]) -> Model {
        let node = |path: &str| match path.rsplit('/').next() {
            Some(name) if name.starts_with('d') => Node::Dir,
            _ => Node::File(Stored {
                content: Content::new(1, 0),
                time: Time::Source,
            }),
        };
        Model {
            remote: paths.iter().map(|path| ((*path).to_owned(), node(path))).collect(),
            ..Model::default()
        }
    }

    fn names(tree: &Tree) -> Vec<&str> {
        tree.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_directory_moves_into_an_existing_one_with_all_that_is_in_it() {
        let op = |from: &str, to: &str| Op::Mv {
            from: from.to_owned(),
            to: to.to_owned(),
            force: false,
        };
        let expected = model(&["d0", "d0/f", "d1"]).expect(&op("d0", "d1"), 0);
        assert_eq!(expected.exit, exit::DONE);
        assert_eq!(names(&expected.after[0]), ["d1", "d1/d0", "d1/d0/f"]);
        assert_eq!(model(&["d0"]).expect(&op("d0", "d0"), 0).exit, exit::FAILED);
        assert_eq!(model(&[]).expect(&op("d0", "d1"), 0).exit, exit::NOT_FOUND);
    }

    #[test]
    fn removing_a_directory_takes_no_neighbour_with_it() {
        let op = Op::Rm {
            path: "d0".to_owned(),
            recursive: true,
            force: false,
        };
        let expected = model(&["d0", "d0/f", "d01", "f"]).expect(&op, 0);
        assert_eq!(names(&expected.after[0]), ["d01", "f"]);
        assert!(expected.atomic, "one rename takes all of it away");
    }
}
