//! Whatever a server says reaches a terminal as text, and JSON as JSON.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;

use ftp_proto::{
    Code, Entry, Fault, Kind, Op, Purged, Re, Reason, Request, Restored, Staged, Timestamp, TrashItem, UsageReport,
};
use ftp_tests::{Cli, Deceived, Forge, Liar};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{begin, entry, honest, list, send};

/// Clears the screen, sets the title, reverses the line, forges another one.
const POISON: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}1A\u{202e}\u{200b}\u{feff}evil\r\nftp-cli: all is well\u{8}\u{7f}";

/// The bytes a terminal gets that must not get there.
fn harm(text: &str) -> Vec<char> {
    let harms = |c: &char| {
        (c.is_control() && *c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
    };
    text.chars().filter(harms).collect()
}

fn poisoned() -> Liar {
    let name = POISON.to_owned();
    let far = Timestamp {
        seconds: i64::MIN,
        nanos: u32::MAX,
    };
    Liar::start(async move |server: &mut Deceived, request: Request| {
        let id = request.id;
        let fault = || Fault {
            existing: Some(entry(&name, Kind::File, u64::MAX)),
            retry_after_ms: Some(u64::MAX),
            ..Fault::new(Code::Exists, name.clone()).with_figures(u64::MAX, u64::MAX, u64::MAX)
        };
        match &request.op {
            Op::Ls { .. } => {
                let other = Entry {
                    mtime: far,
                    ..entry(&name, Kind::Dir, u64::MAX)
                };
                list(server, id, vec![other, entry("plain", Kind::File, u64::MAX)]).await;
            }
            Op::Stat { path, .. } if path.contains("dir") => {
                server.reply(id, Re::Entry(entry(&name, Kind::Dir, 0))).await
            }
            Op::Stat { path, .. } if path.contains("gone") => server.reply(id, Re::Error(fault())).await,
            Op::Stat { .. } => server.reply(id, Re::Entry(entry(&name, Kind::File, u64::MAX))).await,
            Op::Uploads => {
                let staged = Staged {
                    path: format!("/{name}"),
                    size: Some(u64::MAX),
                    staged: u64::MAX,
                    touched: far,
                };
                server.reply(id, Re::Uploads { uploads: vec![staged] }).await;
                server.reply(id, Re::Ok).await;
            }
            Op::Trash { .. } => {
                let item = TrashItem {
                    item: u64::MAX,
                    path: format!("/{name}"),
                    reason: Reason::Other,
                    discarded: far,
                    expires: u64::MAX,
                    kind: Kind::Dir,
                    size: u64::MAX,
                    entries: u64::MAX,
                    mtime: far,
                    digest: None,
                };
                server.reply(id, Re::Trash { items: vec![item] }).await;
                server.reply(id, Re::Ok).await;
            }
            Op::Restore { .. } => {
                let restored = Restored {
                    path: format!("/{name}"),
                    item: u64::MAX,
                    size: u64::MAX,
                    replaced: true,
                };
                server.reply(id, Re::Restored(restored)).await;
            }
            Op::Purge { .. } => {
                let purged = Purged {
                    entries: u64::MAX,
                    bytes: u64::MAX,
                };
                server.reply(id, Re::Purged(purged)).await;
            }
            Op::Df => {
                let all = UsageReport {
                    limit: Some(u64::MAX),
                    used: u64::MAX,
                    pending: u64::MAX,
                    reserved: u64::MAX,
                    free: u64::MAX,
                    entries_limit: Some(u64::MAX),
                    entries: u64::MAX,
                    uploads: u64::MAX,
                    trash: u64::MAX,
                    trash_limit: u64::MAX,
                    trash_entries: u64::MAX,
                };
                server.reply(id, Re::Usage(all)).await;
            }
            Op::Pwd | Op::Cd { .. } => {
                server
                    .reply(
                        id,
                        Re::Cwd {
                            path: format!("/{name}"),
                        },
                    )
                    .await
            }
            Op::Get { path, .. } if path.contains("broken") => {
                begin(server, id, 10, 10).await;
                server.data(b"half").await;
                server.reply(id, Re::Error(fault())).await;
            }
            Op::Get { .. } => send(server, id, b"content").await,
            Op::Rm { .. } => {
                server
                    .reply(id, Re::Bye(Fault::new(Code::Internal, name.clone())))
                    .await
            }
            Op::Mkdir { .. } => {
                server
                    .say(&serde_json::json!({"id": id, "re": name, "path": name}))
                    .await
            }
            Op::Sum { .. } => {
                server
                    .say(&serde_json::json!({"id": id, "re": "digest", "digest": name}))
                    .await
            }
            Op::Put { .. } => {
                server.take_body().await;
                server.reply(id, Re::Error(fault())).await;
            }
            _ => honest(server, request).await,
        }
    })
}

/// Every command that shows something a server says.
const COMMANDS: [&[&str]; 18] = [
    &["ls", "-l", "dir"],
    &["ls", "dir"],
    &["stat", "x"],
    &["stat", "gone"],
    &["uploads"],
    &["trash"],
    &["trash", "--empty"],
    &["versions", "x"],
    &["restore", "x"],
    &["df"],
    &["pwd"],
    &["cd", "x"],
    &["get", "broken"],
    &["get", "-r", "dir", "tree"],
    &["rm", "x"],
    &["mkdir", "x"],
    &["sum", "x"],
    &["put", "mine"],
];

/// Runs it with both outputs on a terminal, and gives what that was shown.
fn on_a_terminal(cli: &Cli, args: &[&str]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = std::path::PathBuf::from(name.into_string().unwrap());
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    let mut command = cli.command(args);
    command
        .stdout(Stdio::from(terminal.try_clone().unwrap()))
        .stderr(Stdio::from(terminal));
    let mut child = command.spawn().unwrap();
    // It holds the terminal too.
    drop(command);
    let reading = std::thread::spawn(move || {
        let mut master = File::from(master);
        let (mut shown, mut chunk) = (Vec::new(), [0; 4096]);
        // The other end is gone: an error on Linux.
        while let Ok(read @ 1..) = master.read(&mut chunk) {
            shown.extend_from_slice(&chunk[..read]);
        }
        shown
    });
    child.wait().unwrap();
    // A terminal ends its lines so.
    String::from_utf8(reading.join().unwrap())
        .unwrap()
        .replace("\r\n", "\n")
}

#[test]
fn what_a_server_says_does_not_steer_a_terminal() {
    let liar = poisoned();
    std::fs::write(liar.local("mine"), "mine").unwrap();
    let alice = liar.cli();
    for command in COMMANDS {
        for mode in [&["--quiet"][..], &["--quiet", "--json"]] {
            let args = [mode, &["--retries", "0"], command].concat();
            let shown = on_a_terminal(&alice, &args);
            assert_eq!(harm(&shown), Vec::<char>::new(), "{args:?}: {shown:?}");
            assert!(!shown.contains("\nftp-cli: all is well"), "{args:?}: {shown:?}");
            let _ = std::fs::remove_dir_all(liar.local("tree"));
        }
    }
}

#[test]
fn messages_are_escaped_in_a_pipe_too() {
    let liar = poisoned();
    std::fs::write(liar.local("mine"), "mine").unwrap();
    for command in COMMANDS {
        let plain = liar.cli().run([&["--retries", "0"], command].concat());
        assert_eq!(
            harm(&plain.stderr()),
            Vec::<char>::new(),
            "{command:?}: {:?}",
            plain.stderr()
        );
        let _ = std::fs::remove_dir_all(liar.local("tree"));
        let json = liar.cli().run([&["--json", "--retries", "0"], command].concat());
        json.json();
        assert_eq!(
            harm(&json.stdout()),
            Vec::<char>::new(),
            "{command:?}: {:?}",
            json.stdout()
        );
        let _ = std::fs::remove_dir_all(liar.local("tree"));
    }
    // Bytes of names stay exact where programs read them.
    assert!(liar.cli().run(["ls", "-1", "dir"]).ok().stdout().contains(POISON));
}

#[test]
fn a_refused_login_is_told_in_one_line() {
    let forge = Forge {
        refusal: Some(POISON),
        ..Forge::default()
    };
    let liar = Liar::with(forge, async |_: &mut Deceived, _: Request| {});
    let ran = liar.cli().run(["pwd"]).exits(3);
    assert_eq!(harm(&ran.stderr()), Vec::<char>::new());
    assert!(!ran.stderr().contains("\nftp-cli: all"));
}

#[test]
fn a_message_of_many_screens_is_shortened() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| {
        let fault = Fault::new(Code::Internal, "blah ".repeat(12_000));
        server.reply(request.id, Re::Error(fault)).await;
    });
    let ran = liar.cli().run(["pwd"]).exits(1).says("blah blah");
    assert!(ran.stderr().len() < 1500, "{} bytes", ran.stderr().len());
}
