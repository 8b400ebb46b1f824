//! Embedded, persistent, versioned key-value and document store.
#![forbid(unsafe_code)]

mod background;
mod batch;
mod clock;
mod codec;
mod collection;
mod commit;
mod damage;
mod disk;
mod environment;
mod error;
mod etag;
mod finite;
mod item;
mod iter;
mod journal;
mod key;
mod opening;
mod options;
mod patch;
mod precondition;
mod retry;
mod revision;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod stats;
mod store;
mod sync;
mod table;
mod update;

pub use batch::Batch;
pub use codec::{Bincode, Codec, Json, Raw};
pub use collection::{Collection, Read};
pub use damage::Damage;
pub use error::{Conflict, Error, TableError};
pub use etag::{ETag, ParseETagError};
pub use item::{Item, Meta};
pub use iter::{Iter, Keys};
pub use options::{Durability, OnDamage, Options, Progress};
pub use patch::{Patch, PatchError};
pub use precondition::{ParseTagsError, Precondition, Tags};
pub use retry::RetryPolicy;
pub use revision::Revision;
pub use stats::Stats;
pub use store::Store;
pub use update::UpdateError;

/// The largest value in bytes: 64 MiB.
pub const MAX_VALUE_BYTES: usize = 64 << 20;
