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
mod clock;
mod commit;
mod copy;
mod disk;
mod error;
mod escape;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod home;
mod kept;
mod last_folder;
mod leftovers;
mod nameless;
mod pace;
mod path;
mod prompt;
mod quota;
mod read;
mod scrub;
mod slots;
mod small;
mod source;
mod staged;
mod staging;
mod store;
mod time;
mod trash;
mod tree;
mod upload;
mod walk;

pub use commit::Stored;
pub use disk::{Kind, make_private_dir};
pub use error::{Error, Result};
pub use home::{Counted, Disposal, Entry, Home, Listing, Recount, Restored, TrashItem, Wanted, count_closed_home};
pub use pace::Pace;
pub use path::{FilePath, MAX_COMPONENT_BYTES, MAX_COMPONENTS, MAX_PATH_BYTES, PathError, RESERVED_NAME};
pub use quota::{Quota, TrashPolicy, Usage};
pub use read::ReadFile;
pub use scrub::{Finding, Part, Scrub, ScrubFault, ScrubOptions, ScrubSummary};
pub use small::SmallFile;
pub use staging::StagedUpload;
pub use store::{Durability, Store, StoreOptions};
pub use time::Timestamp;
pub use trash::Reason;
pub use upload::{Resume, SmallLane, SmallUpload, SmallWork, StagedListing, Upload, UploadSpec};
pub use walk::Removed;
