//! What every home must do, whatever stands behind it: the contract of the store, by its public API.
//!
//! The tests look at the disk only to prepare it as an administrator would and to check the counts
//! against a walk.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod closed;
mod confinement;
mod copies;
mod crash;
mod digests;
mod groups;
mod listing;
mod mounts;
mod names;
mod paths;
mod prompt;
mod quota;
mod races;
mod random;
mod recount;
mod resume;
mod rig;
mod scrub;
mod specials;
mod trash;
mod trash_races;
mod uploads;
