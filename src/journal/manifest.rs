//! MANIFEST: the one authority on which files a store consists of.
//!
//! Two slots hold the same contents. Replacing them writes and syncs one, and then writes the other,
//! which the next replacement begins with: so at every moment one of them is whole, current and
//! durable, and a crash leaves either the old or the new contents. The second slot is there for
//! damage to the first; the system writes it within seconds, and a close syncs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bincode::{Decode, Encode, config};

use crate::journal::content_sum::ContentSum;
use crate::journal::dual_slot::{self, MAX_STORED, SLOT_HEADER_BYTES, Slot};
use crate::journal::segment::{FORMAT, SEGMENT_HEADER_BYTES};
use crate::storage::layout::{MANIFEST_FILE, MAX_SEGMENT_NUMBER, UNFINISHED_MANIFEST_FILE};
use crate::storage::{Disk, DiskFile, EntryKind};
use crate::values::error::{Error, Result};
use crate::values::history::HistoryPolicy;

const MAGIC: &[u8; 8] = b"IFMMANI\0";
/// Room for one slot; some eight thousand segments.
const SLOT_BYTES: u64 = 256 << 10;
/// A bound of what a slot's records take in memory: of some 48 bytes each, 4 in the slot.
const DECODED_BYTES: usize = 16 * SLOT_BYTES as usize;
/// The part of each slot that is allocated at creation, so that small stores never need space to
/// replace their manifest.
const PREALLOCATED_BYTES: u64 = 16 << 10;
/// How much more of each is allocated at a time when there are many segments.
const GROWTH_BYTES: u64 = 16 << 10;
/// Kept free by who adds a segment, so that compaction, which lists for a while what it replaces,
/// can go on to make room.
const COMPACTION_ROOM_BYTES: u64 = 8 << 10;

/// The contents of MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Manifest {
    pub(crate) incarnation: [u8; 16],
    /// In ascending order of revision; the last may be the active one.
    pub(crate) segments: Vec<SegmentRecord>,
    /// Segments that compaction has replaced by one of `segments`, listed until the index on disk is
    /// known to point into none of them. Their files may be gone.
    pub(crate) retired: Vec<RetiredSegment>,
    /// No file of this number or above has been written to.
    pub(crate) next_segment: u32,
    /// Revisions up to here may have been given, whether their frames survived or not.
    pub(crate) revision_floor: u64,
    /// A wall-clock reading that later runs do not go below.
    pub(crate) clock_ms: u64,
    /// The newest tombstone that compaction has dropped; 0 for none.
    pub(crate) purge_floor: u64,
    /// Whether this is a copy that was never opened: opening it begins a new incarnation.
    pub(crate) copied: bool,
    pub(crate) checkpoint: Checkpoint,
    /// Present only while the store is closed and was closed in order.
    pub(crate) clean: Option<CleanClose>,
    /// How often compaction has dropped tombstones.
    pub(crate) purges: u64,
    /// Whether a repair has cut the journal and no index was built of it since: the checkpoint is
    /// none, and nothing can be proven by it.
    pub(crate) repaired: bool,
    /// What compaction had to keep of segments, where there is room to say so.
    pub(crate) retained: Vec<RetainedBytes>,
    /// Commits up to this revision say nothing of the clock: it was set back after them.
    pub(crate) clock_since: u64,
    /// What is kept of the past; none where nobody has said so.
    pub(crate) history: Option<PolicyRecord>,
    /// The secondary indexes that are built, as of the checkpoint.
    pub(crate) indexes: Vec<IndexRecord>,
    /// The number of a segment that was made ahead when compaction took the next one, else 0: one of
    /// it that holds commits means that this is an older MANIFEST.
    pub(crate) prepared: u32,
}

impl Manifest {
    /// The contents for a store without commits.
    pub(crate) fn empty(incarnation: [u8; 16]) -> Self {
        Self {
            incarnation,
            segments: Vec::new(),
            retired: Vec::new(),
            next_segment: 1,
            revision_floor: 0,
            clock_ms: 0,
            purge_floor: 0,
            copied: false,
            checkpoint: Checkpoint {
                revision: 0,
                content: ContentSum::default(),
                index_generation: 0,
                next_expiry_ms: u64::MAX,
                index_lost: false,
            },
            clean: None,
            purges: 0,
            repaired: false,
            retained: Vec::new(),
            clock_since: 0,
            history: None,
            indexes: Vec::new(),
            prepared: 0,
        }
    }

    /// Reads the payload of a slot, of one that ends before `purges` or a later field as well.
    fn decode_slot(payload: &[u8]) -> Option<Self> {
        let payload = [payload, &[0; 7]].concat();
        // A list takes no memory beyond what a slot full of records does, whatever length it says.
        let config = config::standard().with_limit::<DECODED_BYTES>();
        let (mut manifest, _): (Self, _) = bincode::decode_from_slice(&payload, config).ok()?;
        // Those that went before they were counted.
        manifest.purges = manifest.purges.max(u64::from(manifest.purge_floor > 0));
        Some(manifest).filter(Self::is_plausible)
    }

    /// Whether frames end after their segment's header, and no number is so great that one above
    /// it may not be had.
    fn is_plausible(&self) -> bool {
        let Checkpoint { revision, index_generation, .. } = self.checkpoint;
        let counts = [
            self.revision_floor,
            self.clock_ms,
            self.purge_floor,
            self.purges,
            self.clock_since,
            revision,
            index_generation,
        ];
        let records = self.segments.iter();
        let of_segments = records.clone().flat_map(|record| {
            let last_revision = record.sealed.map_or(0, |end| end.last_revision);
            [record.first_revision, record.live_bytes, last_revision]
        });
        let of_held = self.retained.iter().flat_map(|held| [held.bytes, held.until_ms]);
        let of_indexes = self.indexes.iter().flat_map(|index| [index.declared, index.rows]);
        let of_clean = self.clean.map(|clean| clean.revision);
        let has_active = records.clone().any(|record| record.sealed.is_none());
        let tail = self.clean.filter(|_| has_active).map(|clean| clean.tail_offset);
        let ends = records.clone().filter_map(|record| record.sealed).map(|end| end.offset);
        let mut numbers =
            records.map(|record| record.number).chain([self.next_segment, self.prepared]);
        counts
            .into_iter()
            .chain(of_segments)
            .chain(of_held)
            .chain(of_indexes)
            .chain(of_clean)
            .all(|count| count <= MAX_STORED)
            && numbers.all(|number| number <= MAX_SEGMENT_NUMBER)
            && ends.chain(tail).all(|end| (SEGMENT_HEADER_BYTES..=MAX_STORED).contains(&end))
    }
}

/// A segment that belongs to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SegmentRecord {
    pub(crate) number: u32,
    pub(crate) first_revision: u64,
    /// For a sealed segment where its frames end and the last revision among them.
    pub(crate) sealed: Option<SealedEnd>,
    /// Bytes of entries that hold items, as an orderly close last counted them.
    pub(crate) live_bytes: u64,
}

/// A secondary index whose rows the checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct IndexRecord {
    /// The revision of the entry that declared it.
    pub(crate) declared: u64,
    /// The number of the directory that its rows are in.
    pub(crate) rows: u64,
    /// Count and sum over the rows.
    pub(crate) content: ContentSum,
}

/// A [`HistoryPolicy`], as MANIFEST holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct PolicyRecord {
    versions: u32,
    max_age_ms: Option<u64>,
    tombstones_ms: u64,
}

impl From<HistoryPolicy> for PolicyRecord {
    fn from(policy: HistoryPolicy) -> Self {
        let (versions, max_age_ms, tombstones_ms) = policy.to_parts();
        Self { versions, max_age_ms, tombstones_ms }
    }
}

impl From<PolicyRecord> for HistoryPolicy {
    fn from(record: PolicyRecord) -> Self {
        let PolicyRecord { versions, max_age_ms, tombstones_ms } = record;
        Self::from_parts(versions, max_age_ms, tombstones_ms)
    }
}

/// Bytes of a segment that are not live and that compaction could not reclaim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RetainedBytes {
    pub(crate) segment: u32,
    pub(crate) bytes: u64,
    /// From then on it is worth another look.
    pub(crate) until_ms: u64,
}

/// A segment that is no part of the journal any more, while the index may still point into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RetiredSegment {
    pub(crate) number: u32,
    /// The segment that took over what was worth keeping.
    pub(crate) replaced_by: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct SealedEnd {
    pub(crate) last_revision: u64,
    pub(crate) offset: u64,
}

/// What the index is known to contain on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Checkpoint {
    /// Every commit up to this revision.
    pub(crate) revision: u64,
    /// Count and sum over the items that are live at that revision.
    pub(crate) content: ContentSum,
    /// The folder `index-<generation>` that it is.
    pub(crate) index_generation: u64,
    /// No item of it expires before this; `u64::MAX` when none does.
    pub(crate) next_expiry_ms: u64,
    /// Whether no index on disk belongs to it: it was taken while the index could be had in memory
    /// only.
    pub(crate) index_lost: bool,
}

/// What an orderly close leaves behind, so that the next open need not read the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CleanClose {
    /// The last revision of the journal.
    pub(crate) revision: u64,
    /// Where the active segment's frames end.
    pub(crate) tail_offset: u64,
    /// Whether what follows the tail is a crash's, so that the next frame begins a segment.
    pub(crate) must_rotate: bool,
    /// Hash over the index's files as the close left them.
    pub(crate) index_digest: [u8; 32],
}

/// What reading the file gave.
#[derive(Debug)]
pub(crate) enum Loaded {
    Missing,
    /// Neither slot is whole.
    Damaged,
    Found(Box<(ManifestFile, Manifest)>),
}

/// The file, open for replacing its contents.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    sequence: u64,
    /// So much of each slot is known to need no more space.
    allocated: u64,
    /// The slot that is not known to be durable, unless both are.
    unsynced: u64,
    /// What the other slot was found to hold, while that is not known to be durable either: the run
    /// that wrote it may have been killed before it was synced.
    unproven: Option<Vec<u8>>,
}

impl ManifestFile {
    /// Makes the file with its first contents: under another name until it is whole and synced,
    /// so that no crash leaves half a manifest. The name is durable once the caller syncs the
    /// directory.
    pub(crate) fn create(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<Self> {
        let path = store.join(MANIFEST_FILE);
        let unfinished = store.join(UNFINISHED_MANIFEST_FILE);
        if disk.exists(&unfinished).map_err(Error::io("looking for", &unfinished))? {
            disk.remove_file(&unfinished).map_err(Error::io("removing", &unfinished))?;
        }
        let file = disk.open(&unfinished, true).map_err(Error::io("creating", &unfinished))?;
        let allocated = PREALLOCATED_BYTES;
        let mut this =
            Self { path: unfinished, file, sequence: 0, allocated, unsynced: 0, unproven: None };
        for slot in 0..2 {
            let written = this.file.write_zeros(slot * SLOT_BYTES, allocated);
            written.map_err(Error::io("writing", &this.path))?;
        }
        this.replace(manifest)?;
        this.file.sync_all().map_err(Error::io("syncing", &this.path))?;
        // Closed first: Windows does not rename every file that is open.
        let Self { path: unfinished, file, sequence, allocated, unsynced, unproven } = this;
        drop(file);
        disk.rename(&unfinished, &path).map_err(Error::io("renaming", &unfinished))?;
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        Ok(Self { path, file, sequence, allocated, unsynced, unproven })
    }

    /// Whether a file is what a crash may leave of one that [`create`](Self::create) has begun:
    /// empty, zeros, or with the beginning of a slot.
    pub(crate) fn is_unfinished(disk: &dyn Disk, path: &Path) -> Result<bool> {
        if disk.kind(path).map_err(Error::io("looking for", path))? != Some(EntryKind::File) {
            return Ok(false);
        }
        let file = disk.open_to_read(path).map_err(Error::io("opening", path))?;
        let len = file.len().map_err(Error::io("reading the length of", path))?;
        let mut bytes = [0; 8];
        let there = bytes.get_mut(..len.min(8) as usize).unwrap_or_default();
        file.read_exact_at(there, 0).map_err(Error::io("reading", path))?;
        Ok(bytes == [0; 8] || bytes == *MAGIC)
    }

    pub(crate) fn load(disk: &dyn Disk, store: &Path) -> Result<Loaded> {
        let path = store.join(MANIFEST_FILE);
        if !disk.exists(&path).map_err(Error::io("looking for", &path))? {
            return Ok(Loaded::Missing);
        }
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        let len = file.len().map_err(Error::io("reading the length of", &path))?;
        let mut newest: Option<(u64, Manifest)> = None;
        let (mut unsynced, mut unproven) = (0, None);
        let mut allocated = PREALLOCATED_BYTES;
        for slot in 0..2 {
            let start = slot * SLOT_BYTES;
            let mut bytes = vec![0; len.saturating_sub(start).min(SLOT_BYTES) as usize];
            file.read_exact_at(&mut bytes, start).map_err(Error::io("reading", &path))?;
            match dual_slot::decode(MAGIC, FORMAT, &bytes) {
                Slot::Newer { format } => {
                    return Err(Error::Unsupported { path, found: format, supported: FORMAT });
                }
                Slot::Valid { sequence, payload } => {
                    allocated = allocated.max((SLOT_HEADER_BYTES + payload.len()) as u64);
                    let newer = newest.as_ref().is_none_or(|(found, _)| sequence > *found);
                    if let (Some(manifest), true) = (Manifest::decode_slot(payload), newer) {
                        newest = Some((sequence, manifest));
                        unsynced = 1 - slot;
                        let len = SLOT_HEADER_BYTES + payload.len();
                        unproven = bytes.get(..len).map(<[u8]>::to_vec);
                    }
                }
                Slot::Invalid => {}
            }
        }
        Ok(match newest {
            Some((sequence, manifest)) => {
                let file = Self { path, file, sequence, allocated, unsynced, unproven };
                Loaded::Found(Box::new((file, manifest)))
            }
            None => Loaded::Damaged,
        })
    }

    /// Makes sure that [`replace`](Self::replace) has room for this manifest, in its slots and on the
    /// disk; with `for_more` also that compaction has room for what it lists in addition to that.
    /// What is held is left out where there is none for it.
    ///
    /// # Errors
    /// [`Error::TooManySegments`] when there are too many segments; [`Error::Io`] when there is no space.
    /// Either way MANIFEST says what it said before.
    pub(crate) fn make_room(&mut self, manifest: &mut Manifest, for_more: bool) -> Result<()> {
        let limit = SLOT_BYTES - if for_more { COMPACTION_ROOM_BYTES } else { 0 };
        let mut made = self.encode(manifest, limit);
        if made.is_err() && !manifest.retained.is_empty() {
            manifest.retained.clear();
            made = self.encode(manifest, limit);
        }
        made.map(drop)
    }

    /// Lays out the payload of a slot, for which there is room then.
    fn encode(&mut self, manifest: &Manifest, limit: u64) -> Result<Vec<u8>> {
        let payload = bincode::encode_to_vec(manifest, config::standard())
            .map_err(|_| Error::Internal { what: "the manifest could not be encoded" })?;
        let size = (SLOT_HEADER_BYTES + payload.len()) as u64;
        if size > limit {
            return Err(Error::TooManySegments { segments: manifest.segments.len() as u64 });
        }
        if size > self.allocated {
            let goal = size.next_multiple_of(GROWTH_BYTES).min(SLOT_BYTES);
            for slot in 0..2 {
                // Behind what either slot holds.
                let at = slot * SLOT_BYTES + self.allocated;
                let made = self.file.write_zeros(at, goal - self.allocated);
                made.map_err(Error::io("reserving space in", &self.path))?;
            }
            self.allocated = goal;
        }
        Ok(payload)
    }

    /// Writes and syncs the slot that is not known to be durable, then writes the other: one sync,
    /// and one more for the first replacement after an open. After an error the contents are the old or the new ones, and the caller must not go on as if it
    /// knew which.
    pub(crate) fn replace(&mut self, manifest: &Manifest) -> Result<()> {
        let payload = self.encode(manifest, SLOT_BYTES)?;
        self.sequence += 1;
        let bytes = dual_slot::encode(MAGIC, FORMAT, self.sequence, &payload);
        self.prove()?;
        self.write_slot(self.unsynced, &bytes)?;
        self.sync()?;
        self.unsynced = 1 - self.unsynced;
        self.write_slot(self.unsynced, &bytes)
    }

    /// As [`replace`](Self::replace), and both slots are durable: two syncs.
    pub(crate) fn replace_both(&mut self, manifest: &Manifest) -> Result<()> {
        self.replace(manifest)?;
        self.sync()
    }

    /// Makes the contents that were read durable in both slots: two syncs. The sequence stays as it
    /// is, so a torn write leaves what was there or the same contents.
    pub(crate) fn settle(&mut self, manifest: &Manifest) -> Result<()> {
        let payload = self.encode(manifest, SLOT_BYTES)?;
        let bytes = dual_slot::encode(MAGIC, FORMAT, self.sequence, &payload);
        self.prove()?;
        self.write_slot(self.unsynced, &bytes)?;
        self.sync()
    }

    /// Makes the slot durable that was read. The session that wrote it may have ended before it was
    /// synced. A sync alone is not enough: the system takes a page whose sync has failed for clean and
    /// does not write it again.
    fn prove(&mut self) -> Result<()> {
        let Some(found) = self.unproven.take() else { return Ok(()) };
        self.write_slot(1 - self.unsynced, &found)?;
        self.sync()
    }

    fn write_slot(&self, slot: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, slot * SLOT_BYTES);
        written.map_err(Error::io("writing", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("syncing", &self.path))
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
