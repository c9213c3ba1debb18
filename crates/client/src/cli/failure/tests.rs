use std::io;

use ftp_client::{Kind, Timestamp};

use super::*;

fn situation() -> Situation {
    Situation {
        server: "alice@host:2121".to_owned(),
        tls: true,
        saved_key: false,
        resume: Some("ftp-cli put --resume demo.mp4".to_owned()),
        from_stdin: false,
        in_shell: false,
    }
}

#[test]
fn an_exceeded_quota_shows_every_figure_and_a_way_out() {
    let fault = Fault::new(Code::QuotaBytes, "quota exceeded").with_figures(10 << 30, 9 << 30, 3 << 30);
    let failure = Failure::of("put", b"my demo.mp4", &Error::Refused(fault), &situation());
    assert_eq!(failure.exit, Exit::Space);
    assert_eq!(&*failure.code, "quota_bytes");
    assert_eq!(
        failure.sentence(),
        "put 'my demo.mp4': this does not fit into the quota \
         (limit 10.0 GiB, used 9.0 GiB, free 1.0 GiB, requested 3.0 GiB: 2.0 GiB too much)"
    );
    assert!(
        failure.hints.iter().any(|hint| hint.contains("`ftp-cli df`")),
        "{failure:?}"
    );
}

#[test]
fn a_lost_connection_names_the_command_that_goes_on() {
    let failure = Failure::of("put", b"demo.mp4", &Error::Closed, &situation());
    assert_eq!(failure.exit, Exit::Connection);
    assert!(
        failure
            .hints
            .iter()
            .any(|hint| hint.contains("`ftp-cli put --resume demo.mp4`")),
        "{failure:?}"
    );
}

#[test]
fn a_stale_key_asks_to_log_in_again() {
    let error = Error::from(ftp_proto::scram::ScramError::StaleKey);
    let failure = Failure::of("ls", b"", &error, &situation());
    assert_eq!(failure.exit, Exit::Login);
    assert!(
        failure
            .hints
            .iter()
            .any(|hint| hint.contains("`ftp-cli login alice@host:2121`")),
        "{failure:?}"
    );
}

#[test]
fn an_existing_target_is_shown_with_its_figures() {
    let mut fault = Fault::new(Code::Exists, "exists");
    fault.existing = Some(Entry {
        name: "demo.mp4".to_owned(),
        kind: Kind::File,
        size: 2048,
        mtime: Timestamp { seconds: 0, nanos: 0 },
        digest: None,
    });
    let failure = Failure::of("put", b"demo.mp4", &Error::Refused(fault), &situation());
    assert_eq!(failure.exit, Exit::NotPermitted);
    let failure = failure.with_figures("here: 1.0 KiB");
    assert!(
        failure
            .message
            .starts_with("the target exists already (there: 2.0 KiB of 19")
            && failure.message.ends_with(", here: 1.0 KiB)"),
        "{failure:?}"
    );
    assert!(failure.hints.iter().any(|hint| hint.contains("--force")), "{failure:?}");
}

#[test]
fn causes_are_told_once_each() {
    let error = Error::Connect {
        address: "host:2121".to_owned(),
        source: io::Error::other("connection refused"),
    };
    let failure = Failure::of("ls", b"", &error, &Situation::default());
    assert_eq!(failure.sentence(), "ls: no connection to host:2121: connection refused");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    assert!(matches!(
        Stop::from(io::Error::from(io::ErrorKind::BrokenPipe)),
        Stop::Closed
    ));
    assert!(matches!(Stop::from(io::Error::other("disk")), Stop::Failure(_)));
}

#[test]
fn a_lost_connection_always_has_a_next_step() {
    let lost = |command| {
        let without_resume = Situation {
            resume: None,
            ..situation()
        };
        Failure::of(command, b"demo.mp4", &Error::Closed, &without_resume)
            .hints
            .join("; ")
    };
    for changing in ["cp", "mkdir", "mv", "restore", "rm"] {
        let hint = lost(changing);
        assert!(hint.contains("not known") && hint.contains("`ftp-cli ls`"), "{hint}");
    }
    for command in [
        "cd", "df", "get", "login", "ls", "ping", "pwd", "stat", "sum", "uploads", "versions",
    ] {
        assert!(lost(command).contains("run it again"), "{command}");
    }
    let trash = lost("trash");
    assert!(
        trash.contains("`ftp-cli trash`") && !trash.contains("nothing was changed"),
        "{trash}"
    );
}

#[test]
fn a_broken_stream_is_sent_again_from_the_start() {
    let stream = Situation {
        resume: None,
        from_stdin: true,
        ..situation()
    };
    let hints = Failure::of("put", b"-", &Error::Closed, &stream).hints.join("; ");
    assert!(
        hints.contains("from the start") && !hints.contains("--resume"),
        "{hints}"
    );
}
