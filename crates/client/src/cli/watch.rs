//! Whoever watches transfers: shows their bars, prints their results, asks about conflicts.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ftp_client::{Conflict, Decision, Error, Event, Observer, Outcome, RemotePath, Timestamp, TransferId, Transferred};

use super::bars::Bars;
use super::exit::Exit;
use super::failure::{Done, Failure, Situation, Stop, reason};
use super::format;
use super::json::{Ends, Figures, TransferLine, wire_bytes};
use super::output::Output;
use super::prompt::{self, Prompt};
use super::quote::quoted;

/// How often bars are drawn when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// The rate of fewer bytes is that of the round trip, and says nothing of the line.
const MIN_RATED_BYTES: u64 = 64 << 10;

/// The observer of the command line's client.
#[derive(Debug)]
pub(crate) struct Watch {
    output: Arc<Output>,
    prompt: Prompt,
    state: Mutex<State>,
}

/// One call of `put` or `get`, as [`Watch::begin`] is told of it.
#[derive(Debug)]
pub(crate) struct Batch {
    /// `put` or `get`.
    pub(crate) command: &'static str,
    /// Both ends of each item; a transfer's id is its index.
    pub(crate) items: Vec<(PathBuf, RemotePath)>,
    /// What hints depend on.
    pub(crate) situation: Situation,
}

#[derive(Debug)]
struct State {
    bars: Bars,
    batch: Batch,
    /// Names of running transfers, quoted.
    names: HashMap<TransferId, String>,
    /// Items whose outcome was printed.
    told: HashSet<usize>,
    /// The figures of conflicts that were decided on, by remote path.
    conflicts: HashMap<RemotePath, String>,
    worst: Exit,
    /// The reader of standard output has seen enough.
    closed: bool,
}

impl Watch {
    /// Prints to `output`.
    pub(crate) fn new(output: Arc<Output>) -> Self {
        let bars = Bars::new(output.bars().clone());
        Self {
            output,
            prompt: Prompt::default(),
            state: Mutex::new(State {
                bars,
                batch: Batch {
                    command: "",
                    items: Vec::new(),
                    situation: Situation::default(),
                },
                names: HashMap::new(),
                told: HashSet::new(),
                conflicts: HashMap::new(),
                worst: Exit::Done,
                closed: false,
            }),
        }
    }

    /// Prepares for a call; the bars live until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, batch: Batch) -> Watching {
        self.prompt.forget();
        let mut state = self.lock();
        state.batch = batch;
        state.names.clear();
        state.told.clear();
        state.conflicts.clear();
        state.worst = Exit::Done;
        state.closed = false;
        drop(state);
        let watch = Arc::downgrade(self);
        Watching {
            watch: Arc::clone(self),
            ticker: tokio::spawn(tick(watch)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws the bars from time to time, for as long as there is somebody to draw them for.
async fn tick(watch: Weak<Watch>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        let Some(watch) = watch.upgrade() else {
            return;
        };
        watch.lock().bars.tick();
    }
}

/// A call being watched. Dropping it takes the bars off the screen.
#[derive(Debug)]
pub(crate) struct Watching {
    watch: Arc<Watch>,
    ticker: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// Tells of outcomes that no event told of, and sums up.
    pub(crate) fn finish(self, outcomes: &[Outcome]) -> Done {
        let mut state = self.watch.lock();
        for (index, outcome) in outcomes.iter().enumerate() {
            if state.told.insert(index) {
                match &outcome.result {
                    Ok(Some(result)) => state.succeeded(index, result, &self.watch.output),
                    Ok(None) => state.made_directory(index, &self.watch.output),
                    Err(error) => state.failed(index, error, &self.watch.output),
                }
            }
        }
        match (state.worst, state.closed) {
            (Exit::Done, false) => Ok(()),
            (Exit::Done, true) => Err(Stop::Closed),
            (worst, _) => Err(Stop::Reported(worst)),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ticker.abort();
        self.watch.lock().bars.clear();
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Planned { files, bytes } => state.bars.planned(*files, *bytes),
            Event::Started { id, name, size } => {
                let name = quoted(&wire_bytes(name));
                state.bars.started(*id, &name, *size);
                state.names.insert(*id, name);
            }
            Event::Comparing { id, done, total } => state.bars.comparing(*id, *done, *total),
            Event::Resumed { id, kept, repaired } => {
                state.bars.resumed(*id, *kept);
                let mut note = format!(
                    "{}: going on after {} that are there already",
                    state.name(*id),
                    format::size(*kept)
                );
                if *repaired > 0 {
                    note.push_str(&format!(", repairing {}", format::size(*repaired)));
                }
                self.output.note(&note);
            }
            Event::StartedAnew { id } => {
                let name = state.name(*id);
                self.output.note(&format!(
                    "{name}: the partial file there belongs to another source, starting anew"
                ));
            }
            Event::Moved { id, done } => state.bars.moved(*id, *done),
            Event::Verifying { id } => state.bars.verifying(*id),
            Event::Retrying {
                attempt,
                attempts,
                pause,
                cause,
            } => {
                state.bars.waiting();
                let pause = format::span(*pause);
                self.output.note(&format!(
                    "{}; trying again in {pause} ({attempt} of {attempts})",
                    reason(cause)
                ));
            }
            Event::Finished { id, result } => {
                state.bars.ended(*id, true);
                let index = index(*id);
                state.succeeded(index, result, &self.output);
                state.told.insert(index);
            }
            Event::Failed { id, error } => {
                state.bars.ended(*id, false);
                let index = index(*id);
                state.failed(index, error, &self.output);
                state.told.insert(index);
            }
            // Events of a later version of the library.
            _ => {}
        }
    }

    fn decide(&self, conflict: &Conflict<'_>) -> Decision {
        let figures = prompt::figures(conflict);
        self.lock().conflicts.insert(conflict.remote.clone(), figures);
        self.prompt.decide(conflict, &self.output)
    }
}

fn index(id: TransferId) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

impl State {
    fn name(&self, id: TransferId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    /// The name under which an item's outcome is told: its target as the user would type it.
    fn target(&self, index: usize) -> Vec<u8> {
        match self.batch.items.get(index) {
            Some((_, remote)) if self.batch.command == "put" => remote.to_os_string().into_encoded_bytes(),
            Some((local, _)) => local.as_os_str().as_encoded_bytes().to_vec(),
            None => Vec::new(),
        }
    }

    /// The name under which an item's failure is told: its source.
    fn source(&self, index: usize) -> Vec<u8> {
        match self.batch.items.get(index) {
            Some((local, _)) if self.batch.command == "put" => local.as_os_str().as_encoded_bytes().to_vec(),
            Some((_, remote)) => remote.to_os_string().into_encoded_bytes(),
            None => Vec::new(),
        }
    }

    fn ends(&self, index: usize) -> Ends {
        let target = self.target(index);
        let name = target.rsplit(|byte| *byte == b'/').next().unwrap_or(&target);
        match self.batch.items.get(index) {
            Some((local, remote)) => Ends::new(
                name,
                local.as_os_str().as_encoded_bytes(),
                remote.to_os_string().as_encoded_bytes(),
            ),
            None => Ends::new(name, b"", b""),
        }
    }

    fn succeeded(&mut self, index: usize, result: &Transferred, output: &Output) {
        let printed = if output.is_json() {
            output.object(&TransferLine {
                command: self.batch.command,
                outcome: if result.identical {
                    "identical"
                } else if result.kept > 0 || result.repaired > 0 {
                    "resumed"
                } else {
                    "transferred"
                },
                ends: self.ends(index),
                figures: Some(result.into()),
                error: None,
            })
        } else {
            output.line(&result_text(&quoted(&self.target(index)), result))
        };
        self.printed(printed, output);
    }

    fn made_directory(&mut self, index: usize, output: &Output) {
        if output.is_json() {
            let printed = output.object(&TransferLine {
                command: self.batch.command,
                outcome: "directory",
                ends: self.ends(index),
                figures: None::<Figures>,
                error: None,
            });
            self.printed(printed, output);
        }
    }

    fn failed(&mut self, index: usize, error: &Error, output: &Output) {
        let failure = self.failure(index, error);
        self.worst = self.worst.max(failure.exit);
        let printed = if output.is_json() {
            output.object(&TransferLine {
                command: self.batch.command,
                outcome: "failed",
                ends: self.ends(index),
                figures: None,
                error: Some((&failure).into()),
            })
        } else {
            output.failure(&failure)
        };
        self.printed(printed, output);
    }

    fn printed(&mut self, printed: io::Result<()>, output: &Output) {
        match printed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => {
                output.hint(&format!("cannot write the result: {error}"));
                self.worst = self.worst.max(Exit::Failed);
            }
        }
    }

    fn failure(&self, index: usize, error: &Error) -> Failure {
        let failure = Failure::of(self.batch.command, &self.source(index), error, &self.batch.situation);
        let item = self.batch.items.get(index);
        let decided = item.and_then(|(_, remote)| self.conflicts.get(remote));
        match (error, decided, item) {
            (Error::LocalExists(_), Some(figures), _) => failure.with_figures(figures),
            (Error::Refused(_), _, Some((local, _))) if &*failure.code == "exists" => match local_figures(local) {
                Some(here) => failure.with_figures(&format!("here: {here}")),
                None => failure,
            },
            _ => failure,
        }
    }
}

fn local_figures(local: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(local).ok().filter(fs::Metadata::is_file)?;
    let time = Timestamp {
        seconds: metadata.mtime(),
        nanos: u32::try_from(metadata.mtime_nsec()).ok()?,
    };
    Some(format!(
        "{} of {}",
        format::size(metadata.len()),
        format::local_time(time)
    ))
}

/// What a transfer became, for people.
fn result_text(name: &str, result: &Transferred) -> String {
    let size = format::size(result.size);
    let digest = result.digest;
    if result.identical {
        return format!("{name}  {size}, already there and identical, nothing sent  {digest}");
    }
    let time = format::span(result.elapsed);
    let rate = match result.moved {
        MIN_RATED_BYTES.. => format!(" ({})", format::rate(result.moved, result.elapsed)),
        _ => String::new(),
    };
    let replaced = if result.replaced { "  replaced" } else { "" };
    let mut text = format!("{name}  {size} in {time}{rate}  {digest}{replaced}");
    if result.kept > 0 || result.repaired > 0 {
        text.push_str(&format!(
            "\n  resumed: kept {}, repaired {}, sent {}",
            format::size(result.kept),
            format::size(result.repaired),
            format::size(result.moved),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transferred() -> Transferred {
        let digest = "md5:d41d8cd98f00b204e9800998ecf8427e".parse().unwrap();
        Transferred {
            size: 1200 << 20,
            kept: 0,
            repaired: 0,
            moved: 1200 << 20,
            digest,
            mtime: Timestamp { seconds: 0, nanos: 0 },
            elapsed: Duration::from_secs(2),
            replaced: false,
            identical: false,
        }
    }

    #[test]
    fn a_result_tells_size_time_rate_and_digest() {
        assert_eq!(
            result_text("demo.mp4", &transferred()),
            "demo.mp4  1.2 GiB in 2.0 s (600 MiB/s)  md5:d41d8cd98f00b204e9800998ecf8427e"
        );
    }

    #[test]
    fn a_resumed_result_tells_what_was_kept_repaired_and_sent() {
        let result = Transferred {
            kept: 600 << 20,
            repaired: 256 << 10,
            moved: (600 << 20) + (256 << 10),
            ..transferred()
        };
        let text = result_text("demo.mp4", &result);
        assert!(text.contains("(300 MiB/s)"), "kept bytes are no speed: {text}");
        assert!(
            text.ends_with("\n  resumed: kept 600 MiB, repaired 256 KiB, sent 600 MiB"),
            "{text}"
        );
    }

    #[test]
    fn an_identical_target_is_told_as_such() {
        let result = Transferred {
            moved: 0,
            identical: true,
            ..transferred()
        };
        assert!(result_text("a", &result).contains("already there and identical, nothing sent"));
    }

    #[test]
    fn outcomes_are_told_once_and_the_worst_code_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let watch = Arc::new(Watch::new(Arc::new(Output::new(true, true))));
        let item = |name: &str| (PathBuf::from(name), RemotePath::from(name));
        let exists = || Error::LocalExists(PathBuf::from("a"));
        let watching = watch.begin(Batch {
            command: "put",
            items: vec![item("a"), item("b")],
            situation: Situation::default(),
        });
        watch.event(&Event::Failed {
            id: 0,
            error: &exists(),
        });
        let outcome = |name: &str, error| Outcome {
            local: PathBuf::from(name),
            remote: RemotePath::from(name),
            result: Err(error),
        };
        let outcomes = [outcome("a", exists()), outcome("b", Error::Closed)];
        let told_before = watch.lock().told.len();
        assert!(matches!(
            watching.finish(&outcomes),
            Err(Stop::Reported(Exit::Connection))
        ));
        assert_eq!((told_before, watch.lock().told.len()), (1, 2));
    }
}
