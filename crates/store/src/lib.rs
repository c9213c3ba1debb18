//! Homes on disk: the only code that touches users' files.
//!
//! A [`Store`] opens [`Home`]s; every path is a [`FilePath`], which cannot leave its home. Uploads are
//! staged, proven and published by one rename; quota is reserved before the first byte; digests are
//! kept with the files they prove. This crate knows neither sockets nor frames nor passwords: every
//! way into the server makes these calls, so that what they promise holds for all of them.
//!
//! # Cancel safety
//!
//! Work on the disk happens on blocking threads and is never torn apart: a dropped future either has
//! not begun a change, or the change runs to its end with its accounting. Each function says which.
//! Everything here needs a Tokio runtime.
//!
//! # Memory
//!
//! A listing holds one page of 256 entries, an upload at most two chunks of its caller, a download the
//! caller's buffer, hashing and copying 256 KiB. No file and no directory is ever in memory whole.

mod blocking;
mod commit;
mod copy;
mod disk;
mod error;
mod home;
mod kept;
mod path;
mod quota;
mod read;
mod slots;
mod source;
mod staged;
mod staging;
mod store;
mod time;
mod tree;
mod upload;

pub use commit::Stored;
pub use disk::Kind;
pub use error::{Error, Result};
pub use home::{Entry, Home, Listing, Removed};
pub use path::{FilePath, MAX_COMPONENT_BYTES, MAX_COMPONENTS, MAX_PATH_BYTES, PathError, RESERVED_NAME};
pub use quota::{Quota, Usage};
pub use read::ReadFile;
pub use staging::StagedUpload;
pub use store::{Durability, Store, StoreOptions};
pub use time::Timestamp;
pub use upload::{Resume, Upload, UploadSpec};
