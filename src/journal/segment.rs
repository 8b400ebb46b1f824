//! Segment files: their names, and the header.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::dual_slot::MAX_STORED;
use crate::journal::frame::Body;
use crate::journal::scanner::{FrameScanner, Position};
use crate::seams::entropy::Entropy;
use crate::storage::layout::{JOURNAL_FOLDER, segment_path};
use crate::storage::{Disk, DiskFile};
use crate::values::error::{Error, Result};

/// Bytes before the first frame; one page, so that frames never share a sector with the header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 4096;
/// The header is stored twice, as without it no frame of the segment can be read.
const COPY_BYTES: usize = SEGMENT_HEADER_BYTES as usize / 2;
/// The format version that this crate writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"IFMSEGM\0";
const FIXED_BYTES: usize = 36;
pub(crate) const MAX_INCARNATIONS: usize = (COPY_BYTES - FIXED_BYTES - 4) / 16;

/// What a segment file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    /// Makes the checksums of two segments' frames differ, whatever their contents.
    pub(crate) salt: u64,
    /// No frame of this segment is below this revision.
    pub(crate) first_revision: u64,
    /// The incarnations that wrote its entries; an entry names one by its index.
    pub(crate) incarnations: Vec<[u8; 16]>,
}

impl SegmentHeader {
    pub(crate) fn new(
        number: u32,
        entropy: &Entropy,
        first_revision: u64,
        incarnations: Vec<[u8; 16]>,
    ) -> Self {
        let mut salt = [0; 8];
        entropy.fill(&mut salt);
        Self { number, salt: u64::from_le_bytes(salt), first_revision, incarnations }
    }

    /// Lays out both copies of the header; also returns the checksum that seeds those of frames.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        debug_assert!((1..=MAX_INCARNATIONS).contains(&self.incarnations.len()));
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.first_revision.to_le_bytes());
        bytes.extend_from_slice(&(self.incarnations.len() as u32).to_le_bytes());
        for incarnation in &self.incarnations {
            bytes.extend_from_slice(incarnation);
        }
        bytes.resize(COPY_BYTES - 4, 0);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_within(..);
        (bytes, checksum)
    }

    /// Reads a header and the checksum that seeds those of frames, from the first of its two copies
    /// that is whole.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when both copies are damaged.
    /// - [`Error::Unsupported`] when a newer version wrote it.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<(Self, u32)> {
        let (first, second) = bytes.split_at_checked(COPY_BYTES).unwrap_or((bytes, &[]));
        match Self::decode_copy(path, first) {
            Err(error @ Error::Corrupt { .. }) => {
                let decoded = Self::decode_copy(path, second).map_err(|second| match second {
                    Error::Corrupt { .. } => error,
                    other => other,
                })?;
                log::warn!(
                    "one of the two copies of the header of {} is damaged; the other is used",
                    path.display()
                );
                Ok(decoded)
            }
            decoded => decoded,
        }
    }

    fn decode_copy(path: &Path, bytes: &[u8]) -> Result<(Self, u32)> {
        let damaged = || Error::corrupt(path, 0, "the segment's header is damaged");
        let (covered, stored) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        let checksum = crc32fast::hash(covered);
        if checksum != u32::from_le_bytes(*stored) {
            return Err(damaged());
        }
        let fields = Fields::decode(covered).ok_or_else(damaged)?;
        if fields.format > FORMAT {
            let path = path.to_owned();
            return Err(Error::Unsupported { path, found: fields.format, supported: FORMAT });
        }
        Ok((fields.header, checksum))
    }
}

struct Fields {
    format: u32,
    header: SegmentHeader,
}

impl Fields {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(MAGIC)?;
        let (format, bytes) = bytes.split_first_chunk::<4>()?;
        let (number, bytes) = bytes.split_first_chunk::<4>()?;
        let (salt, bytes) = bytes.split_first_chunk::<8>()?;
        let (first_revision, bytes) = bytes.split_first_chunk::<8>()?;
        let (count, bytes) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let first_revision = u64::from_le_bytes(*first_revision);
        if !(1..=MAX_INCARNATIONS).contains(&count) || first_revision > MAX_STORED {
            return None;
        }
        let (incarnations, _) = bytes.get(..count * 16)?.as_chunks::<16>();
        Some(Self {
            format: u32::from_le_bytes(*format),
            header: SegmentHeader {
                number: u32::from_le_bytes(*number),
                salt: u64::from_le_bytes(*salt),
                first_revision,
                incarnations: incarnations.to_vec(),
            },
        })
    }
}

/// Makes the journal's folder if it is missing, and its name durable: programs that copy a store
/// may leave out a folder that is empty.
pub(crate) fn ensure_folder(disk: &dyn Disk, store: &Path) -> Result<()> {
    let folder = store.join(JOURNAL_FOLDER);
    disk.create_dir_all(&folder).map_err(Error::io("creating", &folder))?;
    disk.sync_dir(store).map_err(Error::io("syncing", store))
}

/// An opened segment whose header was read and checked.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) facts: SegmentFacts,
}

/// What an open keeps of a segment. It does not keep the file open: a store may have more segments
/// than a process may have handles.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFacts {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    /// Seeds the checksums of frames.
    pub(crate) seed: u32,
    pub(crate) len_bytes: u64,
}

impl OpenSegment {
    /// Opens a segment, and checks its header.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when the file is missing, or its header is damaged or another
    ///   segment's.
    /// - [`Error::Unsupported`] when a newer version wrote it.
    /// - [`Error::Io`] when the system refuses a call.
    pub(crate) fn open(disk: &dyn Disk, store: &Path, number: u32) -> Result<Self> {
        let path = segment_path(store, number);
        let file = match disk.open(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(&path, 0, "the segment is missing"));
            }
            Err(error) => return Err(Error::io("opening", &path)(error)),
        };
        let len_bytes = file.len().map_err(Error::io("reading the length of", &path))?;
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::corrupt(&path, len_bytes, "the segment's header is cut off"));
            }
            Err(error) => return Err(Error::io("reading", &path)(error)),
        }
        let (header, seed) = SegmentHeader::decode(&path, &bytes)?;
        if header.number != number {
            return Err(Error::corrupt(&path, 12, "the segment's header names another segment"));
        }
        Ok(Self { file, facts: SegmentFacts { path, header, seed, len_bytes } })
    }

    /// Whether the first frame is a commit.
    pub(crate) fn holds_commits(&self) -> Result<bool> {
        let mut scan = self.scan(u64::MAX);
        Ok(scan.next()?.is_some_and(|frame| !matches!(Body::decode(frame.body), Some(Body::Seal))))
    }

    /// Reads the frames from the first one on, up to `limit` or the end of the file.
    pub(crate) fn scan(&self, limit: u64) -> FrameScanner {
        self.facts.scan_file(Arc::clone(&self.file), limit)
    }
}

impl SegmentFacts {
    /// Opens the file again and reads its frames from the first one on.
    pub(crate) fn scan(&self, disk: &dyn Disk, limit: u64) -> Result<FrameScanner> {
        let file = disk.open(&self.path, false).map_err(Error::io("opening", &self.path))?;
        Ok(self.scan_file(file, limit))
    }

    fn scan_file(&self, file: Arc<dyn DiskFile>, limit: u64) -> FrameScanner {
        let first = Position { offset: SEGMENT_HEADER_BYTES, seed: self.seed };
        FrameScanner::new(file, self.path.clone(), limit.min(self.len_bytes), first)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 3,
            salt: 99,
            first_revision: 1 << 40,
            incarnations: vec![[1; 16], [2; 16]],
        }
    }

    #[test]
    fn a_header_reads_back_and_a_flipped_bit_in_one_copy_costs_nothing() {
        let (bytes, seed) = header().encode();
        assert_eq!(bytes.len() as u64, SEGMENT_HEADER_BYTES);
        let path = Path::new("x");
        assert_eq!(SegmentHeader::decode(path, &bytes).unwrap(), (header(), seed));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(path, &flipped).unwrap(), (header(), seed));
            flipped[(bit / 8 + COPY_BYTES) % bytes.len()] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(path, &flipped).is_err(), "bit {bit} in both");
        }
    }

    #[test]
    fn a_header_whose_revision_leaves_none_above_it_is_damaged() {
        let beyond = SegmentHeader { first_revision: MAX_STORED + 1, ..header() };
        assert!(SegmentHeader::decode(Path::new("x"), &beyond.encode().0).is_err());
    }

    #[test]
    fn a_header_of_a_newer_format_is_unsupported() {
        let (mut bytes, _) = header().encode();
        bytes[8] = 2;
        let at = COPY_BYTES - 4;
        let checksum = crc32fast::hash(&bytes[..at]).to_le_bytes();
        bytes[at..COPY_BYTES].copy_from_slice(&checksum);
        let error = SegmentHeader::decode(Path::new("x"), &bytes).unwrap_err();
        assert!(matches!(error, Error::Unsupported { found: 2, supported: 1, .. }));
    }
}
