//! The interactive shell, fed by a script.

use std::fs;

use ftp_tests::{Rig, noise};

#[test]
fn a_script_runs_every_command_in_one_session() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    fs::create_dir(alice.file("sub")).unwrap();
    fs::write(alice.file("sub/my file"), noise(400_000, 1)).unwrap();
    let script = r#"
# a comment, and an empty line before it
pwd
mkdir -p films/old
cd films
lcd sub
put 'my file' "with \"quotes\""
ls
cp with\ \"quotes\" copy
mv copy old/
get old/copy back
lls
lpwd
!echo from the shell
sum --digest md5 old/copy
df
stat old
rm -r old
cd ..
pwd
help
help lls
exit
ls no such thing, and nobody asks
"#;
    let ran = alice.feed(["shell"], script.as_bytes()).ok();
    let said = ran.stdout();
    for part in [
        "/\n",
        "with \"quotes\"",
        "md5:",
        "from the shell",
        "back",
        "directory",
        "Whatever the local ls takes",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    assert!(fs::read(alice.file("sub/back")).unwrap() == fs::read(alice.file("sub/my file")).unwrap());
    assert!(rig.home("alice").join("films/with \"quotes\"").exists());
    assert!(!rig.home("alice").join("films/old").exists());
    let logins = rig
        .log()
        .events()
        .iter()
        .filter(|event| event["event"] == "login")
        .count();
    assert_eq!(logins, 1);
}

#[test]
fn a_script_stops_at_its_first_failure_unless_told_otherwise() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    alice.feed(["shell"], b"mkdir a\nget missing\nmkdir b\n").exits(4);
    assert_eq!(alice.names("/"), ["a"]);
    alice
        .feed(["shell", "--keep-going"], b"get missing\nput\nmkdir c\n")
        .exits(4);
    assert_eq!(alice.names("/"), ["a", "c"]);
}

#[test]
fn a_script_may_end_without_a_last_newline() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    alice.feed(["shell"], b"mkdir a").ok();
    assert_eq!(alice.names("/"), ["a"]);
}

#[test]
fn a_wrong_password_ends_the_shell_before_any_command() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    alice
        .clone()
        .with_password("wrong")
        .feed(["shell"], b"mkdir a\n")
        .exits(3);
    assert!(alice.names("/").is_empty());
}

#[test]
fn a_pattern_sends_files_under_their_own_names_whatever_they_are_called() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    for name in ["--force", "a.mp4", "b.mp4"] {
        fs::write(alice.file(name), name).unwrap();
    }
    alice.feed(["shell"], b"put *.mp4 -f\n").ok();
    assert_eq!(alice.names("/"), ["a.mp4", "b.mp4"]);
    alice.feed(["shell"], b"mkdir d\nput *\nput -rt d *.mp4\n").exits(0);
    assert_eq!(alice.names("/"), ["--force", "a.mp4", "b.mp4", "d"]);
    assert_eq!(alice.names("/d"), ["a.mp4", "b.mp4"]);
}

#[test]
fn quotes_keep_a_name_on_the_server_from_being_a_pattern() {
    let rig = Rig::start();
    let alice = rig.cli("alice");
    let fill = || {
        for name in ["a*", "ab", r"a\*"] {
            fs::write(rig.home("alice").join(name), "").unwrap();
        }
    };
    alice.run(["pwd"]).ok();
    for line in ["rm 'a*'", r"rm a\*", r"mv 'a*' moved", "cp $'a*' copied"] {
        fill();
        alice.feed(["shell"], line.as_bytes());
        assert!(alice.names("/").contains(&"ab".to_owned()), "{line}");
        assert!(alice.names("/").contains(&r"a\*".to_owned()), "{line}");
    }
    fill();
    alice.feed(["shell"], b"rm 'a*'\nrm 'a*'\n").exits(4);
    assert!(alice.names("/").contains(&"ab".to_owned()));
    fill();
    alice.run(["rm", r"a\*"]).ok();
    alice.run(["rm", r"a\*"]).ok();
    assert_eq!(alice.names("/"), ["ab", "copied", "moved"]);
    fill();
    alice.feed(["shell"], br"rm a\**").ok();
    assert_eq!(alice.names("/"), [r"a\*", "ab", "copied", "moved"]);
    fill();
    alice.feed(["shell"], b"rm a?").ok();
    assert_eq!(alice.names("/"), [r"a\*", "copied", "moved"]);
}
