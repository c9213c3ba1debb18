//! Disks that fail: whatever call fails, whichever way, nothing is lost, nothing is miscounted, and it goes on.

mod client;
mod disks;
mod positions;
