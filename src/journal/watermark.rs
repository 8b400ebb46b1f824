//! WATERMARK: how far the journal was last synced, and whether an index is just being opened.
//!
//! The mark is written after each sync of the journal and never synced for itself. So after a crash
//! it may be old, but never ahead; checkpoint and seals in MANIFEST are a lower bound of it. By the
//! mark an open distinguishes a torn tail, which a crash may leave, from damage to frames that were
//! synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::dual_slot::{self, MAX_STORED, SLOT_HEADER_BYTES, Slot};
use crate::journal::segment::FORMAT;
use crate::storage::layout::WATERMARK_FILE;
use crate::storage::{Disk, DiskFile, EntryKind};
use crate::values::error::{Error, Result};

const MAGIC: &[u8; 8] = b"IFMMARK\0";
/// Each part in a sector of its own, so that no torn write reaches two.
const SECTOR_BYTES: u64 = 4096;
const OPENING_SECTOR: u64 = 2;
const OPENING: &[u8; 8] = b"OPENING\0";

/// The file, open for moving the mark.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    sequence: u64,
}

impl Watermark {
    /// Makes the file at revision 0, synced except for its name.
    pub(crate) fn create(disk: &dyn Disk, store: &Path) -> Result<Self> {
        let path = store.join(WATERMARK_FILE);
        let file = disk.open(&path, true).map_err(Error::io("creating", &path))?;
        let mut this = Self { path, file, sequence: 0 };
        let zeros = vec![0; 3 * SECTOR_BYTES as usize];
        this.file.write_all_at(&zeros, 0).map_err(Error::io("writing", &this.path))?;
        this.record(0)?;
        this.file.sync_all().map_err(Error::io("syncing", &this.path))?;
        Ok(this)
    }

    /// Opens the file; returns the newest mark, 0 when neither slot is whole. A missing or short
    /// file is made anew: the mark only sharpens the search for damage.
    pub(crate) fn load(disk: &dyn Disk, store: &Path) -> Result<(Self, u64)> {
        let path = store.join(WATERMARK_FILE);
        if !disk.exists(&path).map_err(Error::io("looking for", &path))? {
            return Ok((Self::create(disk, store)?, 0));
        }
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        let (sequence, mark) = newest(&*file, &path)?;
        Ok((Self { path, file, sequence }, mark))
    }

    /// The newest mark, 0 when there is none, by reading alone.
    pub(crate) fn mark(disk: &dyn Disk, store: &Path) -> Result<u64> {
        let path = store.join(WATERMARK_FILE);
        if !disk.exists(&path).map_err(Error::io("looking for", &path))? {
            return Ok(0);
        }
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        Ok(newest(&*file, &path)?.1)
    }

    /// Whose a file of this name is, where there is no MANIFEST, by what its sectors begin with.
    pub(crate) fn provenance(disk: &dyn Disk, store: &Path) -> Result<Provenance> {
        let path = store.join(WATERMARK_FILE);
        match disk.kind(&path).map_err(Error::io("looking for", &path))? {
            None => return Ok(Provenance::Unwritten),
            Some(EntryKind::File) => {}
            Some(_) => return Ok(Provenance::Foreign),
        }
        let file = disk.open_to_read(&path).map_err(Error::io("opening", &path))?;
        let len = file.len().map_err(Error::io("reading the length of", &path))?;
        if len > 3 * SECTOR_BYTES {
            return Ok(Provenance::Foreign);
        }
        let mut found = Provenance::Unwritten;
        for (sector, begin) in (0..).zip([MAGIC, MAGIC, OPENING]) {
            let mut bytes = [0; 8];
            let start = sector * SECTOR_BYTES;
            let there = bytes.get_mut(..len.saturating_sub(start).min(8) as usize);
            let read = file.read_exact_at(there.unwrap_or_default(), start);
            read.map_err(Error::io("reading", &path))?;
            if bytes == *begin {
                found = Provenance::Written;
            } else if bytes != [0; 8] {
                return Ok(Provenance::Foreign);
            }
        }
        Ok(found)
    }

    /// Moves the mark to a revision whose frame is synced; one small write, no sync.
    pub(crate) fn record(&mut self, revision: u64) -> Result<()> {
        self.sequence += 1;
        let bytes = dual_slot::encode(MAGIC, FORMAT, self.sequence, &revision.to_le_bytes());
        debug_assert_eq!(bytes.len(), SLOT_HEADER_BYTES + 8);
        let written = self.file.write_all_at(&bytes, self.sequence % 2 * SECTOR_BYTES);
        written.map_err(Error::io("writing", &self.path))
    }

    /// Makes the whole file durable with this mark in both slots: one sync. What was read of it may
    /// have been written by a session that ended before it was synced, and a mark that a repair
    /// has lowered must not come back.
    pub(crate) fn settle(&mut self, revision: u64) -> Result<()> {
        self.record(revision)?;
        self.record(revision)?;
        self.write_opening(self.is_opening()?)?;
        self.sync()
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("syncing", &self.path))
    }

    /// Whether an earlier open ended between touching the index and being done with it, or the
    /// index was found damaged later: it may be what ended that open, and is not touched again.
    pub(crate) fn is_opening(&self) -> Result<bool> {
        let mut bytes = [0; 8];
        match self.file.read_exact_at(&mut bytes, OPENING_SECTOR * SECTOR_BYTES) {
            Ok(()) => Ok(bytes != [0; 8]),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Error::io("reading", &self.path)(error)),
        }
    }

    /// Sets or clears the marker of an open under way. Setting syncs; clearing need not.
    pub(crate) fn set_opening(&self, opening: bool) -> Result<()> {
        self.write_opening(opening)?;
        if opening { self.sync() } else { Ok(()) }
    }

    fn write_opening(&self, opening: bool) -> Result<()> {
        let bytes = if opening { OPENING } else { &[0; 8] };
        let written = self.file.write_all_at(bytes, OPENING_SECTOR * SECTOR_BYTES);
        written.map_err(Error::io("writing", &self.path))
    }
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// Not one that this crate has written.
    Foreign,
    /// Missing, empty or zeros, as a crash may leave it.
    Unwritten,
    Written,
}

/// The sequence and the mark of the newest whole slot; 0 when neither is whole.
fn newest(file: &dyn DiskFile, path: &Path) -> Result<(u64, u64)> {
    let len = file.len().map_err(Error::io("reading the length of", path))?;
    let (mut newest, mut mark) = (0, 0);
    for slot in 0..2 {
        let start = slot * SECTOR_BYTES;
        let mut bytes = vec![0; len.saturating_sub(start).min(64) as usize];
        file.read_exact_at(&mut bytes, start).map_err(Error::io("reading", path))?;
        match dual_slot::decode(MAGIC, FORMAT, &bytes) {
            Slot::Newer { format } => {
                let path = path.to_owned();
                return Err(Error::Unsupported { path, found: format, supported: FORMAT });
            }
            Slot::Valid { sequence, payload } if sequence >= newest => {
                let revision = payload.try_into().map(u64::from_le_bytes);
                if let Some(revision) = revision.ok().filter(|revision| *revision <= MAX_STORED) {
                    (newest, mark) = (sequence, revision);
                }
            }
            Slot::Valid { .. } | Slot::Invalid => {}
        }
    }
    Ok((newest, mark))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::storage::MemoryDisk;

    #[test]
    fn the_newest_mark_that_can_be_one_counts() {
        let (disk, store) = (MemoryDisk::new(), Path::new("store"));
        disk.create_dir_all(store).unwrap();
        assert_eq!(Watermark::mark(&disk, store).unwrap(), 0);
        let mut watermark = Watermark::create(&disk, store).unwrap();
        for (revision, mark) in [(5, 5), (7, 7), (MAX_STORED + 1, 7), (9, 9)] {
            watermark.record(revision).unwrap();
            assert_eq!(Watermark::mark(&disk, store).unwrap(), mark);
            assert_eq!(Watermark::load(&disk, store).unwrap().1, mark);
        }
    }
}
