//! `trash`, `versions` and `restore`: what was removed or replaced, and how it comes back.

use std::time::Duration;

use ftp_client::{Kind, Reason, RemotePath, Restored, TrashItem};
use serde::Serialize;

use super::super::args::{RestoreArgs, TrashArgs, VersionsArgs};
use super::super::failure::{Done, Stop};
use super::super::format;
use super::super::json::{PathLine, wire_bytes};
use super::super::quote::quoted;
use super::super::session::{Session, Tally};

#[derive(Debug, Serialize)]
struct Item {
    item: u64,
    reason: Reason,
    kind: Kind,
    size: u64,
    entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<String>,
    /// Seconds.
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

#[derive(Debug, Serialize)]
struct Back {
    item: u64,
    size: u64,
    replaced: bool,
}

pub(super) async fn trash(session: &mut Session, args: &TrashArgs) -> Done {
    if args.empty || !args.delete.is_empty() {
        return purge(session, args).await;
    }
    if list(session, "trash", None).await? == 0 && !session.output.is_json() {
        session.output.note("the trash is empty");
    }
    Ok(())
}

pub(super) async fn versions(session: &mut Session, args: &VersionsArgs) -> Done {
    let path = RemotePath::new(&args.path);
    if list(session, "versions", Some(&path)).await? == 0 && !session.output.is_json() {
        let name = quoted(path.to_os_string().as_encoded_bytes());
        session
            .output
            .note(&format!("{name} has no older versions in the trash"));
    }
    Ok(())
}

/// Prints items while they arrive. Returns how many.
async fn list(session: &mut Session, command: &'static str, path: Option<&RemotePath>) -> Result<u64, Stop> {
    let output = std::sync::Arc::clone(&session.output);
    let mut printed = Ok(());
    let mut number = 0;
    let listed = session
        .client
        .trash(path, |item| {
            number += 1;
            printed = if output.is_json() {
                output.object(&PathLine::new(command, &wire_bytes(&item.path), line(&item)))
            } else {
                output.line(&text(&item))
            };
            printed.is_ok()
        })
        .await;
    printed?;
    match listed {
        Ok(()) => Ok(number),
        Err(error) => {
            let about = path.cloned().unwrap_or_else(|| RemotePath::from(""));
            Err(session.failure(command, &about, &error).into())
        }
    }
}

fn line(item: &TrashItem) -> Item {
    Item {
        item: item.item,
        reason: item.reason,
        kind: item.kind,
        size: item.size,
        entries: item.entries,
        mtime: format::utc_time(item.mtime),
        discarded: format::utc_time(item.discarded),
        expires_in: item.expires,
        digest: item.digest.map(|digest| digest.to_string()),
    }
}

fn text(item: &TrashItem) -> String {
    let reason = match item.reason {
        Reason::Removed => "removed",
        Reason::Replaced => "replaced",
        Reason::Other => "put here",
    };
    let what = match item.kind {
        Kind::Dir => format!(" ({})", format::count(item.entries, "entry", "entries")),
        _ => String::new(),
    };
    format!(
        "{:>6}  {:>9}  {reason} {}, kept for {}  {}{what}",
        item.item,
        format::size(item.size),
        format::local_time(item.discarded),
        format::span(Duration::from_secs(item.expires)),
        quoted(&wire_bytes(&item.path)),
    )
}

async fn purge(session: &mut Session, args: &TrashArgs) -> Done {
    let items = (!args.empty).then(|| args.delete.clone());
    match session.client.purge(items).await {
        Ok(gone) if session.output.is_json() => Ok(session.output.object(&gone)?),
        Ok(gone) => {
            let entries = format::count(gone.entries, "entry", "entries");
            session
                .output
                .note(&format!("{entries} deleted for good, {}", format::size(gone.bytes)));
            Ok(())
        }
        Err(error) => Err(session.failure("trash", &RemotePath::from(""), &error).into()),
    }
}

pub(super) async fn restore(session: &mut Session, args: &RestoreArgs) -> Done {
    let to = args.to.as_deref().map(RemotePath::new);
    if to.is_some() && args.paths.len() > 1 {
        let failure = super::super::failure::Failure::usage("--to takes one thing at a time; several were named");
        return Err(failure.into());
    }
    if args.paths.is_empty() {
        let about = to.clone().unwrap_or_else(|| RemotePath::from(""));
        return match session.client.restore(args.item, None, to.as_ref(), args.force).await {
            Ok(restored) => told(session, &restored),
            Err(error) => Err(session.failure("restore", &about, &error).into()),
        };
    }
    let mut tally = Tally::default();
    for path in &args.paths {
        let path = RemotePath::new(path);
        let done = session.client.restore(args.item, Some(&path), to.as_ref(), args.force);
        match done.await {
            Ok(restored) => told(session, &restored)?,
            Err(error) => tally.add(&session.failure("restore", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}

fn told(session: &Session, restored: &Restored) -> Done {
    let path = wire_bytes(&restored.path);
    if session.output.is_json() {
        let back = Back {
            item: restored.item,
            size: restored.size,
            replaced: restored.replaced,
        };
        return Ok(session.output.object(&PathLine::new("restore", &path, back))?);
    }
    let replaced = if restored.replaced {
        "; what was there is in the trash"
    } else {
        ""
    };
    session.output.note(&format!(
        "{}  {} restored{replaced}",
        quoted(&path),
        format::size(restored.size)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use ftp_client::Timestamp;

    use super::*;

    #[test]
    fn a_line_says_what_how_much_why_and_for_how_long() {
        let item = TrashItem {
            item: 12,
            path: "/a b".to_owned(),
            reason: Reason::Removed,
            discarded: Timestamp { seconds: 0, nanos: 0 },
            expires: 3 * 24 * 3600,
            kind: Kind::Dir,
            size: 5 << 20,
            entries: 7,
            mtime: Timestamp { seconds: 0, nanos: 0 },
            digest: None,
        };
        let text = text(&item);
        assert!(text.starts_with("    12    5.0 MiB  removed "), "{text}");
        assert!(text.ends_with("'/a b' (7 entries)"), "{text}");
    }
}
