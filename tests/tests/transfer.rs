//! Files up and down.

use std::fs;

use ftp_tests::{Rig, noise};

#[test]
fn a_file_goes_up_and_comes_back_the_same() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let bytes = noise(3_000_000, 1);
    fs::write(alice.file("demo.mp4"), &bytes).unwrap();
    let put = alice.one(&["put", "demo.mp4"]);
    assert_eq!(put["outcome"], "transferred");
    assert_eq!(put["moved"], 3_000_000);
    alice.run(["get", "demo.mp4", "back"]).ok();
    assert!(fs::read(alice.file("back")).unwrap() == bytes);
    rig.check_df("alice");
}
