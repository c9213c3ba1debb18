//! What has to hold after every round, whatever happened in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Checked;
use super::disk::{self, Digests, Finds, Found, Home};
use super::journal::Journal;
use super::lane::{Held, Lane, Uncertain};
use super::model::{Node, Tree};
use super::pool::Pool;
use super::trash;
use crate::{Cli, Rig};

/// How long the server may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks at the server from all sides.
#[derive(Debug)]
pub(super) struct Checker {
    digests: Digests,
    pub(super) journal: Journal,
    /// Open descriptors of the server at rest, since it was started.
    descriptors: Option<usize>,
}

impl Checker {
    pub(super) fn new(rig: &Rig) -> Self {
        Self {
            digests: Digests::default(),
            journal: Journal::new(rig.directory().join("log/ftpd.jsonl")),
            descriptors: None,
        }
    }

    /// A new server has descriptors of its own.
    pub(super) fn server_was_started(&mut self) {
        self.descriptors = None;
    }

    /// Checks all of it, and finds out what became of operations whose end was not known.
    pub(super) fn round(&mut self, rig: &Rig, lanes: &mut [Lane], tls: bool, pool: &Pool) -> Checked {
        self.come_to_rest()?;
        let users: BTreeSet<&'static str> = lanes.iter().map(|lane| lane.user).collect();
        for user in users {
            self.user(rig, user, lanes, tls, pool)?;
        }
        self.come_to_rest()?;
        self.descriptors(rig)?;
        for lane in lanes.iter() {
            self.transfers(lane)?;
        }
        if let Some(line) = rig.server().said().iter().find(|line| line.contains("panicked")) {
            return Err(format!("the server panicked: {line}"));
        }
        Ok(())
    }

    /// No session is left over.
    fn come_to_rest(&mut self) -> Checked {
        let began = Instant::now();
        while !self.journal.is_quiet()? {
            if began.elapsed() > PATIENCE {
                return Err(format!("sessions without an end: {:?}", self.journal.open()));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn user(&mut self, rig: &Rig, user: &'static str, lanes: &mut [Lane], tls: bool, pool: &Pool) -> Checked {
        let cli = rig.cli(user);
        let path = rig.home(user);
        let began = Instant::now();
        // What was on its way to the disk when its session ended may still be.
        let (home, told) = loop {
            let home = Home::read(&path, &mut self.digests).map_err(|error| format!("cannot read {user}: {error}"));
            let told = home.clone().and_then(|home| {
                let told = Told::ask(&cli, tls, &home, lanes.iter().filter(|lane| lane.user == user))?;
                told.agrees_with(&home).map(|()| told)
            });
            // Unchanged since, so that both speak of one moment.
            let again = Home::read(&path, &mut self.digests).map_err(|error| format!("cannot read {user}: {error}"));
            match (home, told, again) {
                (Ok(home), Ok(told), Ok(again)) if home == again => break (home, told),
                (home, told, _) if began.elapsed() > PATIENCE => {
                    let why = home.err().or(told.err()).unwrap_or_else(|| "it never rests".to_owned());
                    return Err(format!("the home of {user}: {why}"));
                }
                _ => thread::sleep(LOOK_EVERY),
            }
        };
        if !home.strays.is_empty() {
            return Err(format!("left over in the staging folder of {user}: {:?}", home.strays));
        }
        told.lists(&home)?;
        told.sums(&home)?;
        trash::are_whole(&home.items, pool).map_err(|what| format!("the home of {user}: {what}"))?;
        for lane in lanes.iter_mut().filter(|lane| lane.user == user) {
            let finds = home.below(lane.root);
            decide(lane, &finds, pool).map_err(|what| format!("/{} of {user}: {what}", lane.root))?;
            held(lane, &told.uploads);
            if !lane.has_quota {
                let found = lane.lost.find(&home.items, lane.root, pool);
                found.map_err(|what| format!("/{} of {user}: {what}", lane.root))?;
            }
        }
        let is_known = |path: &str| {
            lanes
                .iter()
                .filter(|lane| lane.user == user)
                .any(|lane| path == lane.root || path.starts_with(&format!("{}/", lane.root)))
        };
        match home.finds.keys().find(|path| !is_known(path)) {
            Some(path) => Err(format!("{path} in the home of {user} is none of ours")),
            None => Ok(()),
        }
    }

    /// At rest the server holds as many descriptors as at its first rest, and none of a file in a home.
    fn descriptors(&mut self, rig: &Rig) -> Checked {
        let began = Instant::now();
        loop {
            let open = descriptors(rig.server().pid()).map_err(|error| error.to_string())?;
            let files: Vec<&String> = open.iter().filter(|target| target.contains(".ftpd/staging/")).collect();
            if files.is_empty() && open.len() <= self.descriptors.unwrap_or(usize::MAX) {
                self.descriptors = Some(open.len());
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!(
                    "descriptors leak: {:?} at first, now {open:#?}",
                    self.descriptors
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Each transfer has a line in the log; acknowledged without harm, exactly one that ended well.
    fn transfers(&self, lane: &Lane) -> Checked {
        let server_lost_lines = self
            .journal
            .events()
            .iter()
            .any(|event| event["message"] == "listening");
        if server_lost_lines {
            return Ok(());
        }
        for ((op, path), acknowledged) in &lane.transfers {
            // A copy is logged under its source, which two copies may share.
            if *op == "cp" {
                continue;
            }
            let (well, all) = self.journal.transfers(lane.user, op, path);
            // After a lost answer the client asks what is there, and the same file may have been before.
            if all < *acknowledged || (!lane.disturbed && well != *acknowledged) {
                return Err(format!(
                    "{op} of {path} was acknowledged {acknowledged} times and logged {well} times, {all} with failures"
                ));
            }
        }
        Ok(())
    }
}

/// Finds out what became of an operation whose end was not known, and demands the rest to be as it was.
fn decide(lane: &mut Lane, finds: &Finds, pool: &Pool) -> Checked {
    let Some(uncertain) = lane.uncertain.take() else {
        return disk::difference(finds, &lane.model.remote, pool);
    };
    let Uncertain {
        op,
        before,
        after,
        atomic,
        acknowledged,
    } = &uncertain;
    if *atomic {
        let mut candidates = after.iter().chain([before]);
        let found = candidates.find(|tree| disk::difference(finds, tree, pool).is_ok());
        let now = found.cloned().ok_or_else(|| {
            let old = disk::difference(finds, before, pool).unwrap_err();
            let new = disk::difference(finds, &after[0], pool).unwrap_err();
            format!("neither as before ({old}) nor as after ({new})")
        })?;
        lane.lost.changed(op, &lane.model.remote, &now);
        lane.model.remote = now;
        return Ok(());
    }
    let now = each_for_itself(finds, before, &after[0], acknowledged, pool)?;
    lane.lost.changed(op, &lane.model.remote, &now);
    lane.model.remote = now;
    Ok(())
}

/// Each name is as before or as after, and as after if that was acknowledged.
fn each_for_itself(
    finds: &Finds,
    before: &Tree,
    after: &Tree,
    acknowledged: &BTreeSet<String>,
    pool: &Pool,
) -> Checked<Tree> {
    let mut now = Tree::new();
    let paths: BTreeSet<&String> = finds.keys().chain(before.keys()).chain(after.keys()).collect();
    for path in paths {
        let (found, old, new) = (finds.get(path), before.get(path), after.get(path));
        let node = if disk::agrees(found, new, pool) {
            new
        } else if disk::agrees(found, old, pool) && !acknowledged.contains(path) {
            old
        } else {
            let was = if acknowledged.contains(path) {
                "acknowledged"
            } else {
                "new"
            };
            let found = disk::told(found, pool);
            return Err(format!(
                "{path} is {found}, neither the old {old:?} nor the {was} {new:?}"
            ));
        };
        node.map(|node: &Node| now.insert(path.clone(), *node));
    }
    Ok(now)
}

/// What is staged now, and where it came from.
fn held(lane: &mut Lane, uploads: &BTreeMap<String, u64>) {
    let prefix = format!("/{}/", lane.root);
    lane.held = uploads
        .iter()
        .filter_map(|(path, bytes)| Some((path.strip_prefix(&prefix)?.to_owned(), *bytes)))
        .map(|(path, bytes)| {
            let sent = lane.sent.get(&path).map(Vec::as_slice).unwrap_or_default();
            let from = match sent {
                [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
                _ => None,
            };
            (path, Held { bytes, from })
        })
        .collect();
    let held = &lane.held;
    lane.sent.retain(|path, _| held.contains_key(path));
}

fn descriptors(pid: u32) -> std::io::Result<Vec<String>> {
    let mut open = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile has no target any more.
        if let Ok(target) = fs::read_link(entry?.path()) {
            open.push(target.display().to_string());
        }
    }
    Ok(open)
}

/// What the server tells a user.
#[derive(Debug, Default)]
struct Told {
    usage: Value,
    /// Staged bytes by target.
    uploads: BTreeMap<String, u64>,
    /// Names with kind and size, by directory.
    listings: BTreeMap<String, BTreeMap<String, (String, u64)>>,
    /// Fresh digests by path.
    digests: BTreeMap<String, String>,
}

impl Told {
    /// Asks for all of it in one session.
    fn ask<'a>(cli: &Cli, tls: bool, home: &Home, lanes: impl Iterator<Item = &'a Lane>) -> Checked<Self> {
        let is_dir = |found: &Found| *found == Found::Dir;
        let dirs: Vec<String> = [String::new()]
            .into_iter()
            .chain(
                home.finds
                    .iter()
                    .filter(|(_, found)| is_dir(found))
                    .map(|(path, _)| path.clone()),
            )
            .collect();
        let touched: BTreeSet<String> = lanes
            .flat_map(|lane| lane.touched.iter().map(|path| format!("{}/{path}", lane.root)))
            .filter(|path| matches!(home.finds.get(path), Some(Found::File { .. })))
            .collect();
        // `df` between the listings tells where one ends.
        let mut script = "uploads\ndf\n".to_owned();
        for dir in &dirs {
            script.push_str(&format!("ls -U /{dir}\ndf\n"));
        }
        for path in &touched {
            script.push_str(&format!("sum --fresh /{path}\n"));
        }
        let plain: &[&str] = if tls { &[] } else { &["--no-tls"] };
        let ran = cli.feed([&["--json"], plain, &["shell"]].concat(), script.as_bytes());
        if ran.code() != Some(0) {
            return Err(format!(
                "{script:?} ended with {:?}: {} {}",
                ran.code(),
                ran.stdout(),
                ran.stderr()
            ));
        }
        let mut told = Self::default();
        let mut open = dirs.iter();
        let mut listing = None;
        for line in ran.json() {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let number = |key: &str| line[key].as_u64().unwrap_or_default();
            if line["used"].is_u64() {
                told.usage = line;
                listing = open.next();
                if let Some(dir) = listing {
                    told.listings.entry(dir.clone()).or_default();
                }
            } else if line["command"] == "uploads" {
                told.uploads.insert(text("path"), number("staged"));
            } else if line["command"] == "sum" {
                let digest = text("digest");
                let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
                told.digests.insert(text("path"), hex.to_owned());
            } else if let Some(dir) = listing {
                let entries = told.listings.entry(dir.clone()).or_default();
                entries.insert(text("name"), (text("kind"), number("size")));
            }
        }
        if told.digests.len() != touched.len() {
            return Err(format!(
                "{} digests were asked for, and these came: {:?}",
                touched.len(),
                told.digests
            ));
        }
        Ok(told)
    }

    /// `df` to the byte and the entry, and `uploads` to the byte.
    fn agrees_with(&self, home: &Home) -> Checked {
        let number = |key: &str| self.usage[key].as_u64().unwrap_or_default();
        let (bytes, entries) = home.stored();
        let real = [
            ("used", bytes),
            ("entries", entries),
            ("pending", home.staging.0),
            ("uploads", home.staging.1),
            ("reserved", 0),
            ("trash", home.trash.0),
            ("trash_entries", home.trash.1),
        ];
        for (name, real) in real {
            if number(name) != real {
                return Err(format!("df tells {name} {}, and {real} is on the disk", number(name)));
            }
        }
        if let Some(limit) = self.usage["limit"].as_u64()
            && bytes + home.staging.0 + home.trash.0 > limit
        {
            return Err(format!("the quota of {limit} is exceeded: {}", self.usage));
        }
        let listed = (self.uploads.values().sum::<u64>(), self.uploads.len() as u64);
        if listed != home.staging {
            return Err(format!(
                "uploads tells {:?}, and {:?} is staged",
                self.uploads, home.staging
            ));
        }
        Ok(())
    }

    /// Each directory lists what is in it, and nothing else.
    fn lists(&self, home: &Home) -> Checked {
        for (dir, listed) in &self.listings {
            let prefix = if dir.is_empty() {
                String::new()
            } else {
                format!("{dir}/")
            };
            let real: BTreeMap<String, (String, u64)> = home
                .finds
                .iter()
                .filter_map(|(path, found)| {
                    let name = path.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
                    let entry = match found {
                        Found::Dir => ("dir".to_owned(), 0),
                        Found::File { size, .. } => ("file".to_owned(), *size),
                        Found::Other => ("other".to_owned(), 0),
                    };
                    Some((name.to_owned(), entry))
                })
                .collect();
            if *listed != real {
                return Err(format!("/{dir} lists {listed:?} and holds {real:?}"));
            }
        }
        Ok(())
    }

    /// The server reads the same bytes as we.
    fn sums(&self, home: &Home) -> Checked {
        for (path, told) in &self.digests {
            match home.finds.get(path.trim_start_matches('/')) {
                Some(Found::File { digest, .. }) if digest == told => {}
                found => return Err(format!("sum --fresh of {path} is {told}, and {found:?} is there")),
            }
        }
        Ok(())
    }
}

/// Whether a directory is empty or missing.
pub(super) fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}
