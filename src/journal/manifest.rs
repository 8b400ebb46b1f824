//! MANIFEST: the one authority on which files a store consists of.

mod file;

pub(crate) use self::file::{Loaded, ManifestFile};

use bincode::{Decode, Encode, config};

use crate::journal::content_sum::ContentSum;
use crate::journal::dual_slot::MAX_STORED;
use crate::journal::manifest::file::SLOT_BYTES;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::storage::layout::MAX_SEGMENT_NUMBER;
use crate::values::history::HistoryPolicy;

/// A bound of what a slot's records take in memory: of some 48 bytes each, 4 in the slot.
const DECODED_BYTES: usize = 16 * SLOT_BYTES as usize;

/// The contents of MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Manifest {
    pub(crate) incarnation: [u8; 16],
    /// In ascending order of revision; the last may be the active one.
    pub(crate) segments: Vec<SegmentRecord>,
    /// Segments that compaction has replaced by one of `segments`, listed until the index on disk
    /// is known to point into none of them. Their files may be gone.
    pub(crate) retired: Vec<RetiredSegment>,
    /// No file of this number or above has been written to.
    pub(crate) next_segment: u32,
    /// Revisions up to this one may have been used, even if their frames did not survive.
    pub(crate) revision_floor: u64,
    /// The lowest time that the clock of a later session may show.
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
    /// Whether a repair has cut the journal and no index was built of it since: the checkpoint
    /// is empty, and nothing can be proven by it.
    pub(crate) repaired: bool,
    /// What compaction had to keep of segments, where there is room to list it.
    pub(crate) retained: Vec<RetainedBytes>,
    /// Commits up to this revision say nothing of the clock: it was set back after them.
    pub(crate) clock_since: u64,
    /// Which superseded versions are kept; `None` where no open has set it.
    pub(crate) history: Option<PolicyRecord>,
    /// The secondary indexes that are built, as of the checkpoint.
    pub(crate) indexes: Vec<IndexRecord>,
    /// The number of a segment that was made ahead when compaction took the next one, else 0: one
    /// of it that holds commits means that this is an older MANIFEST.
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
        // Those that were dropped before they were counted.
        manifest.purges = manifest.purges.max(u64::from(manifest.purge_floor > 0));
        Some(manifest).filter(Self::is_plausible)
    }

    /// Whether frames end after their segment's header, and no number is so great that there is
    /// none above it.
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

/// A segment that is no longer part of the journal, while the index may still point into it.
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
    /// Whether no index on disk belongs to it: it is that of a copy, or was taken while the index was
    /// in memory only.
    pub(crate) index_lost: bool,
}

/// What an orderly close records, so that the next open need not read the journal.
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
