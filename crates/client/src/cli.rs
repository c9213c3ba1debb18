//! The command line: arguments in, text and an exit code out. Everything that is more than talking
//! to a person or a script is in the library.

mod args;
mod bars;
mod commands;
mod exit;
mod failure;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod glob;
mod json;
mod output;
mod pace;
mod password;
mod plan;
mod profile;
mod prompt;
mod quote;
mod resume;
mod session;
mod shell;
mod stdout;
mod targets;
mod terminal;
mod watch;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::runtime::Builder;

use self::args::{Command, CommandLine, Global, RemoteCommand};
use self::exit::Exit;
use self::failure::{Done, Failure, Stop};
use self::output::Output;
use self::plan::Proof;
use self::profile::Profiles;
use self::session::{Session, Start};

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    forbid_core_dumps();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return Output::clap(&error).into(),
    };
    let output = Arc::new(Output::new(line.global.mode.json, line.global.mode.quiet));
    let done = run(&line, &output);
    conclude(done, &output).into()
}

/// A password or a key comes into memory, and an image of it must not come to a disk.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    // Neither can be refused; and if it were, to transfer is worth more.
    let _ = setrlimit(Resource::Core, limit);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Tells what nobody was told of yet, and decides on the exit code.
fn conclude(done: Done, output: &Output) -> Exit {
    match done {
        Ok(()) | Err(Stop::Closed) => Exit::Done,
        Err(Stop::Reported(exit)) => exit,
        Err(Stop::Interrupted) => Exit::Interrupted,
        Err(Stop::Failure(failure)) => {
            // Nowhere to complain that complaining failed.
            drop(output.failure(&failure));
            failure.exit
        }
    }
}

fn run(line: &CommandLine, output: &Arc<Output>) -> Done {
    let profiles = Profiles::from_env()?;
    let global = &line.global;
    match &line.command {
        Command::Logout(args) => commands::logout(global, args, &profiles, output),
        Command::Login(args) if args.list => commands::list(&profiles, output),
        Command::Login(args) => {
            let mut session = commands::prepare_login(global, args, profiles, output)?;
            on_runtime(async {
                interruptible(commands::login(&mut session)).await?;
                session.leave().await;
                Ok(())
            })
        }
        Command::Shell(args) => {
            let mut session = open(global, profiles, output, Start::Remembered)?;
            on_runtime(shell::run(&mut session, args))
        }
        Command::Remote(command) => {
            let mut session = open(global, profiles, output, commands::start(command))?;
            on_runtime(remote(&mut session, command))
        }
    }
}

/// Decides whom to talk to, and asks for the password before anything runs.
fn open(global: &Global, profiles: Profiles, output: &Arc<Output>, start: Start) -> Result<Session, Stop> {
    Session::new(global, profiles, Arc::clone(output), start, Proof::SavedKey)
}

fn on_runtime(work: impl Future<Output = Done>) -> Done {
    // The one task that waits for the network waits on the thread that looks after it, and is woken by nobody else.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "runtime", format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(work);
    // A thread that reads a silent standard input never comes back; nobody waits for it.
    runtime.shutdown_background();
    done
}

async fn remote(session: &mut Session, command: &RemoteCommand) -> Done {
    let done = interruptible(commands::run(session, command)).await;
    match done {
        Err(Stop::Interrupted) => tell_interrupted(session, command),
        _ => session.leave().await,
    }
    done
}

/// Gives up the work at Ctrl-C. Whatever it had open is closed by that; transfers leave what they
/// have, to be resumed.
async fn interruptible(work: impl Future<Output = Done>) -> Done {
    tokio::select! {
        // First, because Ctrl-C also ends the producer of a pipe, and half of its output must not pass for the whole.
        biased;
        // Without a handler Ctrl-C ends the program by itself.
        Ok(()) = tokio::signal::ctrl_c() => Err(Stop::Interrupted),
        done = work => done,
    }
}

/// Says how to go on with what was interrupted.
fn tell_interrupted(session: &Session, command: &RemoteCommand) {
    let situation = commands::situation(session, command);
    if situation.from_stdin {
        session
            .output
            .note("interrupted; standard input is stored as a whole or not at all");
        session.output.hint("run it again from the start");
    } else if let Some(resume) = situation.resume {
        session.output.note("interrupted; what was transferred is kept");
        session.output.hint(&format!("`{resume}` goes on from there"));
    }
}
