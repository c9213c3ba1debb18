//! What the control socket answers with. The commands show the same with `--json`.

use ftp_store::{Counted, Recount, ScrubFault, ScrubSummary};
use serde::{Deserialize, Serialize};

use crate::care::time_text;

/// How the server is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    /// The program's version.
    pub(crate) program: String,
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) uptime_seconds: f64,
    pub(crate) draining: bool,
    pub(crate) connections: usize,
    pub(crate) connections_before_login: usize,
    pub(crate) sessions_limit: usize,
    pub(crate) sessions_before_login_limit: usize,
    pub(crate) sessions_per_address_limit: usize,
    pub(crate) users: Vec<UserReport>,
    pub(crate) transfers: Vec<TransferReport>,
}

/// How one user is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserReport {
    pub(crate) user: String,
    pub(crate) sessions: usize,
    pub(crate) sessions_limit: usize,
    pub(crate) home: String,
    /// Absent while the home is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<UsageReport>,
}

/// What a home holds and may hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsageReport {
    pub(crate) used: u64,
    pub(crate) pending: u64,
    pub(crate) reserved: u64,
    pub(crate) entries: u64,
    pub(crate) uploads: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) entries_limit: Option<u64>,
}

/// A transfer that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TransferReport {
    pub(crate) session: u64,
    pub(crate) user: String,
    pub(crate) op: String,
    pub(crate) path: String,
    pub(crate) seconds: f64,
}

/// The counts of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) used: u64,
    pub(crate) entries: u64,
    pub(crate) pending: u64,
    pub(crate) uploads: u64,
}

impl From<Counted> for Counts {
    fn from(counted: Counted) -> Self {
        Self {
            used: counted.bytes,
            entries: counted.entries,
            pending: counted.pending,
            uploads: counted.uploads,
        }
    }
}

/// What a recount has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecountReport {
    pub(crate) user: String,
    /// On the disk, and in force now.
    pub(crate) found: Counts,
    /// What was in force; absent without a running server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counted: Option<Counts>,
    /// Whether what is staged was compared; it is not while uploads run.
    pub(crate) with_staged: bool,
}

impl RecountReport {
    pub(crate) fn new(user: &str, recount: &Recount) -> Self {
        Self {
            user: user.to_owned(),
            found: recount.found.into(),
            counted: Some(recount.counted.into()),
            with_staged: recount.with_staged,
        }
    }

    pub(crate) fn has_drift(&self) -> bool {
        self.counted.is_some_and(|counted| counted != self.found)
    }
}

/// Something that is wrong with a stored file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) user: String,
    /// In the home, in the form of the protocol: any bytes as text.
    pub(crate) path: String,
    /// `damaged` or `unreadable`.
    pub(crate) fault: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
}

impl Finding {
    pub(crate) fn new(user: &str, finding: &ftp_store::Finding) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let (user, path) = (
            user.to_owned(),
            ftp_proto::encode_name(finding.path.as_os_str().as_bytes()),
        );
        match &finding.fault {
            ScrubFault::Damaged {
                expected,
                found,
                size,
                modified,
            } => Self {
                user,
                path,
                fault: "damaged".to_owned(),
                expected: Some(expected.to_string()),
                found: Some(found.to_string()),
                size: Some(*size),
                modified: Some(time_text(*modified)),
                cause: None,
            },
            ScrubFault::Unreadable { cause } => Self {
                user,
                path,
                fault: "unreadable".to_owned(),
                cause: Some(cause.clone()),
                ..Self::default()
            },
        }
    }
}

/// What a scrub of a home has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScrubReport {
    pub(crate) user: String,
    pub(crate) sound: u64,
    pub(crate) damaged: u64,
    pub(crate) unreadable: u64,
    pub(crate) changed: u64,
    pub(crate) without_digest: u64,
    pub(crate) outdated: u64,
    pub(crate) other_version: u64,
    pub(crate) adopted: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

impl ScrubReport {
    pub(crate) fn new(user: &str, summary: &ScrubSummary, seconds: f64) -> Self {
        Self {
            user: user.to_owned(),
            sound: summary.sound,
            damaged: summary.damaged,
            unreadable: summary.unreadable,
            changed: summary.changed,
            without_digest: summary.without_digest,
            outdated: summary.outdated,
            other_version: summary.foreign,
            adopted: summary.adopted,
            bytes: summary.bytes,
            seconds,
        }
    }
}
