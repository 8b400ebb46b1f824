//! What users see: the store and its collections, batches, snapshots, iterators, the change feed,
//! and maintenance.

mod backup;
pub(crate) mod batch;
pub(crate) mod collection;
mod compact;
pub(crate) mod feed;
pub(crate) mod iter;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod store;
mod submit;
pub(crate) mod verify;
