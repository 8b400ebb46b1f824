//! Writing commits into new segments.

use std::sync::Arc;

use crate::journal::copying::Target;
use crate::journal::copying::collect::Loose;
use crate::journal::copying::target::sync_dir;
use crate::journal::manifest::SegmentRecord;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::journal::segment_writer::SegmentWriter;
use crate::seams::entropy::Entropy;
use crate::storage::layout::JOURNAL_FOLDER;
use crate::values::error::Result;

/// The segments of a copy, each sealed and cut to its length.
pub(super) struct Layout<'a> {
    target: &'a Target<'a>,
    entropy: &'a Entropy,
    /// The length beyond which a segment takes no other frame.
    full_bytes: u64,
    growing: Option<Growing>,
    records: Vec<SegmentRecord>,
}

/// Makes the contents of a sealed segment durable, or has that done.
type SyncSegment<'s> = dyn Fn(SegmentWriter) -> Result<()> + 's;

/// The segment that is being written.
struct Growing {
    segment: SegmentWriter,
    incarnations: Arc<[[u8; 16]]>,
    last_revision: u64,
}

impl<'a> Layout<'a> {
    pub(super) fn new(target: &'a Target<'a>, entropy: &'a Entropy, full_bytes: u64) -> Self {
        Self { target, entropy, full_bytes, growing: None, records: Vec::new() }
    }

    pub(super) fn push_all(&mut self, commits: Vec<Loose>, sync: &SyncSegment<'_>) -> Result<()> {
        commits.into_iter().try_for_each(|commit| self.push(commit, sync))
    }

    /// Adds a commit of a higher revision than any before.
    fn push(&mut self, mut commit: Loose, sync: &SyncSegment<'_>) -> Result<()> {
        let frame_bytes = commit.frame.len() as u64;
        let fits = self.growing.as_ref().is_some_and(|growing| {
            let end = SEGMENT_HEADER_BYTES + growing.segment.frame_bytes() + frame_bytes;
            growing.incarnations == commit.incarnations && end <= self.full_bytes
        });
        if !fits {
            self.seal(sync)?;
            self.begin(Arc::clone(&commit.incarnations))?;
        }
        let Some(growing) = &mut self.growing else { return Ok(()) };
        growing.last_revision = commit.revision;
        growing.segment.push(&mut commit.frame, commit.revision).map(drop)
    }

    /// Ends the last segment, at the given revision, which compaction may have left without a
    /// commit of its own, and returns all of them.
    pub(super) fn finish(
        mut self,
        last_revision: u64,
        incarnation: [u8; 16],
    ) -> Result<Vec<SegmentRecord>> {
        if self.growing.is_none() && last_revision > 0 {
            self.begin(Arc::new([incarnation]))?;
        }
        if let Some(growing) = &mut self.growing {
            growing.last_revision = last_revision;
        }
        self.seal(&|segment| segment.sync())?;
        sync_dir(self.target.disk(), &self.target.path().join(JOURNAL_FOLDER))?;
        Ok(self.records)
    }

    /// Begins a segment with the revision after the last one of the segment before, even if
    /// compaction has dropped that commit: as their revisions join, no segment is missing.
    fn begin(&mut self, incarnations: Arc<[[u8; 16]]>) -> Result<()> {
        let number = self.records.len() as u32 + 1;
        let before = self.records.last().and_then(|record| record.sealed);
        let first_revision = before.map_or(0, |end| end.last_revision) + 1;
        let (disk, store) = (self.target.disk(), self.target.path());
        let listed = incarnations.to_vec();
        let segment =
            SegmentWriter::create(disk, store, self.entropy, number, first_revision, listed)?;
        self.growing = Some(Growing { segment, incarnations, last_revision: first_revision });
        Ok(())
    }

    /// Ends the segment with a seal.
    fn seal(&mut self, sync: &SyncSegment<'_>) -> Result<()> {
        let Some(mut growing) = self.growing.take() else { return Ok(()) };
        self.records.push(growing.segment.end(growing.last_revision)?);
        sync(growing.segment)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::path::Path;

    use super::*;
    use crate::journal::frame::FrameBuilder;
    use crate::journal::segment::OpenSegment;
    use crate::storage::{Disk, MemoryDisk};

    fn commit(revision: u64, incarnations: &[[u8; 16]]) -> Loose {
        let mut frame = FrameBuilder::commit(0);
        frame.complete();
        Loose { revision, frame, incarnations: incarnations.into() }
    }

    #[test]
    fn segments_end_where_they_are_full_and_where_the_incarnations_change() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let target = Target::begin(&disk, Path::new("copy")).unwrap();
        let frame_bytes = commit(1, &[]).frame.len() as u64;
        let full_bytes = SEGMENT_HEADER_BYTES + 3 * frame_bytes;
        let entropy = Entropy::seeded(1);
        let mut layout = Layout::new(&target, &entropy, full_bytes);
        let sync = |segment: SegmentWriter| segment.sync();
        for revision in 2..=5 {
            layout.push(commit(revision, &[[1; 16]]), &sync).unwrap();
        }
        layout.push(commit(7, &[[1; 16], [2; 16]]), &sync).unwrap();
        layout.push(commit(8, &[[1; 16], [2; 16]]), &sync).unwrap();
        let records = layout.finish(9, [3; 16]).unwrap();

        let covers =
            |record: &SegmentRecord| (record.first_revision, record.sealed.unwrap().last_revision);
        assert_eq!(records.iter().map(covers).collect::<Vec<_>>(), [(1, 4), (5, 5), (6, 9)]);
        for (record, frames) in records.iter().zip([3, 1, 2]) {
            let segment = OpenSegment::open(&*disk, target.path(), record.number).unwrap();
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
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let target = Target::begin(&disk, Path::new("copy")).unwrap();
        let entropy = Entropy::seeded(1);
        let records = Layout::new(&target, &entropy, 1 << 20).finish(7, [3; 16]).unwrap();
        assert_eq!(records[0].sealed.unwrap().last_revision, 7);
        let segment = OpenSegment::open(&*disk, target.path(), 1).unwrap();
        assert_eq!(segment.facts.header.incarnations, [[3; 16]]);
    }
}
