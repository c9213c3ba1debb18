//! Requests about what was removed or replaced.

use ftp_proto::{Code, Fault, Purged, Re, TrashItem};
use ftp_store::{FilePath, Removed, Restored, Wanted};

use super::failure::{Stop, cancelled, with_existing};
use super::request::{PAGE_BYTES, may_replace, resolve};
use super::session::Session;
use super::{change, reply};
use crate::audit::{self, Outcome, Who};

/// The newest first, streamed: nothing but the page at hand is in memory.
pub(super) async fn list(session: &mut Session<'_>, id: u64, path: Option<&str>) -> Result<(), Stop> {
    let path = path.map(|path| resolve(session, path)).transpose()?;
    let mut before = None;
    loop {
        let home = session.home.clone();
        let page = async {
            match &path {
                Some(path) => home.versions(path, before).await,
                None => home.trash(before).await,
            }
        };
        let page = session.wire.unless_cancelled(id, page).await?.ok_or_else(cancelled)??;
        let Some(last) = page.last() else {
            return Ok(session.wire.reply(id, Re::Ok)?);
        };
        before = Some(last.id);
        send(session, id, page.iter().map(reply::trash_item)).await?;
    }
}

/// Sends a page in headers of bounded length, and each of them before the next one is made.
async fn send(session: &mut Session<'_>, id: u64, page: impl Iterator<Item = TrashItem>) -> Result<(), Stop> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for item in page {
        // An escaped byte of a path takes eight in JSON; the rest of an item stays below 500.
        let more = item.path.len() * 8 + 500;
        if bytes + more > PAGE_BYTES && !items.is_empty() {
            send_header(session, id, std::mem::take(&mut items)).await?;
            bytes = 0;
        }
        bytes += more;
        items.push(item);
    }
    send_header(session, id, items).await
}

async fn send_header(session: &mut Session<'_>, id: u64, items: Vec<TrashItem>) -> Result<(), Stop> {
    session.wire.reply(id, Re::Trash { items })?;
    if !session.wire.flush_unless_cancelled(id).await? || !session.pay_unless_cancelled(id).await? {
        return Err(cancelled().into());
    }
    Ok(())
}

/// What a request to restore asks for.
pub(super) struct Asked {
    pub(super) item: Option<u64>,
    pub(super) path: Option<String>,
    pub(super) to: Option<String>,
    pub(super) replace: bool,
}

pub(super) async fn restore(session: &mut Session<'_>, id: u64, asked: Asked) -> Result<(), Stop> {
    let path = asked.path.map(|path| resolve(session, &path)).transpose()?;
    let to = asked.to.map(|to| resolve(session, &to)).transpose()?;
    let wanted = match (path, asked.item) {
        (Some(path), item) => Wanted::Path(path, item),
        (None, Some(item)) => Wanted::Item(item),
        (None, None) => {
            let message = "a restore names an item, a path, or both";
            return Err(Fault::new(Code::BadRequest, message).into());
        }
    };
    let replace = match target(&wanted, to.as_ref()) {
        Some(target) => {
            let looking = may_replace(&session.home, session.rights(), target, asked.replace);
            session.wire.busy(looking).await??
        }
        // Where it goes is not known yet, so nothing is replaced there by who may not.
        None => asked.replace && session.rights().delete,
    };
    let home = session.home.clone();
    let work = async move { home.restore(&wanted, to.as_ref(), replace).await };
    let log = |who: &Who, restored: &Restored| audit::request(who, "restore", &restored.path, None, Outcome::Done);
    match change::run(session, work, log).await? {
        Ok(restored) => Ok(session.wire.reply(id, Re::Restored(reply::restored(&restored)))?),
        Err(error) => Err(session.wire.busy(with_existing(&session.home, error)).await?.into()),
    }
}

/// Where it will stand, as far as the request says so.
fn target<'a>(wanted: &'a Wanted, to: Option<&'a FilePath>) -> Option<&'a FilePath> {
    match wanted {
        Wanted::Path(path, _) => Some(to.unwrap_or(path)),
        Wanted::Item(_) => to,
    }
}

pub(super) async fn purge(session: &mut Session<'_>, id: u64, items: Option<Vec<u64>>) -> Result<(), Stop> {
    let home = session.home.clone();
    let all = items.is_none();
    let work = async move { home.purge(items).await };
    let log = move |who: &Who, gone: &Removed| {
        let what = format!(
            "{} entries of the trash{}",
            entries(gone),
            if all { ", all" } else { "" }
        );
        audit::request(who, "purge", &what, None, Outcome::Done);
    };
    let gone = change::run(session, work, log).await??;
    let (entries, bytes) = (entries(&gone), gone.bytes);
    Ok(session.wire.reply(id, Re::Purged(Purged { entries, bytes }))?)
}

fn entries(gone: &Removed) -> u64 {
    gone.files + gone.dirs
}
