//! Sessions over in-memory pipes.
