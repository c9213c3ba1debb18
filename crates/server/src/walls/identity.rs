//! Who the server becomes, and that it stays so.

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{self, Gid, Group, Uid, User};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// A user of this machine with the group to have.
pub(super) struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Identity {
    /// Looks the names up.
    pub(super) fn find(user: &str, group: Option<&str>) -> Result<Self> {
        let shown = crate::escape::printable(user);
        let Some(found) = User::from_name(user).with_context(|| format!("cannot look up the user `{shown}`"))? else {
            bail!(
                "there is no user `{shown}`, whom `user` in [server] names; `useradd --system --shell \
                 /usr/sbin/nologin {shown}` makes one"
            );
        };
        ensure!(
            !found.uid.is_root(),
            "`user = \"{shown}\"` in [server] gives up nothing; name a user without rights, or none"
        );
        let gid = match group {
            None => found.gid,
            Some(group) => {
                let shown = crate::escape::printable(group);
                match Group::from_name(group).with_context(|| format!("cannot look up the group `{shown}`"))? {
                    Some(group) => group.gid,
                    None => {
                        bail!(
                            "there is no group `{shown}`, which `group` in [server] names; `groupadd --system {shown}` makes one"
                        )
                    }
                }
            }
        };
        Ok(Self {
            name: found.name,
            uid: found.uid,
            gid,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uid(&self) -> rustix::fs::Uid {
        rustix::fs::Uid::from_raw(self.uid.as_raw())
    }

    pub(super) fn gid(&self) -> rustix::fs::Gid {
        rustix::fs::Gid::from_raw(self.gid.as_raw())
    }

    /// Whether the process runs as this user already.
    pub(super) fn is_current(&self) -> bool {
        unistd::geteuid() == self.uid
    }

    /// Becomes this user with its groups, in all threads, and proves that there is no way back.
    pub(super) fn assume(&self) -> Result<()> {
        let Self { name, uid, gid } = self;
        let account = std::ffi::CString::new(name.as_str()).context("a user's name has no zero byte")?;
        // The groups first: without root's rights they could not be changed any more.
        unistd::initgroups(&account, *gid)
            .and_then(|()| unistd::setresgid(*gid, *gid, *gid))
            .and_then(|()| unistd::setresuid(*uid, *uid, *uid))
            .with_context(|| format!("the server cannot become the user `{name}`"))?;
        drop_capabilities().context("the capabilities of root cannot be given up")?;
        self.prove()
    }

    fn prove(&self) -> Result<()> {
        let ids = unistd::getresuid()?;
        let groups = unistd::getresgid()?;
        ensure!(
            [ids.real, ids.effective, ids.saved] == [self.uid; 3]
                && [groups.real, groups.effective, groups.saved] == [self.gid; 3],
            "the server did not become the user `{}` altogether",
            self.name
        );
        let root = Uid::from_raw(0);
        ensure!(
            unistd::setresuid(root, root, root).is_err() && unistd::setuid(root).is_err(),
            "the server could become root again, so it does not start"
        );
        Ok(())
    }
}

/// Gives up every capability, such as that to bind a low port, which is bound by now.
pub(super) fn drop_capabilities() -> Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    if capabilities(None)? == none {
        // A filter of system calls may forbid even to ask.
        return Ok(());
    }
    set_capabilities(None, none)?;
    ensure!(capabilities(None)? == none, "some capabilities are left");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_and_root_are_refused_with_what_to_do() {
        let error = |user: &str, group| Identity::find(user, group).err().unwrap().to_string();
        assert!(error("no-such-user-of-ftpd", None).contains("useradd --system"));
        assert!(error("root", None).contains("gives up nothing"));
        assert!(error("nobody", Some("no-such-group-of-ftpd")).contains("groupadd --system"));
    }
}
