//! `ls`

use std::cmp::Ordering;
use std::ffi::OsString;
use std::sync::Arc;

use ftp_client::{Entry, Kind, RemotePath};
use serde::Serialize;

use super::super::args::{LsArgs, OrderArgs};
use super::super::failure::{Done, Stop};
use super::super::json::{EntryLine, json_line, text_and_hex, wire_bytes};
use super::super::output::Output;
use super::super::session::{Session, Tally};
use super::names::expand_all;

mod layout;

use self::layout::Layout;

/// An entry and the directory it was listed in, as typed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    directory: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_hex: Option<&'a str>,
    #[serde(flatten)]
    entry: EntryLine,
}

pub(super) async fn ls(session: &mut Session, args: &LsArgs) -> Done {
    let here = [OsString::from(".")];
    let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
    let paths = expand_all(session, "ls", paths).await?;

    let mut tally = Tally::default();
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for path in &paths {
        match session.client.stat(path, args.digest).await {
            Ok(entry) if entry.kind == Kind::Dir => directories.push(path),
            // A file is listed under the path by which it was asked for.
            Ok(entry) => files.push(Entry {
                name: path.as_wire().to_owned(),
                ..entry
            }),
            Err(error) => tally.add(&session.failure("ls", path, &error), &session.output)?,
        }
    }

    let view = View::new(args, &session.output);
    let several = paths.len() > 1 && !session.output.is_json();
    let mut gap = if files.is_empty() { "" } else { "\n" };
    view.print_sorted(&RemotePath::from(""), files, &session.output)?;
    for path in directories {
        if several {
            let mut head = gap.as_bytes().to_vec();
            head.extend(session.output.name(path.to_os_string().as_encoded_bytes()));
            head.extend(b":\n");
            session.output.bytes(&head)?;
            gap = "\n";
        }
        match directory(session, path, args, &view).await {
            Err(Stop::Failure(failure)) => tally.add(&failure, &session.output)?,
            other => other?,
        }
    }
    tally.finish()
}

async fn directory(session: &mut Session, path: &RemotePath, args: &LsArgs, view: &View) -> Done {
    let output = Arc::clone(&session.output);
    let streamed = args.order.unsorted || output.is_json();
    let error = match session.client.list(path, args.digest).await {
        Ok(mut listing) if streamed => loop {
            match listing.next_page().await {
                Ok(Some(page)) => view.print(path, &page, &output)?,
                Ok(None) => return Ok(()),
                Err(error) => break error,
            }
        },
        Ok(mut listing) => match listing.all(|_| true).await {
            Ok(entries) => return view.print_sorted(path, entries, &output),
            Err(error) => error,
        },
        Err(error) => error,
    };
    Err(session.failure("ls", path, &error).into())
}

/// How entries are shown.
struct View {
    order: OrderArgs,
    layout: Layout,
}

impl View {
    fn new(args: &LsArgs, output: &Output) -> Self {
        let columns = output.columns();
        Self {
            order: args.order,
            layout: Layout {
                long: args.long || args.digest,
                human: args.human,
                // What arrives bit by bit can not be laid out as a whole.
                columns: columns.filter(|_| !args.one && !args.order.unsorted),
                quoted: columns.is_some(),
            },
        }
    }

    fn print_sorted(&self, directory: &RemotePath, mut entries: Vec<Entry>, output: &Output) -> Done {
        sort(&mut entries, self.order);
        self.print(directory, &entries, output)
    }

    fn print(&self, directory: &RemotePath, entries: &[Entry], output: &Output) -> Done {
        if output.is_json() {
            let (text, hex) = text_and_hex(directory.to_os_string().as_encoded_bytes());
            let mut lines = Vec::new();
            for entry in entries {
                let line = Line {
                    directory: &text,
                    directory_hex: hex.as_deref(),
                    entry: entry.into(),
                };
                lines.extend(json_line(&line)?);
            }
            output.bytes(&lines)?;
        } else {
            output.bytes(&self.layout.text(entries))?;
        }
        Ok(())
    }
}

/// By name unless asked otherwise; equal ones by name.
fn sort(entries: &mut [Entry], order: OrderArgs) {
    if order.unsorted {
        return;
    }
    // The bytes of the name, not its wire form, in which bytes that are no text sort first.
    entries.sort_by_cached_key(|entry| wire_bytes(&entry.name));
    let compare: Option<fn(&Entry, &Entry) -> Ordering> = if order.by_size {
        Some(|a, b| b.size.cmp(&a.size))
    } else if order.by_time {
        Some(|a, b| b.mtime.cmp(&a.mtime))
    } else {
        None
    };
    if let Some(compare) = compare {
        entries.sort_by(compare);
    }
    if order.reverse {
        entries.reverse();
    }
}

#[cfg(test)]
mod tests {
    use ftp_client::Timestamp;

    use super::*;

    fn entry(name: &str, size: u64, seconds: i64) -> Entry {
        Entry {
            name: name.to_owned(),
            kind: Kind::File,
            size,
            mtime: Timestamp { seconds, nanos: 0 },
            digest: None,
        }
    }

    fn sorted(order: OrderArgs) -> Vec<String> {
        let mut entries = vec![entry("b", 1, 3), entry("c", 5, 2), entry("a", 1, 1)];
        sort(&mut entries, order);
        entries.into_iter().map(|entry| entry.name).collect()
    }

    const BY_NAME: OrderArgs = OrderArgs {
        by_size: false,
        by_time: false,
        unsorted: false,
        reverse: false,
    };

    #[test]
    fn entries_come_in_the_order_asked_for() {
        assert_eq!(sorted(BY_NAME), ["a", "b", "c"]);
        assert_eq!(
            sorted(OrderArgs {
                by_size: true,
                ..BY_NAME
            }),
            ["c", "a", "b"]
        );
        assert_eq!(
            sorted(OrderArgs {
                by_time: true,
                ..BY_NAME
            }),
            ["b", "c", "a"]
        );
        assert_eq!(
            sorted(OrderArgs {
                reverse: true,
                ..BY_NAME
            }),
            ["c", "b", "a"]
        );
        assert_eq!(
            sorted(OrderArgs {
                unsorted: true,
                ..BY_NAME
            }),
            ["b", "c", "a"]
        );
    }
}
