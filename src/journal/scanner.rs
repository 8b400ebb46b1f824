//! Reading the frames of a segment from front to back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::frame::{Body, FRAME_HEADER_BYTES, FrameHeader};
use crate::storage::DiskFile;
use crate::values::error::{Error, Result};

/// How much a scan reads at a time.
const SCAN_BYTES: usize = 256 << 10;

/// A place between two frames: where the next begins, and the checksum that seeds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) chain: u32,
}

/// One valid frame of a scan.
#[derive(Debug)]
pub(crate) struct ScannedFrame<'a> {
    pub(crate) offset: u64,
    pub(crate) revision: u64,
    /// The frame's bytes after its header.
    pub(crate) body: &'a [u8],
}

impl<'a> ScannedFrame<'a> {
    /// Parses the frame and checks what its checksum does not: that it is one this version writes,
    /// in ascending order of revision.
    pub(crate) fn check(&self, path: &Path, last_revision: u64) -> Result<Body<'a>> {
        let body = Body::decode(self.body);
        let body = body.ok_or_else(|| {
            Error::corrupt(path, self.offset, "a frame matches its checksum and cannot be decoded")
        })?;
        if matches!(body, Body::Commit(_)) && self.revision <= last_revision {
            return Err(Error::corrupt(
                path,
                self.offset,
                "a frame's revision is not above that of the frame before it",
            ));
        }
        Ok(body)
    }
}

/// Reads frames one after another until the first that is not valid.
#[derive(Debug)]
pub(crate) struct FrameScanner {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    limit: u64,
    next: Position,
    /// The revision of the last commit that was checked.
    last_revision: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl FrameScanner {
    /// A scan from a place between two frames on; `limit` is at most the file's length.
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: PathBuf, limit: u64, next: Position) -> Self {
        Self { file, path, limit, next, last_revision: 0, buffer: Vec::new(), buffer_start: 0 }
    }

    /// The same scan, of commits that must be above this revision.
    pub(crate) fn after(self, last_revision: u64) -> Self {
        Self { last_revision, ..self }
    }

    /// Where the scan stands: after the last valid frame.
    pub(crate) fn position(&self) -> Position {
        self.next
    }

    /// The next frame, or `None` where no valid frame follows.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<ScannedFrame<'_>>> {
        let found = self.advance()?;
        Ok(found.and_then(|found| self.buffered(found)))
    }

    /// The next commit, checked; `None` at a seal and where no valid frame follows.
    ///
    /// # Errors
    /// As [`next`](Self::next) and [`ScannedFrame::check`].
    pub(crate) fn next_commit(&mut self) -> Result<Option<ScannedFrame<'_>>> {
        let Some(found) = self.advance()? else { return Ok(None) };
        let Some(frame) = self.buffered(found) else { return Ok(None) };
        match frame.check(&self.path, self.last_revision)? {
            Body::Seal => Ok(None),
            Body::Commit(_) => {
                self.last_revision = found.revision;
                Ok(self.buffered(found))
            }
        }
    }

    /// Asks that the scan, at its end, has come just to this place.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming where it ended.
    pub(crate) fn expect_end(&self, offset: u64) -> Result<()> {
        let end = self.next.offset;
        if end == offset {
            return Ok(());
        }
        Err(Error::corrupt(&self.path, end, "a frame is damaged"))
    }

    /// Reads the next frame into the buffer and steps over it.
    fn advance(&mut self) -> Result<Option<Found>> {
        let Position { offset, chain } = self.next;
        let Some(bytes) = self.bytes_at(offset, FRAME_HEADER_BYTES)? else { return Ok(None) };
        let Some(header_bytes) = bytes.first_chunk() else { return Ok(None) };
        let Some((header, checksum)) = FrameHeader::decode(header_bytes, chain) else {
            return Ok(None);
        };
        let whole = FRAME_HEADER_BYTES + header.body_bytes as usize;
        let Some(bytes) = self.bytes_at(offset, whole)? else { return Ok(None) };
        let body = bytes.split_at(FRAME_HEADER_BYTES).1;
        if crc32fast::hash(body) != header.body_checksum {
            return Ok(None);
        }
        let body_bytes = body.len();
        self.next = Position { offset: offset + whole as u64, chain: checksum };
        Ok(Some(Found { offset, revision: header.revision, body_bytes }))
    }

    /// A frame that was just read.
    fn buffered(&self, found: Found) -> Option<ScannedFrame<'_>> {
        let Found { offset, revision, body_bytes } = found;
        let from = (offset - self.buffer_start) as usize + FRAME_HEADER_BYTES;
        let body = self.buffer.get(from..from + body_bytes)?;
        Some(ScannedFrame { offset, revision, body })
    }

    /// So many bytes from `offset`, `None` when the scanned part ends before.
    fn bytes_at(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.limit) {
            return Ok(None);
        }
        let buffer_end = self.buffer_start + self.buffer.len() as u64;
        if offset < self.buffer_start || offset + len as u64 > buffer_end {
            let wanted = len.max(SCAN_BYTES).min((self.limit - offset) as usize);
            self.buffer.truncate(wanted);
            if self.buffer.len() < wanted {
                self.buffer = vec![0; wanted];
            }
            self.buffer_start = offset;
            let read = self.file.read_exact_at(&mut self.buffer, offset);
            read.map_err(Error::io("reading", &self.path))?;
        }
        let from = (offset - self.buffer_start) as usize;
        Ok(self.buffer.get(from..from + len))
    }
}

/// Where a frame lies that is in the buffer.
#[derive(Debug, Clone, Copy)]
struct Found {
    offset: u64,
    revision: u64,
    body_bytes: usize,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::journal::frame::FrameBuilder;
    use crate::storage::{Disk, MemoryDisk};

    /// What a scan tells of frames that follow each other: the revisions of commits, and whether it
    /// comes to the end.
    fn scan_commits(after: u64, frames: Vec<(FrameBuilder, u64)>) -> Result<(Vec<u64>, bool)> {
        let (disk, path) = (MemoryDisk::new(), PathBuf::from("segment"));
        let file = disk.open(&path, true).unwrap();
        let mut position = Position { offset: 0, chain: 7 };
        for (mut frame, revision) in frames {
            frame.complete();
            let (bytes, chain) = frame.finish(revision, position.chain);
            file.write_all_at(bytes, position.offset).unwrap();
            position = Position { offset: position.offset + bytes.len() as u64, chain };
        }
        let first = Position { offset: 0, chain: 7 };
        let mut scan = FrameScanner::new(file, path, position.offset, first).after(after);
        let mut revisions = Vec::new();
        while let Some(frame) = scan.next_commit()? {
            revisions.push(frame.revision);
        }
        Ok((revisions, scan.expect_end(position.offset).is_ok()))
    }

    #[test]
    fn revisions_of_commits_ascend_and_a_seal_ends_them() {
        let commits = |revisions: &[u64]| {
            revisions.iter().map(|revision| (FrameBuilder::commit(0), *revision)).collect()
        };
        assert_eq!(scan_commits(7, commits(&[8, 10, 11])).unwrap(), (vec![8, 10, 11], true));
        for descending in [[7, 8], [8, 8], [9, 8]] {
            let error = scan_commits(7, commits(&descending)).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{descending:?}: {error}");
        }
        let mut frames: Vec<(FrameBuilder, u64)> = commits(&[8, 9]);
        frames.push((FrameBuilder::seal(), 9));
        assert_eq!(scan_commits(0, frames).unwrap(), (vec![8, 9], true));
        let mut frames: Vec<(FrameBuilder, u64)> = commits(&[8]);
        frames.push((FrameBuilder::seal(), 8));
        frames.extend(commits(&[9]));
        assert_eq!(scan_commits(0, frames).unwrap(), (vec![8], false));
    }
}
