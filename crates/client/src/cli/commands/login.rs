//! `login` and `logout`.

use std::sync::Arc;

use ftp_client::Target;
use serde::Serialize;

use super::super::args::{Global, LoginArgs, LogoutArgs};
use super::super::exit::Exit;
use super::super::failure::{Done, Failure, Stop};
use super::super::output::Output;
use super::super::plan::{self, Proof};
use super::super::profile::{Profile, Profiles};
use super::super::quote::quoted;
use super::super::session::{Session, Start, Tally};

#[derive(Debug, Serialize)]
struct Line<'a> {
    command: &'static str,
    server: String,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<bool>,
}

/// Prepares a login with the password, to the server named behind `login` or before it.
pub(crate) fn prepare(
    global: &Global,
    args: &LoginArgs,
    profiles: Profiles,
    output: &Arc<Output>,
) -> Result<Session, Stop> {
    let global = Global {
        server: args.target.clone().or_else(|| global.server.clone()),
        ..global.clone()
    };
    Session::new(&global, profiles, Arc::clone(output), Start::Home, Proof::Password)
}

/// Checks the password, and saves the key that it makes.
pub(crate) async fn login(session: &mut Session) -> Done {
    let keys = match session.client.login().await {
        Ok(keys) => keys,
        Err(error) => {
            let server = session.target.to_string();
            return Err(Failure::of("login", server.as_bytes(), &error, &session.situation).into());
        }
    };
    let profile = Profile {
        target: session.target.clone(),
        tls: session.tls(),
        keys,
    };
    // The key is all that was wanted; a goodbye that fails loses nothing.
    drop(session.client.quit().await);
    let path = session.profiles.save(&profile)?;
    if let Some((folder, mode)) = session.profiles.exposed() {
        let folder = quoted(folder.as_os_str().as_encoded_bytes());
        session.output.note(&format!(
            "others may write to {folder} (mode {mode:04o}), and put their own files in place of the saved key"
        ));
        session.output.hint("set FTP_CLI_CONFIG_DIR to a directory of your own");
    }
    let shown = path.to_string_lossy();
    if session.output.is_json() {
        session.output.object(&Line {
            command: "login",
            server: profile.target.to_string(),
            tls: profile.tls,
            profile: Some(&shown),
            default: None,
        })?;
    } else {
        let path = quoted(path.as_os_str().as_encoded_bytes());
        session
            .output
            .note(&format!("logged in as {}; the key is saved in {path}", profile.target));
    }
    Ok(())
}

/// Shows the saved servers.
pub(crate) fn list(profiles: &Profiles, output: &Output) -> Done {
    let default = profiles.default_target()?;
    let mut tally = Tally::default();
    for target in profiles.targets()? {
        let profile = match profiles.load(&target) {
            Ok(Some(profile)) => profile,
            Ok(None) => continue,
            Err(failure) => {
                tally.add(&failure, output)?;
                continue;
            }
        };
        let is_default = Some(&profile.target) == default.as_ref();
        let server = profile.target.to_string();
        if output.is_json() {
            output.object(&Line {
                command: "login",
                server,
                tls: profile.tls,
                profile: None,
                default: Some(is_default),
            })?;
        } else {
            let tls = if profile.tls { "" } else { "  without TLS" };
            let default = if is_default { "  default" } else { "" };
            output.line(&format!("{}{tls}{default}", quoted(server.as_bytes())))?;
        }
    }
    tally.finish()
}

/// Forgets saved servers.
pub(crate) fn logout(global: &Global, args: &LogoutArgs, profiles: &Profiles, output: &Output) -> Done {
    let targets: Vec<Target> = if args.all {
        profiles.targets()?
    } else {
        let typed = args.target.as_ref().or(global.server.as_ref());
        vec![plan::choose(plan::given(typed)?.as_ref(), profiles)?]
    };
    for target in &targets {
        if !profiles.forget(target)? {
            let failure = Failure::new(Exit::NotFound, "not_found", format!("{target} is not saved"));
            return Err(Stop::from(failure.hint("`ftp-cli login --list` shows what is")));
        }
        output.note(&format!("forgot {target}"));
    }
    Ok(())
}
