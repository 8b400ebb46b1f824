//! Embedded, persistent, versioned key-value and document store.
#![forbid(unsafe_code)]

mod clock;
mod codec;
mod disk;
mod error;
mod etag;
mod finite;
mod item;
mod key;
mod patch;
mod precondition;
mod revision;
mod sync;
mod table;

pub use codec::{Bincode, Codec, Json, Raw};
pub use error::{Conflict, Error, TableError};
pub use etag::{ETag, ParseETagError};
pub use item::{Item, Meta};
pub use patch::{Patch, PatchError};
pub use precondition::{ParseTagsError, Precondition, Tags};
pub use revision::Revision;

/// The largest value in bytes: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 << 20;
