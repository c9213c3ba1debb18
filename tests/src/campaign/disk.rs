//! What really lies in a home at rest, byte by byte.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Checked;
use super::model::{Node, Time, Tree};
use super::pool::Pool;
use crate::sha256;

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
    /// Files of the staging folder that belong to no upload which can be resumed.
    pub(super) strays: Vec<String>,
}

/// Digests of files that have not changed since they were read.
#[derive(Debug, Default)]
pub(super) struct Digests(HashMap<(u64, u64), (i64, i64, u64, String)>);

impl Digests {
    fn of(&mut self, path: &Path, meta: &fs::Metadata) -> String {
        let (ctime, nanos, size) = (meta.ctime(), meta.ctime_nsec(), meta.len());
        match self.0.get(&(meta.dev(), meta.ino())) {
            Some((known, known_nanos, length, digest)) if (*known, *known_nanos, *length) == (ctime, nanos, size) => {
                digest.clone()
            }
            _ => {
                let digest = sha256(path);
                let entry = (ctime, nanos, size, digest.clone());
                self.0.insert((meta.dev(), meta.ino()), entry);
                digest
            }
        }
    }
}

impl Home {
    /// Reads all of it.
    pub(super) fn read(home: &Path, digests: &mut Digests) -> std::io::Result<Self> {
        let mut found = Self::default();
        let mut directories = vec![home.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path == home.join(RESERVED) {
                    continue;
                }
                let meta = path.symlink_metadata()?;
                let what = if meta.is_dir() {
                    directories.push(path.clone());
                    Found::Dir
                } else if meta.is_file() {
                    Found::File {
                        digest: digests.of(&path, &meta),
                        size: meta.len(),
                        seconds: meta.mtime(),
                    }
                } else {
                    Found::Other
                };
                found.finds.insert(relative(&path, home), what);
            }
        }
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

fn relative(path: &Path, home: &Path) -> String {
    let below = path.strip_prefix(home).unwrap_or(path);
    below.display().to_string()
}

fn names(directory: &Path) -> std::io::Result<Vec<String>> {
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
            let time = stored.time != Time::Source || u64::try_from(*seconds) == Ok(Pool::time());
            time && *size == stored.content.bytes() && digest == pool.digest(stored.content)
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
