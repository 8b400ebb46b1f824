//! Reading the frames of a segment from front to back, over damage on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::frame::{Body, FRAME_HEADER_BYTES, FrameHeader};
use crate::storage::DiskFile;
use crate::values::error::{Error, Result};

pub(crate) use crate::journal::frame::Position;

/// How much a scan reads at a time.
const SCAN_BYTES: usize = 256 << 10;

/// One valid frame of a scan.
#[derive(Debug)]
pub(crate) struct ScannedFrame<'a> {
    pub(crate) offset: u64,
    pub(crate) revision: u64,
    /// The frame's bytes after its header.
    pub(crate) body: &'a [u8],
    /// The checksum in the header, which the body matches.
    pub(crate) body_checksum: u32,
}

/// A part of a segment in which no frame can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DamagedStretch {
    pub(crate) offset: u64,
    pub(crate) end_offset: u64,
    /// The lowest revision of a commit that may have been there.
    pub(crate) first_revision: u64,
    /// The highest revision of one.
    pub(crate) last_revision: u64,
}

impl DamagedStretch {
    /// Whether the commit of this revision may have been there; no other segment holds it.
    pub(crate) fn covers(&self, revision: u64) -> bool {
        (self.first_revision..=self.last_revision).contains(&revision)
    }

    pub(crate) fn error(&self, path: &Path) -> Error {
        Error::corrupt(path, self.offset, "a frame is damaged")
    }
}

impl<'a> ScannedFrame<'a> {
    /// Parses the frame, and checks that its revision is above `last_revision`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not, or when the body cannot be decoded.
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

/// Reads frames one after another: up to the first that is not valid, or over damage.
#[derive(Debug)]
pub(crate) struct FrameScanner {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    limit: u64,
    next: Position,
    /// The revision of the last commit that was checked.
    last_revision: u64,
    /// Present if damage is stepped over: the offset that frames have to reach, and their highest
    /// revision.
    over: Option<(u64, u64)>,
    damage: Vec<DamagedStretch>,
    last: Option<Found>,
    /// What the last header says, if there is one before the scan's position.
    content_check: Option<u32>,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl FrameScanner {
    /// A scan from a place between two frames on; `limit` is at most the file's length.
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: PathBuf, limit: u64, next: Position) -> Self {
        Self {
            file,
            path,
            limit,
            next,
            last_revision: 0,
            over: None,
            damage: Vec::new(),
            last: None,
            content_check: None,
            buffer: Vec::new(),
            buffer_start: 0,
        }
    }

    /// The same scan, of commits that must be above this revision.
    pub(crate) fn after(self, last_revision: u64) -> Self {
        Self { last_revision, ..self }
    }

    /// The same scan, which steps over damage: frames reach up to `end_offset`, with revisions up
    /// to `last_revision`. [`take_damage`](Self::take_damage) returns what it stepped over.
    pub(crate) fn over_damage(self, end_offset: u64, last_revision: u64) -> Self {
        Self { over: Some((end_offset, last_revision)), ..self }
    }

    /// The position of the scan: after the last valid frame.
    pub(crate) fn position(&self) -> Position {
        self.next
    }

    /// The last revision before the scan's position, as far as it is known.
    pub(crate) fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Continues after a commit of this revision, which the caller has checked.
    pub(crate) fn pass(&mut self, revision: u64) {
        self.last_revision = revision;
    }

    /// Continues from another place between two frames.
    pub(crate) fn go_to(&mut self, offset: u64) {
        self.next.offset = offset;
    }

    /// What was stepped over since the last call.
    pub(crate) fn take_damage(&mut self) -> Vec<DamagedStretch> {
        std::mem::take(&mut self.damage)
    }

    /// The commit that [`next_commit`](Self::next_commit) gave last.
    pub(crate) fn last_commit(&self) -> Option<ScannedFrame<'_>> {
        self.buffered(self.last?)
    }

    /// What the last header, be its body whole or not, says of the content; `None` where none is
    /// known to be the last.
    pub(crate) fn content_check(&self) -> Option<u32> {
        self.content_check
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
    /// As [`next`](Self::next), and where damage is not stepped over as [`ScannedFrame::check`].
    pub(crate) fn next_commit(&mut self) -> Result<Option<ScannedFrame<'_>>> {
        loop {
            let Some(found) = self.advance()? else {
                let Some((end, highest)) = self.over.filter(|(end, _)| self.next.offset < *end)
                else {
                    return Ok(None);
                };
                if !self.skip_to_header(end, highest)? {
                    self.note_damage(end, highest);
                    self.content_check = None;
                }
                continue;
            };
            let Some(frame) = self.buffered(found) else { return Ok(None) };
            match frame.check(&self.path, self.last_revision) {
                Ok(Body::Seal) => return Ok(None),
                Ok(Body::Commit(_)) => {
                    (self.last_revision, self.last) = (found.revision, Some(found));
                    return Ok(self.buffered(found));
                }
                Err(error) if self.over.is_none() => return Err(error),
                Err(_) => {
                    let end = self.next.offset;
                    self.next.offset = found.offset;
                    self.note_damage(end, found.revision);
                }
            }
        }
    }

    /// Steps over what is not valid here: over the frame, where its header is whole, or else to the
    /// next header, of a commit up to this revision whose frame ends up to there; `false`, with
    /// nothing changed, where there is neither.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read.
    pub(crate) fn skip_to_header(&mut self, end_offset: u64, highest: u64) -> Result<bool> {
        let begin = self.next.offset;
        let mut offset = begin;
        while offset < end_offset.min(self.limit) {
            let found = self.header_at(offset)?.filter(|header| {
                let end = offset + (FRAME_HEADER_BYTES as u64) + u64::from(header.body_bytes);
                let revisions = self.last_revision + 1..=highest;
                end <= end_offset && revisions.contains(&header.revision)
            });
            match found {
                Some(header) if offset == begin => {
                    let frame_bytes = FRAME_HEADER_BYTES as u64 + u64::from(header.body_bytes);
                    self.damage.push(DamagedStretch {
                        offset,
                        end_offset: offset + frame_bytes,
                        first_revision: header.revision,
                        last_revision: header.revision,
                    });
                    self.next.offset = offset + frame_bytes;
                    self.last_revision = header.revision;
                    self.content_check = Some(header.content_check);
                    return Ok(true);
                }
                Some(header) => {
                    self.note_damage(offset, header.revision - 1);
                    return Ok(true);
                }
                None => offset += 1,
            }
        }
        Ok(false)
    }

    /// Notes a damaged stretch up to a place, and continues there. The stretch's revisions are not
    /// above this one; nothing else is known of them.
    fn note_damage(&mut self, end_offset: u64, last_revision: u64) {
        self.damage.push(DamagedStretch {
            offset: self.next.offset,
            end_offset,
            first_revision: self.last_revision + 1,
            last_revision,
        });
        self.next.offset = end_offset;
    }

    /// Checks that the scan has ended exactly at this place.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the place where it ended.
    pub(crate) fn expect_end(&self, offset: u64) -> Result<()> {
        let end = self.next.offset;
        if end == offset {
            return Ok(());
        }
        Err(Error::corrupt(&self.path, end, "a frame is damaged"))
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<FrameHeader>> {
        let place = Position { offset, ..self.next };
        let Some(bytes) = self.bytes_at(offset, FRAME_HEADER_BYTES)? else { return Ok(None) };
        Ok(bytes.first_chunk().and_then(|bytes| FrameHeader::decode(bytes, place)))
    }

    /// Reads the next frame into the buffer and steps over it.
    fn advance(&mut self) -> Result<Option<Found>> {
        let offset = self.next.offset;
        let Some(header) = self.header_at(offset)? else { return Ok(None) };
        let whole = FRAME_HEADER_BYTES + header.body_bytes as usize;
        let Some(bytes) = self.bytes_at(offset, whole)? else { return Ok(None) };
        let body = bytes.split_at(FRAME_HEADER_BYTES).1;
        if crc32fast::hash(body) != header.body_checksum {
            return Ok(None);
        }
        let (body_bytes, body_checksum) = (body.len(), header.body_checksum);
        self.next.offset = offset + whole as u64;
        self.content_check = Some(header.content_check);
        Ok(Some(Found { offset, revision: header.revision, body_bytes, body_checksum }))
    }

    /// A frame that was just read.
    fn buffered(&self, found: Found) -> Option<ScannedFrame<'_>> {
        let Found { offset, revision, body_bytes, body_checksum } = found;
        let from = (offset - self.buffer_start) as usize + FRAME_HEADER_BYTES;
        let body = self.buffer.get(from..from + body_bytes)?;
        Some(ScannedFrame { offset, revision, body, body_checksum })
    }

    /// Takes note of where a file ends that was cut short, where that is damage to step over.
    fn find_end(&mut self, error: io::Error) -> Result<()> {
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof && self.over.is_some();
        let len = self.file.len().map_err(Error::io("reading the length of", &self.path))?;
        if !is_cut || len >= self.limit {
            return Err(Error::io("reading", &self.path)(error));
        }
        self.limit = len;
        Ok(())
    }

    /// `len` bytes from `offset`; `None` when the scanned part ends before.
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
            if let Err(error) = self.file.read_exact_at(&mut self.buffer, offset) {
                self.buffer.clear();
                return self.find_end(error).and_then(|()| self.bytes_at(offset, len));
            }
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
    body_checksum: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::journal::frame::FrameBuilder;
    use crate::storage::{Disk, MemoryDisk};

    /// What a scan reports of frames that follow each other: the revisions of commits, and whether
    /// it reaches the end.
    fn scan_commits(after: u64, frames: Vec<(FrameBuilder, u64)>) -> Result<(Vec<u64>, bool)> {
        let (disk, path) = (MemoryDisk::new(), PathBuf::from("segment"));
        let file = disk.open(&path, true).unwrap();
        let first = Position { offset: 0, seed: 7 };
        let mut position = first;
        for (mut frame, revision) in frames {
            frame.complete();
            let (bytes, end) = frame.finish(revision, 0, position);
            file.write_all_at(bytes, position.offset).unwrap();
            position = end;
        }
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
