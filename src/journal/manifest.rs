//! MANIFEST: the one authority on which files a store consists of.
//!
//! Two slots hold the same contents. Replacing them writes and syncs one, then the other, so at
//! every moment one of them is whole and current: a crash in between leaves either the old or the
//! new contents, and a damaged slot never sets the store back to an older state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bincode::{Decode, Encode, config};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::journal::segment::FORMAT;
use crate::journal::slots::{self, SLOT_HEADER_BYTES, Slot};
use crate::journal::totals::Totals;

pub(crate) const MANIFEST_FILE: &str = "MANIFEST";
pub(crate) const UNFINISHED_MANIFEST_FILE: &str = "MANIFEST.new";
const MAGIC: &[u8; 8] = b"IFMMANI\0";
/// Room for one slot; some eight thousand segments.
const SLOT_BYTES: u64 = 256 << 10;
/// The part of each slot that is allocated at creation, so that small stores never need space to
/// replace their manifest.
const PREALLOCATED_BYTES: usize = 16 << 10;

/// The contents of MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Manifest {
    pub(crate) incarnation: [u8; 16],
    /// In ascending order of revision; the last may be the active one.
    pub(crate) segments: Vec<SegmentRecord>,
    /// Segments that compaction has replaced by one of `segments`, kept until the table is known
    /// to point into none of them.
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

/// A segment that is no part of the journal any more, while the table may still point into it.
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

/// What the table is known to contain on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Checkpoint {
    /// Every commit up to this revision.
    pub(crate) revision: u64,
    /// Count and sum over the items that are live at that revision.
    pub(crate) totals: Totals,
    /// The folder `table-<generation>` that it is.
    pub(crate) table_generation: u64,
    /// No item of it expires before this; `u64::MAX` when none does.
    pub(crate) next_expiry_ms: u64,
}

/// What an orderly close leaves behind, so that the next open need not read the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CleanClose {
    /// The last revision of the journal.
    pub(crate) revision: u64,
    /// Where the active segment's frames end, and the checksum that seeds the next frame.
    pub(crate) tail_offset: u64,
    pub(crate) tail_chain: u32,
    /// Whether what lies behind the tail is a crash's, so that the next frame begins a segment.
    pub(crate) must_roll: bool,
    /// Hash over the table's files as the close left them.
    pub(crate) table_digest: [u8; 32],
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
        let mut this = Self { path: unfinished, file, sequence: 0 };
        for slot in 0..2 {
            let zeros = vec![0; PREALLOCATED_BYTES];
            let written = this.file.write_all_at(&zeros, slot * SLOT_BYTES);
            written.map_err(Error::io("writing", &this.path))?;
        }
        this.replace(manifest)?;
        this.file.sync_all().map_err(Error::io("syncing", &this.path))?;
        // Closed first: Windows does not rename every file that is open.
        let Self { path: unfinished, file, sequence } = this;
        drop(file);
        disk.rename(&unfinished, &path).map_err(Error::io("renaming", &unfinished))?;
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        Ok(Self { path, file, sequence })
    }

    pub(crate) fn load(disk: &dyn Disk, store: &Path) -> Result<Loaded> {
        let path = store.join(MANIFEST_FILE);
        if !disk.exists(&path).map_err(Error::io("looking for", &path))? {
            return Ok(Loaded::Missing);
        }
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        let len = file.len().map_err(Error::io("reading the length of", &path))?;
        let mut newest: Option<(u64, Manifest)> = None;
        for slot in 0..2 {
            let start = slot * SLOT_BYTES;
            let mut bytes = vec![0; len.saturating_sub(start).min(SLOT_BYTES) as usize];
            file.read_exact_at(&mut bytes, start).map_err(Error::io("reading", &path))?;
            match slots::decode(MAGIC, FORMAT, &bytes) {
                Slot::Newer { format } => {
                    return Err(Error::Unsupported { path, found: format, supported: FORMAT });
                }
                Slot::Valid { sequence, payload } => {
                    let decoded = bincode::decode_from_slice(payload, config::standard());
                    let newer = newest.as_ref().is_none_or(|(found, _)| sequence > *found);
                    if let (Ok((manifest, _)), true) = (decoded, newer) {
                        newest = Some((sequence, manifest));
                    }
                }
                Slot::Invalid => {}
            }
        }
        Ok(match newest {
            Some((sequence, manifest)) => {
                Loaded::Found(Box::new((Self { path, file, sequence }, manifest)))
            }
            None => Loaded::Damaged,
        })
    }

    /// Writes and syncs one slot, then the other: two syncs. After an error the contents are the
    /// old or the new ones, and the caller must not go on as if it knew which.
    pub(crate) fn replace(&mut self, manifest: &Manifest) -> Result<()> {
        let payload = bincode::encode_to_vec(manifest, config::standard())
            .map_err(|_| Error::corrupt(&self.path, 0, "the manifest cannot be encoded"))?;
        let size = (SLOT_HEADER_BYTES + payload.len()) as u64;
        if size > SLOT_BYTES {
            return Err(Error::TooLarge {
                what: "a manifest in bytes",
                actual: size,
                limit: SLOT_BYTES,
            });
        }
        self.sequence += 1;
        let bytes = slots::encode(MAGIC, FORMAT, self.sequence, &payload);
        for slot in 0..2 {
            let written = self.file.write_all_at(&bytes, slot * SLOT_BYTES);
            written.map_err(Error::io("writing", &self.path))?;
            self.file.sync_data().map_err(Error::io("syncing", &self.path))?;
        }
        Ok(())
    }
}
