//! Lines from a person: the editor runs on a thread of its own and asks for remote names.

use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::sync::mpsc;

use super::complete::{self, Name, Place, Side};

/// How long Tab waits for the server.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many lines are remembered.
const HISTORY_LINES: usize = 2_000;

/// What comes from the person at the keyboard.
#[derive(Debug)]
pub(super) enum Input {
    /// The names in a remote directory are wanted; the path as typed.
    Names(Vec<u8>, blocking::SyncSender<Vec<Name>>),
    /// A line.
    Line(String),
    /// Ctrl-C: the line was given up.
    GivenUp,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The editor's thread.
#[derive(Debug)]
pub(super) struct Reader {
    prompts: blocking::Sender<String>,
    inputs: mpsc::Receiver<Input>,
}

impl Reader {
    /// Starts the thread, with the history in a file.
    pub(super) fn start(history: PathBuf) -> Result<Self, ReadlineError> {
        let (prompts, prompt) = blocking::channel();
        // One at a time is enough: whoever sends waits for what comes of it.
        let (input, inputs) = mpsc::channel(1);
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(HISTORY_LINES)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .auto_add_history(true)
            .build();
        let mut editor: Editor<Asker, FileHistory> = Editor::with_config(config)?;
        editor.set_helper(Some(Asker { inputs: input.clone() }));
        // The first time there is none; one that can not be read is no reason not to work.
        drop(editor.load_history(&history));
        thread::spawn(move || read_lines(editor, &prompt, &input, &history));
        Ok(Self { prompts, inputs })
    }

    /// Asks for the next line.
    pub(super) fn ask(&self, prompt: String) {
        // A thread that ended says so by the end of its inputs.
        drop(self.prompts.send(prompt));
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Input {
        self.inputs.recv().await.unwrap_or(Input::End)
    }
}

fn read_lines(
    mut editor: Editor<Asker, FileHistory>,
    prompts: &blocking::Receiver<String>,
    inputs: &mpsc::Sender<Input>,
    history: &PathBuf,
) {
    while let Ok(prompt) = prompts.recv() {
        let input = match editor.readline(&prompt) {
            Ok(line) => {
                // After each line: nobody says goodbye to a terminal that is closed. The file is
                // created readable by its owner only.
                drop(editor.append_history(history));
                Input::Line(line)
            }
            Err(ReadlineError::Interrupted) => Input::GivenUp,
            Err(_) => Input::End,
        };
        if inputs.blocking_send(input).is_err() {
            return;
        }
    }
}

/// Completes words, asking the session's task for what only the server knows.
struct Asker {
    inputs: mpsc::Sender<Input>,
}

impl Asker {
    fn remote_names(&self, place: &Place) -> Vec<Name> {
        let (reply, names) = blocking::sync_channel(1);
        if self
            .inputs
            .blocking_send(Input::Names(place.folder.clone(), reply))
            .is_err()
        {
            return Vec::new();
        }
        names.recv_timeout(PATIENCE).unwrap_or_default()
    }
}

impl Completer for Asker {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = line.get(..cursor).unwrap_or(line);
        let place = complete::place(line);
        let names = match place.side {
            Side::Command | Side::Option => complete::words_of_clap(line, place.side),
            Side::Local => complete::local_names(&place),
            Side::Remote => self.remote_names(&place),
            Side::Either => {
                let local = complete::local_names(&place);
                if local.iter().any(|name| name.raw.starts_with(&place.prefix)) {
                    local
                } else {
                    self.remote_names(&place)
                }
            }
        };
        let pairs = complete::candidates(&place, names)
            .into_iter()
            .map(|(display, replacement)| Pair { display, replacement })
            .collect();
        Ok((place.start, pairs))
    }
}

impl Helper for Asker {}
impl Highlighter for Asker {}
impl Validator for Asker {}

impl Hinter for Asker {
    type Hint = String;
}
