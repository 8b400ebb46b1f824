//! Figures about an open store.

use crate::revision::Revision;

/// What [`Store::stats`](crate::Store::stats) tells of a store, as of about one moment.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// store.collection::<u64>("counters")?.create("one", &1)?;
/// let stats = store.stats()?;
/// assert_eq!(stats.items, 1);
/// assert_eq!(stats.revision, stats.durable_revision);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Items in all collections.
    pub items: u64,
    /// The newest revision below which every commit is visible to reads.
    pub revision: Revision,
    /// The newest revision below which every commit is on stable storage.
    pub durable_revision: Revision,
    /// The newest revision that the table on disk is known to hold; an open after a crash replays
    /// what came after it.
    pub checkpoint_revision: Revision,
    /// Segment files of the journal.
    pub segments: u64,
    /// Bytes in them, zeros filled in ahead included.
    pub journal_bytes: u64,
    /// Bytes that the table occupies on disk.
    pub table_bytes: u64,
    /// Syncs of the journal since the store was opened.
    pub syncs: u64,
    /// Live snapshots; those that were given up are not counted.
    pub snapshots: u64,
    /// Whether an earlier failure ended writing.
    pub poisoned: bool,
}
