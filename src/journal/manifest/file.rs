//! The file of MANIFEST.
//!
//! Two slots hold the same contents. Replacing them writes and syncs one, and then writes the
//! other, which the next replacement begins with: so at every moment one of them is whole, current
//! and durable, and a crash leaves either the old or the new contents. The second slot is there for
//! damage to the first; the system writes it within seconds, and a close syncs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bincode::config;

use crate::journal::dual_slot::{self, SLOT_HEADER_BYTES, Slot};
use crate::journal::manifest::Manifest;
use crate::journal::segment::FORMAT;
use crate::storage::layout::{MANIFEST_FILE, UNFINISHED_MANIFEST_FILE};
use crate::storage::{Disk, DiskFile, EntryKind};
use crate::values::error::{Error, Result};

const MAGIC: &[u8; 8] = b"IFMMANI\0";
/// Room for one slot; some eight thousand segments.
pub(super) const SLOT_BYTES: u64 = 256 << 10;
/// The part of each slot that is allocated at creation, so that small stores never need space to
/// replace their manifest.
const PREALLOCATED_BYTES: u64 = 16 << 10;
/// How much more of each is allocated at a time when there are many segments.
const GROWTH_BYTES: u64 = 16 << 10;
/// A rotation keeps this much free, so that compaction, which lists for a while what it replaces,
/// can still make room.
const COMPACTION_ROOM_BYTES: u64 = 8 << 10;

/// The result of reading the file.
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
    /// The length up to which each slot is known to need no more space.
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

    /// Makes sure that [`replace`](Self::replace) has room for this manifest, in its slots and on
    /// the disk; with `for_more` also that compaction has room for what it lists in addition to
    /// that. What is held is left out where there is none for it.
    ///
    /// # Errors
    /// [`Error::TooManySegments`] when there are too many segments; [`Error::Io`] when there is no
    /// space. Either way MANIFEST says what it said before.
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
                // After what either slot holds.
                let at = slot * SLOT_BYTES + self.allocated;
                let made = self.file.write_zeros(at, goal - self.allocated);
                made.map_err(Error::io("reserving space in", &self.path))?;
            }
            self.allocated = goal;
        }
        Ok(payload)
    }

    /// Writes and syncs the slot that is not known to be durable, then writes the other: one sync,
    /// and one more for the first replacement after an open. After an error the contents are the
    /// old or the new ones, and the caller must not go on as if it knew which.
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
    /// synced. A sync alone is not enough: the system takes a page whose sync has failed for clean
    /// and does not write it again.
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
