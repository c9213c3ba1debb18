//! Whoever watches transfers: shows their bars, prints their results, asks about conflicts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ftp_client::{Conflict, Decision, Ends, Error, Event, Observer, RemotePath, Timestamp, TransferId, Transferred};

use super::bars::Bars;
use super::exit::Exit;
use super::failure::{Done, Failure, Situation, Stop, reason};
use super::format;
use super::json::{self, Figures, TransferLine, wire_bytes};
use super::output::Output;
use super::prompt::{self, Prompt};
use super::quote::quoted;

/// How often bars are drawn, and results printed that wait, when nothing else happens.
const TICK: Duration = Duration::from_millis(100);

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
    /// Whether the bytes go to standard output, whose reader may have seen enough.
    pub(crate) to_stdout: bool,
    /// What hints depend on.
    pub(crate) situation: Situation,
}

#[derive(Debug)]
struct State {
    bars: Bars,
    batch: Batch,
    /// Names of running transfers, quoted.
    names: HashMap<TransferId, String>,
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
                    to_stdout: false,
                    situation: Situation::default(),
                },
                names: HashMap::new(),
                conflicts: HashMap::new(),
                worst: Exit::Done,
                closed: false,
            }),
        }
    }

    /// Prepares for a call; the bars live until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, batch: Batch) -> Watching {
        self.prompt.begin();
        let mut state = self.lock();
        state.batch = batch;
        state.names.clear();
        state.conflicts.clear();
        state.worst = Exit::Done;
        state.closed = false;
        state.bars.show(self.output.shows_bars());
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

/// Draws the bars from time to time, and prints what waits, for as long as there is somebody to do it for.
async fn tick(watch: Weak<Watch>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        let Some(watch) = watch.upgrade() else {
            return;
        };
        let mut state = watch.lock();
        state.bars.tick();
        let printed = watch.output.print_if_due();
        state.printed(printed, &watch.output);
    }
}

/// A call being watched. Dropping it prints what waits, takes the bars off the screen, and gives up a question that is
/// open.
#[derive(Debug)]
pub(crate) struct Watching {
    watch: Arc<Watch>,
    ticker: tokio::task::JoinHandle<()>,
}

impl Watching {
    /// How the call ended, by all that was told of it.
    pub(crate) fn finish(self) -> Done {
        let mut state = self.watch.lock();
        state.print(&self.watch.output);
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
        self.watch.prompt.end();
        let mut state = self.watch.lock();
        state.print(&self.watch.output);
        state.bars.clear();
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.lock();
        match event {
            Event::Planned { files, bytes } => state.bars.planned(*files, *bytes),
            Event::Started { id, ends, size } => {
                let name = quoted(&wire_bytes(ends.remote.file_name_wire()));
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
            Event::Finished { id, ends, result } => {
                state.ended(*id, true);
                state.conflicts.remove(ends.remote);
                state.succeeded(*ends, result, &self.output);
            }
            Event::Failed { id, ends, error } => {
                state.ended(*id, false);
                state.failed(*ends, error, &self.output);
                state.conflicts.remove(ends.remote);
            }
            Event::DirectoryMade { ends } => state.made_directory(*ends, &self.output),
            Event::PassedOver { path, error } => state.passed_over(path, error, &self.output),
            // Events of a later version of the library.
            _ => {}
        }
    }

    fn decide(&self, conflict: &Conflict<'_>) -> Decision {
        let figures = prompt::figures(conflict);
        // Told again with the failure of a download; of an upload the server tells them.
        if !conflict.upload {
            self.lock().conflicts.insert(conflict.remote.clone(), figures);
        }
        self.prompt.decide(conflict, &self.output)
    }
}

impl State {
    fn name(&self, id: TransferId) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    fn ended(&mut self, id: TransferId, succeeded: bool) {
        self.bars.ended(id, succeeded);
        self.names.remove(&id);
    }

    /// The name under which an item's outcome is told: its target as the user would type it.
    fn target(&self, ends: Ends<'_>) -> Vec<u8> {
        match self.batch.command {
            "put" => ends.remote.to_os_string().into_encoded_bytes(),
            _ => ends.local.as_os_str().as_encoded_bytes().to_vec(),
        }
    }

    /// The name under which an item's failure is told: its source.
    fn source(&self, ends: Ends<'_>) -> Vec<u8> {
        match self.batch.command {
            "put" => ends.local.as_os_str().as_encoded_bytes().to_vec(),
            _ => ends.remote.to_os_string().into_encoded_bytes(),
        }
    }

    fn names(&self, ends: Ends<'_>) -> json::Ends {
        let target = self.target(ends);
        let name = target.rsplit(|byte| *byte == b'/').next().unwrap_or(&target);
        json::Ends::new(
            name,
            ends.local.as_os_str().as_encoded_bytes(),
            ends.remote.to_os_string().as_encoded_bytes(),
        )
    }

    fn succeeded(&mut self, ends: Ends<'_>, result: &Transferred, output: &Output) {
        let printed = if output.is_json() {
            output.object_soon(&TransferLine {
                command: self.batch.command,
                outcome: if result.identical {
                    "identical"
                } else if result.kept > 0 || result.repaired > 0 {
                    "resumed"
                } else {
                    "transferred"
                },
                ends: self.names(ends),
                figures: Some(result.into()),
                error: None,
            })
        } else {
            output.line_soon(&result_text(&quoted(&self.target(ends)), result))
        };
        self.printed(printed, output);
    }

    fn made_directory(&mut self, ends: Ends<'_>, output: &Output) {
        if output.is_json() {
            let printed = output.object_soon(&TransferLine {
                command: self.batch.command,
                outcome: "directory",
                ends: self.names(ends),
                figures: None::<Figures>,
                error: None,
            });
            self.printed(printed, output);
        }
    }

    fn failed(&mut self, ends: Ends<'_>, error: &Error, output: &Output) {
        let is_pipe_closed = matches!(error, Error::Local { source, .. } if source.kind() == io::ErrorKind::BrokenPipe);
        if self.batch.to_stdout && is_pipe_closed {
            self.closed = true;
            return;
        }
        let failure = self.failure(ends, error);
        self.worst = self.worst.max(failure.exit);
        let printed = if output.is_json() {
            output.object(&TransferLine {
                command: self.batch.command,
                outcome: "failed",
                ends: self.names(ends),
                figures: None,
                error: Some((&failure).into()),
            })
        } else {
            output.failure(&failure)
        };
        self.printed(printed, output);
    }

    fn passed_over(&mut self, path: &Path, error: &Error, output: &Output) {
        let subject = path.as_os_str().as_encoded_bytes();
        let failure = Failure::of(self.batch.command, subject, error, &self.batch.situation);
        self.worst = self.worst.max(failure.exit);
        self.printed(output.failure(&failure), output);
    }

    fn print(&mut self, output: &Output) {
        self.printed(output.print(), output);
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

    fn failure(&self, ends: Ends<'_>, error: &Error) -> Failure {
        let failure = Failure::of(self.batch.command, &self.source(ends), error, &self.batch.situation);
        match (error, self.conflicts.get(ends.remote)) {
            (Error::LocalExists(_), Some(figures)) => failure.with_figures(figures),
            (Error::Refused(_), _) if &*failure.code == "exists" => match local_figures(ends.local) {
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
    fn the_worst_of_what_was_told_counts_and_a_closed_pipe_is_no_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let watch = Arc::new(Watch::new(Arc::new(Output::new(true, true))));
        let begin = |to_stdout| {
            watch.begin(Batch {
                command: "get",
                to_stdout,
                situation: Situation::default(),
            })
        };
        let fail = |error: &Error| {
            let ends = Ends {
                local: Path::new("a"),
                remote: &RemotePath::from("b"),
            };
            watch.event(&Event::Failed { id: 0, ends, error });
        };
        let pipe_closed = Error::Local {
            what: "cannot write",
            path: "-".into(),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let watching = begin(false);
        fail(&Error::LocalExists("a".into()));
        fail(&Error::Closed);
        let passed_over = Error::NotAFile("c".into());
        watch.event(&Event::PassedOver {
            path: Path::new("c"),
            error: &passed_over,
        });
        assert!(matches!(watching.finish(), Err(Stop::Reported(Exit::Connection))));
        let watching = begin(true);
        fail(&pipe_closed);
        assert!(matches!(watching.finish(), Err(Stop::Closed)));
        let watching = begin(false);
        fail(&pipe_closed);
        assert!(matches!(watching.finish(), Err(Stop::Reported(Exit::Failed))));
        assert!(begin(false).finish().is_ok());
    }
}
