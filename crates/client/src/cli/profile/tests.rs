use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn profile(server: &str) -> Profile {
    Profile {
        target: server.parse().unwrap(),
        tls: true,
        keys: DerivedKeys {
            salt: vec![1, 2, 3],
            iterations: 4096,
            client_key: [7; 32],
            server_key: [8; 32],
        },
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_saved_profile_comes_back_and_is_the_default() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(&dir.path().join("config"));
    let saved = profile("alice@host:2121");
    let path = profiles.save(&saved).unwrap();

    let loaded = profiles.load(&saved.target).unwrap().unwrap();
    assert_eq!(loaded.keys, saved.keys);
    assert_eq!(profiles.default_target().unwrap(), Some(saved.target));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&dir.path().join("config")), 0o700);
}

#[test]
fn a_directory_that_the_user_chose_keeps_its_rights() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let chosen = Profiles::at(dir.path());
    let path = chosen.save(&profile("alice@host")).unwrap();
    chosen.history();
    assert_eq!(mode(dir.path()), 0o777);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(chosen.exposed(), Some((dir.path(), 0o777)));

    let own = Profiles {
        is_chosen: false,
        ..chosen
    };
    own.save(&profile("bob@host")).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(own.exposed(), None);
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_remedy() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let path = profiles.save(&profile("alice@host")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let failure = profiles.load(&"alice@host".parse().unwrap()).unwrap_err();
    assert!(failure.message.contains("0640"), "{failure:?}");
    assert!(
        failure.hints.iter().any(|hint| hint.contains("chmod 600")),
        "{failure:?}"
    );
}

#[test]
fn another_version_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let saved = profile("alice@host");
    let path = profiles.save(&saved).unwrap();
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("version = 1", "version = 2\nnew_key = 3");
    fs::write(&path, text).unwrap();
    let failure = profiles.load(&saved.target).unwrap_err();
    assert!(failure.message.contains("version 2"), "{failure:?}");
}

#[test]
fn what_a_newer_program_wrote_is_not_written_over() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let profile = profile("alice@example.org:2121");
    let target = &profile.target;
    profiles.save(&profile).unwrap();
    let directory = RemotePath::from_wire("/dir").unwrap();
    profiles.set_directory(target, &directory).unwrap();
    for path in [profiles.profile_path(target), profiles.state_path(target)] {
        let newer = fs::read_to_string(&path)
            .unwrap()
            .replace("version = 1", "version = 2\nnew = 3");
        fs::write(&path, &newer).unwrap();
        let refused = if path == profiles.profile_path(target) {
            profiles.save(&profile).err().unwrap()
        } else {
            profiles.set_directory(target, &directory).unwrap_err()
        };
        assert!(refused.message.contains("version 2"), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        // What is broken may be replaced: logging in again is the remedy.
        fs::write(&path, "torn").unwrap();
    }
    profiles.save(&profile).unwrap();
    profiles.set_directory(target, &directory).unwrap();
}

#[test]
fn a_damaged_key_is_refused() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let saved = profile("alice@host");
    let path = profiles.save(&saved).unwrap();
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("client_key = \"", "client_key = \"AA");
    fs::write(&path, text).unwrap();
    assert!(profiles.load(&saved.target).unwrap_err().message.contains("client_key"));
}

#[test]
fn logging_out_forgets_key_directory_and_default() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let saved = profile("alice@host");
    profiles.save(&saved).unwrap();
    profiles
        .set_directory(&saved.target, &RemotePath::from("/films"))
        .unwrap();

    assert!(profiles.forget(&saved.target).unwrap());
    assert!(profiles.load(&saved.target).unwrap().is_none());
    assert!(profiles.directory(&saved.target).unwrap().is_none());
    assert!(profiles.default_target().unwrap().is_none());
    assert!(!profiles.forget(&saved.target).unwrap());
}

#[test]
fn a_profile_that_can_not_be_used_can_be_forgotten() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let (exposed, torn) = (profile("alice@host"), profile("a/b%@[::1]:99"));
    let path = profiles.save(&exposed).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(profiles.save(&torn).unwrap(), "torn").unwrap();
    fs::write(path.with_file_name("notes.toml"), "no server's").unwrap();
    let saved = profiles.targets().unwrap();
    assert_eq!(saved, [torn.target, exposed.target]);
    for target in saved {
        assert!(profiles.load(&target).is_err());
        assert!(profiles.forget(&target).unwrap());
    }
    assert!(profiles.targets().unwrap().is_empty());
}

#[test]
fn a_directory_is_remembered_for_each_user_and_server_whatever_its_name() {
    let dir = TempDir::new().unwrap();
    let profiles = Profiles::at(dir.path());
    let alice: Target = "alice@host".parse().unwrap();
    let odd = RemotePath::from_wire(&ftp_proto::encode_name(b"/a\n\xff")).unwrap();
    profiles.set_directory(&alice, &odd).unwrap();
    assert_eq!(profiles.directory(&alice).unwrap(), Some(odd));
    assert_eq!(profiles.directory(&"bob@host".parse().unwrap()).unwrap(), None);
}

#[test]
fn no_user_name_leads_out_of_the_directory() {
    for server in ["../../x@host", "a/b@host", ".@host", "a\0b@host"] {
        let name = file_name(&server.parse().unwrap());
        assert!(
            !name.contains('/') && !name.contains('\0') && !name.starts_with('.'),
            "{name}"
        );
    }
    assert_eq!(file_name(&"alice@[::1]:99".parse().unwrap()), "alice@[::1]:99.toml");
}
