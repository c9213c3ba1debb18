//! The rule of durability, judged over a recorded run: bytes are synced after their last change and before they
//! get their name, and names are synced after their change and before the answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ftp_tests::Call;

/// Which answer speaks for a change.
#[derive(Clone, Copy)]
pub(crate) enum Answers<'a> {
    /// The next thing that is sent: there is one session with one request.
    Next,
    /// The one with the digest of the file.
    WithDigest(&'a dyn Fn(&Path) -> String),
    /// That the server listens at all.
    Listening,
}

/// Calls that change what is in a file or what it carries.
const WRITES: [&str; 8] = [
    "write",
    "pwrite64",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "ficlone",
    "fsetxattr",
    "utimensat",
];

/// Calls that change names; the last path is the new name where there is one.
const NAMES: [&str; 10] = [
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
];

pub(crate) fn is_sync(call: &Call) -> bool {
    call.is(&["fsync", "fdatasync", "syncfs"]) && call.result.is_ok()
}

/// The changes of names that a user can see.
pub(crate) fn changes<'a>(calls: &'a [Call], home: &Path) -> Vec<&'a Call> {
    let is_visible = |path: &Path| path.starts_with(home) && !is_own(path);
    calls
        .iter()
        .filter(|call| call.is(&NAMES) && call.result.is_ok())
        .filter(|call| call.paths.iter().any(|path| is_visible(path)))
        .collect()
}

/// What is not durable when it is answered, in words; nothing if all is well.
pub(crate) fn missing(calls: &[Call], home: &Path, answers: Answers<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for change in changes(calls, home) {
        let target = change.paths.last().unwrap();
        let answer = match answers {
            Answers::Next => calls
                .iter()
                .filter(|call| call.began > change.began && is_answer(call))
                .map(|call| call.began)
                .min(),
            Answers::WithDigest(_) if change.name == "mkdirat" => continue,
            Answers::WithDigest(digest) => sent_with(calls, &digest(target)),
            Answers::Listening => Some(u64::MAX),
        };
        let Some(answer) = answer else {
            missing.push(format!("{target:?} is never answered"));
            continue;
        };
        let staged = change.path();
        if is_own(staged) && !is_in_trash(staged) && !bytes_are_synced(calls, staged, change) {
            missing.push(format!("the bytes of {target:?} when it gets its name"));
        }
        let mut parents: Vec<_> = change
            .paths
            .iter()
            .filter(|path| !is_own(path) || is_in_trash(path))
            .filter_map(|path| path.parent())
            .collect();
        parents.dedup();
        // Whether a name is in a directory that is itself removed is of no interest.
        parents.retain(|parent| {
            !calls
                .iter()
                .any(|call| is_removal(call) && call.path() == *parent && call.began > change.ended)
        });
        for parent in parents {
            let is_synced = calls
                .iter()
                .any(|call| is_sync(call) && covers(call, parent) && call.began > change.ended && call.ended < answer);
            if !is_synced {
                missing.push(format!("the names in {parent:?} after {} of {target:?}", change.name));
            }
        }
    }
    missing
}

/// Whether the last change of names directly in a directory is synced before the answer.
pub(crate) fn names_are_synced(calls: &[Call], dir: &Path) -> bool {
    let changed = calls
        .iter()
        .filter(|call| call.is(&NAMES) && call.result.is_ok())
        .filter(|call| call.paths.iter().any(|path| path.parent() == Some(dir)))
        .map(|call| call.ended)
        .max();
    let Some(changed) = changed else { return false };
    let mut answers = calls.iter().filter(|call| call.began > changed && is_answer(call));
    let Some(answer) = answers.next() else { return false };
    calls
        .iter()
        .any(|call| is_sync(call) && covers(call, dir) && call.began > changed && call.ended < answer.began)
}

/// Whether one sync began after the last change of the bytes and ended before they got their name.
fn bytes_are_synced(calls: &[Call], staged: &Path, publication: &Call) -> bool {
    // The same name may have been used for an earlier version.
    let born = calls
        .iter()
        .filter(|call| call.is(&NAMES) && call.path() == staged && call.ended < publication.began)
        .map(|call| call.ended)
        .max()
        .unwrap_or(0);
    let written = calls
        .iter()
        .filter(|call| call.is(&WRITES) && call.paths.last().unwrap() == staged)
        .filter(|call| call.began > born && call.began < publication.ended)
        .map(|call| call.ended)
        .max();
    let Some(written) = written else {
        return false;
    };
    calls
        .iter()
        .any(|call| is_sync(call) && covers(call, staged) && call.began > written && call.ended < publication.began)
}

/// Whether a sync is of this file, or of the whole file system: all of a test is on one.
fn covers(sync: &Call, path: &Path) -> bool {
    sync.name == "syncfs" || sync.path() == path
}

fn is_removal(call: &Call) -> bool {
    call.is(&["unlinkat", "unlink", "rmdir"]) && call.result.is_ok()
}

/// The store's own names, which nobody is told of.
fn is_own(path: &Path) -> bool {
    path.components().any(|name| name.as_os_str() == ".ftpd")
}

/// What is kept of removed and replaced files. What has been given up there is of no interest.
fn is_in_trash(path: &Path) -> bool {
    let is_gone = path.extension().is_some_and(|extension| extension == "gone");
    is_own(path) && !is_gone && path.components().any(|name| name.as_os_str() == "trash")
}

fn is_send(call: &Call) -> bool {
    call.is(&["sendto", "sendmsg", "write", "writev"]) && call.path().to_string_lossy().starts_with("socket:")
}

fn is_answer(call: &Call) -> bool {
    is_send(call) && !contains(&call.sent, b"\"re\":\"beat\"")
}

/// When a text had been sent to its end on any connection, whichever calls it was split into.
fn sent_with(calls: &[Call], text: &str) -> Option<u64> {
    let mut sent: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for call in calls.iter().filter(|call| is_send(call)) {
        let so_far = sent.entry(call.path().to_owned()).or_default();
        so_far.extend_from_slice(&call.sent);
        if contains(so_far, text.as_bytes()) {
            return Some(call.began);
        }
    }
    None
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
