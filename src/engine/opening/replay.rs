//! Reading every entry of the journal in order, as an open does: damage is stepped over.

use crate::journal::content_sum::ContentSum;
use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::recover::{FoundSegment, Recovered};
use crate::journal::scanner::DamagedStretch;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::values::error::{Error, Result};
use crate::values::options::{OnProgress, Progress};

const PROGRESS_BYTES: u64 = 1 << 20;

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
    f: &mut dyn FnMut(FoundEntry<'_, '_>) -> Result<()>,
) -> Result<Damage> {
    let mut damage = Damage::default();
    let needed = |found: &&FoundSegment| found.last_revision > after;
    let segments: Vec<&FoundSegment> = recovered.segments.iter().filter(needed).collect();
    let frame_bytes = |found: &&FoundSegment| found.end_offset.saturating_sub(SEGMENT_HEADER_BYTES);
    report.begin(segments.iter().map(frame_bytes).sum());
    for found in segments {
        let source = EntrySource::of_header(&found.segment.path, &found.segment.header);
        let mut scan = found.scan_over_damage(&*recovered.disk)?;
        let mut before = scan.position().offset;
        while let Some(frame) = scan.next_commit()? {
            if frame.revision > after {
                source.for_each_entry(&frame, f)?;
            }
            let done = scan.position().offset;
            report.advance(done - before);
            before = done;
        }
        scan.expect_end(found.end_offset)?;
        // A seal, and what was stepped over.
        report.advance(found.end_offset - before);
        for stretch in scan.take_damage() {
            damage.add(found, &stretch, after, recovered.manifest.checkpoint.revision);
        }
        if found.end_offset > SEGMENT_HEADER_BYTES {
            damage.content_check = scan.content_check();
        }
    }
    Ok(damage)
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
