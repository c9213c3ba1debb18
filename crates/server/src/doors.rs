//! The ways in. Each door speaks one protocol and makes the same calls to the site and its store;
//! doors never import each other.

pub(crate) mod native;
