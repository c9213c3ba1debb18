//! The question before an existing target is replaced.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ftp_client::{Conflict, Decision, Timestamp};

use super::failure::entry_figures;
use super::format;
use super::output::Output;
use super::quote::quoted;

/// Asks about conflicts, and remembers an answer that was meant for all of them.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    /// Held while a person thinks: a second question waits for the first answer, which may be for all.
    asking: Mutex<()>,
    /// Never held while a person thinks: whoever gives up must not wait for the answer.
    call: Mutex<Call>,
}

/// The call of `put` or `get` that questions belong to.
#[derive(Debug, Default)]
struct Call {
    /// How many there were.
    number: u64,
    /// Whether anybody waits for answers.
    open: bool,
    for_all: Option<Decision>,
}

/// What a person may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Once(Decision),
    ForAll(Decision),
}

impl Prompt {
    /// A call begins, which knows nothing of the answers of another one.
    pub(crate) fn begin(&self) {
        let mut call = self.lock();
        *call = Call {
            number: call.number + 1,
            open: true,
            for_all: None,
        };
    }

    /// Nobody waits for an answer any more; a question that is open is given up.
    pub(crate) fn end(&self) {
        self.lock().open = false;
    }

    /// What to do about the conflict. Keeps the target where nobody can be asked.
    pub(crate) fn decide(&self, conflict: &Conflict<'_>, output: &Output) -> Decision {
        let question = (!output.is_json()).then(|| question(conflict));
        self.answer(|given_up| output.ask(question.as_deref()?, given_up))
    }

    /// The answer for all that was given already, or the one that `ask` gets from a person. `ask` is
    /// told when to give up.
    fn answer(&self, mut ask: impl FnMut(&dyn Fn() -> bool) -> Option<String>) -> Decision {
        let number = self.lock().number;
        let given_up = || {
            let call = self.lock();
            !call.open || call.number != number
        };
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = self.lock().for_all {
            return decision;
        }
        while !given_up()
            && let Some(text) = ask(&given_up)
        {
            match understood(&text) {
                Some(Answer::Once(decision)) => return decision,
                Some(Answer::ForAll(decision)) => {
                    let mut call = self.lock();
                    if call.number == number {
                        call.for_all = Some(decision);
                    }
                    return decision;
                }
                None => {}
            }
        }
        Decision::Keep
    }

    fn lock(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both files with their figures, where both are known.
pub(crate) fn figures(conflict: &Conflict<'_>) -> String {
    let there = entry_figures(conflict.remote_entry);
    match conflict.local_state {
        Some((size, time)) => format!("there: {there}, here: {}", state_figures(size, time)),
        None => format!("there: {there}"),
    }
}

fn state_figures(size: u64, time: Timestamp) -> String {
    format!("{} of {}", format::size(size), format::local_time(time))
}

fn question(conflict: &Conflict<'_>) -> String {
    let there = (
        quoted(conflict.remote.to_os_string().as_encoded_bytes()),
        entry_figures(conflict.remote_entry),
    );
    let here = (
        local_name(conflict.local),
        match conflict.local_state {
            Some((size, time)) => state_figures(size, time),
            None => "of unknown size".to_owned(),
        },
    );
    let (target, source, side) = if conflict.upload {
        (there, here, "on the server")
    } else {
        (here, there, "here")
    };
    let newer = match conflict.local_state {
        Some((_, local)) if local != conflict.remote_entry.mtime => {
            let local_newer = local > conflict.remote_entry.mtime;
            if local_newer == conflict.upload {
                ", which is newer"
            } else {
                ", which is older"
            }
        }
        _ => "",
    };
    format!(
        "{} exists {side}: {}\nreplace it by {}: {}{newer}? [y]es, [N]o, [a]ll, n[o]ne: ",
        target.0, target.1, source.0, source.1
    )
}

fn local_name(local: &Path) -> String {
    quoted(local.as_os_str().as_encoded_bytes())
}

/// `None` when the answer has to be asked for again.
fn understood(text: &str) -> Option<Answer> {
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Once(Decision::Replace)),
        "" | "n" | "no" => Some(Answer::Once(Decision::Keep)),
        "a" | "all" => Some(Answer::ForAll(Decision::Replace)),
        "o" | "none" => Some(Answer::ForAll(Decision::Keep)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use ftp_client::{Entry, Kind, RemotePath};

    use super::*;

    fn entry(size: u64, seconds: i64) -> Entry {
        Entry {
            name: "film.mp4".to_owned(),
            kind: Kind::File,
            size,
            mtime: Timestamp { seconds, nanos: 0 },
            digest: None,
        }
    }

    #[test]
    fn silence_means_no_and_nonsense_is_asked_again() {
        assert_eq!(understood("\n"), Some(Answer::Once(Decision::Keep)));
        assert_eq!(understood("Y\n"), Some(Answer::Once(Decision::Replace)));
        assert_eq!(understood("all"), Some(Answer::ForAll(Decision::Replace)));
        assert_eq!(understood("none"), Some(Answer::ForAll(Decision::Keep)));
        assert_eq!(understood("maybe"), None);
    }

    #[test]
    fn an_answer_for_all_is_asked_for_once_in_each_call() {
        let prompt = Prompt::default();
        let mut asked = 0;
        for calls in 1..=2 {
            prompt.begin();
            for _ in 0..2 {
                let decision = prompt.answer(|_| {
                    asked += 1;
                    Some("all".to_owned())
                });
                assert_eq!((decision, asked), (Decision::Replace, calls));
            }
            prompt.end();
        }
    }

    #[test]
    fn a_question_that_nobody_waits_for_is_given_up_and_holds_up_nobody() {
        let prompt = &Prompt::default();
        prompt.begin();
        let (opened, open) = mpsc::channel();
        let (answer, answered) = mpsc::channel();
        thread::scope(|threads| {
            let asking = threads.spawn(move || {
                prompt.answer(|given_up| {
                    opened.send(()).unwrap();
                    answered.recv().unwrap();
                    assert!(given_up());
                    Some("all".to_owned())
                })
            });
            open.recv().unwrap();
            // As Ctrl-C and the next command do it, while the question is open.
            prompt.end();
            prompt.begin();
            answer.send(()).unwrap();
            asking.join().unwrap();
        });
        assert_eq!(
            prompt.answer(|_| Some("no".to_owned())),
            Decision::Keep,
            "another call's answer"
        );
        prompt.end();
        assert_eq!(prompt.answer(|_| panic!("nobody waits")), Decision::Keep);
    }

    #[test]
    fn the_question_shows_both_sizes_and_which_is_newer() {
        let remote = RemotePath::from("my film.mp4");
        let there = entry(2048, 0);
        let mut conflict = Conflict {
            local: Path::new("film.mp4"),
            local_state: Some((
                3 << 20,
                Timestamp {
                    seconds: 86_400,
                    nanos: 0,
                },
            )),
            remote: &remote,
            remote_entry: &there,
            upload: true,
        };
        let upload = question(&conflict);
        assert!(
            upload.starts_with("'my film.mp4' exists on the server: 2.0 KiB of "),
            "{upload}"
        );
        assert!(upload.contains("film.mp4: 3.0 MiB of "), "{upload}");
        assert!(upload.contains("which is newer?"), "{upload}");
        conflict.upload = false;
        let download = question(&conflict);
        assert!(download.starts_with("film.mp4 exists here: 3.0 MiB of "), "{download}");
        assert!(download.contains("which is older?"), "{download}");
    }
}
