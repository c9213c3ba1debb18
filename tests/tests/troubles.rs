//! What users of other servers complain about, where no test of one subject shows it; all of it stands in
//! `docs/reliability.md`.

use std::fs;

use ftp_digest::{Algorithm, Hasher};
use ftp_proto::{Op, Re, Request, Stored, Timestamp};
use ftp_tests::{
    Break, Deceived, Direction, Liar, MIB, Middle, Plan, Proxy, Rig, eventually, sha256, snapshot, write_noise,
};

#[test]
fn what_exceeds_the_quota_is_asked_for_once_and_the_old_file_stays() {
    let rig = Plan::new().user("alice", "quota = \"10 MiB\"").start();
    let alice = rig.cli("alice");
    write_noise(&alice.file("old"), 3 * MIB, 1);
    write_noise(&alice.file("new"), 12 * MIB, 2);
    alice.run(["put", "old", "demo"]).ok();
    // The client has all its retries, and does not use them.
    let proxy = Proxy::start(rig.address());
    let refused = alice
        .clone()
        .via(proxy.address())
        .run(["--json", "put", "--force", "new", "demo"]);
    assert_eq!(refused.exits(6).json()[0]["error"]["code"], "quota_bytes");
    assert_eq!(proxy.connections(), 1);
    let is_refusal = |event: &serde_json::Value| event["outcome"] == "quota_bytes";
    rig.log().event("the refusal is logged", is_refusal);
    assert_eq!(rig.log().events().into_iter().filter(is_refusal).count(), 1);
    assert_eq!(sha256(&rig.home("alice").join("demo")), sha256(&alice.file("old")));
    let counts = rig.check_df("alice");
    assert_eq!((counts.used, counts.pending), (3 * MIB, 0));
}

#[test]
fn small_files_and_directories_wait_for_no_answer_of_another() {
    const DIRECTORIES: usize = 20;
    const FILES: usize = 100;
    const CONTENT: &[u8] = b"small";
    // Answers nothing before everything was asked: whoever waited for an answer would wait for ever.
    let liar = Liar::start(async |server: &mut Deceived, first: Request| {
        let mut asked = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request.op {
                Op::Mkdir { .. } => asked.push((request.id, false)),
                Op::Put { ask: false, .. } => {
                    server.take_body().await;
                    asked.push((request.id, true));
                }
                _ => return server.reply(request.id, Re::Ok).await,
            }
            if asked.len() == 1 + DIRECTORIES + FILES {
                break;
            }
            next = server.request().await;
        }
        for (id, is_file) in asked {
            let stored = Stored {
                size: CONTENT.len() as u64,
                mtime: Timestamp { seconds: 0, nanos: 0 },
                digest: Hasher::digest(Algorithm::Sha256, CONTENT),
                replaced: false,
            };
            server
                .reply(id, if is_file { Re::Stored(stored) } else { Re::Ok })
                .await;
        }
    });
    for directory in 0..DIRECTORIES {
        let directory = liar.local(&format!("tree/{directory}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..FILES / DIRECTORIES {
            fs::write(directory.join(file.to_string()), CONTENT).unwrap();
        }
    }
    liar.cli().run(["put", "-r", "tree"]).ok();
}

#[test]
fn the_first_bytes_leave_before_the_file_is_read() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| match request.op {
        Op::Put { ask: true, .. } => {
            server.reply(request.id, Re::Go { have: None }).await;
            server.take_body().await;
        }
        _ => server.reply(request.id, Re::Ok).await,
    });
    // To hash this first would take far longer than any test waits.
    fs::File::create(liar.local("huge")).unwrap().set_len(1 << 40).unwrap();
    let proxy = Proxy::start(liar.address()).and(Direction::Up, 4 * MIB, Break::Stall);
    let running = liar.cli().via(proxy.address()).spawn(["put", "huge"]);
    proxy.wait_for_stall();
    running.kill();
}

#[test]
fn everything_of_a_session_runs_over_one_connection() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::create_dir_all(alice.file("tree/d")).unwrap();
    for number in 0..50 {
        fs::write(alice.file(&format!("tree/d/{number}")), number.to_string()).unwrap();
    }
    write_noise(&alice.file("tree/large"), 3 * MIB, 3);
    let proxy = Proxy::start(rig.address());
    let script = "put -r tree\nls tree\nsum tree/large\nmkdir back\nlcd back\nget -r tree\nrm -r tree\n";
    fs::create_dir(alice.file("back")).unwrap();
    alice
        .clone()
        .via(proxy.address())
        .feed(["shell"], script.as_bytes())
        .ok();
    assert!(snapshot(&alice.file("back/tree")) == snapshot(&alice.file("tree")));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_after_a_reload_and_ends_no_session() {
    let mut rig = Rig::start();
    let mut alice = rig.client("alice");
    alice.pwd().await.unwrap();
    let old = Middle::certificate_of(rig.address()).await;
    let (certificate, key) = (
        rig.directory().join("state/certificate.pem"),
        rig.directory().join("state/key.pem"),
    );

    // One that does not fit its key is refused, and the old one stays. Whoever was removed goes all the same.
    let renewed = rcgen::generate_simple_self_signed(["renewed".to_owned()]).unwrap();
    fs::write(&certificate, renewed.cert.pem()).unwrap();
    let mut bob = rig.client("bob");
    bob.pwd().await.unwrap();
    rig.remove_user("bob");
    assert_eq!(rig.reload()["removed"], 1);
    bob.pwd().await.unwrap_err();
    rig.log().event("the mistake is logged", |event| {
        event["event"] == "failure"
            && event["message"]
                .as_str()
                .is_some_and(|said| said.contains("the old one stays"))
    });
    assert!(Middle::certificate_of(rig.address()).await == old);

    fs::write(&key, renewed.signing_key.serialize_pem()).unwrap();
    assert_eq!(rig.reload()["outcome"], "ok");
    assert!(Middle::certificate_of(rig.address()).await == renewed.cert.der().to_vec());

    alice.mkdir(&"d".into(), false).await.unwrap();
    let logins = eventually("the login is logged", || {
        let events = rig.log().events();
        let logins = events
            .iter()
            .filter(|event| event["event"] == "login" && event["user"] == "alice")
            .count();
        (logins > 0).then_some(logins)
    });
    assert_eq!(logins, 1, "the session went on");
}
