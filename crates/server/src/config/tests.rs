//! The example file, the faults and their places, and what a whole configuration must hold.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A verifier of no particular password.
const VERIFIER: &str = "SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const FILE: &str = "/srv/ftpd-test/users.toml";

fn parse(text: &str) -> Result<Config, ConfigFaults> {
    Config::parse(Path::new(FILE), &text.replace("VERIFIER", &format!("'{VERIFIER}'")))
}

fn faults(text: &str) -> Vec<String> {
    let prefix = format!("{FILE}:");
    parse(text)
        .unwrap_err()
        .lines()
        .map(|line| line.strip_prefix(&prefix).unwrap().to_owned())
        .collect()
}

/// The example with every key and table in force.
fn uncommented() -> String {
    let is_setting = |line: &str| {
        line.starts_with('[') && line.ends_with(']')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_example_says_nothing_but_the_defaults_and_has_no_user() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.server, ServerConfig::in_directory(Path::new("/srv/ftpd-test")));
    assert!(config.users.is_empty());
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let text = uncommented();
    let config = parse(&text.replace("\"SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY\"", "VERIFIER")).unwrap();
    assert_eq!(config.server, ServerConfig::in_directory(Path::new("/srv/ftpd-test")));
    let silent = parse("[users.alice]\nverifier = VERIFIER\n").unwrap();
    assert_eq!(config.users, silent.users);

    // What can be set and is not in the example shows up as a key that is known and missing there.
    let document: toml::Table = text.parse().unwrap();
    let mut keys: Vec<_> = ["server", "users"]
        .iter()
        .flat_map(|name| leaves(name, &document[*name]))
        .collect();
    keys.sort();
    let known = "server.care.recount_interval server.care.scrub_interval server.care.scrub_rate \
                 server.core_dumps server.durability server.group server.limits.connects_per_address \
                 server.limits.download_per_address server.limits.download_per_user \
                 server.limits.drain_timeout server.limits.hello_timeout \
                 server.limits.idle_timeout server.limits.login_failures server.limits.login_timeout \
                 server.limits.nuisances_per_address server.limits.nuisances_per_user \
                 server.limits.requests_per_address server.limits.requests_per_user server.limits.sessions \
                 server.limits.sessions_before_login server.limits.sessions_per_address \
                 server.limits.sessions_per_user server.limits.shut_out server.limits.tls_timeout \
                 server.limits.upload_per_address server.limits.upload_per_user server.listen server.log.file server.log.level \
                 server.log.rotate_keep server.log.rotate_size server.root server.sandbox server.staging_expiry \
                 server.state server.tls.certificate server.tls.enabled server.tls.key server.trash \
                 server.trash_age server.user users.alice.home users.alice.max_download users.alice.max_files \
                 users.alice.max_sessions users.alice.max_upload users.alice.quota users.alice.rights \
                 users.alice.trash users.alice.trash_age users.alice.verifier";
    assert_eq!(keys.join(" "), known);
}

fn leaves(prefix: &str, value: &toml::Value) -> Vec<String> {
    match value.as_table() {
        Some(table) => table
            .iter()
            .flat_map(|(key, value)| leaves(&format!("{prefix}.{key}"), value))
            .collect(),
        None => vec![prefix.to_owned()],
    }
}

#[test]
fn care_can_be_switched_off_and_wrong_rates_and_times_are_faults() {
    let off = "[server.care]\nscrub_interval = \"off\"\nrecount_interval = \"off\"\nscrub_rate = \"1 MB/s\"\n";
    let care = parse(off).unwrap().server.care;
    assert_eq!(
        (care.scrub_interval, care.recount_interval, care.scrub_rate),
        (None, None, 1_000_000)
    );
    assert!(show(&parse(off).unwrap()).contains("off: stored files are compared"));
    let wrong = "[server.care]\nscrub_interval = \"never\"\nrecount_interval = \"0 s\"\nscrub_rate = \"1 MB\"\n";
    assert_eq!(faults(wrong).len(), 3);
}

#[test]
fn the_user_in_the_example_cannot_log_in_even_when_uncommented() {
    let faults = faults(&uncommented());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("`verifier`"), "{faults:?}");
}

#[test]
fn every_value_of_a_full_file_arrives() {
    let config = parse(
        r#"
        [server]
        listen = "127.0.0.1:0"
        root = "/data/./homes"
        state = "var/state"
        staging_expiry = "2 days"
        durability = "none"
        tls.certificate = "cert.pem"
        tls.key = "/etc/key.pem"
        log = { level = "debug", file = "", rotate_size = "1 MB", rotate_keep = 0 }
        limits = { sessions = 9, sessions_per_user = 3, idle_timeout = "90 s", login_failures = 2, shut_out = "0 s" }
        [users.alice]
        verifier = VERIFIER
        quota = "1.5 GiB"
        max_files = 100
        home = "shared/alice"
        rights = ["read"]
        [users.bob]
        verifier = VERIFIER
        max_sessions = 1
        "#,
    )
    .unwrap();
    let server = &config.server;
    assert_eq!(server.listen.to_string(), "127.0.0.1:0");
    assert_eq!(server.root, Path::new("/data/homes"));
    assert_eq!(server.state, Path::new("/srv/ftpd-test/var/state"));
    assert_eq!(server.staging_expiry, Duration::from_secs(172_800));
    assert_eq!(server.durability, Durability::None);
    let own = TlsConfig::Own {
        certificate: "/srv/ftpd-test/cert.pem".into(),
        key: "/etc/key.pem".into(),
    };
    assert_eq!(server.tls, own);
    assert_eq!((server.log.level, &server.log.file), (Level::Debug, &None));
    assert_eq!((server.log.rotate_bytes, server.log.rotate_keep), (1_000_000, 0));
    assert_eq!((server.limits.sessions, server.limits.login_failures), (9, 2));
    assert_eq!(server.limits.idle_timeout, Duration::from_secs(90));
    assert_eq!(server.limits.shut_out, Duration::ZERO);
    let alice = &config.users["alice"];
    assert_eq!(
        (alice.quota, alice.max_files, alice.max_sessions),
        (Some(1_610_612_736), Some(100), 3)
    );
    assert_eq!(alice.home, Path::new("/srv/ftpd-test/shared/alice"));
    assert_eq!(alice.rights.to_string(), "read");
    let bob = &config.users["bob"];
    assert_eq!((bob.quota, bob.max_sessions, bob.rights), (None, 1, Rights::ALL));
    assert_eq!(bob.home, Path::new("/data/homes/bob"));
}

#[test]
fn rates_and_walls_arrive_and_users_follow_the_servers_default() {
    let text = r#"
        [server]
        user = "ftpd"
        group = "files"
        sandbox = false
        core_dumps = true
        [server.limits]
        upload_per_user = "1 MiB/s"
        download_per_user = "1 KiB/s"
        upload_per_address = "3 MiB/s"
        download_per_address = "4 MiB/s"
        requests_per_user = "1/s"
        requests_per_address = "1000000/s"
        nuisances_per_user = "unlimited"
        nuisances_per_address = "7/s"
        connects_per_address = "unlimited"
        [users.alice]
        verifier = VERIFIER
        max_upload = "unlimited"
        [users.bob]
        verifier = VERIFIER
        max_download = "2 MB/s"
    "#;
    let config = parse(text).unwrap();
    let server = &config.server;
    assert_eq!(
        (server.user.as_deref(), server.group.as_deref()),
        (Some("ftpd"), Some("files"))
    );
    assert_eq!((server.sandbox, server.core_dumps), (false, true));
    let limits = &server.limits;
    assert_eq!(
        (limits.upload_per_user, limits.download_per_user),
        (Some(1 << 20), Some(1024))
    );
    assert_eq!(
        (limits.upload_per_address, limits.download_per_address),
        (Some(3 << 20), Some(4 << 20))
    );
    assert_eq!(
        (limits.requests_per_user, limits.requests_per_address),
        (Some(1), Some(1_000_000))
    );
    assert_eq!(
        (limits.nuisances_per_user, limits.nuisances_per_address),
        (None, Some(7))
    );
    assert_eq!(limits.connects_per_address, None);
    let flow = |name: &str| (config.users[name].max_upload, config.users[name].max_download);
    assert_eq!(flow("alice"), (None, Some(1024)));
    assert_eq!(flow("bob"), (Some(1 << 20), Some(2_000_000)));
    let shown = show(&config);
    for part in [
        "runs as         ftpd in the group files when root starts it\n",
        "nuisances unlimited per user, 7/s per address",
        "2 MB/s",
        "bandwidth       each address 3 MiB/s up, 4 MiB/s down; each user as below\n",
    ] {
        assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
    }
}

#[test]
fn rates_out_of_bounds_and_a_group_without_a_user_are_faults() {
    let faults = faults(
        "[server]\n\
         group = 'files'\n\
         limits.upload_per_user = '1023 B/s'\n\
         limits.download_per_address = '0 B/s'\n\
         limits.requests_per_user = '0/s'\n\
         limits.requests_per_address = '1000001/s'\n\
         limits.connects_per_address = 100\n\
         [users.alice]\n\
         verifier = VERIFIER\n\
         max_download = '10 MiB'\n",
    );
    let starts = [
        "2:9: `group` is given without `user`",
        "3:26: `upload_per_user`: must be at least 1 KiB/s",
        "4:31: `download_per_address`: must be at least 1 KiB/s",
        "5:28: `requests_per_user`: must be from 1/s to 1000000/s",
        "6:31: `requests_per_address`: must be from 1/s to 1000000/s",
        "7:31: `connects_per_address`: expected a rate in quotes, as in \"200/s\", found an integer",
        "10:16: `max_download`: `10 MiB` is not a rate",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[test]
fn all_faults_are_reported_at_once_in_the_order_of_the_file() {
    let faults = faults(
        "[server]\n\
         listen = 'localhost'\n\
         durabilty = 'full'\n\
         log.level = 'warning'\n\
         limits.sessions = 0\n\
         limits.idle_timeout = 15\n\
         [users.alice]\n\
         verifier = 'secret'\n\
         quoat = '1 GiB'\n\
         rights = ['read', 'wirte']\n\
         [users.bob]\n\
         quota = 10\n\
         [sever]\n",
    );
    let starts = [
        "2:10: `listen`: `localhost` is not an IP address with a port; write one like \"[::]:2121\"",
        "3:1: unknown key `durabilty` in [server]; did you mean `durability`?",
        "4:13: `level`: `warning` is none of `error`, `warn`, `info`, `debug`; did you mean `warn`?",
        "5:19: `sessions`: must be from 1 to",
        "6:23: `idle_timeout`: expected a time in quotes, as in \"15 min\", found an integer",
        "8:12: `verifier`: a verifier is written SCRAM-SHA-256$",
        "9:1: unknown key `quoat` in [users.alice]; did you mean `quota`?",
        "10:10: `rights`: `wirte` is none of `read`, `write`, `delete`; did you mean `write`?",
        "11:8: user `bob` has no `verifier`; `ftpd --config FILE user passwd bob`",
        "12:9: `quota`: expected a size in quotes, as in \"10 GiB\", found an integer",
        "13:2: unknown table or key `sever`; did you mean `server`?",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}\n{start}");
    }
}

#[test]
fn text_that_is_not_toml_is_reported_with_its_place() {
    let faults = faults("[server]\nlisten = \n[users.alice\n");
    assert!(faults[0].starts_with("2:"), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("3:")), "{faults:?}");
}

#[test]
fn a_key_given_twice_is_a_fault() {
    let faults = faults("[server]\nroot = 'a'\nroot = 'b'\n");
    assert!(faults[0].starts_with("3:1: duplicate key"), "{faults:?}");
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let faults = faults("[users]\n\"文件\" = { verifier = VERIFIER, x = 1 }\n");
    let column = "\"文件\" = { verifier = ".chars().count() + VERIFIER.len() + 2 + ", ".len() + 1;
    assert!(
        faults[0].starts_with(&format!("2:{column}: unknown key `x`")),
        "{faults:?}"
    );
}

#[test]
fn a_certificate_without_a_key_is_a_fault() {
    let faults = faults("[server]\ntls.certificate = 'c.pem'\n");
    assert!(
        faults[0].starts_with("2:19: `certificate` is given without `key`; add `key`"),
        "{faults:?}"
    );
}

#[test]
fn names_that_are_no_harmless_word_are_refused() {
    let long = "x".repeat(65);
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "a/b",
        "a\\b",
        "a b",
        "a\nb",
        "a\u{202e}b",
        "ﬁn",
        &long,
    ] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    for name in ["alice", "Bob.Smith-2_x", "a@example.org", "jürgen", "李", &long[..64]] {
        assert_eq!(check_name(name), Ok(()), "{name:?}");
    }
    let faults = faults("[users.'a/b']\nverifier = VERIFIER\n");
    assert!(
        faults[0].starts_with("1:8: `a/b` cannot be a user name: it contains '/'"),
        "{faults:?}"
    );
}

#[test]
fn homes_that_overlap_are_refused() {
    let users = |alice: &str, bob: &str| {
        format!(
            "[users.alice]\nverifier = VERIFIER\nhome = '{alice}'\n[users.bob]\nverifier = VERIFIER\nhome = '{bob}'"
        )
    };
    for (alice, bob) in [
        ("/d/x", "/d/x"),
        ("/d/x", "/d/x/y"),
        ("/d/x/y/z", "/d/x"),
        ("/d/./x", "/d//x"),
    ] {
        let faults = faults(&users(alice, bob));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("overlaps the home of"), "{faults:?}");
    }
    assert!(parse(&users("/d/x", "/d/xy")).is_ok());
}

#[test]
fn homes_that_are_one_directory_through_a_link_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
    let text = format!(
        "[users.alice]\nverifier = '{VERIFIER}'\nhome = 'real/a'\n[users.bob]\nverifier = '{VERIFIER}'\nhome = 'link/a/b'"
    );
    let faults = Config::parse(&directory.path().join("users.toml"), &text).unwrap_err();
    assert!(faults.to_string().contains("overlaps"), "{faults}");
}

#[test]
fn a_home_may_not_show_what_the_server_keeps_to_itself() {
    for home in ["/srv/ftpd-test", "/", "state/alice", "log", "state"] {
        let faults = faults(&format!("[users.alice]\nverifier = VERIFIER\nhome = '{home}'"));
        assert!(
            faults.iter().all(|fault| fault.contains("contains or lies in")),
            "{home}: {faults:?}"
        );
    }
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let faults = Config::load(Path::new("/nonexistent/users.toml")).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "/nonexistent/users.toml: there is no such file; `ftpd --config /nonexistent/users.toml init` writes a commented one"
    );
}

#[test]
fn a_file_that_others_can_read_and_a_server_without_users_are_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.toml");
    fs::write(&file, EXAMPLE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = Config::load(&file).unwrap().warnings();
    assert!(
        warnings[0].contains("has mode 0644") && warnings[0].contains("chmod 600"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("no users"), "{warnings:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Config::load(&file).unwrap().warnings().len(), 1);
}

#[test]
fn plaintext_beyond_this_machine_is_warned_about() {
    let text =
        |listen: &str| format!("[server]\nlisten = '{listen}'\ntls.enabled = false\n[users.a]\nverifier = VERIFIER");
    assert_eq!(parse(&text("127.0.0.1:2121")).unwrap().warnings(), Vec::<String>::new());
    let warnings = parse(&text("0.0.0.0:2121")).unwrap().warnings();
    assert!(warnings[0].starts_with("TLS is off and 0.0.0.0:2121"), "{warnings:?}");
}

#[test]
fn what_is_shown_has_every_value_in_force() {
    let config =
        parse("[users.alice]\nverifier = VERIFIER\nquota = '10 GiB'\ntrash = '1 GiB'\ntrash_age = '1 day'").unwrap();
    let text = show(&config);
    for part in [
        "listen          [::]:2121\n",
        "encryption      TLS 1.3, the server makes its certificate\n",
        "homes           /srv/ftpd-test/homes\n",
        "trash           10 GiB for 30 days\n",
        "runs as         whoever starts it\n",
        "sandbox         on\n",
        "core dumps      off\n",
        "rates           requests unlimited per user, unlimited per address; nuisances 200/s per user, 1000/s per \
         address; connections 100/s per address\n",
        "1 user\nNAME   QUOTA   FILES      TRASH            SESSIONS  UPLOAD     DOWNLOAD   RIGHTS             HOME\n",
        "alice  10 GiB  unlimited  1 GiB for 1 day  32        unlimited  unlimited  read,write,delete  \
         /srv/ftpd-test/homes/alice\n",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("SCRAM"), "a verifier is nobody's business");
}
