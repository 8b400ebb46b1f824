//! Rewriting segments: what is worth keeping of some neighbours goes into one new segment, which
//! takes their place.
//!
//! Crash-safe at every step: the new number is taken in MANIFEST first, so a file of that number
//! is never mistaken for a part of the journal; the new segment is whole and synced before one
//! replacement of MANIFEST names it and retires its sources; and these go only when the table is
//! known to point into none of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::{Error, Result};
use crate::journal::frame::{Entry, FrameBuilder};
use crate::journal::group::Journal;
use crate::journal::manifest::{Manifest, RetiredSegment, SealedEnd, SegmentRecord};
use crate::journal::segment::{
    JOURNAL_FOLDER, Position, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path,
};

/// How much of a new segment is written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A segment that is being made of others.
#[derive(Debug)]
pub(crate) struct Rewrite {
    sources: Vec<SegmentRecord>,
    number: u32,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    seed: u32,
    /// After everything appended, written or not.
    tail: Position,
    buffer: Vec<u8>,
}

impl Journal {
    /// The sealed segments that the table on disk is known to cover, in order of revision.
    pub(crate) fn covered_segments(&self) -> Vec<SegmentRecord> {
        let manifest = self.manifest.lock();
        let covered = manifest.current.checkpoint.revision;
        let sealed =
            |record: &&SegmentRecord| record.sealed.is_some_and(|end| end.last_revision <= covered);
        manifest.current.segments.iter().take_while(sealed).copied().collect()
    }

    /// The segments that wait for the table to point into none of them, and what replaced them.
    pub(crate) fn retired_segments(&self) -> Vec<RetiredSegment> {
        self.manifest.lock().current.retired.clone()
    }

    /// Begins a segment that is to take the place of these neighbours. Costs two syncs of
    /// MANIFEST.
    ///
    /// # Errors
    /// [`Error::Io`] with nothing changed when there is no space; [`Error::Poisoned`].
    pub(crate) fn begin_rewrite(&self, sources: Vec<SegmentRecord>) -> Result<Rewrite> {
        let (Some(first), true) = (sources.first(), !self.is_poisoned()) else {
            return Err(Error::Poisoned);
        };
        let first_revision = first.first_revision;
        let mut incarnations: Vec<[u8; 16]> = Vec::new();
        for source in &sources {
            let known = self.segments.get(source.number).ok_or(Error::Poisoned)?;
            for incarnation in &known.incarnations {
                if !incarnations.contains(incarnation) {
                    incarnations.push(*incarnation);
                }
            }
        }
        let mut number = 0;
        self.change_manifest(|manifest| {
            number = manifest.next_segment;
            manifest.next_segment += 1;
        })?;
        let mut salt = [0; 8];
        self.entropy.fill(&mut salt);
        let salt = u64::from_le_bytes(salt);
        let header = SegmentHeader { number, salt, first_revision, incarnations };
        let (bytes, seed) = header.encode();
        let path = segment_path(&self.store, number);
        let file = self.disk.open(&path, true).map_err(Error::io("creating", &path))?;
        let tail = Position { offset: SEGMENT_HEADER_BYTES, chain: seed };
        let buffer = bytes;
        Ok(Rewrite { sources, number, path, file, header, seed, tail, buffer })
    }

    /// Puts a finished segment in the place of its sources, and notes the newest tombstone that
    /// was dropped on the way; gives false, with nothing changed, while somebody copies the
    /// journal. Costs two syncs of MANIFEST.
    pub(crate) fn switch(&self, rewrite: &Rewrite, purged: u64) -> Result<bool> {
        let Rewrite { sources, number, header, seed, tail, .. } = rewrite;
        let last_revision =
            sources.iter().filter_map(|source| source.sealed).map(|end| end.last_revision).max();
        let sealed =
            last_revision.map(|last_revision| SealedEnd { last_revision, offset: tail.offset });
        let record = SegmentRecord {
            number: *number,
            first_revision: header.first_revision,
            sealed,
            live_bytes: 0,
        };
        self.segments.add(*number, header.incarnations.clone(), *seed);
        let switched = self.change_manifest_if(
            || !self.is_held(),
            |manifest| {
                let is_source = |record: &SegmentRecord| {
                    sources.iter().any(|source| source.number == record.number)
                };
                let at = manifest.segments.iter().position(is_source).unwrap_or_default();
                manifest.segments.retain(|record| !is_source(record));
                manifest.segments.insert(at, record);
                // What a source had replaced in turn now lives on in this segment, too.
                for retired in &mut manifest.retired {
                    if sources.iter().any(|source| source.number == retired.replaced_by) {
                        retired.replaced_by = *number;
                    }
                }
                let replaced_by = *number;
                let retire =
                    |source: &SegmentRecord| RetiredSegment { number: source.number, replaced_by };
                manifest.retired.extend(sources.iter().map(retire));
                manifest.purge_floor = manifest.purge_floor.max(purged);
            },
        )?;
        if !switched {
            self.segments.remove(*number);
        }
        Ok(switched)
    }

    /// Removes retired segments, which the table on stable storage no longer points into.
    pub(crate) fn drop_retired(&self, numbers: &[u32]) -> Result<()> {
        self.change_manifest(|manifest| {
            manifest.retired.retain(|retired| !numbers.contains(&retired.number));
        })?;
        for number in numbers {
            self.segments.remove(*number);
            let path = segment_path(&self.store, *number);
            // One that stays is not named any more, and goes at the next open.
            if let Err(error) = self.disk.remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                log::warn!("a compacted segment could not be removed: {error}");
            }
        }
        Ok(())
    }

    /// Replaces MANIFEST by a changed one. After an error nobody knows which of them is on disk,
    /// so it poisons.
    fn change_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.change_manifest_if(|| true, change).map(drop)
    }

    /// As [`change_manifest`](Self::change_manifest), if a condition holds while it is locked.
    fn change_manifest_if(
        &self,
        condition: impl FnOnce() -> bool,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<bool> {
        let mut manifest = self.manifest.lock();
        if !condition() {
            return Ok(false);
        }
        let mut changed = manifest.current.clone();
        change(&mut changed);
        // Whatever happens to a store's files, it was not closed in order any more.
        changed.clean = None;
        match manifest.file.replace(&changed) {
            Ok(()) => manifest.current = changed,
            Err(error) => {
                drop(manifest);
                self.poison();
                return Err(error);
            }
        }
        Ok(true)
    }
}

impl Rewrite {
    pub(crate) fn sources(&self) -> &[SegmentRecord] {
        &self.sources
    }

    /// Bytes of the frames so far.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.tail.offset - SEGMENT_HEADER_BYTES
    }

    /// The index of an incarnation in this segment's header.
    pub(crate) fn incarnation_index(&self, incarnation: &[u8; 16]) -> Option<u16> {
        let index = self.header.incarnations.iter().position(|listed| listed == incarnation)?;
        u16::try_from(index).ok()
    }

    /// Adds what is kept of a commit: its entries, whose incarnations are indexes into this
    /// segment's header.
    pub(crate) fn append(&mut self, revision: u64, entries: &[Entry<'_>]) -> Result<()> {
        let mut frame = FrameBuilder::commit(entries.len());
        for entry in entries {
            frame.push(entry);
        }
        frame.complete();
        let (bytes, chain) = frame.finish(revision, self.tail.chain);
        self.buffer.extend_from_slice(bytes);
        self.tail = Position { offset: self.tail.offset + bytes.len() as u64, chain };
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Ends the segment with a seal and makes it and its name durable.
    pub(crate) fn finish(&mut self, journal: &Journal) -> Result<()> {
        let last_revision = self.sources.last().and_then(|source| source.sealed);
        let last_revision = last_revision.map_or(0, |end| end.last_revision);
        let mut seal = FrameBuilder::seal();
        self.buffer.extend_from_slice(seal.finish(last_revision, self.tail.chain).0);
        let end = self.tail.offset;
        self.write_up_to(end + seal.len() as u64)?;
        self.file.sync_all().map_err(Error::io("syncing", &self.path))?;
        let folder = journal.store.join(JOURNAL_FOLDER);
        journal.disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))
    }

    /// Removes the unfinished file.
    pub(crate) fn abandon(self, journal: &Journal) {
        drop(self.file);
        if let Err(error) = journal.disk.remove_file(&self.path) {
            log::warn!("an unfinished segment could not be removed: {error}");
        }
    }

    fn write(&mut self) -> Result<()> {
        self.write_up_to(self.tail.offset)
    }

    fn write_up_to(&mut self, end: u64) -> Result<()> {
        let start = end - self.buffer.len() as u64;
        let written = self.file.write_all_at(&self.buffer, start);
        written.map_err(Error::io("writing", &self.path))?;
        self.buffer.clear();
        Ok(())
    }
}
