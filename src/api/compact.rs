//! Compaction on request.

use crate::api::store::Store;
use crate::engine::compaction::{Compaction, compact_everything};
use crate::values::error::Result;

impl Store {
    /// Takes expired items away, and reclaims what superseded versions and unneeded tombstones
    /// occupy in the journal, all of it at once. The store does so by itself, in the background and
    /// piece by piece, as soon as a good part of the journal is dead; calling this is of use before
    /// a copy, or when the disk is short.
    ///
    /// Others can read and write at the same time; while a [`backup`](Self::backup) is under way
    /// nothing is reclaimed. Costs a read of every segment of which more than a thirty-second is
    /// dead, and of neighbours small enough to be one, a rewrite of what lives in them, a look into
    /// the index for each of their entries, and some syncs; it needs free space for the largest
    /// rewritten segment, 64 MiB at most or with a history policy 256 MiB, and memory for the keys
    /// of one segment at a time.
    ///
    /// # Errors
    /// - [`Error::Io`](crate::Error::Io) when there is no space for the new segments; nothing is lost.
    /// - [`Error::Corrupt`](crate::Error::Corrupt) when a segment cannot be read; it is left as it is.
    /// - [`Error::CommitUnknown`](crate::Error::CommitUnknown) when taking expired items away was written and not synced.
    /// - [`Error::TooManySegments`](crate::Error::TooManySegments) when the list of segments is full.
    /// - [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed).
    ///
    /// See [`Compaction`] for an example.
    pub fn compact(&self) -> Result<Compaction> {
        compact_everything(self.shared())
    }
}
