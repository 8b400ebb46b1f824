//! What users see: the store and its collections, batches, snapshots, iterators, the change feed,
//! and maintenance.

// First, so that the store's own methods are documented before those of the other files.
pub(crate) mod store;

mod backup;
pub(crate) mod batch;
mod building;
pub(crate) mod collection;
mod compact;
pub(crate) mod feed;
pub(crate) mod find;
pub(crate) mod inspect;
pub(crate) mod iter;
mod own_writes;
pub(crate) mod snapshot;
pub(crate) mod stats;
mod submit;
pub(crate) mod verify;
