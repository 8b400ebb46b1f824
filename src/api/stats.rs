//! Figures about an open store.

use std::sync::Arc;
use std::time::SystemTime;

use crate::api::store::Store;
use crate::api::verify::frame_bytes;
use crate::values::error::Result;
use crate::values::revision::Revision;

/// What [`Store::stats`] reports about a store, as of about one moment. Counts "since the open"
/// begin at zero with each open. Sizes are in bytes.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// let counters = store.collection::<u64>("counters")?;
/// let first = counters.create("one", &1)?;
/// counters.replace("one", &2, first.etag())?;
/// assert!(counters.replace("one", &3, first.etag()).is_err());
///
/// let stats = store.stats()?;
/// assert_eq!((stats.items, stats.conflicts), (1, 1));
/// assert_eq!(stats.revision, stats.durable_revision);
/// // What the first version took in the journal is dead.
/// assert!(stats.live_bytes > 0 && stats.dead_bytes > 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Items in all collections, a count; expired ones count until they are swept.
    pub items: u64,
    /// The newest revision up to which every commit is visible to reads.
    pub revision: Revision,
    /// The newest revision up to which every commit is on stable storage.
    pub durable_revision: Revision,
    /// The newest revision that the index on disk is known to hold; an open after a crash replays
    /// what came after it.
    pub checkpoint_revision: Revision,
    /// When the last checkpoint since the open was made; `None` if there was none.
    pub checkpointed: Option<SystemTime>,
    /// Segment files of the journal, a count.
    pub segments: u64,
    /// Bytes in them, zeros filled in ahead included.
    pub journal_bytes: u64,
    /// Segments in which damaged frames were found since the open, a count. The open, any read of
    /// the journal and [`verify`](Store::verify) find them. Whole frames in them stay in use.
    /// Compaction does not touch them. An open with
    /// [`OnDamage::SkipDamaged`](crate::OnDamage::SkipDamaged) replaces them.
    pub damaged_segments: u64,
    /// Bytes of the journal that hold the newest version of an item, key and value included.
    pub live_bytes: u64,
    /// Bytes of the journal's frames that do not: superseded versions, tombstones, and what each
    /// commit takes in addition to its items.
    pub dead_bytes: u64,
    /// Bytes that the index occupies on disk.
    pub index_bytes: u64,
    /// Syncs of the journal since the open, a count.
    pub syncs: u64,
    /// Live snapshots; those that were given up are not counted.
    pub snapshots: u64,
    /// How many reads of an item the cache has answered since the open. An item that a find was led
    /// to by an index counts too, if the version found is the newest. Scans and gets through a
    /// snapshot do not count.
    pub cache_hits: u64,
    /// Such reads that the cache could not answer, a count.
    pub cache_misses: u64,
    /// Writes and batches that were refused since the open because of what was stored
    /// ([`AlreadyExists`](crate::Error::AlreadyExists),
    /// [`PreconditionFailed`](crate::Error::PreconditionFailed)), a count. The lost races
    /// that an update repeats are included.
    pub conflicts: u64,
    /// Whether an earlier failure has ended writing.
    pub poisoned: bool,
    /// The text of that failure.
    pub poison_cause: Option<Arc<str>>,
}

impl Store {
    /// Figures about the store. Costs one call to the system for each segment file and some for the
    /// index.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Io`](crate::Error::Io),
    /// [`Error::IndexUnavailable`](crate::Error::IndexUnavailable).
    ///
    /// See [`Stats`] for an example.
    pub fn stats(&self) -> Result<Stats> {
        let engine = self.engine()?;
        let (engine, journal) = (&engine, &engine.journal);
        let (_, content) = journal.content();
        // Before the frames: what is appended in between is then no live byte without a frame.
        let live_bytes = journal.segments().total_live_bytes();
        let frame_bytes = frame_bytes(&journal.extents());
        let poisoned = journal.is_poisoned();
        Ok(Stats {
            items: content.count.saturating_sub(engine.recorded_collections()),
            revision: Revision(journal.applied()),
            durable_revision: Revision(journal.durable()),
            checkpoint_revision: Revision(journal.checkpoint_revision()),
            checkpointed: engine.checkpointed(),
            segments: journal.segments().count() as u64,
            journal_bytes: journal.segments().total_bytes()?,
            damaged_segments: journal.segments().damaged() as u64,
            live_bytes,
            dead_bytes: frame_bytes.saturating_sub(live_bytes),
            // What cannot be measured at the moment does not fail the other figures.
            index_bytes: engine.index.size_on_disk_bytes().unwrap_or(0),
            syncs: journal.syncs(),
            snapshots: engine.snapshots.alive(),
            cache_hits: engine.counters.cache_hits(),
            cache_misses: engine.counters.cache_misses(),
            conflicts: engine.counters.conflicts(),
            poisoned,
            poison_cause: poisoned.then(|| journal.poison_cause()),
        })
    }
}
