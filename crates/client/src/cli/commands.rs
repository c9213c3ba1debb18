//! What each command does, in one file each.

mod cd;
mod df;
mod get;
mod login;
mod ls;
mod make;
mod names;
mod ping;
mod put;
mod relocate;
mod show;
mod trash;
mod uploads;

use super::args::RemoteCommand;
use super::failure::{Done, Situation};
use super::session::{Session, Start};

pub(crate) use login::{list, login, logout, prepare as prepare_login};

/// Where the session of a command begins. A directory that is gone must not stand in the way of
/// leaving it.
pub(crate) fn start(command: &RemoteCommand) -> Start {
    match command {
        RemoteCommand::Cd(args) if cd::is_absolute(args) => Start::Home,
        _ => Start::Remembered,
    }
}

/// Runs a command on a session that is logged in, or will be.
pub(crate) async fn run(session: &mut Session, command: &RemoteCommand) -> Done {
    session.login().await?;
    match command {
        RemoteCommand::Cd(args) => cd::cd(session, args).await,
        RemoteCommand::Cp(args) => relocate::cp(session, args).await,
        RemoteCommand::Df(args) => df::df(session, args).await,
        RemoteCommand::Get(args) => Box::pin(get::get(session, args)).await,
        RemoteCommand::Ls(args) => Box::pin(ls::ls(session, args)).await,
        RemoteCommand::Mkdir(args) => make::mkdir(session, args).await,
        RemoteCommand::Mv(args) => relocate::mv(session, args).await,
        RemoteCommand::Ping(args) => ping::ping(session, args).await,
        RemoteCommand::Put(args) => Box::pin(put::put(session, args)).await,
        RemoteCommand::Pwd => cd::pwd(session).await,
        RemoteCommand::Rm(args) => make::rm(session, args).await,
        RemoteCommand::Stat(args) => show::stat(session, args).await,
        RemoteCommand::Sum(args) => show::sum(session, args).await,
        RemoteCommand::Uploads(args) => uploads::uploads(session, args).await,
        RemoteCommand::Trash(args) => trash::trash(session, args).await,
        RemoteCommand::Versions(args) => trash::versions(session, args).await,
        RemoteCommand::Restore(args) => trash::restore(session, args).await,
    }
}

/// What hints on an interrupted command depend on.
pub(crate) fn situation(session: &Session, command: &RemoteCommand) -> Situation {
    match command {
        RemoteCommand::Get(args) => get::situation(session, args),
        RemoteCommand::Put(args) => put::situation(session, args),
        _ => session.situation.clone(),
    }
}
