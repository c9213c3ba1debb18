//! No image of the memory on a disk: it would hold verifiers, keys and passwords.

use std::io;

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};

/// Keeps this process from leaving a core dump and from being traced by others of the same user, until
/// [`permit_core_dumps`] says otherwise: before the configuration is read nobody knows what it wants.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn hold_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Gives back what [`hold_core_dumps`] took, and what becoming another user does; the limits are as whoever started
/// the process has set them.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn permit_core_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Forbids core dumps of this process and tracing by others of the same user, for good.
///
/// # Errors
/// When the kernel refuses, which a limit that is only lowered gives it no reason to.
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Core);
    // The hard limit as well, so that nothing in this process raises it again.
    (limit.current, limit.maximum) = (Some(0), Some(0));
    setrlimit(Resource::Core, limit)?;
    // The limit says nothing to a program that takes cores through a pipe; this does.
    hold_core_dumps()
}
