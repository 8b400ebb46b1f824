//! Reading every entry of the journal in order, as an open does: damage is stepped over.
//!
//! Most of the time of a rebuild is hashing: the tag of each entry is computed anew. So threads of
//! their own do that for some pieces ahead of the caller, unless the journal is short:
//!
//! ```text
//!  caller's thread   read, check frames ─► piece ─┐        ┌─► entries in order ─► f
//!  hashing threads                                └─ hash ─┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};

use parking_lot::Mutex;

use crate::journal::content_sum::ContentSum;
use crate::journal::entries::EntrySource;
use crate::journal::recover::{FoundSegment, Recovered};
use crate::journal::scanner::{DamagedStretch, ScannedFrame};
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::options::{OnProgress, Progress};

const PROGRESS_BYTES: u64 = 1 << 20;
/// Less than this in the journal is hashed by the caller's thread.
const ALONE_BYTES: u64 = 1 << 20;
/// How many bytes of frames are hashed at a time, unless one frame has more.
const PIECE_BYTES: u64 = 128 << 10;
/// How many bytes are read ahead of the caller. A piece of one large frame may have more: then it
/// is applied before the next is read.
const AHEAD_BYTES: u64 = 8 * PIECE_BYTES;
const MOST_HASHERS: usize = 3;

/// An entry, as far as an open puts it into an index.
pub(super) struct ReplayedEntry {
    pub(super) key: ItemKey,
    pub(super) head: Head,
    /// What it adds to the count and sum of the items.
    pub(super) change: ContentSum,
    /// Whether it clears its collection.
    pub(super) clears: bool,
    /// What the clock read when it was written.
    pub(super) clock_ms: u64,
}

/// Damage that a read of the journal has stepped over.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The segments, and in each the first frame that is damaged.
    pub(super) segments: Vec<(u32, Error)>,
    /// Whether commits after the checkpoint may be lost: then the sum of their entries is not that
    /// of the items.
    above_checkpoint: bool,
    /// The highest revision that may be lost of those that were asked for.
    pub(super) removals_lost: u64,
    /// The content check in the journal's last header.
    content_check: Option<u32>,
}

impl Damage {
    /// Whether the content that was found is the journal's; `expected` is the checkpoint's content
    /// with the entries after it.
    pub(super) fn leaves(&self, found: &ContentSum, expected: &ContentSum) -> bool {
        if self.above_checkpoint {
            self.content_check == Some(found.check())
        } else {
            found == expected
        }
    }

    fn add(&mut self, found: &FoundSegment, stretch: &DamagedStretch, after: u64, checkpoint: u64) {
        let number = found.segment.header.number;
        if stretch.last_revision > after {
            self.removals_lost = self.removals_lost.max(stretch.last_revision);
        }
        if self.segments.iter().all(|(damaged, _)| *damaged != number) {
            self.segments.push((number, stretch.error(&found.segment.path)));
        }
        self.above_checkpoint |= stretch.last_revision > checkpoint;
    }
}

/// Calls `f` with every entry of a revision above `after`, in order, and steps over damage.
pub(super) fn for_each_entry(
    recovered: &Recovered,
    after: u64,
    report: &mut Report<'_>,
    f: &mut dyn FnMut(ReplayedEntry) -> Result<()>,
) -> Result<Damage> {
    let needed = |found: &&FoundSegment| found.last_revision > after;
    let segments: Vec<&FoundSegment> = recovered.segments.iter().filter(needed).collect();
    let frame_bytes = |found: &&FoundSegment| found.end_offset.saturating_sub(SEGMENT_HEADER_BYTES);
    let total_bytes = segments.iter().map(frame_bytes).sum();
    report.begin(total_bytes);
    let mut apply = |entries: Vec<ReplayedEntry>, read_bytes| {
        entries.into_iter().try_for_each(&mut *f)?;
        report.advance(read_bytes);
        Ok(())
    };
    thread::scope(|scope| {
        let mut damage = Damage::default();
        let mut hashing = Hashing::begin(scope, total_bytes);
        for found in segments {
            let mut scan = found.scan_over_damage(&*recovered.disk)?;
            let mut piece = Piece::after(found, scan.position().offset);
            while let Some(frame) = scan.next_commit()? {
                if frame.revision > after {
                    piece.push(&frame);
                }
                piece.end = scan.position().offset;
                if piece.read_bytes() >= PIECE_BYTES {
                    let next = Piece::after(found, piece.end);
                    hashing.add(std::mem::replace(&mut piece, next), &mut apply)?;
                }
            }
            scan.expect_end(found.end_offset)?;
            // With the seal, and what was stepped over.
            piece.end = found.end_offset;
            hashing.add(piece, &mut apply)?;
            for stretch in scan.take_damage() {
                damage.add(found, &stretch, after, recovered.manifest.checkpoint.revision);
            }
            if found.end_offset > SEGMENT_HEADER_BYTES {
                damage.content_check = scan.content_check();
            }
        }
        hashing.finish(&mut apply)?;
        Ok(damage)
    })
}

/// Some commits of a segment, one after the other.
struct Piece<'j> {
    found: &'j FoundSegment,
    /// Offset, revision, and checksum and length of the body of each.
    frames: Vec<(u64, u64, u32, usize)>,
    bodies: Vec<u8>,
    /// Which bytes of the segment were read for it.
    begin: u64,
    end: u64,
}

impl<'j> Piece<'j> {
    fn after(found: &'j FoundSegment, begin: u64) -> Self {
        Self { found, frames: Vec::new(), bodies: Vec::new(), begin, end: begin }
    }

    fn read_bytes(&self) -> u64 {
        self.end - self.begin
    }

    fn push(&mut self, frame: &ScannedFrame<'_>) {
        let ScannedFrame { offset, revision, body, body_checksum } = *frame;
        self.frames.push((offset, revision, body_checksum, body.len()));
        self.bodies.extend_from_slice(body);
    }

    /// Decodes the entries and computes their tags.
    fn entries(&self) -> Result<Vec<ReplayedEntry>> {
        let segment = &self.found.segment;
        let source = EntrySource::of_header(&segment.path, &segment.header);
        let (mut entries, mut bodies) = (Vec::new(), &*self.bodies);
        for (offset, revision, body_checksum, len) in &self.frames {
            let (body, rest) = bodies.split_at_checked(*len).unwrap_or_default();
            bodies = rest;
            let (offset, revision, body_checksum) = (*offset, *revision, *body_checksum);
            let frame = ScannedFrame { offset, revision, body, body_checksum };
            source.for_each_entry(&frame, &mut |entry| {
                let (head, mut change) = (entry.head(), ContentSum::default());
                entry.move_content(&mut change, &head);
                let (clears, clock_ms) = (entry.clears(), entry.entry.clock_ms());
                entries.push(ReplayedEntry { key: entry.key, head, change, clears, clock_ms });
                Ok(())
            })?;
        }
        Ok(entries)
    }
}

type Hashed = Result<Vec<ReplayedEntry>>;
type Job<'j> = (Piece<'j>, Sender<Hashed>);
type Apply<'f> = dyn FnMut(Vec<ReplayedEntry>, u64) -> Result<()> + 'f;

/// The threads that hash, and the pieces that are under way, in order.
struct Hashing<'j> {
    /// `None` where the caller's thread hashes.
    jobs: Option<Sender<Job<'j>>>,
    under_way: VecDeque<(Receiver<Hashed>, u64)>,
}

impl<'j> Hashing<'j> {
    fn begin<'s>(scope: &'s Scope<'s, 'j>, total_bytes: u64) -> Self {
        let (jobs, taken) = channel::<Job<'j>>();
        let taken = Arc::new(Mutex::new(taken));
        // Only a long journal is worth asking the system.
        let cores = || thread::available_parallelism().map_or(0, usize::from);
        let hashers = if total_bytes < ALONE_BYTES { 0 } else { cores() };
        let mut jobs_taken = false;
        for _ in 0..hashers.min(MOST_HASHERS) {
            let taken = Arc::clone(&taken);
            let builder = thread::Builder::new().name("ifmatch-open".to_owned());
            jobs_taken |= builder.spawn_scoped(scope, move || hash(&taken)).is_ok();
        }
        Self { jobs: jobs_taken.then_some(jobs), under_way: VecDeque::new() }
    }

    /// Has a piece hashed, and applies one before it if enough are under way.
    fn add(&mut self, piece: Piece<'j>, apply: &mut Apply<'_>) -> Result<()> {
        let read_bytes = piece.read_bytes();
        let Some(jobs) = &self.jobs else { return apply(piece.entries()?, read_bytes) };
        let (reply, replied) = channel();
        self.under_way.push_back((replied, read_bytes));
        // Nobody has ended before the jobs do, unless by a panic.
        let _ = jobs.send((piece, reply));
        while self.under_way.iter().map(|(_, bytes)| bytes).sum::<u64>() >= AHEAD_BYTES {
            self.apply_first(apply)?;
        }
        Ok(())
    }

    fn finish(mut self, apply: &mut Apply<'_>) -> Result<()> {
        while !self.under_way.is_empty() {
            self.apply_first(apply)?;
        }
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "a thread that hashes replies, unless it panics")]
    fn apply_first(&mut self, apply: &mut Apply<'_>) -> Result<()> {
        let Some((replied, read_bytes)) = self.under_way.pop_front() else { return Ok(()) };
        apply(replied.recv().expect("a thread that computes tags panicked")?, read_bytes)
    }
}

/// Takes pieces and hashes them until there are no more.
fn hash(jobs: &Mutex<Receiver<Job<'_>>>) {
    loop {
        // Taken under the lock, hashed without.
        let job = jobs.lock().recv();
        let Ok((piece, reply)) = job else { return };
        // Where the caller has failed nobody receives it.
        let _ = reply.send(piece.entries());
    }
}

/// Reports to the caller how far an open has come.
pub(super) struct Report<'a> {
    pub(super) on_progress: Option<&'a OnProgress>,
    pub(super) progress: Progress,
}

impl Report<'_> {
    fn begin(&mut self, total_bytes: u64) {
        self.progress = Progress { done_bytes: 0, total_bytes };
    }

    fn advance(&mut self, bytes: u64) {
        let before = self.progress.done_bytes / PROGRESS_BYTES;
        self.progress.done_bytes += bytes;
        let Progress { done_bytes, total_bytes } = self.progress;
        let is_end = bytes > 0 && done_bytes == total_bytes;
        if let Some(on_progress) = self.on_progress
            && (is_end || done_bytes / PROGRESS_BYTES > before)
        {
            on_progress(self.progress);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::simulation::Simulation;
    use crate::{Options, Precondition};

    /// In another order an older version of an item would displace a newer one.
    #[test]
    fn entries_of_a_long_journal_come_in_their_order() {
        const KEYS: u32 = 100;
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        let mut tags = Vec::new();
        for number in 0..40 * KEYS {
            let value = number.to_le_bytes().repeat(400).into();
            let key = (number % KEYS).to_be_bytes();
            tags.push(items.upsert(key, &value, Precondition::Always).unwrap().etag());
        }
        let written_bytes = store.stats().unwrap().journal_bytes;
        assert!(written_bytes > ALONE_BYTES + 4 * AHEAD_BYTES);
        // All of it is older than the checkpoint, so the index is built anew.
        Simulation::checkpoint(&store).unwrap();
        let mut killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        killed.remove_index();
        let store = killed.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        for (key, tag) in (0..KEYS).zip(tags.iter().rev().take(KEYS as usize).rev()) {
            assert_eq!(items.get(key.to_be_bytes()).unwrap().unwrap().etag(), *tag);
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}
