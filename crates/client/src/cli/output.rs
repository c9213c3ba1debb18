//! The only file that prints.
//!
//! Results go to standard output, everything else to standard error: data stays clean in a pipe.
//! Bars share the terminal with lines, so every line is printed around them.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;
use super::json::{FailureLine, json_line};
use super::quote::{printable, quoted};
use super::terminal::Terminal;

/// How long a result may wait for others that are printed with it. To print takes the bars off the screen and draws
/// them again, which for each of many small files would take longer than to transfer it.
const SHARED_EVERY: Duration = Duration::from_millis(100);

/// How many bytes of results are written in one call: as many as a pipe takes whole or not at all (`PIPE_BUF`), so that
/// lines of several programs that share one are not cut.
const PIECE_BYTES: usize = 4096;

/// Where the program's words go.
#[derive(Debug)]
pub(crate) struct Output {
    json: AtomicBool,
    quiet: AtomicBool,
    /// Whether standard output carries a file, so that results have to go elsewhere.
    data_on_stdout: AtomicBool,
    /// Whether the program's name stands before its messages; not in its own shell.
    named: AtomicBool,
    bars: MultiProgress,
    waiting: Mutex<Waiting>,
}

/// Results that are printed with those behind them.
#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    /// When something was last printed.
    printed: Option<Instant>,
    /// Why printing failed when nobody could be told.
    failure: Option<io::Error>,
}

impl Output {
    /// Text for people, or JSON lines; bars and notes unless `quiet`.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let output = Self {
            json: AtomicBool::new(json),
            quiet: AtomicBool::new(quiet),
            data_on_stdout: AtomicBool::new(false),
            named: AtomicBool::new(true),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            waiting: Mutex::default(),
        };
        output.show_bars();
        output
    }

    /// Changes the form of what comes, as each line of the shell may. Standard output is for results again, though the
    /// line before was interrupted while a file went there.
    pub(crate) fn set_mode(&self, json: bool, quiet: bool) {
        self.set_data_on_stdout(false);
        self.json.store(json, Ordering::Relaxed);
        self.quiet.store(quiet, Ordering::Relaxed);
        self.show_bars();
    }

    /// Leaves standard output to a file's bytes, or takes it back.
    pub(crate) fn set_data_on_stdout(&self, data: bool) {
        self.data_on_stdout.store(data, Ordering::Relaxed);
    }

    /// Leaves out the program's name in front of messages.
    pub(crate) fn set_unnamed(&self) {
        self.named.store(false, Ordering::Relaxed);
    }

    /// Whether results are JSON lines.
    pub(crate) fn is_json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }

    /// Whether a person watches standard error.
    pub(crate) fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// The columns of the terminal that standard output is, if it is one.
    pub(crate) fn columns(&self) -> Option<usize> {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return None;
        }
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
        Some(if columns == 0 { 80 } else { columns })
    }

    /// The bars; hidden where nobody would see them.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Takes the bars off the screen for as long as `work` has the terminal for itself. Transfers go
    /// on meanwhile: they draw into nothing.
    pub(crate) fn without_bars<T>(&self, work: impl FnOnce() -> T) -> T {
        // A terminal that is gone can not show what is left on it.
        drop(self.bars.clear());
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
        let result = work();
        self.show_bars();
        result
    }

    /// A line for standard output. Names in it are quoted already.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Bytes for standard output, newlines included.
    pub(crate) fn bytes(&self, raw: &[u8]) -> io::Result<()> {
        self.lock().text.extend_from_slice(raw);
        self.print()
    }

    /// An object on a line of its own.
    pub(crate) fn object(&self, value: &impl Serialize) -> io::Result<()> {
        self.bytes(&json_line(value)?)
    }

    /// As [`Output::line`], or a moment later with what comes until then.
    pub(crate) fn line_soon(&self, text: &str) -> io::Result<()> {
        let mut waiting = self.lock();
        waiting.text.extend_from_slice(text.as_bytes());
        waiting.text.push(b'\n');
        drop(waiting);
        self.print_if_due()
    }

    /// As [`Output::object`], or a moment later with what comes until then.
    pub(crate) fn object_soon(&self, value: &impl Serialize) -> io::Result<()> {
        let line = json_line(value)?;
        self.lock().text.extend_from_slice(&line);
        self.print_if_due()
    }

    /// Prints what waits, if it has waited long enough.
    pub(crate) fn print_if_due(&self) -> io::Result<()> {
        let printed = self.lock().printed;
        match printed {
            Some(printed) if printed.elapsed() < SHARED_EVERY => Ok(()),
            _ => self.print(),
        }
    }

    /// Prints what waits.
    pub(crate) fn print(&self) -> io::Result<()> {
        // Held while it is printed, so that nothing overtakes it.
        let mut waiting = self.lock();
        let text = std::mem::take(&mut waiting.text);
        let failure = waiting.failure.take();
        if text.is_empty() {
            return failure.map_or(Ok(()), Err);
        }
        let printed = self.bars.suspend(|| {
            if self.data_on_stdout.load(Ordering::Relaxed) {
                return io::stderr().write_all(&text);
            }
            let mut out = io::stdout().lock();
            for piece in pieces(&text) {
                out.write_all(piece)?;
                out.flush()?;
            }
            Ok(())
        });
        waiting.printed = Some(Instant::now());
        failure.map_or(printed, Err)
    }

    /// A name: fit for a terminal on a terminal, the bytes themselves in a pipe.
    pub(crate) fn name(&self, raw: &[u8]) -> Vec<u8> {
        if io::stdout().is_terminal() {
            quoted(raw).into_bytes()
        } else {
            raw.to_vec()
        }
    }

    /// Asks on the terminal, past whatever standard input and output are. Names in the question are
    /// quoted already. `None` when nobody is there to answer, or `given_up` says that nobody waits for it.
    pub(crate) fn ask(&self, question: &str, given_up: &dyn Fn() -> bool) -> Option<String> {
        if !self.is_watched() {
            return None;
        }
        let mut terminal = Terminal::open().ok()?;
        self.print_before();
        self.without_bars(|| terminal.ask(question, given_up))
    }

    /// Tells what goes on, unless nobody wants to know.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet.load(Ordering::Relaxed) {
            self.complain(text);
        }
    }

    /// Shows a failure with its hints, in text on standard error or as an object among the results.
    pub(crate) fn failure(&self, failure: &Failure) -> io::Result<()> {
        if self.is_json() {
            return self.object(&FailureLine::from(failure));
        }
        self.complain(&failure.sentence());
        for hint in &failure.hints {
            self.hint(hint);
        }
        Ok(())
    }

    /// A next step.
    pub(crate) fn hint(&self, text: &str) {
        self.stderr(&format!("hint: {}", printable(text)));
    }

    /// Shows what clap has to say: help and version as results, anything else as a complaint.
    pub(crate) fn clap(error: &clap::Error) -> Exit {
        // Nowhere to complain that complaining failed.
        drop(error.print());
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    }

    fn complain(&self, text: &str) {
        let name = if self.named.load(Ordering::Relaxed) {
            "ftp-cli: "
        } else {
            ""
        };
        self.stderr(&format!("{name}{}", printable(text)));
    }

    fn stderr(&self, line: &str) {
        self.print_before();
        self.bars.suspend(|| {
            // Nowhere to complain that complaining failed.
            drop(io::stderr().write_all(format!("{line}\n").as_bytes()));
        });
    }

    /// Prints what waits before something else is; a failure is told to whoever prints next.
    fn print_before(&self) {
        if let Err(error) = self.print() {
            self.lock().failure = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a screen for bars.
    pub(crate) fn shows_bars(&self) -> bool {
        self.is_watched() && !self.quiet.load(Ordering::Relaxed)
    }

    fn show_bars(&self) {
        let target = if self.shows_bars() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        self.bars.set_draw_target(target);
    }
}

/// Whole lines of at most [`PIECE_BYTES`] together, but for longer ones.
fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let most = text.len().min(PIECE_BYTES);
        let is_end = |byte: &u8| *byte == b'\n';
        let end = match text[..most].iter().rposition(is_end) {
            Some(end) => end + 1,
            None => text.iter().position(is_end).map_or(text.len(), |end| end + 1),
        };
        let (piece, rest) = text.split_at(end);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_leave_in_whole_lines_that_a_pipe_takes_at_once() {
        let line = |length: usize| [vec![b'x'; length], vec![b'\n']].concat();
        let text = [
            line(10),
            line(4000),
            line(100),
            line(5000),
            line(5),
            b"no newline".to_vec(),
        ]
        .concat();
        let lengths: Vec<_> = pieces(&text).map(<[u8]>::len).collect();
        assert_eq!(lengths, [11 + 4001, 101, 5001, 6, 10]);
        assert_eq!(pieces(&text).collect::<Vec<_>>().concat(), text);
    }

    #[test]
    fn a_result_waits_for_others_but_is_printed_before_anything_else() {
        let output = Output::new(false, true);
        let waits = || !output.lock().text.is_empty();
        output.line_soon("the first of them").unwrap();
        assert!(!waits());
        for print in [
            (|output| output.print().unwrap()) as fn(&Output),
            |output| output.bytes(b"at once\n").unwrap(),
            |output| output.hint("something else"),
            |output| {
                // As if it had waited for long.
                output.lock().printed = None;
                output.print_if_due().unwrap();
            },
        ] {
            // However slow the machine is.
            output.lock().printed = Some(Instant::now() + Duration::from_secs(3600));
            output.line_soon("the next one").unwrap();
            assert!(waits());
            print(&output);
            assert!(!waits());
        }
    }

    #[test]
    fn a_failure_that_nobody_was_told_is_told_later() {
        let output = Output::new(false, true);
        output.lock().failure = Some(io::ErrorKind::BrokenPipe.into());
        assert_eq!(output.line("lost").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(output.line("back again").is_ok());
    }
}
