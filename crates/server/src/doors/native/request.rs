//! What each request needs and does.

use ftp_digest::Algorithm;
use ftp_proto::{Code, Fault, MAX_HEADER_BYTES, Op, Page, ProtocolError, Re, Request, decode_name};
use ftp_store::{Disposal, Error, FilePath, Home};
use tokio::time::Instant;

use super::failure::{Stop, cancelled, note_damage, with_existing};
use super::group::Work;
use super::record::Record;
use super::rules::{asks_for_nothing, name, needs, path_text};
use super::session::Session;
use super::wire::End;
use super::{change, download, many, reply, small, trash, upload};
use crate::audit::{self, Outcome, Who};
use crate::config::Rights;

/// How much JSON a page of a listing may take: well below the longest header.
pub(super) const PAGE_BYTES: usize = MAX_HEADER_BYTES / 2;

/// Serves one request, and those that have arrived right behind it and are done together with it.
pub(super) async fn dispatch(session: &mut Session<'_>, request: Request) -> Result<(), End> {
    if many::is_plain(&request) {
        session.settle(0).await?;
        return many::run(session, request).await;
    }
    alone(session, request).await
}

/// Serves one request: checks its right, does it, answers it, logs it.
pub(super) async fn alone(session: &mut Session<'_>, request: Request) -> Result<(), End> {
    let Request { id, op } = request;
    if !matches!(op, Op::Put { ask: false, .. } | Op::Mkdir { parents: true, .. }) {
        // Requests are done in order; only small uploads, and the directories for them, are done together.
        session.settle(0).await?;
    }
    let (needs, name) = (needs(&op), name(&op));
    if asks_for_nothing(&op) {
        session.note_nuisance();
    }
    let path = path_text(&op);
    let result = if needs.are_met_by(session.rights()) {
        perform(session, id, op).await
    } else {
        if matches!(op, Op::Put { ask: false, .. }) {
            small::drain(session, id).await?;
        }
        session.settle(0).await?;
        let message = format!("this user lacks the right to {}; ask the administrator", needs.name());
        Err(Fault::new(Code::NotPermitted, message).into())
    };
    match result {
        Ok(()) => session.wire.flush_if_much().await,
        Err(Stop::End(end)) => Err(end),
        Err(Stop::Fault(failure)) => {
            let outcome = Outcome::Failed {
                code: &failure.fault.code.name(),
                cause: &failure.cause,
            };
            // To ask whether something is there, as clients do before they transfer, is no failure.
            if !(name == "stat" && failure.fault.code == Code::NotFound) {
                if failure.is_nuisance() {
                    session.note_nuisance();
                }
                failure.tell(&session.who);
                audit::request(&session.who, name, &path, None, outcome);
            }
            session.wire.reply(id, Re::Error(failure.fault))?;
            session.wire.flush_if_much().await
        }
    }
}

async fn perform(session: &mut Session<'_>, id: u64, op: Op) -> Result<(), Stop> {
    match op {
        Op::Beat => return Ok(()),
        Op::Cancel { target } => {
            // Its request is over: requests are done in order.
            session.wire.cancel_answered(target);
            session.wire.reply(id, Re::Ok)?;
        }
        Op::Cd { path } => {
            let path = resolve(session, &path)?;
            let entry = session.wire.busy(session.home.stat(&path, false)).await??;
            match entry.kind {
                ftp_store::Kind::Directory => {}
                // A link is judged by what it leads to.
                ftp_store::Kind::Symlink => drop(session.wire.busy(session.home.list(&path, false)).await??),
                _ => return Err(Error::NotDirectory { path }.into()),
            }
            session.cwd = path;
            session.wire.reply(
                id,
                Re::Cwd {
                    path: reply::wire_path(&session.cwd),
                },
            )?;
        }
        Op::Cp { from, to, replace } => copy(session, id, &from, &to, replace).await?,
        Op::Df => {
            let usage = session.wire.busy(session.home.usage()).await??;
            session.wire.reply(id, Re::Usage(reply::usage(&usage)))?;
        }
        Op::Discard { path } => {
            let path = resolve(session, &path)?;
            let (home, at) = (session.home.clone(), path.clone());
            let work = async move { home.discard_upload(&at).await };
            change(session, id, ("discard", path), work).await?;
        }
        Op::Get {
            path,
            offset,
            length,
            digest,
            have,
        } => {
            let path = resolve(session, &path)?;
            return download::run(
                session,
                id,
                download::Asked {
                    path,
                    offset,
                    length,
                    algorithm: digest,
                    have,
                },
            )
            .await;
        }
        Op::Ls { path, digests } => list(session, id, &path, digests).await?,
        Op::Mkdir { path, parents: true } => {
            let path = match resolve(session, &path) {
                Ok(path) => path,
                Err(fault) => {
                    // The answers before this one come first.
                    session.settle(0).await?;
                    return Err(fault.into());
                }
            };
            let work = Work::directory(path.clone(), session.who.clone());
            session.defer(id, path, 0, work).await?;
        }
        Op::Mkdir { path, parents } => {
            let path = resolve(session, &path)?;
            let (home, at) = (session.home.clone(), path.clone());
            let work = async move { home.make_dir(&at, parents).await };
            change(session, id, ("mkdir", path), work).await?;
        }
        Op::Mv { from, to, replace } => {
            let (from, to) = (resolve(session, &from)?, resolve(session, &to)?);
            let looking = may_replace(&session.home, session.rights(), &to, replace);
            let replace = session.wire.busy(looking).await??;
            let (home, source, target) = (session.home.clone(), from.clone(), to.clone());
            let work = async move { home.rename(&source, &target, replace).await };
            let log = move |who: &Who, (): &()| audit::request(who, "mv", &from, Some(&to), Outcome::Done);
            if let Err(error) = change::run(session, work, log).await? {
                return Err(session.wire.busy(with_existing(&session.home, error)).await?.into());
            }
            session.wire.reply(id, Re::Ok)?;
        }
        Op::Ping => session.wire.reply(id, Re::Ok)?,
        Op::Put {
            path,
            size,
            mtime,
            digest,
            replace,
            parents,
            ask,
            resume,
        } => {
            let asked = upload::Asked {
                path,
                size,
                mtime,
                algorithm: digest,
                replace,
                parents,
                resume,
            };
            return if ask {
                upload::run(session, id, asked).await
            } else {
                small::run(session, id, asked).await
            };
        }
        Op::Purge { items } => trash::purge(session, id, items).await?,
        Op::Pwd => session.wire.reply(
            id,
            Re::Cwd {
                path: reply::wire_path(&session.cwd),
            },
        )?,
        Op::Quit => {
            session.wire.reply(id, Re::Ok)?;
            session.wire.flush().await?;
            return Err(End::Closed.into());
        }
        Op::Restore {
            item,
            path,
            to,
            replace,
        } => {
            let asked = trash::Asked {
                item,
                path,
                to,
                replace,
            };
            trash::restore(session, id, asked).await?;
        }
        Op::Rm { path, forever } => {
            let path = resolve(session, &path)?;
            let (home, at) = (session.home.clone(), path.clone());
            let work = async move { home.remove_file(&at, disposal(forever)).await };
            change(session, id, ("rm", path), work).await?;
        }
        Op::Rmdir {
            path,
            recursive,
            forever,
        } => {
            let path = resolve(session, &path)?;
            let (home, at) = (session.home.clone(), path.clone());
            let work = async move { home.remove_dir(&at, recursive, disposal(forever)).await };
            change(session, id, ("rmdir", path), work).await?;
        }
        Op::Stat { path, digest } => {
            let path = resolve(session, &path)?;
            let entry = session.wire.busy(session.home.stat(&path, digest)).await??;
            session.wire.reply(id, Re::Entry(reply::entry(&entry)))?;
        }
        Op::Sum { path, digest, fresh } => sum(session, id, &path, digest, fresh).await?,
        Op::Trash { path } => trash::list(session, id, path.as_deref()).await?,
        Op::Uploads => upload::list(session, id).await?,
        Op::At { .. } | Op::End { .. } | Op::Fail { .. } => {
            return Err(ProtocolError::Unexpected("part of a body outside of one").into());
        }
        Op::Unknown => {
            return Err(Fault::new(Code::UnknownRequest, "this server does not know the request").into());
        }
    }
    Ok(())
}

/// Makes a change to one path, logs it and answers.
async fn change<T: Send + 'static>(
    session: &mut Session<'_>,
    id: u64,
    (op, path): (&'static str, FilePath),
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<(), Stop> {
    let log = move |who: &Who, _: &T| audit::request(who, op, &path, None, Outcome::Done);
    change::run(session, work, log).await??;
    Ok(session.wire.reply(id, Re::Ok)?)
}

fn disposal(forever: bool) -> Disposal {
    if forever { Disposal::Forever } else { Disposal::Trash }
}

/// A path of the wire as a path in the home.
pub(super) fn resolve(session: &Session<'_>, text: &str) -> Result<FilePath, Fault> {
    let raw = decode_name(text).map_err(|error| Fault::new(Code::BadName, error.to_string()))?;
    FilePath::resolve(&session.cwd, &raw).map_err(|error| reply::path_fault(&error))
}

/// Whether an existing target may be replaced: only if asked for, and by who may delete.
pub(super) async fn may_replace(home: &Home, rights: Rights, target: &FilePath, replace: bool) -> Result<bool, Stop> {
    if !replace || rights.delete {
        return Ok(replace);
    }
    match home.stat(target, false).await {
        Ok(_) => {
            let message = "this user lacks the right to delete, which replacing a file needs";
            Err(Fault::new(Code::NotPermitted, message).into())
        }
        Err(_) => Ok(false),
    }
}

async fn copy(session: &mut Session<'_>, id: u64, from: &str, to: &str, replace: bool) -> Result<(), Stop> {
    let (from, to) = (resolve(session, from)?, resolve(session, to)?);
    if !session.rights().read {
        return Err(Fault::new(
            Code::NotPermitted,
            "this user lacks the right to read, which copying needs",
        )
        .into());
    }
    let looking = may_replace(&session.home, session.rights(), &to, replace);
    let replace = session.wire.busy(looking).await??;
    let record = Record::new(session, "cp", &to, Instant::now());
    let work = session.home.copy(&from, &to, replace);
    match session.wire.unless_cancelled(id, work).await {
        Err(end) => {
            record.lost(&end.to_string());
            Err(end.into())
        }
        Ok(None) => {
            session.note_nuisance();
            record.failed(&cancelled().into());
            Ok(session.wire.reply(id, Re::Error(cancelled()))?)
        }
        Ok(Some(Ok(stored))) => {
            record.done(stored.size, stored.digest);
            Ok(session.wire.reply(id, Re::Stored(reply::stored(&stored)))?)
        }
        Ok(Some(Err(error))) => {
            note_damage(session, &error);
            let failure = session.wire.busy(with_existing(&session.home, error)).await?;
            record.failed(&failure);
            Ok(session.wire.reply(id, Re::Error(failure.fault))?)
        }
    }
}

async fn sum(session: &mut Session<'_>, id: u64, path: &str, algorithm: Algorithm, fresh: bool) -> Result<(), Stop> {
    let path = resolve(session, path)?;
    let file = session.wire.busy(session.home.open_read(&path)).await??;
    let kept = file
        .kept_digest()
        .filter(|kept| kept.algorithm() == algorithm && !fresh);
    let digest = match kept {
        Some(kept) => kept,
        None => {
            let work = file.digest(algorithm, fresh);
            let digest = session.wire.unless_cancelled(id, work).await?.ok_or_else(cancelled)??;
            if let Some(expected) = file.kept_digest().filter(|kept| kept.algorithm() == algorithm)
                && expected != digest
            {
                let error = Error::Damaged {
                    path: path.clone(),
                    expected: Box::new(expected),
                    found: Box::new(digest),
                };
                note_damage(session, &error);
            }
            digest
        }
    };
    Ok(session.wire.reply(
        id,
        Re::Digest {
            digest,
            size: file.size(),
            kept: kept.is_some(),
        },
    )?)
}

/// Streams a listing page by page; nothing but the page at hand is in memory.
async fn list(session: &mut Session<'_>, id: u64, path: &str, digests: bool) -> Result<(), Stop> {
    let path = resolve(session, path)?;
    let mut listing = session.wire.busy(session.home.list(&path, digests)).await??;
    while let Some(entries) = session
        .wire
        .unless_cancelled(id, listing.next_page())
        .await?
        .ok_or_else(cancelled)??
    {
        let mut page = Vec::new();
        let mut bytes = 0;
        for entry in &entries {
            let entry = reply::entry(entry);
            // An escaped byte of a name takes eight in JSON; the rest of an entry stays below 300.
            bytes += entry.name.len() * 8 + 300;
            if bytes > PAGE_BYTES && !page.is_empty() {
                session.wire.reply(
                    id,
                    Re::Page(Page {
                        entries: std::mem::take(&mut page),
                    }),
                )?;
                bytes = entry.name.len() * 8 + 300;
            }
            page.push(entry);
        }
        session.wire.reply(id, Re::Page(Page { entries: page }))?;
        if !session.wire.flush_unless_cancelled(id).await? || !session.pay_unless_cancelled(id).await? {
            return Err(cancelled().into());
        }
    }
    Ok(session.wire.reply(id, Re::Ok)?)
}
