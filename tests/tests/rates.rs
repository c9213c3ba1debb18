//! Rates of bytes, over real sockets. Figures are checked by a paused clock elsewhere; here it counts that a reload
//! reaches what is under way.

use std::fs;

use ftp_tests::{MIB, Plan, eventually};

#[test]
fn a_reload_lifts_the_rate_of_transfers_that_are_under_way() {
    lift(Plan::new(), &[]);
}

#[test]
fn a_reload_lifts_the_rate_of_what_the_kernel_sends() {
    lift(Plan::new().plaintext(), &["--no-tls"]);
}

fn lift(plan: Plan, options: &[&'static str]) {
    let with = |args: &[&'static str]| [options, args].concat();
    // Two users: the debt of one chunk at this rate would keep the other transfer of the same user from beginning.
    let mut rig = plan
        .user("alice", "max_upload = \"1 KiB/s\"")
        .user("bob", "max_download = \"1 KiB/s\"")
        .start();
    let size = usize::try_from(8 * MIB).unwrap();
    fs::write(rig.local("source"), vec![1; size]).unwrap();
    rig.cli("bob").run(with(&["put", "source", "down"])).ok();
    fs::write(rig.local("up"), vec![2; size]).unwrap();
    let up = rig.cli("alice").spawn(with(&["put", "up"]));
    let down = rig.cli("bob").spawn(with(&["get", "down"]));
    // At this rate 8 MiB take more than two hours; what may wait in buffers is less than half of it.
    rig.staged("alice", 1);
    eventually("the download has begun", || {
        fs::read_dir(rig.local(""))
            .unwrap()
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().contains(".down."))
    });
    assert!(!rig.local("down").exists() && !rig.home("alice").join("up").exists());
    rig.set_user("alice", "");
    rig.set_user("bob", "");
    let event = rig.reload();
    assert_eq!(
        (&event["outcome"], &event["changed"]),
        (&"ok".into(), &2.into()),
        "{event}"
    );
    up.wait().ok();
    down.wait().ok();
    assert_eq!(fs::read(rig.home("alice").join("up")).unwrap(), vec![2; size]);
    assert_eq!(fs::read(rig.local("down")).unwrap(), vec![1; size]);
}
