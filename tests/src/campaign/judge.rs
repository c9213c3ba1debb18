//! Whether a command ended as it may have, and said what it should.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Checked;
use super::lane::{Ended, Lane, Scene};
use super::model::{Expected, Node, Op, Resume, Stored, Tree, exit};
use super::plan::Trouble;
use super::pool::Content;

/// The largest file that goes without asking, and so without a resume.
const SMALL_BYTES: u64 = 262_144;

/// The file at a path, if one is known to be there.
pub(super) fn file(tree: &Tree, path: &str) -> Option<Stored> {
    match tree.get(path) {
        Some(Node::File(stored)) => Some(*stored),
        _ => None,
    }
}

/// The names below the lane's directory that were acknowledged one by one.
pub(super) fn acknowledged(lines: &[Value], root: &str) -> BTreeSet<String> {
    lines
        .iter()
        .filter(|line| line["outcome"].as_str().is_some_and(|outcome| outcome != "failed"))
        .filter_map(|line| line["remote"].as_str()?.strip_prefix(&format!("/{root}/")))
        .map(str::to_owned)
        .collect()
}

/// Judges exit code and words.
pub(super) fn ending(op: &Op, expected: &Expected, ended: &Ended, has_quota: bool, scene: &Scene<'_>) -> Checked {
    let say = |what: &str| Err(format!("{what}: {op:?} ended with {:?}", ended.code));
    words(op, ended)?;
    let hit = |what: fn(Trouble) -> bool| ended.fired.iter().any(|harm| what(harm.what));
    let Some(code) = ended.code else {
        return match hit(Trouble::kills) {
            true => Ok(()),
            false => say("a signal that nobody sent"),
        };
    };
    let disturbed = ended.disturbed() || scene.server_trouble;
    let lost_at_login = failures(ended).any(|failure| failure["command"] == "login");
    let flipped_in_the_open = !scene.tls && hit(|what| what == Trouble::Flip);
    let may_be = match code {
        _ if code == expected.exit => true,
        exit::SPACE => has_quota,
        // The newer of two uploads to one name takes over from the older one.
        exit::FAILED
            if matches!(op, Op::Race { .. })
                && failures(ended).any(|failure| failure["error"]["code"] == "taken_over") =>
        {
            true
        }
        _ if !disturbed => false,
        exit::INTERRUPTED => hit(|what| what == Trouble::Interrupt),
        exit::CONNECTION if lost_at_login => true,
        // A request that was sent and may have been done is not repeated, and a stream that went by cannot be.
        exit::CONNECTION if !op.is_retried() => true,
        // Nor is a listing after its first page; each file goes on by itself.
        exit::CONNECTION if matches!(op, Op::GetTree { .. }) => {
            !failures(ended).any(|failure| failure["error"]["exit"] == code && !failure["outcome"].is_null())
        }
        exit::FAILED | exit::LOGIN | exit::MISMATCH | exit::CONNECTION => flipped_in_the_open,
        _ => false,
    };
    if !may_be {
        return say(&format!("not a fitting end, {} was expected", expected.exit));
    }
    if code == exit::DONE
        && ended
            .lines
            .iter()
            .any(|line| line["outcome"] == "failed" || !line["error"].is_null())
    {
        return say("success, although something failed");
    }
    Ok(())
}

fn failures(ended: &Ended) -> impl Iterator<Item = &Value> {
    ended.lines.iter().filter(|line| !line["error"].is_null())
}

/// Whatever fails is told with its name and a next step, and nothing looks like a crash.
fn words(op: &Op, ended: &Ended) -> Checked {
    let say = |what: &str| Err(format!("{what}: {op:?} ended with {:?}", ended.code));
    if ended.lines.iter().any(Value::is_null) {
        return say("a line of standard output that is no JSON");
    }
    let crashed = |text: &str| text.contains("panicked") || text.contains("RUST_BACKTRACE");
    if crashed(&ended.stderr) {
        return say("the client panicked");
    }
    if ended.stderr.chars().any(|char| char.is_control() && char != '\n') {
        return say("control characters on standard error");
    }
    let Some(code) = ended.code.filter(|code| *code != exit::DONE) else {
        return Ok(());
    };
    if code == exit::INTERRUPTED {
        let word = match op {
            Op::PutStdin { .. } => "run it again from the start",
            _ if op.is_retried() => "goes on from there",
            _ => return Ok(()),
        };
        return match ended.stderr.contains(word) {
            true => Ok(()),
            false => say("no word on how to go on"),
        };
    }
    let Some(worst) = failures(ended).find(|failure| failure["error"]["exit"] == code) else {
        return say("no failure with that code was told");
    };
    if worst["error"]["message"].as_str().is_none_or(str::is_empty) {
        return say("a failure without a reason");
    }
    let names = ["path", "name", "local", "remote"].map(|key| worst[key].as_str().unwrap_or_default());
    let subject = op.subject().rsplit('/').next().unwrap_or_default();
    let tells_which =
        matches!(op, Op::Purge { .. }) || worst["command"] == "login" || names.iter().any(|name| !name.is_empty());
    let tells_it = matches!(
        op,
        Op::PutTree { .. } | Op::GetTree { .. } | Op::Put { .. } | Op::Race { .. } | Op::Purge { .. }
    ) || worst["command"] == "login"
        || matches!(op, Op::PutStdin { .. })
        || names
            .iter()
            .any(|name| name.contains(subject) || op_target_is(op, name));
    if !tells_which || !tells_it {
        return say(&format!("a failure that does not say which file: {worst}"));
    }
    let has_hint = worst["error"]["hints"]
        .as_array()
        .is_some_and(|hints| !hints.is_empty());
    if code == exit::CONNECTION && !has_hint {
        return say(&format!("a lost connection without a next step: {worst}"));
    }
    Ok(())
}

/// A target that could not be looked at is told by its own name.
fn op_target_is(op: &Op, name: &str) -> bool {
    match op {
        Op::Mv { to, .. } | Op::Cp { to, .. } => name.ends_with(to.as_str()),
        _ => false,
    }
}

/// Every version that has to be there is listed, and nothing else.
pub(super) fn versions(lane: &Lane, path: &str, ended: &Ended) -> Checked {
    let at = lane.remote(path);
    if let Some(other) = ended.lines.iter().find(|line| line["path"] != at.as_str()) {
        return Err(format!("versions of {at} were asked for, and this is listed: {other}"));
    }
    let least = if lane.has_quota { 0 } else { lane.lost.versions(path) };
    if ended.lines.len() < least {
        return Err(format!(
            "{at} has {least} versions, and these are listed: {:?}",
            ended.lines
        ));
    }
    Ok(())
}

/// What an acknowledged upload tells to have moved, kept and repaired.
pub(super) fn sent_figures(
    lane: &Lane,
    to: &str,
    content: Content,
    resume: Resume,
    ended: &Ended,
    scene: &Scene<'_>,
) -> Checked {
    if ended.disturbed() || scene.server_trouble {
        return Ok(());
    }
    let Some(line) = ended.lines.first().filter(|line| line["outcome"] != "identical") else {
        return Ok(());
    };
    let held = lane.held.get(to);
    let asks = content.bytes() > SMALL_BYTES || resume == Resume::Always;
    let kept = match (held, resume) {
        (None, _) | (_, Resume::Never) => Some(0),
        _ if !asks => Some(0),
        (Some(held), _) => match held.from {
            // Size and time of another content may be the same: then what differs is found by its blocks.
            Some(from) if from.content == content && (from.announced || resume == Resume::Always) => Some(held.bytes),
            Some(from) if !from.announced && resume == Resume::Auto => Some(0),
            _ => None,
        },
    };
    figures(line, content.bytes(), kept, kept.is_some())
}

/// What a finished download tells to have moved, kept and repaired.
pub(super) fn fetched_figures(
    lane: &Lane,
    to: &str,
    source: Stored,
    resume: Resume,
    part: Option<u64>,
    ended: &Ended,
    scene: &Scene<'_>,
) -> Checked {
    if ended.disturbed() || scene.server_trouble {
        return Ok(());
    }
    let Some(line) = ended.lines.first().filter(|line| line["outcome"] != "identical") else {
        return Ok(());
    };
    let origins = lane.fetched.get(to).map(Vec::as_slice).unwrap_or_default();
    let kept = match part {
        _ if resume == Resume::Never => Some(0),
        None | Some(0) => Some(0),
        Some(part) if !origins.is_empty() && origins.iter().all(|origin| *origin == Some(source)) => Some(part),
        Some(_) => None,
    };
    figures(line, source.content.bytes(), kept, kept.is_some())
}

/// Demands that all bytes are accounted for, and as many kept as were held.
pub(super) fn figures(line: &Value, size: u64, kept: Option<u64>, intact: bool) -> Checked {
    let number = |name: &str| line[name].as_u64().unwrap_or(u64::MAX);
    let (told_kept, moved) = (number("kept"), number("moved"));
    let adds_up = told_kept.checked_add(moved) == Some(size);
    let as_held = kept.is_none_or(|kept| told_kept == kept.min(size));
    let unharmed = !intact || number("repaired") == 0;
    if number("size") == size && adds_up && as_held && unharmed {
        return Ok(());
    }
    Err(format!(
        "figures that are not so, of {size} bytes with {kept:?} held: {line}"
    ))
}
