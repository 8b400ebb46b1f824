//! Writing commits into new segments.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use crate::copying::Target;
use crate::copying::collect::Loose;
use crate::copying::target::sync_dir;
use crate::disk::DiskFile;
use crate::environment::Entropy;
use crate::error::{Error, Result};
use crate::journal::frame::FrameBuilder;
use crate::journal::manifest::{SealedEnd, SegmentRecord};
use crate::journal::segment::{
    JOURNAL_FOLDER, Position, SEGMENT_HEADER_BYTES, SegmentHeader, segment_path,
};

/// How much of a segment is written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// The segments of a copy, each sealed and cut to its length.
pub(super) struct Layout<'a> {
    target: &'a Target<'a>,
    entropy: &'a Entropy,
    /// The length beyond which a segment takes no other frame.
    full_bytes: u64,
    growing: Option<Growing>,
    records: Vec<SegmentRecord>,
}

/// The segment that is being written.
struct Growing {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    number: u32,
    incarnations: Arc<[[u8; 16]]>,
    first_revision: u64,
    last_revision: u64,
    /// After everything added, written or not.
    tail: Position,
    buffer: Vec<u8>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(target: &'a Target<'a>, entropy: &'a Entropy, full_bytes: u64) -> Self {
        Self { target, entropy, full_bytes, growing: None, records: Vec::new() }
    }

    /// Adds a commit of a higher revision than any before.
    pub(super) fn push(&mut self, mut commit: Loose) -> Result<()> {
        let frame_bytes = commit.frame.len() as u64;
        let fits = self.growing.as_ref().is_some_and(|growing| {
            let end = growing.tail.offset + frame_bytes;
            growing.incarnations == commit.incarnations && end <= self.full_bytes
        });
        if !fits {
            self.seal()?;
            self.begin(commit.revision, Arc::clone(&commit.incarnations))?;
        }
        let Some(growing) = &mut self.growing else { return Ok(()) };
        growing.add(&mut commit.frame, commit.revision);
        growing.last_revision = commit.revision;
        if growing.buffer.len() >= WRITE_BYTES { growing.write() } else { Ok(()) }
    }

    /// Ends the last segment, at the given revision, which compaction may have left without a
    /// commit of its own, and gives all of them.
    pub(super) fn finish(
        mut self,
        last_revision: u64,
        incarnation: [u8; 16],
    ) -> Result<Vec<SegmentRecord>> {
        if self.growing.is_none() && last_revision > 0 {
            self.begin(last_revision, Arc::new([incarnation]))?;
        }
        if let Some(growing) = &mut self.growing {
            growing.last_revision = last_revision;
        }
        self.seal()?;
        sync_dir(self.target.disk(), &self.target.path().join(JOURNAL_FOLDER))?;
        Ok(self.records)
    }

    fn begin(&mut self, first_revision: u64, incarnations: Arc<[[u8; 16]]>) -> Result<()> {
        let number = self.records.len() as u32 + 1;
        let mut salt = [0; 8];
        self.entropy.fill(&mut salt);
        let header = SegmentHeader {
            number,
            salt: u64::from_le_bytes(salt),
            first_revision,
            incarnations: incarnations.to_vec(),
        };
        let (buffer, chain) = header.encode();
        let path = segment_path(self.target.path(), number);
        let file = self.target.disk().open(&path, true).map_err(Error::io("creating", &path))?;
        self.growing = Some(Growing {
            path,
            file,
            number,
            incarnations,
            first_revision,
            last_revision: first_revision,
            tail: Position { offset: SEGMENT_HEADER_BYTES, chain },
            buffer,
        });
        Ok(())
    }

    /// Ends the segment with a seal and makes its contents durable.
    fn seal(&mut self) -> Result<()> {
        let Some(mut growing) = self.growing.take() else { return Ok(()) };
        let (offset, last_revision) = (growing.tail.offset, growing.last_revision);
        growing.add(&mut FrameBuilder::seal(), last_revision);
        growing.write()?;
        growing.file.sync_all().map_err(Error::io("syncing", &growing.path))?;
        self.records.push(SegmentRecord {
            number: growing.number,
            first_revision: growing.first_revision,
            sealed: Some(SealedEnd { last_revision, offset }),
            live_bytes: 0,
        });
        Ok(())
    }
}

impl Growing {
    fn add(&mut self, frame: &mut FrameBuilder, revision: u64) {
        let (bytes, chain) = frame.finish(revision, self.tail.chain);
        self.buffer.extend_from_slice(bytes);
        self.tail = Position { offset: self.tail.offset + bytes.len() as u64, chain };
    }

    fn write(&mut self) -> Result<()> {
        let bytes = mem::take(&mut self.buffer);
        let start = self.tail.offset - bytes.len() as u64;
        self.file.write_all_at(&bytes, start).map_err(Error::io("writing", &self.path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::path::Path;

    use super::*;
    use crate::disk::MemoryDisk;
    use crate::journal::segment::OpenSegment;

    fn commit(revision: u64, incarnations: &[[u8; 16]]) -> Loose {
        let mut frame = FrameBuilder::commit(0);
        frame.complete();
        Loose { revision, frame, incarnations: incarnations.into() }
    }

    #[test]
    fn segments_end_where_they_are_full_and_where_the_incarnations_change() {
        let disk = MemoryDisk::new();
        let target = Target::begin(&disk, Path::new("copy")).unwrap();
        let frame_bytes = commit(1, &[]).frame.len() as u64;
        let full_bytes = SEGMENT_HEADER_BYTES + 3 * frame_bytes;
        let entropy = Entropy::seeded(1);
        let mut layout = Layout::new(&target, &entropy, full_bytes);
        for revision in 1..=4 {
            layout.push(commit(revision, &[[1; 16]])).unwrap();
        }
        layout.push(commit(5, &[[1; 16], [2; 16]])).unwrap();
        layout.push(commit(6, &[[1; 16], [2; 16]])).unwrap();
        let records = layout.finish(9, [3; 16]).unwrap();

        let sealed = records.iter().map(|record| record.sealed.unwrap());
        assert_eq!(sealed.map(|end| end.last_revision).collect::<Vec<_>>(), [3, 4, 9]);
        for (record, frames) in records.iter().zip([3, 1, 2]) {
            let segment = OpenSegment::open(&disk, target.path(), record.number).unwrap();
            assert_eq!(segment.facts.header.first_revision, record.first_revision);
            let end = record.sealed.unwrap().offset;
            assert_eq!(end, SEGMENT_HEADER_BYTES + frames * frame_bytes);
            let mut scan = segment.scan(u64::MAX);
            let mut revisions = Vec::new();
            while let Some(frame) = scan.next().unwrap() {
                revisions.push(frame.revision);
            }
            assert_eq!(revisions.len() as u64, frames + 1, "with the seal");
            assert_eq!(scan.position().offset, segment.facts.len_bytes);
        }
    }

    #[test]
    fn a_journal_without_commits_still_ends_at_its_revision() {
        let disk = MemoryDisk::new();
        let target = Target::begin(&disk, Path::new("copy")).unwrap();
        let entropy = Entropy::seeded(1);
        let records = Layout::new(&target, &entropy, 1 << 20).finish(7, [3; 16]).unwrap();
        assert_eq!(records[0].sealed.unwrap().last_revision, 7);
        let segment = OpenSegment::open(&disk, target.path(), 1).unwrap();
        assert_eq!(segment.facts.header.incarnations, [[3; 16]]);
    }
}
