//! Profiles as a disk, a torn write or an editor may leave them.

use std::path::Path;

use super::{Profile, ProfileFile, StateFile, broken, file_name, parse};
use ftp_client::{RemotePath, Target};

/// The text of a profile, of a remembered directory, and of a server's name.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "`cargo fuzz` reaches it"))]
pub fn profile(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let path = Path::new("/profiles/x.toml");
    if let Ok(form) = parse::<ProfileFile>(path, text) {
        match form.profile() {
            Ok(profile) => usable(&profile),
            Err(reason) => drop(broken(path, reason)),
        }
    }
    if let Ok(form) = parse::<StateFile>(path, text)
        && let Ok(directory) = RemotePath::from_wire(&form.directory)
    {
        directory.to_os_string();
    }
    if let Ok(target) = text.trim().parse::<Target>() {
        let name = file_name(&target);
        assert!(!name.contains(['/', '\0', '\n']) && !name.starts_with('.'), "{name}");
    }
}

fn usable(profile: &Profile) {
    assert!(profile.target.user.is_some());
    assert_eq!(profile.target.to_string().parse().as_ref(), Ok(&profile.target));
}
