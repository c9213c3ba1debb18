//! `shell`: the same commands with the same options, on one connection.

mod arguments;
mod complete;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod local;
mod parse;
mod reader;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use ftp_client::{Kind, RemotePath};

use self::arguments::arguments;
use self::complete::{MAX_NAMES, Name};
use self::reader::{Input, Reader};
use super::args::{Line, LineCommand, Mode, RemoteCommand, ShellArgs};
use super::exit::Exit;
use super::failure::{Done, Failure, Stop};
use super::json::{Nothing, PathLine, wire_bytes};
use super::output::Output;
use super::quote::quoted;
use super::session::Session;
use super::{commands, conclude, interruptible, tell_interrupted};

/// How long Tab remembers a directory of the server.
const NAMES_LIVE: Duration = Duration::from_secs(5);

/// How long the server may take to list a directory for Tab.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads commands until the end, or in a script until the first that fails.
pub(super) async fn run(session: &mut Session, args: &ShellArgs) -> Done {
    session.situation.in_shell = true;
    interruptible(async { Ok(session.login().await?) }).await?;
    let done = if io::stdin().is_terminal() {
        session.output.set_unnamed();
        converse(session).await
    } else {
        script(session, args).await
    };
    session.leave().await;
    done
}

/// Talks with a person.
async fn converse(session: &mut Session) -> Done {
    let mut reader = Reader::start(session.profiles.history())
        .map_err(|error| Failure::new(Exit::Failed, "terminal", format!("cannot use the terminal: {error}")))?;
    session.output.note("`help` lists the commands, Ctrl-D leaves");
    let mut shell = Shell::new(session);
    shell.find_directory().await?;
    loop {
        reader.ask(shell.prompt());
        match shell.wait(&mut reader).await {
            Input::Line(line) => match shell.execute(&line).await {
                Ok(Flow::Next) => {}
                Ok(Flow::Leave) => return Ok(()),
                // A person has seen what failed.
                Err(stop) => drop(conclude(Err(stop), &shell.session.output)),
            },
            Input::GivenUp => {}
            Input::End => return Ok(()),
            Input::Names(..) => {}
        }
    }
}

/// Reads commands from standard input.
async fn script(session: &mut Session, args: &ShellArgs) -> Done {
    let mut shell = Shell::new(session);
    let mut worst = Exit::Done;
    loop {
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin()
                .lock()
                .read_line(&mut line)
                .map(|read| (read > 0).then_some(line))
        });
        let line = tokio::select! {
            line = line => line.expect("reading a line does not panic"),
            Ok(()) = tokio::signal::ctrl_c() => return Err(Stop::Interrupted),
        };
        let Some(line) = line.map_err(|error| Failure::usage(format!("cannot read commands: {error}")))? else {
            break;
        };
        match shell.execute(&line).await {
            Ok(Flow::Next) => {}
            Ok(Flow::Leave) => break,
            Err(stop @ (Stop::Closed | Stop::Interrupted)) => return Err(stop),
            Err(stop) => {
                worst = worst.max(conclude(Err(stop), &shell.session.output));
                if !args.keep_going {
                    break;
                }
            }
        }
    }
    if worst == Exit::Done {
        Ok(())
    } else {
        Err(Stop::Reported(worst))
    }
}

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Leave,
    Next,
}

struct Shell<'a> {
    session: &'a mut Session,
    mode: Mode,
    /// The working directory on the server, for the prompt.
    directory: RemotePath,
    /// What Tab was told lately.
    names: HashMap<Vec<u8>, (Instant, Vec<Name>)>,
}

impl<'a> Shell<'a> {
    fn new(session: &'a mut Session) -> Self {
        Self {
            mode: session.global.mode,
            directory: RemotePath::from("/"),
            names: HashMap::new(),
            session,
        }
    }

    fn prompt(&self) -> String {
        let directory = quoted(self.directory.to_os_string().as_encoded_bytes());
        format!("{}:{directory}> ", quoted(self.session.target.to_string().as_bytes()))
    }

    async fn find_directory(&mut self) -> Done {
        match self.session.client.pwd().await {
            Ok(directory) => self.directory = directory,
            Err(error) => return Err(self.session.failure("pwd", &RemotePath::from(""), &error).into()),
        }
        Ok(())
    }

    /// Waits for a line, and keeps the connection alive meanwhile.
    async fn wait(&mut self, reader: &mut Reader) -> Input {
        loop {
            let input = tokio::select! {
                input = reader.next() => input,
                // The next command connects again, and says so if it can not.
                _ = self.session.client.keep_alive() => continue,
            };
            match input {
                Input::Names(folder, reply) => {
                    let names = self.names(folder).await;
                    // Tab may have lost patience.
                    drop(reply.send(names));
                }
                other => return other,
            }
        }
    }

    async fn names(&mut self, folder: Vec<u8>) -> Vec<Name> {
        if let Some((when, names)) = self.names.get(&folder)
            && when.elapsed() < NAMES_LIVE
        {
            return names.clone();
        }
        let listed = tokio::time::timeout(NAMES_TIMEOUT, self.list(&folder)).await;
        let names = listed.unwrap_or_default();
        self.names.insert(folder, (Instant::now(), names.clone()));
        names
    }

    /// The first names of a remote directory; none where it can not be listed: Tab is no command.
    async fn list(&mut self, folder: &[u8]) -> Vec<Name> {
        let path = match folder {
            b"" => RemotePath::from("."),
            _ => RemotePath::new(&OsString::from_vec(folder.to_vec())),
        };
        let mut names = Vec::new();
        if let Ok(mut listing) = self.session.client.list(&path, false).await {
            while let Ok(Some(page)) = listing.next_page().await {
                names.extend(page.iter().map(|entry| Name {
                    raw: wire_bytes(&entry.name),
                    is_directory: entry.kind == Kind::Dir,
                }));
                if names.len() >= MAX_NAMES {
                    break;
                }
            }
        }
        names
    }

    async fn execute(&mut self, line: &str) -> Result<Flow, Stop> {
        if let Some(command) = line.trim_start().strip_prefix('!') {
            self.foreign(local::shell(command)).await?;
            return Ok(Flow::Next);
        }
        let words = parse::words(line).map_err(|malformed| Failure::usage(malformed.to_string()))?;
        if words.is_empty() {
            return Ok(Flow::Next);
        }
        self.session.in_quotes = arguments::in_quotes(&words);
        let line = match Line::try_parse_from(arguments(&words)) {
            Ok(line) => line,
            Err(error) => {
                return match Output::clap(&error) {
                    Exit::Done => Ok(Flow::Next),
                    exit => Err(Stop::Reported(exit)),
                };
            }
        };
        let mode = line.mode;
        self.session
            .output
            .set_mode(mode.json || self.mode.json, mode.quiet || self.mode.quiet);
        let done = self.command(&line.command).await;
        self.session.output.set_mode(self.mode.json, self.mode.quiet);
        done
    }

    async fn command(&mut self, command: &LineCommand) -> Result<Flow, Stop> {
        match command {
            LineCommand::Exit => return Ok(Flow::Leave),
            LineCommand::Help(args) => help(args.command.as_deref(), &self.session.output)?,
            LineCommand::Lcd(args) => local::lcd(args.directory.as_deref())?,
            LineCommand::Lls(args) => self.foreign(local::ls(&args.args)).await?,
            LineCommand::Lpwd => {
                let here = local::lpwd()?;
                let raw = here.as_os_str().as_encoded_bytes();
                if self.session.output.is_json() {
                    self.session.output.object(&PathLine::new("lpwd", raw, Nothing {}))?;
                } else {
                    self.session.output.line(&quoted(raw))?;
                }
            }
            LineCommand::Remote(command) => self.remote(command).await?,
        }
        Ok(Flow::Next)
    }

    async fn remote(&mut self, command: &RemoteCommand) -> Done {
        // Whatever it does, the names may be others afterwards.
        self.names.clear();
        let done = interruptible(commands::run(self.session, command)).await;
        if matches!(done, Err(Stop::Interrupted)) {
            tell_interrupted(self.session, command);
        }
        if done.is_ok() && matches!(command, RemoteCommand::Cd(_)) {
            self.find_directory().await?;
        }
        done
    }

    /// Runs a program in our terminal, and keeps the connection alive meanwhile.
    async fn foreign(&mut self, command: Command) -> Done {
        let mut program = tokio::task::spawn_blocking(move || local::run(command));
        loop {
            tokio::select! {
                done = &mut program => return done.expect("running a program does not panic"),
                _ = self.session.client.keep_alive() => {}
            }
        }
    }
}

fn help(command: Option<&str>, output: &Output) -> Done {
    let arguments = command.into_iter().chain(["--help"]);
    match (Line::try_parse_from(arguments), command) {
        (Err(error), _) => drop(Output::clap(&error)),
        // It takes `--help` for its own, as `lls` takes everything.
        (Ok(_), Some(command)) => {
            let mut line = Line::command();
            line.build();
            if let Some(command) = line.find_subcommand_mut(command) {
                output.bytes(command.render_help().to_string().as_bytes())?;
            }
        }
        (Ok(_), None) => {}
    }
    Ok(())
}
