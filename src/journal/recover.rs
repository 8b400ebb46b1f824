//! Finding the end of the journal: after an orderly close and after a crash.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::dual_slot::MAX_STORED;
use crate::journal::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::journal::manifest::{CleanClose, Manifest, ManifestFile};
use crate::journal::revision_skip::REVISION_SKIP;
use crate::journal::salvage::segment_numbers;
use crate::journal::scanner::{FrameScanner, Position};
use crate::journal::segment::{OpenSegment, SegmentFacts, ensure_folder};
use crate::journal::state::Active;
use crate::journal::watermark::Watermark;
use crate::storage::Disk;
use crate::storage::layout::{MANIFEST_FILE, segment_path};
use crate::values::error::{Error, Result};
use crate::values::head::Head;

/// The journal as an open found it, before this session writes anything.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: PathBuf,
    pub(crate) manifest_file: ManifestFile,
    pub(crate) manifest: Manifest,
    pub(crate) watermark: Watermark,
    /// What WATERMARK said.
    mark: u64,
    /// The named segments, each with where its frames end.
    pub(crate) segments: Vec<FoundSegment>,
    /// Segments that the index may still point into.
    pub(crate) retired: Vec<FoundSegment>,
    pub(crate) active: Option<Active>,
    pub(crate) last_revision: u64,
    pub(crate) next_revision: u64,
    /// Present when the last session closed in order and nothing contradicts it.
    pub(crate) clean: Option<CleanClose>,
    /// Segments in which a full read has found damaged frames, and the error of the first in each.
    pub(crate) damaged: Vec<(u32, Error)>,
}

/// A segment and the extent of its valid frames.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) segment: SegmentFacts,
    pub(crate) end_offset: u64,
    /// The last revision in it or in an earlier one.
    pub(crate) last_revision: u64,
}

impl Recovered {
    /// Makes durable what this session relies on and has only read so far. After an unclean end it
    /// may be in the system's cache alone, and the next crash would lose it.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.clean.is_none() {
            self.manifest_file.settle(&self.manifest)?;
            self.watermark.settle(self.mark)?;
        }
        Ok(())
    }

    /// What an entry says of the clock; 0 if the clock was set back after it.
    pub(crate) fn clock_of(&self, head: &Head, clock_ms: u64) -> u64 {
        if head.revision > self.manifest.clock_since { clock_ms } else { 0 }
    }

    /// The bytes of items in each segment, as an orderly close counted them.
    pub(crate) fn counted_live_bytes(&self) -> HashMap<u32, u64> {
        self.manifest.segments.iter().map(|record| (record.number, record.live_bytes)).collect()
    }
}

impl FoundSegment {
    pub(crate) fn scan(&self, disk: &dyn Disk) -> Result<FrameScanner> {
        self.segment.scan(disk, self.end_offset)
    }

    /// As [`scan`](Self::scan), over damage.
    pub(crate) fn scan_over_damage(&self, disk: &dyn Disk) -> Result<FrameScanner> {
        let before = self.segment.header.first_revision.saturating_sub(1);
        let scan = self.scan(disk)?.after(before);
        Ok(scan.over_damage(self.end_offset, self.last_revision))
    }
}

/// Opens the segments that the manifest names and finds where the last one ends.
///
/// # Errors
/// [`Error::Corrupt`] where frames that were synced are missing or damaged.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    store: &Path,
    manifest_file: ManifestFile,
    manifest: Manifest,
    watermark: (Watermark, u64),
) -> Result<Recovered> {
    if manifest.segments.is_empty() {
        // Also where the folder is there: the session that made it may have ended before the name
        // was durable.
        ensure_folder(&**disk, store)?;
    }
    if is_outdated(&**disk, store, &manifest)? {
        let reason = "the manifest is older than the journal";
        return Err(Error::corrupt(&store.join(MANIFEST_FILE), 0, reason));
    }
    let (watermark, mark) = watermark;
    let Ends { segments, active, last_revision, clean, unproven } =
        find_ends(&**disk, store, &manifest, mark)?;
    if let Some(unproven) = unproven {
        unproven.write_again()?;
    }
    let retired = open_retired(&**disk, store, &manifest)?;
    let used = last_revision.max(manifest.revision_floor);
    let next_revision = used + 1 + if clean.is_some() { 0 } else { REVISION_SKIP };
    // There is no revision beyond that; see `Journal::append`.
    let next_revision = next_revision.min(MAX_STORED + 1);
    Ok(Recovered {
        disk: Arc::clone(disk),
        store: store.to_owned(),
        manifest_file,
        manifest,
        watermark,
        mark,
        segments,
        retired,
        active,
        last_revision,
        next_revision,
        clean,
        damaged: Vec::new(),
    })
}

/// Where the segments of a journal end.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) segments: Vec<FoundSegment>,
    pub(crate) active: Option<Active>,
    pub(crate) last_revision: u64,
    /// Present when the last session closed in order and nothing contradicts it.
    pub(crate) clean: Option<CleanClose>,
    /// The frames at the end that are not known to be synced.
    pub(crate) unproven: Option<Unproven>,
}

/// Opens the segments that the manifest names and finds where the last one ends, by reading alone.
/// Damage before the end is stepped over: the index shows whether anything current is lost by it.
///
/// # Errors
/// [`Error::Corrupt`] where a segment, or the last frames that were synced, are missing.
pub(crate) fn find_ends(
    disk: &dyn Disk,
    store: &Path,
    manifest: &Manifest,
    mark: u64,
) -> Result<Ends> {
    let mark = mark.max(manifest.checkpoint.revision);
    let mut segments = Vec::with_capacity(manifest.segments.len());
    let mut last_revision = 0;
    let mut active = None;
    let mut unproven = None;
    let mut clean = manifest.clean;
    for record in &manifest.segments {
        let segment = OpenSegment::open(disk, store, record.number)?;
        let end_offset = match record.sealed {
            Some(end) => {
                last_revision = end.last_revision;
                end.offset
            }
            None => {
                let tail = match clean.filter(|clean| !goes_on(&segment, clean)) {
                    Some(clean) => {
                        last_revision = clean.revision;
                        let position = clean.position(&segment);
                        // Nothing is written after the gap of a file that was cut short.
                        let is_cut = segment.facts.len_bytes < position.offset;
                        Tail { position, must_rotate: clean.must_rotate || is_cut }
                    }
                    None => {
                        clean = None;
                        let (tail, from) = find_tail(&segment, mark, &mut last_revision)?;
                        let (segment, to) = (segment.clone(), tail.position.offset);
                        unproven = from.map(|from| Unproven { segment, from, to });
                        tail
                    }
                };
                active = Some(tail.active(&segment));
                tail.position.offset
            }
        };
        let segment = segment.facts;
        segments.push(FoundSegment { segment, end_offset, last_revision });
    }
    if mark > last_revision {
        let reason = "frames that were synced are missing";
        return Err(match segments.last() {
            Some(last) => {
                let offset = last.end_offset.min(last.segment.len_bytes);
                Error::corrupt(&last.segment.path, offset, reason)
            }
            None => Error::corrupt(&store.join(MANIFEST_FILE), 0, reason),
        });
    }
    Ok(Ends { segments, active, last_revision, clean, unproven })
}

/// The segments that compaction has replaced and not removed yet. One that is missing or damaged
/// costs nothing: an index that points into it is built anew.
fn open_retired(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<Vec<FoundSegment>> {
    let mut retired = Vec::with_capacity(manifest.retired.len());
    for record in &manifest.retired {
        match OpenSegment::open(disk, store, record.number) {
            Ok(segment) => {
                let end_offset = segment.facts.len_bytes;
                retired.push(FoundSegment { segment: segment.facts, end_offset, last_revision: 0 });
            }
            Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(retired)
}

/// Where the last segment's frames end.
struct Tail {
    position: Position,
    must_rotate: bool,
}

impl Tail {
    fn active(&self, segment: &OpenSegment) -> Active {
        Active {
            number: segment.facts.header.number,
            file: segment.file.clone(),
            tail: self.position,
            reserved: segment.facts.len_bytes.max(self.position.offset),
            capacity: segment.facts.len_bytes.max(self.position.offset),
            must_rotate: self.must_rotate,
        }
    }
}

impl CleanClose {
    fn position(&self, segment: &OpenSegment) -> Position {
        Position { offset: self.tail_offset, seed: segment.facts.seed }
    }
}

/// Whether a valid frame follows the end that an orderly close has recorded: then the record is
/// older than the journal.
fn goes_on(segment: &OpenSegment, clean: &CleanClose) -> bool {
    let mut header = [0; FRAME_HEADER_BYTES];
    segment.file.read_exact_at(&mut header, clean.tail_offset).is_ok()
        && FrameHeader::decode(&header, clean.position(segment)).is_some()
}

/// Scans the last segment to its first invalid frame above the watermark: invalid frames below it
/// were synced, so they are damaged and passed over. Also returns where the frames above the
/// watermark begin.
fn find_tail(
    segment: &OpenSegment,
    mark: u64,
    last_revision: &mut u64,
) -> Result<(Tail, Option<u64>)> {
    let mut scan = segment.scan(u64::MAX).after(*last_revision);
    let mut unproven = None;
    let mut end = scan.position();
    loop {
        while let Some(frame) = scan.next_commit()? {
            *last_revision = frame.revision;
            if frame.revision > mark {
                unproven.get_or_insert(frame.offset);
            }
            end = scan.position();
        }
        // A seal ends it, too: the crash came before MANIFEST recorded it.
        let sealed = scan.position() != end;
        if sealed || *last_revision >= mark || !scan.skip_to_header(u64::MAX, mark)? {
            break;
        }
        *last_revision = scan.last_revision();
        end = scan.position();
    }
    Ok((Tail { position: end, must_rotate: true }, unproven))
}

/// A part of the last segment that may not be on stable storage.
#[derive(Debug)]
pub(crate) struct Unproven {
    pub(crate) segment: OpenSegment,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Unproven {
    /// Writes the frames again and syncs them: a page whose sync failed before the crash may look
    /// clean and not be on disk.
    pub(crate) fn write_again(&self) -> Result<()> {
        const CHUNK_BYTES: u64 = 1 << 20;
        let Self { segment: OpenSegment { file, facts }, from, to } = self;
        let mut at = *from;
        while at < *to {
            let mut bytes = vec![0; (to - at).min(CHUNK_BYTES) as usize];
            file.read_exact_at(&mut bytes, at).map_err(Error::io("reading", &facts.path))?;
            file.write_all_at(&bytes, at).map_err(Error::io("writing", &facts.path))?;
            at += bytes.len() as u64;
        }
        file.sync_data().map_err(Error::io("syncing", &facts.path))
    }
}

/// Removes segment files that MANIFEST does not name, which a crash left. A file that cannot be
/// removed stays until the next open.
pub(crate) fn remove_unnamed(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<()> {
    for number in unnamed(disk, store, manifest)? {
        let path = segment_path(store, number);
        if let Err(error) = disk.remove_file(&path) {
            let error = Error::io("removing", &path)(error);
            log::warn!("an unused segment takes space until the next open removes it: {error}");
        }
    }
    Ok(())
}

/// Whether a segment that is newer than MANIFEST holds commits.
pub(crate) fn is_outdated(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<bool> {
    let numbers = unnamed(disk, store, manifest)?.into_iter();
    let is_unknown =
        |number: &u32| *number >= manifest.next_segment || *number == manifest.prepared;
    for number in numbers.filter(is_unknown) {
        match OpenSegment::open(disk, store, number) {
            // A seal alone does not count: a crash may come between it and MANIFEST.
            Ok(segment) if segment.holds_commits()? => return Ok(true),
            // A header that cannot be read belongs to a segment that was never finished.
            Ok(_) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn unnamed(disk: &dyn Disk, store: &Path, manifest: &Manifest) -> Result<Vec<u32>> {
    let named = |number| {
        manifest.segments.iter().any(|record| record.number == number)
            || manifest.retired.iter().any(|record| record.number == number)
    };
    let mut numbers = segment_numbers(disk, store)?;
    numbers.retain(|number| !named(*number));
    Ok(numbers)
}
