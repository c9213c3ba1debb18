//! What really lies in a home at rest, byte by byte.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Checked;
use super::model::{Node, Stored, Time, Tree};
use super::pool::Pool;
use super::trash::{self, Items};
use crate::disk::try_sha256;

/// The folder at the top of a home that belongs to the server.
const RESERVED: &str = ".ftpd";

/// What was found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Dir,
    File { digest: String, size: u64, seconds: i64 },
    Other,
}

/// Everything below a directory, by path.
pub(super) type Finds = BTreeMap<String, Found>;

/// What a home holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) finds: Finds,
    /// Bytes and number of staged uploads.
    pub(super) staging: (u64, u64),
    /// Bytes and entries in the trash.
    pub(super) trash: (u64, u64),
    /// What is in it.
    pub(super) items: Items,
    /// Files of the staging folder that belong to no upload which can be resumed.
    pub(super) strays: Vec<String>,
}

/// Digests of files that have not changed since they were read.
#[derive(Debug, Default)]
pub(super) struct Digests(HashMap<(u64, u64), (i64, i64, u64, String)>);

impl Digests {
    fn of(&mut self, path: &Path, meta: &fs::Metadata) -> std::io::Result<String> {
        let (ctime, nanos, size) = (meta.ctime(), meta.ctime_nsec(), meta.len());
        match self.0.get(&(meta.dev(), meta.ino())) {
            Some((known, known_nanos, length, digest)) if (*known, *known_nanos, *length) == (ctime, nanos, size) => {
                Ok(digest.clone())
            }
            _ => {
                let digest = try_sha256(path)?;
                let entry = (ctime, nanos, size, digest.clone());
                self.0.insert((meta.dev(), meta.ino()), entry);
                Ok(digest)
            }
        }
    }
}

impl Home {
    /// Reads all of it.
    pub(super) fn read(home: &Path, digests: &mut Digests) -> std::io::Result<Self> {
        let mut found = Self {
            finds: read_below(home, "", digests)?,
            items: trash::read(home, "", digests)?,
            ..Self::default()
        };
        found.staging(&home.join(RESERVED).join("staging"))?;
        let counts = crate::disk::walk(home)?;
        found.trash = (counts.trash, counts.trash_entries);
        Ok(found)
    }

    fn staging(&mut self, staging: &Path) -> std::io::Result<()> {
        for name in names(staging)? {
            let has = |suffix: &str| staging.join(&name).with_extension(suffix).exists();
            match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
                Some("part") => {
                    self.staging.0 += staging.join(&name).metadata()?.len();
                    self.staging.1 += 1;
                    if !has("json") {
                        self.strays.push(name);
                    }
                }
                Some("json") if has("part") => {}
                _ => self.strays.push(name),
            }
        }
        Ok(())
    }

    /// Bytes of all files, and the number of all names.
    pub(super) fn stored(&self) -> (u64, u64) {
        let bytes = self.finds.values().map(|found| match found {
            Found::File { size, .. } => *size,
            Found::Dir | Found::Other => 0,
        });
        (bytes.sum(), self.finds.len() as u64)
    }

    /// What lies below one of its directories.
    pub(super) fn below(&self, root: &str) -> Finds {
        let below = |(path, found): (&String, &Found)| {
            let path = path.strip_prefix(root)?.strip_prefix('/')?;
            Some((path.to_owned(), found.clone()))
        };
        self.finds.iter().filter_map(below).collect()
    }
}

/// What lies at a place, under `name`, and everything below it but the reserved folder; at the top of a
/// home, whose name is empty, only what is below.
pub(super) fn read_below(place: &Path, name: &str, digests: &mut Digests) -> std::io::Result<Finds> {
    let mut finds = Finds::new();
    let mut open = vec![(place.to_owned(), name.to_owned())];
    while let Some((path, name)) = open.pop() {
        let meta = path.symlink_metadata()?;
        let what = if meta.is_dir() {
            for below in names(&path)? {
                if name.is_empty() && below == RESERVED {
                    continue;
                }
                let slash = if name.is_empty() { "" } else { "/" };
                open.push((path.join(&below), format!("{name}{slash}{below}")));
            }
            Found::Dir
        } else if meta.is_file() {
            Found::File {
                digest: digests.of(&path, &meta)?,
                size: meta.len(),
                seconds: meta.mtime(),
            }
        } else {
            Found::Other
        };
        if !name.is_empty() {
            finds.insert(name, what);
        }
    }
    Ok(finds)
}

/// What was found, as the model would say it, if it is anything that was sent. What has not the time of
/// its source was made by `step`.
pub(super) fn node(found: &Found, step: u64, pool: &Pool) -> Option<Node> {
    match found {
        Found::Dir => Some(Node::Dir),
        Found::File { digest, seconds, .. } => Some(Node::File(Stored {
            content: pool.find(digest)?,
            time: match u64::try_from(*seconds) {
                Ok(seconds) if seconds == Pool::time() => Time::Source,
                _ => Time::Step(step),
            },
        })),
        Found::Other => None,
    }
}

/// The names in a directory; none if it is not there.
pub(super) fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The staged bytes of the upload to a path.
pub(super) fn part_of(staging: &Path, path: &str) -> Option<PathBuf> {
    let is_it = |record: &PathBuf| {
        let text = fs::read_to_string(record).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        record["path"] == path
    };
    let mut records = names(staging).ok()?.into_iter().filter(|name| name.ends_with(".json"));
    let record = records.find_map(|name| Some(staging.join(name)).filter(is_it))?;
    Some(record.with_extension("part"))
}

/// Whether what was found at a name is what the model says.
pub(super) fn agrees(found: Option<&Found>, node: Option<&Node>, pool: &Pool) -> bool {
    match (found, node) {
        (None, None) | (Some(Found::Dir), Some(Node::Dir)) => true,
        (Some(Found::File { digest, size, seconds }), Some(Node::File(stored))) => {
            // No clock shows the sources' time any more.
            let has_sources = u64::try_from(*seconds) == Ok(Pool::time());
            has_sources == (stored.time == Time::Source)
                && *size == stored.content.bytes()
                && digest == pool.digest(stored.content)
        }
        _ => false,
    }
}

/// The first difference between what was found and what is known.
pub(super) fn difference(finds: &Finds, tree: &Tree, pool: &Pool) -> Checked {
    for path in finds.keys().chain(tree.keys()) {
        let (found, node) = (finds.get(path), tree.get(path));
        if !agrees(found, node, pool) {
            return Err(format!("{path} is {}, and {node:?} is known", told(found, pool)));
        }
    }
    Ok(())
}

/// For messages.
pub(super) fn told(found: Option<&Found>, pool: &Pool) -> String {
    match found {
        Some(Found::File { digest, .. }) => match pool.find(digest) {
            Some(content) => format!("{found:?}, which is {content:?}"),
            None => format!("{found:?}, which is none of the files that were sent"),
        },
        found => format!("{found:?}"),
    }
}
