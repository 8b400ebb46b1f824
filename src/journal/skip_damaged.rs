//! Reading the whole journal for a repair that keeps everything whole: which segments stay as they
//! are, which are written anew without their damage, and what is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::journal::entries::key_of;
use crate::journal::frame::{Body, Entries, FRAME_HEADER_BYTES, FrameBuilder};
use crate::journal::manifest::{Manifest, SealedEnd, SegmentRecord};
use crate::journal::salvage::{Salvaged, check_contents, file_len, joins, records_of};
use crate::journal::scanner::{DamagedStretch, FrameScanner, Position};
use crate::journal::segment::OpenSegment;
use crate::journal::segment_writer::SegmentWriter;
use crate::seams::entropy::Entropy;
use crate::storage::Disk;
use crate::storage::layout::segment_path;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// What a full read of a damaged journal found.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    pub(crate) parts: Vec<Part>,
    pub(crate) last_revision: u64,
    /// A revision that no lost commit was above, as far as can be known.
    pub(crate) highest_seen: u64,
    /// The first damage.
    pub(crate) damage: Option<Error>,
    /// All of it, with the files where it is.
    pub(crate) gone: Vec<(PathBuf, DamagedStretch)>,
    /// Items that damaged frames name, with the revisions, and that no later frame holds.
    pub(crate) lost_items: BTreeMap<ItemKey, u64>,
    /// Where the frames of the last part end, when it stays as it is and has no seal.
    pub(crate) unsealed_end: Option<Position>,
    /// Segments of which nothing can be read.
    pub(crate) dropped: Vec<u32>,
}

/// A segment of the repaired journal.
#[derive(Debug)]
pub(crate) enum Part {
    Whole(SegmentRecord),
    /// One that is to be written anew. It covers the revisions of the damaged one, so that the
    /// segments go on joining each other.
    Rewritten(Remains),
}

/// What is whole of a damaged segment, or of one that is missing.
#[derive(Debug)]
pub(crate) struct Remains {
    first_revision: u64,
    last_revision: u64,
    source: Option<OpenSegment>,
    /// Where its whole commits begin.
    commits: Vec<u64>,
}

/// Reads every frame, of the segments that the manifest names or, without one, of those that are
/// found.
pub(crate) fn survey(
    disk: &dyn Disk,
    store: &Path,
    manifest: Option<&Manifest>,
    mark: u64,
) -> Result<Survivors> {
    let records = records_of(disk, store, manifest)?;
    let clean = manifest.and_then(|manifest| manifest.clean);
    let mut survivors = Survivors { highest_seen: mark, ..Survivors::default() };
    for (index, record) in records.iter().enumerate() {
        let last = index + 1 == records.len();
        let sealed = record.sealed.map_or(0, |end| end.last_revision);
        let highest_seen = survivors.highest_seen.max(sealed).max(record.first_revision);
        survivors.highest_seen = highest_seen;
        let segment = match OpenSegment::open(disk, store, record.number) {
            Ok(segment) => segment,
            Err(error @ Error::Corrupt { .. }) => {
                survivors.lose_segment(disk, store, record, error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if manifest.is_none() && !joins(survivors.last_revision, record.first_revision) {
            let reason = "the segment before it is missing";
            let error = Error::corrupt(&segment.facts.path, 0, reason);
            let until = record.first_revision - 1;
            survivors.lose(error, &segment.facts.path, survivors.stretch_up_to(0, 0, until));
            survivors.fill_gap(until);
        }
        let ending = match (record.sealed, clean) {
            (Some(end), _) => Ending::At(end.offset, end.last_revision),
            (None, Some(clean)) => Ending::Closed(clean.tail_offset, clean.revision),
            (None, None) if last => Ending::Torn(mark),
            (None, None) => Ending::Seal,
        };
        survivors.take_segment(segment, record, ending)?;
    }
    let is_told = survivors.gone.iter().any(|(_, stretch)| stretch.covers(mark));
    if mark > survivors.last_revision && !is_told {
        let number = records.last().map_or(1, |record| record.number);
        let path = segment_path(store, number);
        let len = file_len(disk, &path);
        let error = Error::corrupt(&path, len, "frames that were synced are missing");
        survivors.lose(error, &path, survivors.stretch_up_to(len, len, mark));
    }
    survivors.highest_seen = survivors.highest_seen.max(survivors.last_revision);
    Ok(survivors)
}

/// Where the frames of a segment have to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// There, with this revision: the segment is sealed.
    At(u64, u64),
    /// There, with this revision, or later.
    Closed(u64, u64),
    /// In a seal.
    Seal,
    /// At the first that is not valid from this revision on.
    Torn(u64),
}

impl Survivors {
    /// A stretch of frames that followed those before; nothing else is known of them.
    fn stretch_up_to(&self, offset: u64, end_offset: u64, last_revision: u64) -> DamagedStretch {
        let first_revision = self.last_revision + 1;
        DamagedStretch { offset, end_offset, first_revision, last_revision }
    }

    fn lose(&mut self, error: Error, path: &Path, stretch: DamagedStretch) {
        self.damage.get_or_insert(error);
        self.gone.push((path.to_owned(), stretch));
    }

    /// A segment without a header that can be read, or without a file.
    fn lose_segment(
        &mut self,
        disk: &dyn Disk,
        store: &Path,
        record: &SegmentRecord,
        error: Error,
    ) {
        let path = segment_path(store, record.number);
        // Without a manifest no revision of it is known: the next segment shows it.
        let last = record.sealed.map_or(self.highest_seen, |end| end.last_revision);
        let stretch = self.stretch_up_to(0, file_len(disk, &path), last);
        self.lose(error, &path, stretch);
        self.dropped.push(record.number);
        if let Some(end) = record.sealed {
            self.fill_gap(end.last_revision);
        }
    }

    /// Covers revisions of which nothing is left with a segment without commits.
    fn fill_gap(&mut self, last_revision: u64) {
        let first_revision = self.last_revision + 1;
        if first_revision <= last_revision {
            let (source, commits) = (None, Vec::new());
            let remains = Remains { first_revision, last_revision, source, commits };
            self.parts.push(Part::Rewritten(remains));
            self.last_revision = last_revision;
        }
    }

    fn take_segment(
        &mut self,
        segment: OpenSegment,
        record: &SegmentRecord,
        ending: Ending,
    ) -> Result<()> {
        let first_revision = segment.facts.header.first_revision;
        let before = self.last_revision.max(first_revision.saturating_sub(1));
        let mut walk = Walk {
            segment: &segment,
            scan: segment.scan(u64::MAX).after(before),
            ending,
            last_revision: before,
            seal: None,
            commits: Vec::new(),
            damage: Vec::new(),
        };
        let end = walk.walk(&mut self.lost_items)?;
        let Walk { last_revision: last, seal, commits, damage, .. } = walk;
        let covered = match ending {
            Ending::At(_, last_revision) | Ending::Closed(_, last_revision) => last_revision,
            Ending::Seal | Ending::Torn(_) => seal.unwrap_or(0),
        };
        let gone = damage.iter().map(|stretch| stretch.last_revision).max();
        let covered = covered.max(last).max(gone.unwrap_or(0));
        if damage.is_empty() && (seal.is_some() || ending != Ending::Seal) {
            self.unsealed_end = (seal.is_none() && record.sealed.is_none()).then_some(end);
            let sealed = Some(SealedEnd { last_revision: covered, offset: end.offset });
            self.parts.push(Part::Whole(SegmentRecord { sealed, ..*record }));
        } else {
            let path = &segment.facts.path;
            for stretch in damage {
                self.lose(stretch.error(path), path, stretch);
            }
            self.unsealed_end = None;
            let (last_revision, source) = (covered, Some(segment));
            let remains = Remains { first_revision, last_revision, source, commits };
            self.parts.push(Part::Rewritten(remains));
        }
        self.last_revision = covered;
        Ok(())
    }
}

/// A read of a segment from frame to frame, over what is damaged.
struct Walk<'a> {
    segment: &'a OpenSegment,
    scan: FrameScanner,
    ending: Ending,
    last_revision: u64,
    seal: Option<u64>,
    commits: Vec<u64>,
    damage: Vec<DamagedStretch>,
}

impl Walk<'_> {
    /// Returns where the frames end.
    fn walk(&mut self, lost_items: &mut BTreeMap<ItemKey, u64>) -> Result<Position> {
        loop {
            let begin = self.scan.position();
            if matches!(self.ending, Ending::At(end, _) if begin.offset >= end) {
                return Ok(begin);
            }
            let last = self.last_revision;
            let mut superseded = |key: &ItemKey| {
                if key.is_collection() {
                    lost_items.retain(|lost, _| lost.collection() != key.collection());
                }
                lost_items.remove(key);
            };
            let found = self.scan.next()?.map(|frame| {
                let revision = frame.revision;
                (revision, check_contents(self.segment, &frame, last, &mut superseded))
            });
            match found {
                Some((revision, Ok(true))) => {
                    self.seal = Some(revision);
                    return Ok(begin);
                }
                Some((revision, Ok(false))) => {
                    self.commits.push(begin.offset);
                    self.pass(revision);
                }
                Some((revision, Err(_))) => self.damage.push(DamagedStretch {
                    offset: begin.offset,
                    end_offset: self.scan.position().offset,
                    first_revision: revision,
                    last_revision: revision,
                }),
                None if !self.step_over(lost_items)? => return Ok(begin),
                None => {}
            }
        }
    }

    fn pass(&mut self, revision: u64) {
        self.last_revision = revision;
        self.scan.pass(revision);
    }

    /// Steps over what is damaged, if frames have to follow or do; `false` at the end.
    fn step_over(&mut self, lost_items: &mut BTreeMap<ItemKey, u64>) -> Result<bool> {
        let begin = self.scan.position().offset;
        let (end, highest) = match self.ending {
            Ending::Closed(end, _) if begin >= end => return Ok(false),
            Ending::At(end, highest) | Ending::Closed(end, highest) => (end, highest),
            // What was not synced before a crash may be torn, which is not damage.
            Ending::Torn(mark) if self.last_revision >= mark => return Ok(false),
            Ending::Torn(_) | Ending::Seal => (u64::MAX, u64::MAX),
        };
        if !self.scan.skip_to_header(end, highest)? {
            let (end_offset, last_revision) = match self.ending {
                Ending::At(end, highest) | Ending::Closed(end, highest) => (end, highest),
                Ending::Torn(mark) => (self.segment.facts.len_bytes, mark),
                // Only the seal may be missing; the next segment shows whether more is.
                Ending::Seal => return Ok(false),
            };
            let first_revision = self.last_revision + 1;
            self.name_items(begin, end_offset, last_revision, lost_items)?;
            let offset = begin;
            let stretch = DamagedStretch { offset, end_offset, first_revision, last_revision };
            self.damage.push(stretch);
            return Ok(false);
        }
        for stretch in self.scan.take_damage() {
            let DamagedStretch { offset, end_offset, last_revision, .. } = stretch;
            self.name_items(offset, end_offset, last_revision, lost_items)?;
            self.damage.push(stretch);
        }
        self.pass(self.scan.last_revision());
        Ok(true)
    }

    /// Takes note of the items that a damaged frame seems to name.
    fn name_items(
        &self,
        offset: u64,
        end_offset: u64,
        revision: u64,
        lost_items: &mut BTreeMap<ItemKey, u64>,
    ) -> Result<()> {
        /// More than that of a frame is not looked at.
        const LOOK_BYTES: u64 = 1 << 20;
        let OpenSegment { file, facts } = self.segment;
        let end = end_offset.min(facts.len_bytes).min(offset + LOOK_BYTES);
        let begin = offset + FRAME_HEADER_BYTES as u64;
        if begin >= end {
            return Ok(());
        }
        let mut bytes = vec![0; (end - begin) as usize];
        file.read_exact_at(&mut bytes, begin).map_err(Error::io("reading", &facts.path))?;
        let Some(Body::Commit(entries)) = Body::decode(&bytes) else { return Ok(()) };
        for key in self.named(entries) {
            lost_items.insert(key, revision);
        }
        Ok(())
    }

    fn named(&self, entries: Entries<'_>) -> Vec<ItemKey> {
        let known = self.segment.facts.header.incarnations.len();
        let entries = entries.map_while(|placed| placed);
        let plausible = entries.filter(|placed| usize::from(placed.entry.incarnation) < known);
        plausible.filter_map(|placed| key_of(&placed.entry)).collect()
    }
}

impl Remains {
    /// The segment that it is made of, where there is one.
    pub(crate) fn source(&self) -> Option<u32> {
        self.source.as_ref().map(|segment| segment.facts.header.number)
    }

    /// Writes what is whole into a segment of this number, and makes its contents durable; the name
    /// is the caller's to sync.
    ///
    /// # Errors
    /// [`Error::Io`]; what was written then is to be removed.
    pub(crate) fn write(
        &self,
        disk: &dyn Disk,
        store: &Path,
        entropy: &Entropy,
        (number, incarnation): (u32, [u8; 16]),
    ) -> Result<SegmentRecord> {
        let Self { first_revision, last_revision, source, commits } = self;
        let incarnations = source.as_ref().map(|of| of.facts.header.incarnations.clone());
        let incarnations = incarnations.unwrap_or_else(|| vec![incarnation]);
        let mut writer =
            SegmentWriter::create(disk, store, entropy, number, *first_revision, incarnations)?;
        if let Some(source) = source {
            let mut scan = source.scan(u64::MAX);
            for offset in commits {
                scan.go_to(*offset);
                let Some(frame) = scan.next()? else {
                    let path = &source.facts.path;
                    return Err(Error::corrupt(path, *offset, "a frame changes while it is read"));
                };
                writer.push(&mut FrameBuilder::of_body(frame.body), frame.revision)?;
            }
        }
        writer.seal(*last_revision)
    }
}

impl From<Survivors> for Salvaged {
    fn from(survivors: Survivors) -> Self {
        let Survivors { parts, last_revision, highest_seen, damage, gone, .. } = survivors;
        let (mut records, mut rewrites) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Whole(record) => records.push(record),
                Part::Rewritten(remains) => {
                    let first_revision = remains.first_revision;
                    rewrites.push((records.len(), remains));
                    // Its number is taken when it is written.
                    let (number, sealed, live_bytes) = (0, None, 0);
                    records.push(SegmentRecord { number, first_revision, sealed, live_bytes });
                }
            }
        }
        let len_bytes =
            |stretch: &DamagedStretch| stretch.end_offset.saturating_sub(stretch.offset);
        Self {
            records,
            last_revision,
            highest_seen,
            damage,
            unsealed_end: survivors.unsealed_end,
            dropped: survivors.dropped,
            lost_bytes: gone.iter().map(|(_, stretch)| len_bytes(stretch)).sum(),
            rewrites,
            gone,
            lost_items: survivors.lost_items.into_keys().collect(),
        }
    }
}
