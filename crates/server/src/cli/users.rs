//! `ftpd user`: add, passwd, remove, list.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use ftp_proto::scram::Verifier;
use serde_json::json;

use crate::config::{self, Config, Rights, UserConfig, show_size};
use crate::users_file::{Change, Changed, NewUser, change};
use crate::{escape, output, prompt};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the password is asked for
    Add(AddArgs),
    /// Change the password of a user
    Passwd(PasswdArgs),
    /// Remove a user; the files stay
    Remove {
        /// The user
        name: String,
    },
    /// List the users
    List {
        /// One JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Letters, digits and . _ - @ +, at most 64 bytes
    #[arg(value_parser = name)]
    name: String,
    /// The most the home may hold, such as 10GiB [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size)]
    quota: Option<u64>,
    /// The most files and directories the home may hold [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX.unsigned_abs()))]
    max_files: Option<u64>,
    /// The directory that the user sees as / [default: NAME below the root of the homes]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Any of read, write, delete, separated by commas [default: all]
    #[arg(long, value_name = "RIGHTS", value_parser = rights)]
    rights: Option<Rights>,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Debug, Args)]
pub(super) struct PasswdArgs {
    /// The user
    name: String,
    #[command(flatten)]
    password: PasswordArgs,
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// Take the first line of standard input as the password, and ask nothing
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    fn verifier(&self, name: &str) -> anyhow::Result<Verifier> {
        let password = prompt::new_password(name, self.password_stdin)?;
        Verifier::from_password(&password).context("no verifier can be made of this password")
    }
}

pub(super) fn run(file: &Path, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add(args) => add(file, &args),
        UserCommand::Passwd(args) => passwd(file, &args),
        UserCommand::Remove { name } => remove(file, &name),
        UserCommand::List { json } => list(&Config::load(file)?, json),
    }
}

fn add(file: &Path, args: &AddArgs) -> anyhow::Result<()> {
    // Before the password is asked for twice in vain.
    if let Some(user) = current(file)?.and_then(|config| config.users.get(&args.name).cloned()) {
        anyhow::bail!(
            "user `{0}` exists already, with the home {1}; `ftpd --config {2} user passwd {0}` changes the password",
            args.name,
            shown(&user.home),
            file.display()
        );
    }
    let home = args.home.as_deref().map(absolute).transpose()?;
    let user = NewUser {
        verifier: args.password.verifier(&args.name)?,
        name: args.name.clone(),
        quota: args.quota,
        max_files: args.max_files,
        home,
        rights: args.rights,
    };
    let changed = change(file, &Change::Add(user))?;
    let mut text = format!("added {}", args.name);
    if let Some(user) = changed
        .after
        .as_ref()
        .ok()
        .and_then(|config| config.users.get(&args.name))
    {
        text = format!("{text}: {}", describe(user));
    }
    done(&text, &changed)
}

fn passwd(file: &Path, args: &PasswdArgs) -> anyhow::Result<()> {
    if let Some(config) = current(file)?
        && !config.users.contains_key(&args.name)
    {
        anyhow::bail!(
            "there is no user `{}` in {}; `user list` shows those there are",
            escape::printable(&args.name),
            file.display()
        );
    }
    let name = args.name.clone();
    let verifier = args.password.verifier(&name)?;
    let changed = change(file, &Change::Passwd { name, verifier })?;
    done(&format!("changed the password of {}", args.name), &changed)
}

fn remove(file: &Path, name: &str) -> anyhow::Result<()> {
    let changed = change(file, &Change::Remove { name: name.to_owned() })?;
    let mut text = format!("removed {name}");
    if let Some(user) = changed.before.as_ref().ok().and_then(|config| config.users.get(name)) {
        text = format!("{text}; the files stay in {}", shown(&user.home));
    }
    done(&text, &changed)
}

fn list(config: &Config, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let users: Vec<_> = config
            .users
            .iter()
            .map(|(name, user)| {
                json!({
                    "name": name,
                    "quota": user.quota,
                    "max_files": user.max_files,
                    "max_sessions": user.max_sessions,
                    "max_upload": user.max_upload,
                    "max_download": user.max_download,
                    "rights": user.rights.names(),
                    "home": user.home.to_string_lossy(),
                })
            })
            .collect();
        output::result(&format!("{:#}\n", serde_json::Value::from(users)))?;
        return Ok(());
    }
    output::result(&config::show_users(config))?;
    Ok(())
}

/// Says what was done, and what is still to be done.
fn done(text: &str, changed: &Changed) -> anyhow::Result<()> {
    output::result(&format!("{text}\na running server picks this up by itself\n"))?;
    if let Err(faults) = &changed.after {
        output::warning(
            "the file has other faults, and the server keeps the old configuration until they are corrected:",
        );
        for line in faults.lines() {
            output::note(&format!("  {line}"));
        }
    }
    Ok(())
}

/// The configuration, or nothing when it has faults that a change may mend. A file that cannot be
/// read is an error at once.
fn current(file: &Path) -> anyhow::Result<Option<Config>> {
    match Config::load(file) {
        Ok(config) => Ok(Some(config)),
        Err(faults) if faults.faults.iter().any(|fault| fault.position.is_none()) => Err(faults.into()),
        Err(_) => Ok(None),
    }
}

fn describe(user: &UserConfig) -> String {
    let quota = user
        .quota
        .map_or_else(|| "no quota".to_owned(), |bytes| format!("quota {}", show_size(bytes)));
    format!("{quota}, rights {}, home {}", user.rights, shown(&user.home))
}

/// A path from the command line means the directory that the person is in.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path).with_context(|| format!("{} is no path", shown(path)))?;
    match absolute.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(_) => anyhow::bail!(
            "{} is not UTF-8 and cannot be written in the configuration",
            shown(path)
        ),
    }
}

fn shown(path: &Path) -> String {
    escape::printable(&path.to_string_lossy()).into_owned()
}

fn name(text: &str) -> Result<String, String> {
    config::check_name(text).map(|()| text.to_owned())
}

fn rights(text: &str) -> Result<Rights, String> {
    config::parse_rights(text.split(',').map(str::trim)).map_err(|complaint| complaint.message)
}
