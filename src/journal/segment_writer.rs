//! Writing a whole segment of frames that exist already, as compaction and copies do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::frame::{FrameBuilder, header_of_body};
use crate::journal::manifest::{SealedEnd, SegmentRecord};
use crate::journal::scanner::Position;
use crate::journal::segment::{MAX_INCARNATIONS, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::seams::entropy::Entropy;
use crate::storage::layout::segment_path;
use crate::storage::{Disk, DiskFile};
use crate::values::error::{Error, Result};

/// How much of a segment is written at a time.
const WRITE_BYTES: usize = 256 << 10;

/// A segment that is being written. Nothing of it is durable before it is sealed.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    seed: u32,
    /// After everything added, written or not.
    tail: Position,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// Creates the file of a segment in a store's folder.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `InvalidInput` when a header has no room for this number of
    /// incarnations.
    pub(crate) fn create(
        disk: &dyn Disk,
        store: &Path,
        entropy: &Entropy,
        number: u32,
        first_revision: u64,
        incarnations: Vec<[u8; 16]>,
    ) -> Result<Self> {
        let path = segment_path(store, number);
        if incarnations.len() > MAX_INCARNATIONS {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                "its entries are of more incarnations than a segment can list",
            );
            return Err(Error::io("creating", &path)(source));
        }
        let header = SegmentHeader::new(number, entropy, first_revision, incarnations);
        let (buffer, seed) = header.encode();
        let file = disk.open(&path, true).map_err(Error::io("creating", &path))?;
        let tail = Position { offset: SEGMENT_HEADER_BYTES, seed };
        Ok(Self { path, file, header, seed, tail, buffer })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Seeds the checksum of the first frame.
    pub(crate) fn seed(&self) -> u32 {
        self.seed
    }

    /// Bytes of the frames so far.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.tail.offset - SEGMENT_HEADER_BYTES
    }

    /// Adds the frame of a commit, of a higher revision than any before; returns where it begins.
    pub(crate) fn push(&mut self, frame: &mut FrameBuilder, revision: u64) -> Result<u64> {
        let begin = self.tail.offset;
        self.tail = self.buffer_frame(frame, revision);
        self.write_if_much()?;
        Ok(begin)
    }

    /// As [`push`](Self::push), for the body of another segment's frame, which has this checksum.
    pub(crate) fn push_body(
        &mut self,
        body: &[u8],
        body_checksum: u32,
        revision: u64,
    ) -> Result<u64> {
        let begin = self.tail.offset;
        let (header, end) = header_of_body(body, body_checksum, revision, self.tail);
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(body);
        self.tail = end;
        self.write_if_much()?;
        Ok(begin)
    }

    fn write_if_much(&mut self) -> Result<()> {
        if self.buffer.len() >= WRITE_BYTES { self.write_up_to(self.tail.offset) } else { Ok(()) }
    }

    /// Ends the segment with a seal, at a revision that may be above its last frame's, and syncs
    /// its contents. The caller syncs its name.
    pub(crate) fn seal(&mut self, last_revision: u64) -> Result<SegmentRecord> {
        let record = self.end(last_revision)?;
        self.sync()?;
        Ok(record)
    }

    /// As [`seal`](Self::seal), but the caller syncs the contents too.
    pub(crate) fn end(&mut self, last_revision: u64) -> Result<SegmentRecord> {
        let end = self.buffer_frame(&mut FrameBuilder::seal(), last_revision);
        self.write_up_to(end.offset)?;
        Ok(SegmentRecord {
            number: self.header.number,
            first_revision: self.header.first_revision,
            sealed: Some(SealedEnd { last_revision, offset: self.tail.offset }),
            live_bytes: 0,
        })
    }

    /// Makes the contents durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("syncing", &self.path))
    }

    fn buffer_frame(&mut self, frame: &mut FrameBuilder, revision: u64) -> Position {
        let (bytes, end) = frame.finish(revision, 0, self.tail);
        self.buffer.extend_from_slice(bytes);
        end
    }

    fn write_up_to(&mut self, end: u64) -> Result<()> {
        let start = end - self.buffer.len() as u64;
        let written = self.file.write_all_at(&self.buffer, start);
        written.map_err(Error::io("writing", &self.path))?;
        self.buffer.clear();
        Ok(())
    }
}
