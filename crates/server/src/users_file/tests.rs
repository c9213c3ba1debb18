//! The file before and after each change.

use std::path::Path;
use std::thread;

use ftp_proto::Secret;
use ftp_proto::scram::Verifier;

use super::*;
use crate::config::Rights;

fn verifier(password: &str) -> Verifier {
    Verifier::with_salt(&Secret::new(password.to_owned()), b"0123456789abcdef", 4096).unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        name: name.to_owned(),
        verifier: verifier("first"),
        quota: None,
        max_files: None,
        home: None,
        rights: None,
    }
}

fn add(name: &str) -> Change {
    Change::Add(new_user(name))
}

fn remove(name: &str) -> Change {
    Change::Remove { name: name.to_owned() }
}

fn passwd(name: &str) -> Change {
    Change::Passwd {
        name: name.to_owned(),
        verifier: verifier("second"),
    }
}

/// A file in a directory of its own.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Self { directory };
        fs::write(fixture.path(), text).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn change(&self, change: &Change) -> Result<Changed, UsersFileError> {
        super::change(&self.path(), change)
    }
}

#[test]
fn a_user_is_added_at_the_end_and_not_a_character_before_changes() {
    let file = Fixture::new(EXAMPLE);
    let change = Change::Add(NewUser {
        quota: Some(10 << 30),
        max_files: Some(1000),
        home: Some("/data/alice".to_owned()),
        rights: Some(Rights {
            read: true,
            write: true,
            delete: false,
        }),
        ..new_user("alice")
    });
    file.change(&change).unwrap();
    let expected = format!(
        "{EXAMPLE}\n[users.alice]\nverifier = \"{}\"\nquota = \"10 GiB\"\nmax_files = 1000\nhome = \"/data/alice\"\n\
         rights = [\"read\", \"write\"]\n",
        verifier("first")
    );
    assert_eq!(file.text(), expected);
}

#[test]
fn adding_and_removing_users_ends_where_it_began() {
    let text = "# top\n[server]\nroot = 'h' # here\n\n# about users\n";
    let file = Fixture::new(text);
    file.change(&add("alice")).unwrap();
    file.change(&add("bob")).unwrap();
    file.change(&remove("alice")).unwrap();
    assert!(file.text().contains("[users.bob]"));
    file.change(&remove("bob")).unwrap();
    assert_eq!(file.text().trim_end(), text.trim_end());
}

#[test]
fn another_password_replaces_the_verifier_and_nothing_else() {
    let text = format!(
        "[users.alice]  # first\nverifier =  '{}'  # old\nquota='1 GiB'\n# end\n",
        verifier("first")
    );
    let file = Fixture::new(&text);
    file.change(&passwd("alice")).unwrap();
    let expected = text.replace(
        &format!("'{}'", verifier("first")),
        &format!("\"{}\"", verifier("second")),
    );
    assert_eq!(file.text(), expected);
}

#[test]
fn a_byte_order_mark_stays_in_front() {
    let text = format!("\u{feff}# first\n[users.alice]\nverifier = \"{}\"\n", verifier("first"));
    let file = Fixture::new(&text);
    file.change(&add("bob")).unwrap();
    file.change(&remove("bob")).unwrap();
    assert_eq!(file.text().trim_end(), text.trim_end());
}

#[test]
fn removing_a_user_keeps_every_comment_outside_the_table() {
    let verifier = verifier("first");
    let text = format!(
        "# top\n\n# alice\n[users.alice]\nverifier = '{verifier}'\n\n# bob\n[users.bob]\nverifier = '{verifier}'\n\n\
         # carol\n[users.carol]\nverifier = '{verifier}'\n\n# end\n"
    );
    let file = Fixture::new(&text);
    file.change(&remove("bob")).unwrap();
    file.change(&remove("carol")).unwrap();
    file.change(&remove("alice")).unwrap();
    let comments: Vec<_> = ["# top", "# alice", "# bob", "# carol", "# end"].into();
    assert_eq!(
        file.text().lines().filter(|line| !line.is_empty()).collect::<Vec<_>>(),
        comments
    );
}

#[test]
fn users_written_in_other_forms_can_be_changed_too() {
    let verifier = verifier("first");
    for text in [
        format!("users = {{ bob = {{ verifier = '{verifier}' }} }}\n"),
        format!("users.bob.verifier = '{verifier}'\n"),
        format!("[users]\nbob = {{ verifier = '{verifier}' }}\n\n[server]\nroot = 'r'\n"),
        format!("[users.bob]\nverifier = '{verifier}'"),
    ] {
        let file = Fixture::new(&text);
        let changed = file.change(&add("alice")).unwrap();
        assert_eq!(changed.after.unwrap().users.len(), 2, "{}", file.text());
        file.change(&passwd("bob")).unwrap();
        let changed = file.change(&remove("bob")).unwrap();
        assert_eq!(
            changed.after.unwrap().users.keys().collect::<Vec<_>>(),
            ["alice"],
            "{}",
            file.text()
        );
    }
}

#[test]
fn a_user_who_exists_or_does_not_is_refused_and_nothing_is_written() {
    let text = format!("[users.alice]\nverifier = '{}'\n", verifier("first"));
    let file = Fixture::new(&text);
    let cause = |error: UsersFileError| match error {
        UsersFileError::Edit { error, .. } => error.to_string(),
        other => other.to_string(),
    };
    assert!(cause(file.change(&add("alice")).unwrap_err()).contains("exists already"));
    assert!(cause(file.change(&remove("bob")).unwrap_err()).contains("no user `bob`; there are alice"));
    assert!(cause(file.change(&passwd("bob")).unwrap_err()).contains("no user `bob`"));
    assert_eq!(file.text(), text);
}

#[test]
fn a_change_that_would_bring_a_fault_is_refused_and_nothing_is_written() {
    let text = format!("[users.alice]\nverifier = '{}'\n", verifier("first"));
    let file = Fixture::new(&text);
    let change = Change::Add(NewUser {
        home: Some("homes/alice/below".to_owned()),
        ..new_user("bob")
    });
    let error = file.change(&change).unwrap_err();
    assert!(error.to_string().contains("overlaps"), "{error}");
    assert!(
        file.change(&add("a/b"))
            .unwrap_err()
            .to_string()
            .contains("cannot be a user name")
    );
    assert_eq!(file.text(), text);
}

#[test]
fn users_without_verifier_get_theirs_one_after_the_other() {
    let file = Fixture::new("[users.alice]\nquota = '1 GiB'\n[users.bob]\n");
    assert!(file.change(&passwd("alice")).unwrap().after.is_err());
    assert!(file.change(&passwd("bob")).unwrap().after.is_ok());
}

#[test]
fn the_mode_is_kept_and_no_other_file_is_left_behind() {
    let file = Fixture::new("");
    fs::write(file.directory.path().join("users.toml.tmp"), "from a killed run").unwrap();
    fs::set_permissions(file.path(), Permissions::from_mode(0o640)).unwrap();
    file.change(&add("alice")).unwrap();
    assert_eq!(file.path().metadata().unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(file.directory.path()).unwrap().count(), 1);
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let file = Fixture::new("");
    let link = file.directory.path().join("link.toml");
    std::os::unix::fs::symlink("users.toml", &link).unwrap();
    change(&link, &add("alice")).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(file.text().contains("[users.alice]"));
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let file = Fixture::new("");
    thread::scope(|scope| {
        for number in 0..8 {
            let file = &file;
            scope.spawn(move || {
                file.change(&add(&format!("user{number}"))).unwrap();
            });
        }
    });
    assert_eq!(Config::load(&file.path()).unwrap().users.len(), 8);
}

#[test]
fn a_new_file_is_private_and_never_replaces_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users.toml");
    create(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), EXAMPLE);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    fs::write(&path, "precious").unwrap();
    assert!(matches!(create(&path), Err(UsersFileError::Exists { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert!(matches!(
        create(Path::new("/nonexistent/users.toml")),
        Err(UsersFileError::Write { .. })
    ));
}
