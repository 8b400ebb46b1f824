//! What the journal keeps under its locks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::journal::content_sum::Contents;
use crate::journal::frame::Position;
use crate::journal::gather::Gathering;
use crate::journal::in_flight::Flight;
use crate::journal::index_sums::IndexSum;
use crate::journal::manifest::{Manifest, ManifestFile};
use crate::journal::waiters::Waiters;
use crate::journal::watermark::Watermark;
use crate::storage::DiskFile;

/// MANIFEST as it is on disk.
#[derive(Debug)]
pub(crate) struct ManifestState {
    pub(crate) file: ManifestFile,
    pub(crate) current: Manifest,
}

/// Tombstones that compaction has dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purged {
    /// The revision of the newest of them, 0 for none.
    pub(crate) newest: u64,
    /// How often some were dropped. Those of one time need not be newer than those before.
    pub(crate) count: u64,
}

/// What the journal's lock protects.
#[derive(Debug)]
pub(crate) struct State {
    pub(super) next_revision: u64,
    /// The revision before the first of this session. Before that one is used, MANIFEST says that
    /// no later open uses a lower one.
    pub(super) opened_at: u64,
    pub(super) active: Option<Active>,
    /// Frames that nobody has begun to write; they belong at the end of the active segment.
    pub(super) buffer: Vec<u8>,
    /// Frames that the leader is writing, or failed to write: readers find them here.
    pub(super) flight: Option<Arc<Flight>>,
    /// What the last leader wrote, to be used again: empty, and its memory is kept.
    pub(super) spare: Option<Arc<Flight>>,
    /// With the thread that is syncing; here when nobody is.
    pub(super) watermark: Option<Watermark>,
    pub(super) appended: u64,
    pub(super) appended_bytes: u64,
    pub(super) written: u64,
    pub(super) synced: u64,
    /// Commits appended and not yet known to be applied, in order of revision.
    pub(super) unapplied: VecDeque<Unapplied>,
    pub(super) waiters: Waiters,
    /// How many wait until nobody writes or syncs.
    pub(super) idle_waiters: usize,
    pub(super) gathering: Gathering,
    pub(super) writing: bool,
    pub(super) syncing: bool,
    pub(super) failed: bool,
    pub(super) content: Contents,
    /// Count and sum over the rows of each secondary index, by the revision that declared it.
    pub(super) indexes: BTreeMap<u64, IndexSum>,
    /// Whether MANIFEST says that the store is open for writing.
    pub(super) opened_for_writing: bool,
}

#[derive(Debug)]
pub(super) struct Unapplied {
    pub(super) revision: u64,
    pub(super) applied: bool,
}

/// The segment that frames are appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u32,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next frame begins: after everything appended, written or not.
    pub(crate) tail: Position,
    /// Up to where the file is filled with frames or zeros.
    pub(crate) reserved: u64,
    /// The length at which the segment is sealed.
    pub(crate) capacity: u64,
    /// Whether the next frame begins a new segment in any case, as after a crash.
    pub(crate) must_rotate: bool,
}

impl State {
    /// The number of this session's revisions that are not synced, and one more.
    pub(super) fn unsynced_commits(&self) -> u64 {
        self.next_revision - self.synced_in_session()
    }

    /// The newest revision that is synced, or the one before the first of this session.
    pub(super) fn synced_in_session(&self) -> u64 {
        self.synced.max(self.opened_at)
    }
}
