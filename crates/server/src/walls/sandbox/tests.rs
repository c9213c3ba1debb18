//! Rules by what they say, and the kernel's answer to whoever tries to leave.

use super::*;

const VERIFIER: &str =
    "SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn config(directory: &Path, text: &str) -> Config {
    Config::parse(&directory.join("etc/users.toml"), &text.replace("VERIFIER", VERIFIER)).unwrap()
}

fn allowed(directory: &Path, text: &str) -> Vec<(String, Allowed)> {
    rules(&config(directory, text))
        .into_iter()
        .filter(|rule| !rule.is_optional)
        .map(|rule| {
            let path = rule
                .path
                .strip_prefix(directory)
                .unwrap_or(&rule.path)
                .display()
                .to_string();
            (path, rule.allowed)
        })
        .collect()
}

#[test]
fn the_rules_are_what_the_server_needs_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    let text = "[server]\nroot = '../homes'\nstate = '../state'\nlog.file = '../log/l'\n\
                tls.certificate = '../tls/c.pem'\ntls.key = '../private/k.pem'\n\
                [users.a]\nverifier = 'VERIFIER'\n[users.b]\nverifier = 'VERIFIER'\nhome = '../elsewhere/b'\n";
    for made in ["etc", "homes", "state", "log", "tls", "private", "elsewhere/b"] {
        std::fs::create_dir_all(directory.join(made)).unwrap();
    }
    let expected = [
        ("homes", Allowed::Files),
        ("elsewhere/b", Allowed::Files),
        ("state", Allowed::State),
        ("log", Allowed::Log),
        ("etc", Allowed::Read),
        ("tls", Allowed::Read),
        ("private", Allowed::Read),
    ];
    assert_eq!(
        allowed(&directory, text),
        expected.map(|(path, allowed)| (path.to_owned(), allowed))
    );
}

#[test]
fn no_rule_lets_anything_be_executed_or_devices_be_made() {
    let forbidden = AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    for allowed in [Allowed::Files, Allowed::State, Allowed::Log, Allowed::Read] {
        assert!((allowed.rights() & forbidden).is_empty(), "{allowed:?}");
    }
    let moved = AccessFs::MakeSym | AccessFs::MakeFifo;
    for allowed in [Allowed::State, Allowed::Log, Allowed::Read] {
        assert!((allowed.rights() & moved).is_empty(), "{allowed:?}");
    }
    assert!(!Allowed::Read.rights().contains(AccessFs::WriteFile));
}

#[test]
fn a_home_or_a_certificate_elsewhere_is_outside_and_links_hide_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    for made in ["etc/homes", "elsewhere"] {
        std::fs::create_dir_all(directory.join(made)).unwrap();
    }
    std::os::unix::fs::symlink(directory.join("elsewhere"), directory.join("etc/homes/link")).unwrap();
    let sandbox = Sandbox(rules(&config(&directory, "")));
    let outside = |text: &str| sandbox.outside(&config(&directory, text));
    assert_eq!(outside("[users.a]\nverifier = 'VERIFIER'\n"), Vec::<String>::new());
    for home in ["../elsewhere", "homes/link/a"] {
        let faults = outside(&format!("[users.a]\nverifier = 'VERIFIER'\nhome = '{home}'\n"));
        assert_eq!(faults.len(), 1, "{home}: {faults:?}");
        assert!(faults[0].contains("the home of `a`"), "{faults:?}");
    }
    let faults = outside("[server.tls]\ncertificate = '../elsewhere/c'\nkey = 'k'\n");
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("TLS certificate"), "{faults:?}");
}

#[test]
fn each_version_of_the_kernel_says_what_it_lacks() {
    let (standing, missing) = describe(7, 7);
    assert_eq!(
        standing.unwrap(),
        "files, truncation, TCP, devices, signals, abstract sockets (ABI 7)"
    );
    assert!(missing.is_empty());
    let (standing, missing) = describe(3, 3);
    assert_eq!(standing.unwrap(), "files, truncation (ABI 3)");
    assert_eq!(
        missing,
        ["Landlock's TCP, devices, signals, abstract sockets: this kernel has Landlock 3"]
    );
    // Without the right to rename between directories, nothing could be published.
    let (standing, missing) = describe(0, 1);
    assert_eq!(standing, None);
    assert!(missing[0].contains("Landlock 1"), "{missing:?}");
    assert!(describe(0, 0).1[0].contains("no Landlock"));
}

/// Says that a test proves nothing here, or not everything, and why.
fn skip(test: &str, why: &str) {
    eprintln!("{test} is skipped: {why}");
}

#[track_caller]
fn refused<T>(what: &str, result: std::io::Result<T>) {
    match result {
        Ok(_) => panic!("{what} was possible"),
        // What Landlock keeps from files and ports, and what it keeps from other processes.
        Err(error) => assert!(
            matches!(error.kind(), std::io::ErrorKind::PermissionDenied),
            "{what}: {error}"
        ),
    }
}

/// A thread behind the walls tries what the documentation says that nobody behind them can do. Landlock holds for the
/// thread that asked for it alone, so the others of this test can see to it that each would be possible.
#[test]
fn who_stands_behind_the_walls_reaches_nothing_outside() {
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use rustix::fs::{CWD, FileType, Mode};

    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().canonicalize().unwrap();
    for made in ["etc", "homes", "state", "log", "outside"] {
        std::fs::create_dir(directory.join(made)).unwrap();
    }
    let text = "[server]\nroot = '../homes'\nstate = '../state'\nlog.file = '../log/l'\n";
    let config = config(&directory, text);
    let (secret, home) = (directory.join("outside/secret"), directory.join("homes"));
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, home.join("link")).unwrap();
    std::fs::write(home.join("inside"), "inside").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name = format!("ftpd-sandbox-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(name).unwrap();
    let _abstract_socket = UnixListener::bind_addr(&abstract_name).unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(other.id()).unwrap());
    // All of it is possible out here.
    TcpStream::connect(port).unwrap();
    UnixStream::connect_addr(&abstract_name).unwrap();
    kill(pid, None::<Signal>).unwrap();
    assert!(Command::new("true").status().unwrap().success());

    let prisoner = std::thread::spawn(move || {
        let outcome = enforce(&config).unwrap();
        let Some(standing) = outcome.standing else {
            return skip(
                "who_stands_behind_the_walls_reaches_nothing_outside",
                &outcome.missing.join(", "),
            );
        };
        let stands = |wall: &str| {
            let stands = standing.contains(wall);
            if !stands {
                skip(wall, &standing);
            }
            stands
        };
        assert_eq!(std::fs::read(home.join("inside")).unwrap(), b"inside");
        for (moved, to) in [("inside", "moved"), ("link", "moved link")] {
            std::fs::rename(home.join(moved), directory.join("homes").join(to)).unwrap();
        }
        refused("to read a file", std::fs::read(&secret));
        refused("to read by a link", std::fs::read(home.join("moved link")));
        refused(
            "to read another's directory",
            std::fs::read_dir(directory.join("outside")),
        );
        refused("to write a file", std::fs::write(&secret, ""));
        refused("to make a file", std::fs::write(directory.join("outside/new"), ""));
        refused(
            "to make a directory",
            std::fs::create_dir(directory.join("outside/dir")),
        );
        refused("to remove a file", std::fs::remove_file(&secret));
        refused(
            "to move a file out",
            std::fs::rename(home.join("moved"), directory.join("outside/moved")),
        );
        refused("to execute", Command::new("true").status());
        let device = rustix::fs::mknodat(
            CWD,
            home.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        );
        refused("to make a device", device.map_err(Into::into));
        if stands("TCP") {
            refused("to connect", TcpStream::connect(port));
            refused("to bind a port", TcpListener::bind(free));
        }
        if stands("signals") {
            refused("to signal", kill(pid, Signal::SIGKILL).map_err(Into::into));
        }
        if stands("abstract sockets") {
            refused("to reach an abstract socket", UnixStream::connect_addr(&abstract_name));
        }
    });
    let ended = prisoner.join();
    assert!(other.try_wait().unwrap().is_none(), "it was not killed from there");
    other.kill().unwrap();
    other.wait().unwrap();
    ended.unwrap();
}
