//! Reading the whole journal for a repair: the longest prefix of it that is whole.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::journal::entries::EntrySource;
use crate::journal::frame::Body;
use crate::journal::manifest::{Manifest, SealedEnd, SegmentRecord};
use crate::journal::revision_skip::REVISION_SKIP;
use crate::journal::scanner::{DamagedStretch, Position, ScannedFrame};
use crate::journal::segment::{OpenSegment, SEGMENT_HEADER_BYTES, SegmentFacts};
use crate::journal::skip_damaged::Remains;
use crate::storage::Disk;
use crate::storage::layout::{JOURNAL_FOLDER, segment_number, segment_path};
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// What a full read of the journal found: everything, or a whole prefix and where it ends.
#[derive(Debug)]
pub(crate) struct Salvaged {
    pub(crate) records: Vec<SegmentRecord>,
    pub(crate) last_revision: u64,
    /// The highest revision that a lost commit may have had, as far as can be known.
    pub(crate) highest_seen: u64,
    pub(crate) damage: Option<Error>,
    /// Where the frames of the last record end, if no seal follows them but damage or nothing.
    pub(crate) unsealed_end: Option<Position>,
    /// Segments after the damage, whole files.
    pub(crate) dropped: Vec<u32>,
    pub(crate) lost_bytes: u64,
    /// What is left of damaged segments, to be written into new ones; each with its index in
    /// `records`.
    pub(crate) rewrites: Vec<(usize, Remains)>,
    /// The damaged stretches, if everything whole was kept, also after damage.
    pub(crate) gone: Vec<(PathBuf, DamagedStretch)>,
    /// Items whose newest version is gone, as far as damaged frames name them.
    pub(crate) lost_items: Vec<ItemKey>,
}

/// Reads every frame and keeps the longest prefix of them that is whole. The segments are those
/// that the manifest names or, without one, those that are found. One whose end is not known must
/// end in a seal, unless it is the last.
pub(crate) fn salvage(
    disk: &dyn Disk,
    store: &Path,
    manifest: Option<&Manifest>,
    mark: u64,
) -> Result<Salvaged> {
    let records = records_of(disk, store, manifest)?;
    let clean = manifest.and_then(|manifest| manifest.clean);
    let mut prefix = Salvaged {
        records: Vec::new(),
        last_revision: 0,
        highest_seen: mark,
        damage: None,
        unsealed_end: None,
        dropped: Vec::new(),
        lost_bytes: 0,
        rewrites: Vec::new(),
        gone: Vec::new(),
        lost_items: Vec::new(),
    };
    for (index, record) in records.iter().enumerate() {
        let sealed = record.sealed.map_or(0, |end| end.last_revision);
        prefix.highest_seen = prefix.highest_seen.max(sealed).max(record.first_revision);
        let is_gap = manifest.is_none() && !joins(prefix.last_revision, record.first_revision);
        if is_gap && prefix.damage.is_none() {
            let path = segment_path(store, record.number);
            prefix.damage = Some(Error::corrupt(&path, 0, "the segment before it is missing"));
        }
        if prefix.damage.is_some() {
            prefix.drop_segment(disk, store, record.number);
            continue;
        }
        let last = index + 1 == records.len();
        let expected = match record.sealed {
            Some(end) => Ending::At(end.offset),
            None if !last => Ending::Seal,
            None => clean.map_or(Ending::From(0), |clean| Ending::From(clean.tail_offset)),
        };
        prefix.take_segment(disk, store, record, expected)?;
    }
    if prefix.damage.is_none() && mark > prefix.last_revision {
        let number = records.last().map_or(1, |record| record.number);
        let path = segment_path(store, number);
        let offset = prefix.records.last().and_then(|r| r.sealed).map_or(0, |end| end.offset);
        // No frames follow the end, if anything does.
        prefix.lost_bytes += file_len(disk, &path).saturating_sub(offset);
        prefix.damage = Some(Error::corrupt(&path, offset, "frames that were synced are missing"));
    }
    prefix.highest_seen = prefix.highest_seen.max(prefix.last_revision);
    Ok(prefix)
}

/// Whether a segment may follow a revision: its first revision is the next one, or the next one
/// after the skips of a crash, a repair or a restore.
pub(super) fn joins(last_revision: u64, first_revision: u64) -> bool {
    first_revision.saturating_sub(last_revision + 1).is_multiple_of(REVISION_SKIP)
}

/// Where the frames of a segment have to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    At(u64),
    Seal,
    /// Here or later.
    From(u64),
}

impl Salvaged {
    fn drop_segment(&mut self, disk: &dyn Disk, store: &Path, number: u32) {
        let len = file_len(disk, &segment_path(store, number));
        self.lost_bytes += len.saturating_sub(SEGMENT_HEADER_BYTES);
        self.dropped.push(number);
    }

    fn take_segment(
        &mut self,
        disk: &dyn Disk,
        store: &Path,
        record: &SegmentRecord,
        expected: Ending,
    ) -> Result<()> {
        let segment = match OpenSegment::open(disk, store, record.number) {
            Ok(segment) => segment,
            Err(error @ Error::Corrupt { .. }) => {
                self.damage = Some(error);
                self.drop_segment(disk, store, record.number);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut scan = segment.scan(match expected {
            Ending::At(offset) => offset,
            Ending::Seal | Ending::From(_) => u64::MAX,
        });
        let mut end = scan.position();
        let mut sealed = false;
        // A segment that compaction has made also covers the commits that it has dropped.
        let mut covered = record.sealed.map_or(0, |end| end.last_revision);
        let mut malformed = None;
        while let Some(frame) = scan.next()? {
            match check_contents(&segment, &frame, self.last_revision, &mut |_| ()) {
                Ok(true) => (sealed, covered) = (true, frame.revision),
                Ok(false) => self.last_revision = frame.revision,
                Err(error) => malformed = Some(error),
            }
            if sealed || malformed.is_some() {
                break;
            }
            end = scan.position();
        }
        let whole = match expected {
            Ending::At(offset) => end.offset == offset,
            Ending::Seal => sealed,
            Ending::From(offset) => end.offset >= offset,
        };
        let damaged = !whole || malformed.is_some();
        if damaged {
            let reason = "a frame is damaged";
            let damage = Error::corrupt(&segment.facts.path, end.offset, reason);
            self.damage = Some(malformed.unwrap_or(damage));
            self.lost_bytes += segment.facts.len_bytes.saturating_sub(end.offset);
        } else {
            self.last_revision = self.last_revision.max(covered);
        }
        self.unsealed_end = (damaged || (!sealed && record.sealed.is_none())).then_some(end);
        let offset = end.offset;
        let sealed = Some(SealedEnd { last_revision: self.last_revision, offset });
        self.records.push(SegmentRecord { sealed, ..*record });
        Ok(())
    }
}

/// The length of a file, 0 for one that cannot be opened.
pub(super) fn file_len(disk: &dyn Disk, path: &Path) -> u64 {
    disk.open(path, false).and_then(|file| file.len()).unwrap_or_default()
}

/// Checks a frame down to its entries, and calls `visit` with the key of each; returns whether it
/// is a seal.
pub(super) fn check_contents(
    segment: &OpenSegment,
    frame: &ScannedFrame<'_>,
    last: u64,
    visit: &mut dyn FnMut(&ItemKey),
) -> Result<bool> {
    let SegmentFacts { path, header, .. } = &segment.facts;
    match frame.check(path, last)? {
        Body::Seal => Ok(true),
        Body::Commit(_) => {
            EntrySource::of_header(path, header).for_each_entry(frame, &mut |found| {
                visit(&found.key);
                Ok(())
            })?;
            Ok(false)
        }
    }
}

/// The segments that the manifest names or, without one, those that are found.
pub(super) fn records_of<'a>(
    disk: &dyn Disk,
    store: &Path,
    manifest: Option<&'a Manifest>,
) -> Result<Cow<'a, [SegmentRecord]>> {
    match manifest {
        Some(manifest) => Ok(Cow::Borrowed(&manifest.segments)),
        None => found_segments(disk, store).map(Cow::Owned),
    }
}

/// The segments that lie in the journal's folder and are parts of it, in order of revision, for a
/// store whose manifest is lost.
///
/// Compaction may leave two segments with the same commits. Of sealed ones whose revisions overlap
/// the newest counts. One without a seal whose first revision is inside another was not finished.
/// One whose header cannot be read is taken for a leftover, unless there is a gap that it may have
/// filled.
fn found_segments(disk: &dyn Disk, store: &Path) -> Result<Vec<SegmentRecord>> {
    let mut readable = Vec::new();
    let mut unreadable = Vec::new();
    for number in segment_numbers(disk, store)?.into_iter().rev() {
        match Found::read(disk, store, number)? {
            Some(found) => readable.push(found),
            None => unreadable.push(number),
        }
    }
    let mut parts: Vec<Found> = Vec::new();
    // A segment without commits has a seal below its first revision, so it overlaps none.
    let (sealed, unsealed): (Vec<Found>, Vec<Found>) =
        readable.into_iter().partition(|found| found.seal.is_some());
    for found in sealed.into_iter().chain(unsealed) {
        let first = found.record.first_revision;
        let last = found.seal.unwrap_or(first);
        let overlaps = |part: &Found| {
            part.seal.is_some_and(|seal| part.record.first_revision <= last && first <= seal)
        };
        if !parts.iter().any(overlaps) {
            parts.push(found);
        }
    }
    parts.sort_by_key(|part| (part.record.first_revision, part.record.number));
    let mut records: Vec<SegmentRecord> = parts.iter().map(|part| part.record).collect();
    let gaps = gaps(&parts);
    // From the last to the first, so that the indexes of those before stay right.
    let mut placed: Vec<(usize, u32)> = unreadable
        .into_iter()
        .filter_map(|number| Some((gap_of(number, &gaps, &records)?, number)))
        .collect();
    placed.sort_unstable();
    for (at, number) in placed.into_iter().rev() {
        // Its revisions are unknown.
        let record = SegmentRecord { number, first_revision: 0, sealed: None, live_bytes: 0 };
        records.insert(at, record);
    }
    Ok(records)
}

/// Where a segment may be missing, as indexes into `parts`: before a part that does not join the
/// one before it, or after all, unless the last part is the one that was being written.
fn gaps(parts: &[Found]) -> Vec<usize> {
    let mut gaps = Vec::new();
    let mut covered = Some(0u64);
    for (index, part) in parts.iter().enumerate() {
        let Some(last) = covered else {
            // The part before has no seal: it is damaged, and nothing after it is kept.
            gaps.push(parts.len());
            return gaps;
        };
        if !joins(last, part.record.first_revision) {
            gaps.push(index);
        }
        covered = part.seal.map(|seal| seal.max(last));
    }
    if covered.is_some() {
        gaps.push(parts.len());
    }
    gaps
}

/// The gap that a segment without a readable header is taken to have filled: the one between a
/// lower and a higher number, where a segment is unless compaction has written it, or else the
/// first gap.
fn gap_of(number: u32, gaps: &[usize], records: &[SegmentRecord]) -> Option<usize> {
    let fits = |gap: &usize| {
        let before = gap.checked_sub(1).and_then(|index| records.get(index));
        let after = records.get(*gap);
        before.is_none_or(|record| record.number < number)
            && after.is_none_or(|record| number < record.number)
    };
    gaps.iter().copied().find(fits).or(gaps.first().copied())
}

/// The numbers of all segment files in the journal's folder, ascending.
pub(crate) fn segment_numbers(disk: &dyn Disk, store: &Path) -> Result<Vec<u32>> {
    segment_numbers_in(disk, &store.join(JOURNAL_FOLDER))
}

/// The numbers of all segment files in a folder, ascending; none where it is missing.
pub(crate) fn segment_numbers_in(disk: &dyn Disk, folder: &Path) -> Result<Vec<u32>> {
    if !disk.exists(folder).map_err(Error::io("looking for", folder))? {
        return Ok(Vec::new());
    }
    let names = disk.list(folder).map_err(Error::io("listing", folder))?;
    Ok(names.iter().filter_map(|name| segment_number(name)).collect())
}

/// A segment file, and the last revision that its seal says it covers, if it has one.
struct Found {
    record: SegmentRecord,
    seal: Option<u64>,
}

impl Found {
    /// `None` where the header cannot be read.
    fn read(disk: &dyn Disk, store: &Path, number: u32) -> Result<Option<Self>> {
        let segment = match OpenSegment::open(disk, store, number) {
            Ok(segment) => segment,
            Err(Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (mut scan, mut seal) = (segment.scan(u64::MAX), None);
        while let Some(frame) = scan.next()? {
            if matches!(Body::decode(frame.body), Some(Body::Seal)) {
                seal = Some(frame.revision);
                break;
            }
        }
        let first_revision = segment.facts.header.first_revision;
        let record = SegmentRecord { number, first_revision, sealed: None, live_bytes: 0 };
        Ok(Some(Self { record, seal }))
    }
}
