//! Many at once.

use std::fs;
use std::sync::Arc;

use ftp_client::{GetItem, Kind, PutItem, TransferOptions};
use ftp_tests::{MIB, Plan, Rig, noise, sha256, write_noise};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_users_at_once_do_not_get_in_each_others_way() {
    const USERS: usize = 100;
    let mut plan = Plan::new();
    for number in 0..USERS {
        plan = plan.user(&format!("user{number}"), "quota = \"2 MiB\"");
    }
    let rig = Arc::new(plan.start());
    let together = Arc::new(Barrier::new(USERS));
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let (rig, together) = (Arc::clone(&rig), Arc::clone(&together));
        users.spawn(async move {
            let user = format!("user{number}");
            let bytes = noise(300_000 + number, number as u64);
            let (source, back) = (rig.local(&user), rig.local(&format!("{user}.back")));
            fs::write(&source, &bytes).unwrap();
            let mut client = rig.client(&user);
            together.wait().await;
            client.login().await.unwrap();
            // All of them are in at the same time.
            together.wait().await;
            let remote = ftp_client::RemotePath::from("same name");
            let size = bytes.len() as u64;
            let put = PutItem {
                local: source,
                remote: remote.clone(),
                kind: Kind::File,
                size,
            };
            let outcomes = client.put(vec![put], &TransferOptions::default()).await;
            outcomes[0].result.as_ref().unwrap();
            let get = GetItem {
                within: None,
                remote,
                local: back.clone(),
                kind: Kind::File,
                size,
            };
            let outcomes = client.get(vec![get], &TransferOptions::default()).await;
            outcomes[0].result.as_ref().unwrap();
            assert!(fs::read(back).unwrap() == bytes);
            assert_eq!(client.df().await.unwrap().used, size);
            client.quit().await.unwrap();
        });
    }
    users.join_all().await;
    for number in 0..USERS {
        let home = rig.home(&format!("user{number}"));
        assert_eq!(
            fs::metadata(home.join("same name")).unwrap().len(),
            300_000 + number as u64
        );
    }
}

#[test]
fn many_programs_of_one_user_work_at_the_same_time() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for number in 0..8 {
        write_noise(&alice.file(&format!("f{number}")), MIB, number);
    }
    let running: Vec<_> = (0..8)
        .map(|number| alice.spawn(["put", &format!("f{number}")]))
        .collect();
    for running in running {
        running.wait().ok();
    }
    let running: Vec<_> = (0..8)
        .map(|number| alice.spawn(["get", "f0", &format!("b{number}")]))
        .collect();
    for running in running {
        running.wait().ok();
    }
    for number in 0..8 {
        assert_eq!(sha256(&alice.file(&format!("b{number}"))), sha256(&alice.file("f0")));
    }
    assert_eq!(rig.check_df("alice").used, 8 * MIB);
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_comes_out_as_one_of_both() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for (name, seed) in [("one", 1), ("two", 2)] {
        write_noise(&alice.file(name), 8 * MIB, seed);
    }
    alice.run(["put", "one", "demo"]).ok();
    let whole = [sha256(&alice.file("one")), sha256(&alice.file("two"))];
    for round in 0..3 {
        let get = alice.spawn(["get", "--force", "demo", "back"]);
        let put = alice.spawn(["put", "--force", ["two", "one"][round % 2], "demo"]);
        get.wait().ok();
        put.wait().ok();
        assert!(whole.contains(&sha256(&alice.file("back"))));
    }
    assert_eq!(rig.check_df("alice").used, 8 * MIB);
}
