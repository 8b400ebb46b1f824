//! Types that need no store: tags, revisions, keys, items, preconditions, codecs, patches, errors.

pub(crate) mod checked_json;
pub(crate) mod codec;
pub(crate) mod damage;
#[cfg(feature = "bincode")]
pub(crate) mod depth;
pub(crate) mod error;
pub(crate) mod etag;
pub(crate) mod head;
pub(crate) mod history;
pub(crate) mod item;
pub(crate) mod key;
pub(crate) mod limits;
pub(crate) mod options;
#[cfg(feature = "json-patch")]
pub(crate) mod patch;
#[cfg(not(feature = "json-patch"))]
#[path = "no_patch.rs"]
pub(crate) mod patch;
pub(crate) mod precondition;
pub(crate) mod query;
pub(crate) mod retry;
pub(crate) mod revision;
pub(crate) mod short_bytes;
pub(crate) mod short_hash;
pub(crate) mod short_values;

/// A list that is mostly of one: then it needs no memory of its own.
pub(crate) type Few<T> = smallvec::SmallVec<[T; 1]>;
