//! Reading entries by position: which segments there are, and a bounded set of open handles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::journal::manifest::{RetainedBytes, SegmentRecord};
use crate::journal::open_files::OpenFiles;
use crate::journal::scanner::Position;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::journal::superseded::Superseded;
use crate::seams::sync;
use crate::storage::layout::segment_path;
use crate::storage::{Disk, DiskFile};
use crate::values::error::{Error, Result};
use crate::values::head::Head;

/// The least distance between two places of a segment that are remembered.
const INDEX_BYTES: u64 = 64 << 10;

/// The segments of a store, as readers see them.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    store: PathBuf,
    known: RwLock<BTreeMap<u32, Arc<KnownSegment>>>,
    /// A lock of `sync`, so that models see a segment being removed.
    open: sync::Mutex<OpenFiles>,
    /// How many parts are allocated to note superseded entries.
    superseded_parts: AtomicUsize,
}

/// What readers and compaction know of a segment.
#[derive(Debug)]
pub(crate) struct KnownSegment {
    pub(crate) path: PathBuf,
    pub(crate) incarnations: Vec<[u8; 16]>,
    /// Seeds the checksums of frames.
    seed: u32,
    /// Whether a reader met frames that are damaged.
    damaged: AtomicBool,
    /// Whether an entry in it may be a removal; true if an earlier session wrote it, as that is
    /// unknown.
    removals: AtomicBool,
    /// Bytes of the entries that the index's heads of items point to.
    live_bytes: AtomicU64,
    superseded: Superseded,
    /// Bytes that compaction had to keep in addition to the live ones, and the time in milliseconds
    /// until which it need not look again.
    retained: Mutex<(u64, u64)>,
    /// Some places between frames that readers have passed, each with the revision before it.
    index: Mutex<Vec<(u64, Position)>>,
}

impl KnownSegment {
    /// The last remembered place that no frame of a higher revision precedes, and the revision
    /// before it; the segment's first place and 0 if there is none.
    pub(crate) fn place_after(&self, revision: u64) -> (u64, Position) {
        let index = self.index.lock();
        let above = index.partition_point(|(before, _)| *before <= revision);
        let found = above.checked_sub(1).and_then(|at| index.get(at)).copied();
        found.unwrap_or((0, self.first_place()))
    }

    /// Where the first frame begins.
    pub(crate) fn first_place(&self) -> Position {
        Position { offset: SEGMENT_HEADER_BYTES, seed: self.seed }
    }

    /// Counts a version whose entry the index no longer points to. A tombstone was not counted as
    /// live: what had to be retained of the segment for it can be reclaimed.
    fn subtract_live(&self, head: &Head) {
        let bytes = head.footprint_bytes();
        if head.deleted {
            let mut retained = self.retained.lock();
            retained.0 = retained.0.saturating_sub(bytes);
            return;
        }
        // A retired segment starts from nothing when the store opens: an orderly close counts only
        // those that the journal consists of.
        let less = |live: u64| Some(live.saturating_sub(bytes));
        let updated = self.live_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        debug_assert!(updated.is_ok());
    }

    /// Whether this session has superseded the entry that begins here, or has removed its item.
    pub(crate) fn is_superseded(&self, offset: u32, len_bytes: u32) -> bool {
        self.superseded.has(offset, len_bytes)
    }

    /// Whether frames in it are known to be damaged: then compaction leaves it as it is.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Remembers that frames in it are damaged. The first call writes a line to the log.
    pub(crate) fn note_damage(&self, error: &Error) {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            log::warn!("a segment is damaged, and what is whole of it stays in use: {error}");
        }
    }

    /// Remembers a place between two frames, and the revision before it, if none is near it.
    pub(crate) fn remember(&self, revision: u64, place: Position) {
        let mut index = self.index.lock();
        let last = index.last().map_or(SEGMENT_HEADER_BYTES, |(_, place)| place.offset);
        if place.offset >= last + INDEX_BYTES {
            index.push((revision, place));
        }
    }
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: &Path) -> Self {
        let (known, open) = (RwLock::default(), sync::Mutex::default());
        let superseded_parts = AtomicUsize::new(0);
        Self { disk, store: store.to_owned(), known, open, superseded_parts }
    }

    pub(crate) fn add(&self, number: u32, incarnations: Vec<[u8; 16]>, seed: u32) {
        let path = segment_path(&self.store, number);
        let live_bytes = AtomicU64::new(0);
        let (retained, index) = (Mutex::default(), Mutex::default());
        let (damaged, removals) = (AtomicBool::new(false), AtomicBool::new(true));
        let known = KnownSegment {
            path,
            incarnations,
            seed,
            damaged,
            removals,
            live_bytes,
            superseded: Superseded::default(),
            retained,
            index,
        };
        self.known.write().insert(number, Arc::new(known));
    }

    /// Records whether an entry of a segment is a removal.
    pub(crate) fn note_removals(&self, number: u32, any: bool) {
        if let Some(segment) = self.known.read().get(&number) {
            segment.removals.store(any, Ordering::Relaxed);
        }
    }

    /// Whether an entry of a segment may be a removal.
    pub(crate) fn may_hold_removals(&self, number: u32) -> bool {
        let known = self.known.read();
        known.get(&number).is_none_or(|segment| segment.removals.load(Ordering::Relaxed))
    }

    /// Forgets a segment, before its file is removed.
    pub(crate) fn remove(&self, number: u32) {
        if let Some(segment) = self.known.write().remove(&number) {
            // Nothing more is noted: that takes the map's lock.
            self.superseded_parts.fetch_sub(segment.superseded.parts(), Ordering::Relaxed);
        }
        self.open.lock().remove(number);
    }

    /// Counts bytes of entries that the index points to.
    pub(crate) fn add_live(&self, number: u32, bytes: u64) {
        if let Some(segment) = self.known.read().get(&number) {
            segment.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a version that the index points to from now on.
    pub(crate) fn count_live(&self, head: &Head) {
        if !head.deleted {
            self.add_live(head.segment, head.footprint_bytes());
        }
    }

    /// Counts a version whose entry the index no longer points to.
    pub(crate) fn subtract_live(&self, head: &Head) {
        if let Some(segment) = self.known.read().get(&head.segment) {
            segment.subtract_live(head);
        }
    }

    /// As [`subtract_live`](Self::subtract_live), for a version that a newer one or a clear
    /// supersedes: notes that, too.
    pub(crate) fn supersede(&self, head: &Head) {
        if let Some(segment) = self.known.read().get(&head.segment) {
            segment.superseded.note(head.offset, head.len_bytes, &self.superseded_parts);
            segment.subtract_live(head);
        }
    }

    /// Bytes of a segment's entries that the index's heads of items point to.
    pub(crate) fn live_bytes(&self, number: u32) -> u64 {
        let known = self.known.read();
        known.get(&number).map_or(0, |segment| segment.live_bytes.load(Ordering::Relaxed))
    }

    /// Bytes of all entries that the index's heads of items point to.
    pub(crate) fn total_live_bytes(&self) -> u64 {
        let known = self.known.read();
        known.values().map(|segment| segment.live_bytes.load(Ordering::Relaxed)).sum()
    }

    /// How many segments are known to be damaged.
    pub(crate) fn damaged(&self) -> usize {
        self.known.read().values().filter(|segment| segment.is_damaged()).count()
    }

    /// Whether frames of a segment are known to be damaged.
    pub(crate) fn is_damaged(&self, number: u32) -> bool {
        self.get(number).is_some_and(|segment| segment.is_damaged())
    }

    /// Remembers that frames of a segment are damaged.
    pub(crate) fn note_damage(&self, number: u32, error: &Error) {
        if let Some(segment) = self.get(number) {
            segment.note_damage(error);
        }
    }

    /// How many segments there are.
    pub(crate) fn count(&self) -> usize {
        self.known.read().len()
    }

    /// The lengths of all segment files together.
    pub(crate) fn total_bytes(&self) -> Result<u64> {
        let numbers: Vec<u32> = self.known.read().keys().copied().collect();
        numbers.into_iter().map(|number| self.len_bytes(number)).sum()
    }

    /// The length of a segment's file; 0 if it is gone.
    pub(crate) fn len_bytes(&self, number: u32) -> Result<u64> {
        let path = segment_path(&self.store, number);
        let Some(file) = self.file(number)? else { return Ok(0) };
        file.len().map_err(Error::io("reading the length of", &path))
    }

    /// Records how many bytes of a segment are not live and cannot be reclaimed, and until when
    /// that holds.
    pub(crate) fn retain(&self, number: u32, bytes: u64, until_ms: u64) {
        if let Some(segment) = self.get(number) {
            *segment.retained.lock() = (bytes, until_ms);
        }
    }

    /// Bytes of a segment that are not live and cannot be reclaimed, as far as is known.
    pub(crate) fn retained_bytes(&self, number: u32, now_ms: u64) -> u64 {
        let held = self.get(number).map_or((0, 0), |segment| *segment.retained.lock());
        if now_ms < held.1 { held.0 } else { 0 }
    }

    /// What compaction had to keep of these segments.
    pub(crate) fn retained(&self, records: &[SegmentRecord]) -> Vec<RetainedBytes> {
        let known = self.known.read();
        let held = records.iter().filter_map(|record| {
            let (bytes, until_ms) = *known.get(&record.number)?.retained.lock();
            Some(RetainedBytes { segment: record.number, bytes, until_ms })
        });
        held.filter(|held| held.bytes > 0).collect()
    }

    /// A segment; `None` if compaction has removed it, or there never was one.
    pub(crate) fn get(&self, number: u32) -> Option<Arc<KnownSegment>> {
        self.known.read().get(&number).cloned()
    }

    /// The open file of a segment, opened if need be; `None` as [`get`](Self::get).
    pub(crate) fn file(&self, number: u32) -> Result<Option<Arc<dyn DiskFile>>> {
        let mut open = self.open.lock();
        if let Some(file) = open.get(number) {
            return Ok(Some(file));
        }
        // Looked up under the lock: a handle of a removed file would keep its space.
        let Some(known) = self.get(number) else { return Ok(None) };
        let file = self.disk.open(&known.path, false).map_err(Error::io("opening", &known.path))?;
        open.insert(number, Arc::clone(&file));
        Ok(Some(file))
    }

    /// Closes the files that reading has opened. The next read opens its own again.
    pub(crate) fn close_files(&self) {
        // Closed without the lock.
        drop(std::mem::take(&mut *self.open.lock()));
    }

    /// Reads `len_bytes` of a segment; `None` as [`get`](Self::get).
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when the file ends before them.
    /// - [`Error::Io`] when the system refuses a call.
    pub(crate) fn read(&self, number: u32, offset: u32, len_bytes: u32) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; len_bytes as usize];
        let Some(file) = self.file(number)? else { return Ok(None) };
        match file.read_exact_at(&mut bytes, u64::from(offset)) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) => {
                let path = segment_path(&self.store, number);
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    // Where the file ends, if that is before the entry.
                    let offset = u64::from(offset).min(file.len().unwrap_or(u64::MAX));
                    return Err(Error::corrupt(&path, offset, "the segment ends inside an entry"));
                }
                Err(Error::io("reading", &path)(error))
            }
        }
    }
}
