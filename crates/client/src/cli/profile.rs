//! Saved servers: a key in place of the password, and the remembered directory.
//!
//! One directory, `FTP_CLI_CONFIG_DIR` or `ftp-cli` in `XDG_CONFIG_HOME` or `~/.config`. Everything in
//! it is readable by its owner only, and so is the directory, unless the user made it:
//!
//! ```text
//! profiles/alice@host:2121.toml   user, server, TLS, derived SCRAM keys; 0600
//! state/alice@host:2121.toml      the remembered directory
//! default                         the name of the profile that logged in last
//! history                         the lines of the shell
//! ```

mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests;

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ftp_client::{DerivedKeys, RemotePath, Target};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::exit::Exit;
use super::failure::Failure;
use super::quote::quoted;

/// The form of the files written here. Another one is refused.
const VERSION: u32 = 1;

/// A server that was logged in to.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The server, with its user.
    pub(crate) target: Target,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// What stands for the password.
    pub(crate) keys: DerivedKeys,
}

/// The directory where profiles are kept.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    root: PathBuf,
    /// Whether the user chose it. Then other things may be in it, and its rights are the user's affair.
    is_chosen: bool,
}

impl Profiles {
    /// The directory that the environment names; it need not exist.
    pub(crate) fn from_env() -> Result<Self, Failure> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(root) = set("FTP_CLI_CONFIG_DIR") {
            return Ok(Self { root, is_chosen: true });
        }
        let root = set("XDG_CONFIG_HOME")
            .map(|path| path.join("ftp-cli"))
            .or_else(|| set("HOME").map(|path| path.join(".config/ftp-cli")))
            .ok_or_else(|| {
                Failure::new(
                    Exit::Failed,
                    "config",
                    "no directory for profiles: neither HOME nor XDG_CONFIG_HOME is set",
                )
                .hint("set FTP_CLI_CONFIG_DIR to a directory of your own")
            })?;
        Ok(Self { root, is_chosen: false })
    }

    /// Profiles in a directory of the caller's choice.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            is_chosen: true,
        }
    }

    /// The profile of exactly this user and server.
    pub(crate) fn load(&self, target: &Target) -> Result<Option<Profile>, Failure> {
        self.load_file(&self.profile_path(target))
    }

    /// The server that was logged in to last, if it is still saved.
    pub(crate) fn default_target(&self) -> Result<Option<Target>, Failure> {
        let path = self.root.join("default");
        let text = file::read(&path).map_err(|error| Failure::local("cannot read", &path, &error))?;
        // A torn or foreign file names no default; the next login writes it anew.
        let target = text.and_then(|text| text.trim().parse::<Target>().ok());
        Ok(target.filter(|target| target.user.is_some() && self.profile_path(target).exists()))
    }

    /// All saved servers, by name. What is in their files is not looked at.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, Failure> {
        let folder = self.root.join("profiles");
        let listing = match folder.read_dir() {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::local("cannot read", &folder, &error)),
        };
        let mut targets = Vec::new();
        for entry in listing {
            let name = entry
                .map_err(|error| Failure::local("cannot read", &folder, &error))?
                .file_name();
            targets.extend(target_of(&name));
        }
        targets.sort_by_key(Target::to_string);
        Ok(targets)
    }

    /// Saves the profile and makes it the default; answers with the file.
    pub(crate) fn save(&self, profile: &Profile) -> Result<PathBuf, Failure> {
        let path = self.profile_path(&profile.target);
        refuse_newer(&path)?;
        let form = ProfileFile {
            version: VERSION,
            server: profile.target.to_string(),
            tls: profile.tls,
            salt: STANDARD.encode(&profile.keys.salt),
            iterations: profile.keys.iterations,
            client_key: STANDARD.encode(profile.keys.client_key),
            server_key: STANDARD.encode(profile.keys.server_key),
        };
        let text = Zeroizing::new(toml::to_string(&form).expect("strings and numbers are always TOML"));
        let text = Zeroizing::new(format!("{PROFILE_HEAD}{}", *text));
        self.write(&path, &text)?;
        self.write(&self.root.join("default"), &format!("{}\n", profile.target))?;
        Ok(path)
    }

    /// Forgets everything about a server; whether there was anything.
    pub(crate) fn forget(&self, target: &Target) -> Result<bool, Failure> {
        let known = self.remove(&self.profile_path(target))?;
        self.remove(&self.state_path(target))?;
        let default = self.root.join("default");
        let is_default =
            file::read(&default).is_ok_and(|text| text.is_some_and(|text| text.trim() == target.to_string()));
        if is_default {
            self.remove(&default)?;
        }
        Ok(known)
    }

    /// The directory remembered for a user and server; `None` for the home.
    pub(crate) fn directory(&self, target: &Target) -> Result<Option<RemotePath>, Failure> {
        let path = self.state_path(target);
        let Some(text) = file::read(&path).map_err(|error| Failure::local("cannot read", &path, &error))? else {
            return Ok(None);
        };
        let form: StateFile = parse(&path, &text)?;
        RemotePath::from_wire(&form.directory)
            .map(Some)
            .map_err(|error| broken(&path, &error.to_string()))
    }

    /// Remembers the directory.
    pub(crate) fn set_directory(&self, target: &Target, directory: &RemotePath) -> Result<(), Failure> {
        let form = StateFile {
            version: VERSION,
            directory: directory.as_wire().to_owned(),
        };
        let text = toml::to_string(&form).expect("strings and numbers are always TOML");
        let path = self.state_path(target);
        refuse_newer(&path)?;
        self.write(&path, &text)
    }

    /// The file of the shell's history. Its directory is there, when it can be.
    pub(crate) fn history(&self) -> PathBuf {
        // Without a directory there is no history, which is no reason not to work.
        drop(self.make_root());
        self.root.join("history")
    }

    fn profile_path(&self, target: &Target) -> PathBuf {
        self.root.join("profiles").join(file_name(target))
    }

    fn state_path(&self, target: &Target) -> PathBuf {
        self.root.join("state").join(file_name(target))
    }

    fn load_file(&self, path: &Path) -> Result<Option<Profile>, Failure> {
        let text = match file::read_private(path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(file::ReadError::Io(error)) => return Err(Failure::local("cannot read", path, &error)),
            Err(file::ReadError::Exposed(mode)) => {
                let shown = quoted(path.as_os_str().as_encoded_bytes());
                let message = format!("others may read the saved key in {shown} (mode {mode:04o}), so it is not used");
                return Err(Failure::new(Exit::NotPermitted, "exposed_key", message).hint(format!(
                    "`chmod 600 {shown}` closes it; if somebody may have read it, change the password"
                )));
            }
        };
        let form: ProfileFile = parse(path, &text)?;
        form.profile().map(Some).map_err(|reason| broken(path, reason))
    }

    /// The directory and its permission bits, if others may write to it and so put their own files in
    /// place of saved ones.
    pub(crate) fn exposed(&self) -> Option<(&Path, u32)> {
        let mode = file::mode(&self.root).ok()?;
        (mode & 0o022 != 0).then_some((&self.root, mode))
    }

    fn make_root(&self) -> io::Result<()> {
        if self.is_chosen {
            file::make_directory(&self.root)
        } else {
            file::make_private_directory(&self.root)
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        let written = self.make_root().and_then(|()| {
            match path.parent() {
                Some(folder) if folder != self.root => file::make_private_directory(folder)?,
                _ => {}
            }
            file::replace(path, text)
        });
        written.map_err(|error| Failure::local("cannot write", path, &error))
    }

    fn remove(&self, path: &Path) -> Result<bool, Failure> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::local("cannot remove", path, &error)),
        }
    }
}

const PROFILE_HEAD: &str = "\
# Written by `ftp-cli login`. Whoever can read this file can log in as the user, on this server only,
# until the password is changed; `ftp-cli logout` removes it.
";

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    version: u32,
    server: String,
    tls: bool,
    salt: String,
    iterations: u32,
    client_key: String,
    server_key: String,
}

impl ProfileFile {
    fn profile(&self) -> Result<Profile, &'static str> {
        let target: Target = self.server.parse().map_err(|_| "`server` names no server")?;
        if target.user.is_none() {
            return Err("`server` names no user");
        }
        let key = |text: &str| {
            let raw = STANDARD.decode(text).map(Zeroizing::new).ok()?;
            raw.as_slice().try_into().ok()
        };
        Ok(Profile {
            target,
            tls: self.tls,
            keys: DerivedKeys {
                salt: STANDARD.decode(&self.salt).map_err(|_| "`salt` is not base64")?,
                iterations: self.iterations,
                client_key: key(&self.client_key).ok_or("`client_key` is not a key in base64")?,
                server_key: key(&self.server_key).ok_or("`server_key` is not a key in base64")?,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    version: u32,
    directory: String,
}

/// Judges the version before anything else: another one may mean anything by its keys.
fn parse<T: for<'a> Deserialize<'a>>(path: &Path, text: &str) -> Result<T, Failure> {
    /// Nothing but the version: whatever else is there is not copied, for it may be a key.
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<toml::Value>,
    }
    let fault = |error: toml::de::Error| broken(path, error.message());
    let versioned: Versioned = toml::from_str(text).map_err(fault)?;
    match versioned.version.as_ref().and_then(toml::Value::as_integer) {
        Some(version) if version == i64::from(VERSION) => {}
        Some(version) => {
            let reason = format!("it has version {version}, and this program knows version {VERSION}");
            return Err(broken(path, &reason));
        }
        None => return Err(broken(path, "it has no version")),
    }
    toml::from_str(text).map_err(fault)
}

/// Refuses to write over what a newer program has written. Whatever else is there is replaced.
fn refuse_newer(path: &Path) -> Result<(), Failure> {
    let version = || {
        let table: toml::Table = file::read(path).ok()??.parse().ok()?;
        table.get("version")?.as_integer()
    };
    match version() {
        Some(version) if version > i64::from(VERSION) => Err(broken(
            path,
            &format!("it has version {version}, and this program knows version {VERSION}"),
        )),
        _ => Ok(()),
    }
}

fn broken(path: &Path, reason: &str) -> Failure {
    let path = quoted(path.as_os_str().as_encoded_bytes());
    Failure::new(Exit::Failed, "config", format!("cannot use {path}: {reason}")).hint(format!(
        "remove {path} and run `ftp-cli login` again, or use the program that wrote it"
    ))
}

/// A server as the name of a file: readable, and nothing in it means anything to a file system.
fn file_name(target: &Target) -> String {
    let mut name = String::new();
    for byte in target.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'@' | b':' | b'_' | b'-' | b'[' | b']' => name.push(byte.into()),
            b'.' if !name.is_empty() => name.push('.'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name.push_str(".toml");
    name
}

/// The server of a file that [`file_name`] named; `None` for other files.
fn target_of(name: &OsStr) -> Option<Target> {
    let mut text = Vec::new();
    let mut rest = name.as_encoded_bytes().strip_suffix(b".toml")?;
    while let [first, more @ ..] = rest {
        rest = match more {
            [high, low, more @ ..] if *first == b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                text.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
                more
            }
            _ => {
                text.push(*first);
                more
            }
        };
    }
    let target: Target = String::from_utf8(text).ok()?.parse().ok()?;
    (target.user.is_some() && *file_name(&target) == *name).then_some(target)
}
