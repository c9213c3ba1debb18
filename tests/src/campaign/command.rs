//! What is typed for an operation.

use super::lane::Scene;
use super::model::{Op, Resume};
use super::pool::Content;

/// The command lines of an operation of a lane whose directory is `root`; `step` is its number.
pub(super) fn lines(op: &Op, root: &str, step: u64, scene: &Scene<'_>) -> Vec<Vec<String>> {
    let remote = |path: &str| format!("/{root}/{path}");
    let mut args: Vec<String> = vec!["--json".to_owned()];
    if !scene.tls {
        args.push("--no-tls".to_owned());
    }
    let mut push = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
    let flag = |set: bool, flag: &'static str| if set { vec![flag] } else { vec![] };
    let resume_flag = |resume: &Resume| match resume {
        Resume::Auto => vec![],
        Resume::Always => vec!["--resume"],
        Resume::Never => vec!["--no-resume"],
    };
    let source = |content: Content| scene.pool.path(content).display().to_string();
    match op {
        Op::Put {
            content,
            to,
            force,
            resume,
        } => {
            push(&["put"]);
            push(&flag(*force, "--force"));
            push(&resume_flag(resume));
            push(&[&source(*content), &remote(to)]);
        }
        Op::PutStdin { to, force, .. } => {
            push(&["put"]);
            push(&flag(*force, "--force"));
            push(&["-", &remote(to)]);
        }
        Op::Race { contents, to } => {
            push(&["put", "--force"]);
            return contents
                .iter()
                .map(|content| [args.clone(), vec![source(*content), remote(to)]].concat())
                .collect();
        }
        Op::PutTree { variant } => {
            let root = format!("/{}", root);
            let tree = scene.pool.tree(*variant).display().to_string();
            push(&["put", "-r", "--force", "-t", &root, &tree]);
        }
        Op::Get {
            from,
            to,
            force,
            resume,
        } => {
            push(&["get"]);
            push(&flag(*force, "--force"));
            push(&resume_flag(resume));
            push(&[&remote(from), to]);
        }
        Op::GetTree { from } => push(&["get", "-r", "--force", &remote(from), &format!("t{}", step)]),
        Op::Rm { path, recursive, force } => {
            push(&["rm"]);
            push(&flag(*recursive, "-r"));
            push(&flag(*force, "--force"));
            push(&[&remote(path)]);
        }
        Op::Mv { from, to, force } => {
            push(&["mv"]);
            push(&flag(*force, "--force"));
            push(&[&remote(from), &remote(to)]);
        }
        Op::Cp { from, to, force } => {
            push(&["cp"]);
            push(&flag(*force, "--force"));
            push(&[&remote(from), &remote(to)]);
        }
        Op::Mkdir { path, parents } => {
            push(&["mkdir"]);
            push(&flag(*parents, "-p"));
            push(&[&remote(path)]);
        }
        Op::Discard { path } => push(&["uploads", "--discard", &remote(path)]),
        Op::Restore { path, force, .. } => {
            push(&["restore"]);
            push(&flag(*force, "--force"));
            push(&[&remote(path)]);
        }
        Op::Versions { path } => push(&["versions", &remote(path)]),
        Op::Purge { item, .. } => {
            // Numbers that are not there are passed over.
            let id = item.as_ref().map_or(u64::MAX, |(id, _)| *id);
            push(&["trash", "--delete", &id.to_string()]);
        }
    }
    vec![args]
}
