//! Rewriting segments: what is worth keeping of neighbouring segments is copied into one new
//! segment, which takes their place.
//!
//! Crash-safe at every step: the new number is taken in MANIFEST first, so a file of that number is
//! never mistaken for a part of the journal; the new segment is whole and synced before one
//! replacement of MANIFEST names it and retires its sources; and these are removed only when every
//! head has moved. MANIFEST lists them until a checkpoint has written the moved heads: an open
//! after a crash moves the heads again, by what replaced their segments.

use crate::journal::append::Journal;
use crate::journal::frame::{Entry, EntryRecord, FrameBuilder};
use crate::journal::manifest::{RetiredSegment, SegmentRecord};
use crate::journal::segment_writer::SegmentWriter;
use crate::storage::layout::{JOURNAL_FOLDER, segment_path};
use crate::values::error::{Error, Result};

/// A segment that is being made from others.
#[derive(Debug)]
pub(crate) struct Rewrite {
    sources: Vec<SegmentRecord>,
    /// The last revision that the sources cover, and so the new segment too.
    last_revision: u64,
    segment: SegmentWriter,
    /// Whether one of the kept entries is a removal.
    removes: bool,
}

/// Where the record of an entry is in the new segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopiedRecord {
    pub(crate) offset: u32,
    pub(crate) len_bytes: u32,
    /// `None` where the record was copied as it is.
    pub(crate) checksum: Option<u32>,
}

impl Journal {
    /// The sealed segments that the index on disk is known to cover, in order of revision.
    pub(crate) fn covered_segments(&self) -> Vec<SegmentRecord> {
        let manifest = self.manifest.lock();
        let covered = manifest.current.checkpoint.revision;
        let sealed =
            |record: &&SegmentRecord| record.sealed.is_some_and(|end| end.last_revision <= covered);
        manifest.current.segments.iter().take_while(sealed).copied().collect()
    }

    /// The sealed segments that the last checkpoint does not cover.
    pub(crate) fn uncovered_segments(&self) -> Vec<SegmentRecord> {
        let manifest = self.manifest.lock();
        let covered = manifest.current.checkpoint.revision;
        let uncovered =
            |record: &&SegmentRecord| record.sealed.is_some_and(|end| end.last_revision > covered);
        manifest.current.segments.iter().filter(uncovered).copied().collect()
    }

    /// The segments that were replaced and are still there, and what replaced them.
    pub(crate) fn retired_segments(&self) -> Vec<RetiredSegment> {
        self.retired(|is_there| is_there)
    }

    /// The segments that were replaced and dropped. An index on stable storage may still point into
    /// them.
    pub(crate) fn dropped_segments(&self) -> Vec<RetiredSegment> {
        self.retired(|is_there| !is_there)
    }

    fn retired(&self, wanted: fn(bool) -> bool) -> Vec<RetiredSegment> {
        let mut retired = self.manifest.lock().current.retired.clone();
        retired.retain(|retired| wanted(self.segments.get(retired.number).is_some()));
        retired
    }

    /// Begins a segment that is to take the place of these neighbours. Costs a sync of MANIFEST.
    ///
    /// # Errors
    /// - [`Error::Io`] when there is no space; nothing is changed.
    /// - [`Error::Poisoned`].
    pub(crate) fn begin_rewrite(&self, sources: Vec<SegmentRecord>) -> Result<Rewrite> {
        self.check_poison()?;
        let last = sources.last().and_then(|last| last.sealed);
        let (Some(first), Some(last)) = (sources.first(), last) else {
            return Err(Error::Internal { what: "a rewrite was begun of no sealed segment" });
        };
        let (first_revision, last_revision) = (first.first_revision, last.last_revision);
        let mut incarnations: Vec<[u8; 16]> = Vec::new();
        for source in &sources {
            let unknown = Error::Internal { what: "a rewrite was begun of an unknown segment" };
            let known = self.segments.get(source.number).ok_or(unknown)?;
            for incarnation in &known.incarnations {
                if !incarnations.contains(incarnation) {
                    incarnations.push(*incarnation);
                }
            }
        }
        let mut number = 0;
        self.change_manifest(|manifest| {
            number = self.take_number(manifest);
        })?;
        let (disk, store) = self.files();
        let created =
            SegmentWriter::create(disk, store, &self.entropy, number, first_revision, incarnations);
        Ok(Rewrite { sources, last_revision, segment: created?, removes: false })
    }

    /// Puts a finished segment in the place of its sources. Records `purged`, the revision of the
    /// newest tombstone that was not copied. Returns false, with nothing changed, while somebody
    /// copies the journal. Costs a sync of MANIFEST.
    ///
    /// # Errors
    /// As [`change_manifest_if`](Self::change_manifest_if).
    pub(crate) fn switch(
        &self,
        rewrite: &Rewrite,
        record: SegmentRecord,
        purged: u64,
    ) -> Result<bool> {
        let Rewrite { sources, segment, .. } = rewrite;
        let number = record.number;
        self.segments.add(number, segment.header().incarnations.clone(), segment.seed());
        self.segments.note_removals(number, rewrite.removes);
        let switched = self.change_manifest_if(
            || !self.is_being_copied(),
            |manifest| {
                let is_source = |record: &SegmentRecord| {
                    sources.iter().any(|source| source.number == record.number)
                };
                let at = manifest.segments.iter().position(is_source);
                #[expect(clippy::expect_used, reason = "only a switch takes sources off the list")]
                let at = at.expect("MANIFEST lists the sources of a rewrite");
                manifest.segments.retain(|record| !is_source(record));
                manifest.segments.insert(at, record);
                // What a source has replaced in turn is now in this segment.
                for retired in &mut manifest.retired {
                    if sources.iter().any(|source| source.number == retired.replaced_by) {
                        retired.replaced_by = number;
                    }
                }
                let numbers = sources.iter().map(|source| source.number);
                let retire = |retired| RetiredSegment { number: retired, replaced_by: number };
                manifest.retired.extend(numbers.map(retire));
                manifest.purge_floor = manifest.purge_floor.max(purged);
                manifest.purges += u64::from(purged > 0);
            },
        );
        // After a failure that poisons, MANIFEST may name the segment.
        if !matches!(switched, Ok(true)) && !self.is_poisoned() {
            self.segments.remove(number);
        }
        switched
    }

    /// Drops retired segments, which no head in memory points into any more. MANIFEST lists them
    /// until the next checkpoint, as the index on stable storage may point into them until then.
    /// The next [`remove_dropped`](Self::remove_dropped) removes their files.
    pub(crate) fn drop_retired(&self, numbers: &[u32]) {
        for number in numbers {
            self.segments.remove(*number);
        }
        self.dropped_files.lock().extend(numbers);
    }

    /// Whether files of segments that were dropped are still there.
    pub(crate) fn has_dropped_files(&self) -> bool {
        !self.dropped_files.lock().is_empty()
    }

    /// Removes the files of segments that were dropped, which takes some milliseconds for each.
    /// Waits for files that another thread is removing: the caller may need their space.
    pub(crate) fn remove_dropped(&self) {
        let _only = self.removing.lock();
        let numbers = std::mem::take(&mut *self.dropped_files.lock());
        for number in numbers {
            let path = segment_path(&self.store, number);
            // One that cannot be removed now is removed at a later open.
            if let Err(error) = self.disk.remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                let error = Error::io("removing", &path)(error);
                log::warn!(
                    "a compacted segment takes space until the next open removes it: {error}"
                );
            }
        }
    }
}

impl Rewrite {
    pub(crate) fn sources(&self) -> &[SegmentRecord] {
        &self.sources
    }

    /// Bytes of the frames so far.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.segment.frame_bytes()
    }

    /// The index of an incarnation in this segment's header.
    pub(crate) fn incarnation_index(&self, incarnation: &[u8; 16]) -> Option<u16> {
        let mut incarnations = self.segment.header().incarnations.iter();
        u16::try_from(incarnations.position(|listed| listed == incarnation)?).ok()
    }

    /// Adds the kept entries of a commit. Their incarnations are indexes into this segment's
    /// header. An entry whose record is known is copied. Returns where the records are.
    pub(crate) fn append(
        &mut self,
        revision: u64,
        entries: &[(Entry<'_>, Option<&[u8]>)],
    ) -> Result<Vec<CopiedRecord>> {
        let mut frame = FrameBuilder::commit(entries.len());
        let mut copied = Vec::with_capacity(entries.len());
        for (entry, record) in entries {
            self.removes |= !entry.kind().leaves_item();
            copied.push(match record {
                Some(record) => {
                    let (offset, len_bytes) = (frame.push_record(record), record.len() as u32);
                    CopiedRecord { offset, len_bytes, checksum: None }
                }
                None => {
                    let EntryRecord { at, len_bytes, checksum } = frame.push(entry);
                    CopiedRecord { offset: at, len_bytes, checksum: Some(checksum) }
                }
            });
        }
        frame.complete();
        let begin = self.segment.push(&mut frame, revision)? as u32;
        copied.iter_mut().for_each(|record| record.offset += begin);
        Ok(copied)
    }

    /// Adds a whole commit as it is: the body of its frame, with its checksum. Returns where the
    /// frame begins.
    pub(crate) fn append_body(
        &mut self,
        revision: u64,
        body: &[u8],
        body_checksum: u32,
        removes: bool,
    ) -> Result<u32> {
        self.removes |= removes;
        Ok(self.segment.push_body(body, body_checksum, revision)? as u32)
    }

    /// Ends the segment and makes it and its name durable; returns its record for MANIFEST.
    pub(crate) fn finish(&mut self, journal: &Journal) -> Result<SegmentRecord> {
        let record = self.segment.seal(self.last_revision)?;
        let folder = journal.store.join(JOURNAL_FOLDER);
        journal.disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))?;
        Ok(record)
    }

    /// Removes the unfinished file.
    pub(crate) fn abandon(self, journal: &Journal) {
        let path = self.segment.path().to_owned();
        drop(self.segment);
        if let Err(error) = journal.disk.remove_file(&path) {
            let error = Error::io("removing", &path)(error);
            log::warn!("an unfinished segment takes space until the next open removes it: {error}");
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use crate::Store;

    /// A regression: a write that found the disk full was refused while another thread was about to
    /// free space.
    #[test]
    fn a2_who_finds_no_file_to_remove_waits_for_those_that_are_being_removed() {
        let store = Store::in_memory();
        let engine = store.engine().unwrap();
        let removing = engine.journal.removing.lock();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                store.engine().unwrap().journal.remove_dropped();
                done.send(()).unwrap();
            });
            assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
            drop(removing);
            is_done.recv().unwrap();
        });
    }
}
