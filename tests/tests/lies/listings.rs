//! Listings in which the names, the kinds or the numbers are lies.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;

use ftp_client::{Client, RemotePath};
use ftp_proto::{Code, Entry, Fault, Kind, Op, Page, Re, Request};
use ftp_tests::{Deceived, Liar, Vitals, eventually};

use super::{entry, honest, list, send};

/// Names that no directory can have.
const IMPOSSIBLE: [&str; 9] = [
    "..",
    ".",
    "",
    "../x",
    "/etc/x",
    "a/b",
    "nul\0",
    "wrong\0zz",
    "upper\0FF",
];

/// A directory `t` with these entries, and `content of NAME` in each file.
fn tree(entries: Vec<Entry>) -> Liar {
    Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { path, .. } if !path.contains('*') => {
            let name = path.rsplit('/').next().unwrap();
            let found = entries.iter().find(|entry| entry.name == name).cloned();
            let found = found.unwrap_or_else(|| entry(name, Kind::Dir, 0));
            server.reply(request.id, Re::Entry(found)).await;
        }
        Op::Ls { path, .. } if path.trim_end_matches('/') == "t" => list(server, request.id, entries.clone()).await,
        Op::Ls { .. } => list(server, request.id, vec![entry("inner", Kind::File, 0)]).await,
        Op::Get { path, .. } => {
            let content = format!("content of {}", path.rsplit('/').next().unwrap());
            send(server, request.id, content.as_bytes()).await;
        }
        _ => honest(server, request).await,
    })
}

#[test]
fn names_that_lead_elsewhere_are_used_by_no_command() {
    let kinds = [Kind::Link, Kind::File, Kind::Dir];
    for (name, kind) in IMPOSSIBLE.into_iter().zip(kinds.into_iter().cycle()) {
        let liar = tree(vec![entry("good", Kind::File, 4), entry(name, kind, 4)]);
        for args in [
            &["get", "-r", "t"][..],
            &["get", "t/*", "."],
            &["rm", "t/*"],
            &["ls", "-l", "t"],
        ] {
            let ran = liar.cli().run(args).exits(5).says("not a plain file name");
            assert_eq!(ran.says("damaged or hostile").stdout(), "", "{args:?} {name:?}");
        }
        for dir in [liar.local(""), liar.outside()] {
            assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "{name:?} {kind:?}");
        }
    }
}

#[test]
fn a_directory_that_can_not_be_listed_is_told_of_and_costs_nothing_else() {
    let directories = ["a", "gone", "b", "busy", "c"].map(|name| entry(name, Kind::Dir, 0));
    let liar = Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("t", Kind::Dir, 0))).await,
        Op::Ls { path, .. } if path == "t" => list(server, request.id, directories.to_vec()).await,
        Op::Ls { path, .. } if path == "t/gone" || path == "t/busy" => {
            let code = if path == "t/busy" { Code::Busy } else { Code::NotFound };
            let entries = vec![entry("first", Kind::File, 5)];
            server.reply(request.id, Re::Page(Page { entries })).await;
            let fault = Fault::new(code, "it goes no further");
            server.reply(request.id, Re::Error(fault)).await;
        }
        Op::Ls { .. } => list(server, request.id, vec![entry("inner", Kind::File, 5)]).await,
        Op::Get { .. } => send(server, request.id, b"bytes").await,
        _ => honest(server, request).await,
    });
    let ran = liar.cli().run(["--retries", "0", "get", "-r", "t"]).exits(4);
    let ran = ran.says("t/gone").says("t/busy");
    assert!(!ran.stderr().contains("t/a"), "{}", ran.stderr());
    for name in ["a", "b", "c"] {
        assert_eq!(fs::read(liar.local("t").join(name).join("inner")).unwrap(), b"bytes");
    }
    for name in ["gone", "busy"] {
        assert_eq!(fs::read_dir(liar.local("t").join(name)).unwrap().count(), 0);
    }
}

#[test]
fn names_that_look_alike_are_files_of_their_own_and_come_once() {
    let names = ["a", "A", "\u{e9}", "e\u{301}", "a\u{200b}", "..a", "a"];
    let liar = tree(names.map(|name| entry(name, Kind::File, 12)).to_vec());
    let alice = liar.cli();
    alice.run(["get", "-r", "t"]).ok();
    let got = fs::read_dir(liar.local("t")).unwrap().count();
    assert_eq!(got, names.len() - 1);
    for name in names {
        let content = fs::read_to_string(liar.local("t").join(name)).unwrap();
        assert_eq!(content, format!("content of {name}"));
    }
}

#[test]
fn names_of_partial_files_take_nobody_elses_place() {
    let names = ["a", ".a.ftp-part", ".a.ftp-part.json"];
    let liar = tree(names.map(|name| entry(name, Kind::File, 12)).to_vec());
    liar.cli().run(["get", "-r", "t"]).exits(5).says("own partial files");
    let got: Vec<_> = fs::read_dir(liar.local("t"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(got, ["a"]);
    liar.cli().run(["get", "t/.a.ftp-part", "ftp-part"]).ok();
}

#[test]
fn a_tree_does_not_leave_its_target_through_links_that_are_there() {
    let liar = tree(vec![
        entry("dir", Kind::Dir, 0),
        entry("file", Kind::File, 15),
        entry("good", Kind::File, 15),
    ]);
    fs::write(liar.outside().join("kept"), "kept").unwrap();
    fs::create_dir(liar.local("t")).unwrap();
    symlink(liar.outside(), liar.local("t/dir")).unwrap();
    symlink(liar.outside().join("kept"), liar.local("t/file")).unwrap();
    // With --force the link to a file is replaced, as a file would be; the one to a directory is never followed.
    liar.cli()
        .run(["get", "-rf", "t"])
        .exits(5)
        .says("t/dir is a symbolic link");
    let outside: Vec<_> = fs::read_dir(liar.outside())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(outside, ["kept"]);
    assert_eq!(fs::read_to_string(liar.outside().join("kept")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(liar.local("t/file")).unwrap(), "content of file");
    assert!(liar.local("t/good").exists());

    // The target itself may be a link: that is what the user named.
    symlink(liar.outside(), liar.local("named")).unwrap();
    liar.cli().run(["get", "-r", "t", "named/"]).ok();
    assert!(liar.outside().join("t/dir/inner").exists());
}

#[test]
fn records_of_partial_files_are_not_written_through_links() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("a", Kind::File, 7))).await,
        Op::Get { .. } => send(server, request.id, b"content").await,
        _ => honest(server, request).await,
    });
    let canary = liar.outside().join("canary");
    fs::write(&canary, "untouched").unwrap();
    symlink(&canary, liar.local(".a.ftp-part.jnew")).unwrap();
    liar.cli()
        .run(["get", "a"])
        .exits(1)
        .says("cannot write .a.ftp-part.jnew");
    // The record itself is exchanged, and so the link.
    symlink(&canary, liar.local(".a.ftp-part.json")).unwrap();
    liar.cli().run(["get", "a"]).ok();
    assert_eq!(fs::read_dir(liar.local("")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
}

#[test]
fn a_tree_without_a_bottom_ends_with_an_error() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("t", Kind::Dir, 0))).await,
        Op::Ls { .. } => list(server, request.id, vec![entry("t", Kind::Dir, 0)]).await,
        _ => honest(server, request).await,
    });
    liar.cli()
        .run(["get", "-r", "t"])
        .exits(1)
        .says("deeper than 128 directories");
    assert_eq!(fs::read_dir(liar.local("")).unwrap().count(), 0);
}

#[test]
fn pages_without_entries_are_no_listing() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("t", Kind::Dir, 0))).await,
        Op::Ls { .. } | Op::Uploads => {
            let empty = if request.op == Op::Uploads {
                Re::Uploads { uploads: Vec::new() }
            } else {
                Re::Page(Page { entries: Vec::new() })
            };
            let json = serde_json::to_vec(&ftp_proto::Reply {
                id: request.id,
                re: empty,
            })
            .unwrap();
            while server.frame(0x01, &json).await {}
        }
        _ => honest(server, request).await,
    });
    for args in [&["ls", "t"][..], &["get", "-r", "t"], &["uploads"]] {
        liar.cli()
            .run(args)
            .exits(1)
            .says("a page without")
            .says("tell its administrator");
    }
}

/// A directory `t` whose listing never ends, in which each name is another one and has so many bytes.
fn endless(bytes: usize) -> Liar {
    let entries_a_page = 50_000 / (bytes + 100);
    Liar::start(async move |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { path, .. } if !path.contains('*') => {
            server.reply(request.id, Re::Entry(entry("t", Kind::Dir, 0))).await;
        }
        Op::Ls { .. } => {
            let mut number: u64 = 0;
            loop {
                let mut entries = Vec::new();
                for _ in 0..entries_a_page {
                    number += 1;
                    entries.push(entry(&format!("{number:0>bytes$}"), Kind::File, 1));
                }
                let (id, re) = (request.id, Re::Page(Page { entries }));
                let json = serde_json::to_vec(&ftp_proto::Reply { id, re }).unwrap();
                if !server.frame(0x01, &json).await {
                    return;
                }
            }
        }
        _ => honest(server, request).await,
    })
}

#[test]
fn a_listing_without_an_end_is_given_up_where_it_has_to_be_kept() {
    // What all kept entries may take by `ftp_client::ListLimit`, and the program itself.
    const MOST_KIB: u64 = (640 + 64) * 1024;
    let liar = endless(255);
    for args in [
        &["ls", "t"][..],
        &["get", "-r", "t"],
        &["get", "t/*", "."],
        &["rm", "t/*"],
    ] {
        let mut running = liar.cli().spawn(args);
        let vitals = Vitals::of(running.pid());
        let mut peak = 0;
        eventually("it gives up", || {
            peak = vitals.peak_kib_if_alive().unwrap_or(0).max(peak);
            running.has_ended().then_some(())
        });
        let ran = running.wait().exits(1).says("entries");
        assert_eq!(ran.stdout(), "", "{args:?}");
        assert!(peak > 0 && peak <= MOST_KIB, "{args:?} took {peak} KiB");
    }
    assert_eq!(fs::read_dir(liar.local("")).unwrap().count(), 0);
}

#[test]
fn a_listing_without_an_end_that_is_shown_as_it_comes_takes_no_memory() {
    const LINES: usize = 100_000;
    const MOST_KIB: u64 = 48 * 1024;
    let liar = endless(255);
    for args in [&["ls", "-U", "t"][..], &["ls", "-lU", "t"], &["--json", "ls", "t"]] {
        let mut child = liar.cli().command(args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.by_ref().take(LINES).count(), LINES, "{args:?}");
        let peak = Vitals::of(child.id()).peak_kib();
        child.kill().unwrap();
        child.wait().unwrap();
        // Whoever shows a hundred thousand lines of 255 bytes and keeps them has 25 MB more.
        assert!(peak <= MOST_KIB, "{args:?} took {peak} KiB");
    }
}

#[test]
fn a_hundred_thousand_honest_entries_are_listed_and_walked() {
    const PAGES: usize = 500;
    const PAGE: usize = 256;
    let liar = Liar::start(async |server: &mut Deceived, request: Request| match &request.op {
        Op::Stat { .. } => server.reply(request.id, Re::Entry(entry("t", Kind::Dir, 0))).await,
        Op::Ls { .. } => {
            for page in 0..PAGES {
                let name = |number| entry(&format!("page {page} number {number}"), Kind::Link, 0);
                let entries = (0..PAGE).map(name).collect();
                server.reply(request.id, Re::Page(Page { entries })).await;
            }
            server.reply(request.id, Re::Ok).await;
        }
        _ => honest(server, request).await,
    });
    let listed = liar.cli().run(["ls", "t"]).ok();
    assert_eq!(listed.stdout().lines().count(), PAGES * PAGE);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let walk = runtime.block_on(async {
        let mut client: Client = liar.client();
        client
            .walk_remote(&RemotePath::from("t"), &liar.local("t"))
            .await
            .unwrap()
    });
    assert_eq!(walk.passed_over.len(), PAGES * PAGE);
}
