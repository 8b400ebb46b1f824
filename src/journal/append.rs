//! Appending: how a commit gets its revision and its place in the journal.
//!
//! A writer appends its frame to a buffer under the journal's short lock, applies it to the index
//! outside of it, and then waits, see [`group_commit`](crate::journal::group_commit), until the
//! frame is written (`Eventual`) or synced (`Immediate`).
//!
//! **Lock order:** stripe → `state` → `manifest` or the notifier's lock. Nothing here takes a
//! stripe.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::journal::content_sum::{ContentSum, Contents};
use crate::journal::copy_guard::CopyCount;
use crate::journal::frame::{EntryRecord, FrameBuilder};
use crate::journal::gather::Gathering;
use crate::journal::index_sums::{IndexMove, move_sums};
use crate::journal::manifest::SegmentRecord;
use crate::journal::notify::Notifier;
use crate::journal::prepared::PreparedSegment;
use crate::journal::recover::Recovered;
use crate::journal::reserve::Reserve;
use crate::journal::revision_skip::REVISION_SKIP;
use crate::journal::room::Room;
use crate::journal::segments::Segments;
use crate::journal::state::{ManifestState, Purged, State, Unapplied};
use crate::journal::waiters::{Goal, Marks, Waiters, Woken};
use crate::seams::entropy::Entropy;
use crate::seams::sync::{
    AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, lock_soon,
};
use crate::storage::Disk;
use crate::storage::layout::segment_path;
use crate::values::Few;
use crate::values::error::Result;
use crate::values::etag::{ETag, PendingTag};
use crate::values::key::ItemKey;
use crate::values::options::Durability;

/// Un-synced commits after which a writer syncs first: half of what an unclean open skips.
const MAX_UNSYNCED_COMMITS: u64 = REVISION_SKIP / 2;

/// The journal of an open store.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) store: PathBuf,
    pub(super) entropy: Entropy,
    pub(super) incarnation: [u8; 16],
    pub(super) durability: Durability,
    pub(super) state: Mutex<State>,
    /// Taken after `state` where both are held.
    pub(super) manifest: Mutex<ManifestState>,
    /// Taken between these two.
    pub(super) prepared: Mutex<Option<PreparedSegment>>,
    /// The number of a segment that was made ahead, or is being made; 0 for none. Set under
    /// `manifest`.
    pub(super) prepared_number: AtomicU32,
    /// Signalled when nobody writes or syncs any more, or when writing has ended.
    pub(super) idle: Condvar,
    pub(super) segments: Segments,
    pub(super) copies: CopyCount,
    pub(super) reserve: Arc<Reserve>,
    /// Segments that were dropped and whose files are still there. This lock is taken last of all.
    pub(super) dropped_files: Mutex<Vec<u32>>,
    /// Held by the thread that removes them; taken before `dropped_files`.
    pub(super) removing: Mutex<()>,
    /// Up to where the active segment's file holds what was appended: segment in the upper half,
    /// offset in the lower.
    pub(super) written_up_to: AtomicU64,
    /// As [`State::appended`], [`State::written`] and [`State::synced`], for readers without the
    /// lock.
    pub(super) appended: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) synced: AtomicU64,
    pub(super) applied: AtomicU64,
    pub(super) durable: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) failed: AtomicBool,
    /// The text of the first failure; set before `failed` is.
    pub(super) cause: OnceLock<Arc<str>>,
    pub(super) notifier: Arc<Notifier>,
}

/// A commit, complete except for what the journal assigns: revision, tags and place.
#[derive(Debug, Default)]
pub(crate) struct PreparedCommit {
    pub(crate) frame: FrameBuilder,
    pub(crate) entries: Few<PreparedEntry>,
    /// What the tags of the entries are computed from.
    pub(crate) tags: Vec<u8>,
    /// What the commit does to the sums of secondary indexes.
    pub(crate) index_moves: Vec<IndexMove>,
}

/// One entry of a [`PreparedCommit`].
#[derive(Debug)]
pub(crate) struct PreparedEntry {
    pub(crate) key: ItemKey,
    pub(crate) parent: Option<ETag>,
    pub(crate) leaves_item: bool,
    pub(crate) tag: PendingTag,
    pub(crate) record: EntryRecord,
    /// Set by [`Journal::append`].
    pub(crate) etag: ETag,
}

/// Where a commit was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) revision: u64,
    pub(crate) segment: u32,
    pub(crate) frame_offset: u32,
    /// Whether the segment is nearly full since this commit: it should be synced now, so that its
    /// seal syncs little while every writer waits.
    pub(crate) is_seal_near: bool,
}

/// Where the journal ends, for deciding on a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendPosition {
    pub(crate) segment: u32,
    /// Frame bytes appended since the store was opened.
    pub(crate) appended_bytes: u64,
}

/// A segment and how far its frames in the file reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) number: u32,
    /// No frame in it is of a lower revision.
    pub(crate) first_revision: u64,
    /// `u64::MAX` while frames are still appended.
    pub(crate) last_revision: u64,
    pub(crate) end_offset: u64,
}

impl Journal {
    /// Locks the state, which is held for about a microsecond at a time.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock_soon(&self.state)
    }

    /// The revisions that the journal has reached, read without its lock.
    pub(super) fn marks(&self) -> Marks {
        Marks {
            written: self.written.load(Ordering::Acquire),
            synced: self.synced.load(Ordering::Acquire),
            applied: self.applied.load(Ordering::Acquire),
        }
    }

    /// The journal that an open has recovered. `content` is the count and sum of each collection's
    /// items.
    pub(crate) fn new(
        recovered: Recovered,
        content: Contents,
        segments: Segments,
        entropy: Entropy,
        durability: Durability,
    ) -> Self {
        let Recovered { disk, store, manifest_file, manifest, watermark, active, .. } = recovered;
        let (last, next_revision) = (recovered.last_revision, recovered.next_revision);
        let written_up_to = active.as_ref().map_or(0, |a| pack(a.number, a.tail.offset));
        let reserve = Reserve::new(&disk, &store);
        Self {
            disk,
            store,
            entropy,
            incarnation: manifest.incarnation,
            durability,
            state: Mutex::new(State {
                next_revision,
                opened_at: next_revision - 1,
                active,
                buffer: Vec::new(),
                flight: None,
                spare: None,
                watermark: Some(watermark),
                appended: last,
                appended_bytes: 0,
                written: last,
                synced: last,
                unapplied: VecDeque::new(),
                waiters: Waiters::default(),
                idle_waiters: 0,
                gathering: Gathering::default(),
                writing: false,
                syncing: false,
                failed: false,
                content,
                indexes: BTreeMap::new(),
                opened_for_writing: false,
            }),
            manifest: Mutex::new(ManifestState { file: manifest_file, current: manifest }),
            prepared: Mutex::new(None),
            prepared_number: AtomicU32::new(0),
            idle: Condvar::new(),
            segments,
            copies: CopyCount::default(),
            reserve,
            dropped_files: Mutex::new(Vec::new()),
            removing: Mutex::new(()),
            written_up_to: AtomicU64::new(written_up_to),
            appended: AtomicU64::new(last),
            written: AtomicU64::new(last),
            synced: AtomicU64::new(last),
            applied: AtomicU64::new(last),
            durable: AtomicU64::new(last),
            syncs: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            cause: OnceLock::new(),
            notifier: Arc::new(Notifier::new(last)),
        }
    }

    pub(crate) fn incarnation(&self) -> &[u8; 16] {
        &self.incarnation
    }

    /// Wakes the threads and tasks that follow the journal.
    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    pub(crate) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// How often the journal was synced since it was opened.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The revision of the last checkpoint.
    pub(crate) fn checkpoint_revision(&self) -> u64 {
        self.manifest.lock().current.checkpoint.revision
    }

    /// Which tombstones compaction has dropped.
    pub(crate) fn purged(&self) -> Purged {
        let manifest = &self.manifest.lock().current;
        Purged { newest: manifest.purge_floor, count: manifest.purges }
    }

    /// Does what a compaction records when it drops a tombstone.
    #[cfg(test)]
    pub(crate) fn note_purge(&self, revision: u64) {
        let manifest = &mut self.manifest.lock().current;
        manifest.purge_floor = manifest.purge_floor.max(revision);
        manifest.purges += 1;
    }

    /// Assigns a commit its revision, its tags and its place in the journal. From then on the
    /// commit *is* made: the caller applies it and calls [`finish`](Self::finish), or poisons.
    ///
    /// # Errors
    /// - [`Error::Poisoned`](crate::Error::Poisoned).
    /// - [`Error::Io`](crate::Error::Io) when there is no room and none can be made; nothing is
    ///   changed.
    /// - [`Error::Corrupt`](crate::Error::Corrupt) when no revision is left; nothing is changed.
    pub(crate) fn append(&self, commit: &mut PreparedCommit) -> Result<Appended> {
        let mut state = self.lock();
        self.check_revisions(&state)?;
        while state.unsynced_commits() > MAX_UNSYNCED_COMMITS {
            let all = state.appended;
            self.wait(state, Goal::synced(all), Woken::default())?;
            state = self.lock();
        }
        // A commit that only removes items may use the space that is set aside.
        let frees = commit.entries.iter().all(|entry| !entry.leaves_item);
        state = self.make_room(state, Room { bytes: commit.frame.len() as u64, frees })?;
        let state = &mut *state;
        #[expect(clippy::expect_used, reason = "`make_room` leaves a segment with room")]
        let active = state.active.as_mut().expect("there is an active segment");
        if commit.entries.iter().any(|entry| !entry.leaves_item) {
            self.segments.note_removals(active.number, true);
        }

        let revision = state.next_revision;
        for entry in &mut commit.entries {
            entry.etag = entry.tag.at(revision, &mut commit.tags);
            if entry.key.is_collection() {
                state.content.clear(entry.key.collection());
                continue;
            }
            let written = entry.leaves_item.then_some(entry.etag);
            state.content.apply(entry.key.as_bytes(), entry.parent, written);
        }
        move_sums(&mut state.indexes, &commit.index_moves);
        let check = state.content.total().check();
        let frame_offset = active.tail.offset;
        let (bytes, end) = commit.frame.finish(revision, check, active.tail);
        active.tail = end;
        state.buffer.extend_from_slice(bytes);
        state.appended_bytes += bytes.len() as u64;
        state.next_revision = revision + 1;
        state.appended = revision;
        self.appended.store(revision, Ordering::Release);
        state.unapplied.push_back(Unapplied { revision, applied: false });
        debug_assert!(active.tail.offset <= active.reserved);
        let is_seal_near = active.comes_near_seal(frame_offset);
        let frame_offset = frame_offset as u32;
        Ok(Appended { revision, segment: active.number, frame_offset, is_seal_near })
    }

    /// The newest revision appended, and the count and sum of the live items at it.
    pub(crate) fn content(&self) -> (u64, ContentSum) {
        let state = self.lock();
        (state.appended, state.content.total())
    }

    /// The count and sum of a collection's live items at the newest revision appended.
    pub(crate) fn content_of(&self, collection: &str) -> ContentSum {
        self.lock().content.of(collection)
    }

    /// Where the journal ends.
    pub(crate) fn position(&self) -> AppendPosition {
        let state = self.lock();
        let segment = state.active.as_ref().map_or(0, |active| active.number);
        AppendPosition { segment, appended_bytes: state.appended_bytes }
    }

    /// The segments in order of revision, each with where its frames in the file end.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        // Under the lock, so that no segment is sealed between the two looks.
        let state = self.lock();
        let active = state.active.as_ref().map(|active| active.number);
        let written = self.written_up_to.load(Ordering::Acquire) & u64::from(u32::MAX);
        let manifest = self.manifest.lock();
        let extent = |record: &SegmentRecord| {
            let (last_revision, end_offset) = match record.sealed {
                Some(end) => (end.last_revision, end.offset),
                None => (active == Some(record.number)).then_some((u64::MAX, written))?,
            };
            let SegmentRecord { number, first_revision, .. } = *record;
            Some(Extent { number, first_revision, last_revision, end_offset })
        };
        manifest.current.segments.iter().filter_map(extent).collect()
    }

    /// Where the files are.
    pub(crate) fn files(&self) -> (&dyn Disk, &Path) {
        (&*self.disk, &self.store)
    }

    /// The path of a segment's file, for errors.
    pub(crate) fn segment_path(&self, segment: u32) -> PathBuf {
        segment_path(&self.store, segment)
    }
}

pub(super) fn pack(segment: u32, offset: u64) -> u64 {
    u64::from(segment) << 32 | offset
}
