//! Reading commits in order of revision, from any revision on, while the journal is written and
//! compacted.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::journal::Journal;
use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::scanner::{DamagedStretch, FrameScanner, Position, ScannedFrame};
use crate::journal::segments::KnownSegment;
use crate::values::error::{Error, Result};

/// One commit, read back.
#[derive(Debug)]
pub(crate) struct CommitFrame<'a> {
    /// The segment it was found in.
    pub(crate) segment: u32,
    pub(crate) known: &'a KnownSegment,
    pub(crate) frame: ScannedFrame<'a>,
}

/// Frames that a reader came to and that cannot be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetDamage<'a> {
    pub(crate) known: &'a KnownSegment,
    pub(crate) stretch: DamagedStretch,
}

impl MetDamage<'_> {
    pub(crate) fn error(&self) -> Error {
        self.stretch.error(&self.known.path)
    }
}

/// A place in the journal, between two commits. Holds no file open.
#[derive(Debug, Clone)]
pub(crate) struct FrameReader {
    after: u64,
    /// Where the next frame probably is: the segment may be gone by then.
    at: Option<(u32, Position)>,
}

impl FrameReader {
    /// A reader of the commits above this revision.
    pub(crate) fn after(revision: u64) -> Self {
        Self { after: revision, at: None }
    }

    /// The revision above which the next read continues.
    pub(crate) fn revision(&self) -> u64 {
        self.after
    }

    /// Visits the commits up to a revision, in ascending order, until the visitor breaks or fails;
    /// returns whether it got to the end. The reader then is after the last commit visited
    /// without an error.
    ///
    /// The first look into a segment reads it from its beginning up to the place, later ones from
    /// a remembered place nearby.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], and what the visitor fails with.
    pub(crate) fn read(
        &mut self,
        journal: &Journal,
        up_to: u64,
        visit: &mut dyn FnMut(&CommitFrame<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        self.read_over_damage(journal, up_to, visit, &mut |damage| Err(damage.error()))
    }

    /// As [`read`](Self::read), over damaged frames with which `on_damage` agrees; it is called
    /// before any commit that follows them.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], and what the visitor or `on_damage` fails with.
    pub(crate) fn read_over_damage(
        &mut self,
        journal: &Journal,
        up_to: u64,
        visit: &mut dyn FnMut(&CommitFrame<'_>) -> Result<ControlFlow<()>>,
        on_damage: &mut dyn FnMut(MetDamage<'_>) -> Result<()>,
    ) -> Result<bool> {
        while self.after < up_to {
            let extents = journal.extents();
            let Some(extent) = extents.iter().find(|extent| extent.last_revision > self.after)
            else {
                return Ok(true);
            };
            let segments = journal.segments();
            let Some(known) = segments.get(extent.number) else { continue };
            let Some(file) = segments.file(extent.number)? else { continue };
            let (before, place) = match self.at {
                Some((number, place)) if number == extent.number => (self.after, place),
                _ => known.place_after(self.after),
            };
            let end = extent.end_offset;
            let scan = FrameScanner::new(file, known.path.clone(), end, place);
            let before = before.max(extent.first_revision.saturating_sub(1));
            let mut scan = scan.after(before).over_damage(end, extent.last_revision);
            let ends = (extent.number, up_to);
            if self.scan(&mut scan, ends, &known, visit, on_damage)?.is_break() {
                return Ok(false);
            }
            if self.after >= up_to {
                return Ok(true);
            }
            // Of the active segment, too: what is written ends with a whole frame.
            scan.expect_end(extent.end_offset)?;
            if extent.last_revision == u64::MAX {
                // The end of what is written of the active segment, or of one sealed in the
                // meantime.
                let sealed = journal
                    .extents()
                    .iter()
                    .any(|now| now.number == extent.number && now.last_revision != u64::MAX);
                if sealed {
                    continue;
                }
                return Ok(true);
            }
            (self.after, self.at) = (self.after.max(extent.last_revision), None);
        }
        Ok(true)
    }

    fn scan(
        &mut self,
        scan: &mut FrameScanner,
        (segment, up_to): (u32, u64),
        known: &Arc<KnownSegment>,
        visit: &mut dyn FnMut(&CommitFrame<'_>) -> Result<ControlFlow<()>>,
        on_damage: &mut dyn FnMut(MetDamage<'_>) -> Result<()>,
    ) -> Result<ControlFlow<()>> {
        loop {
            let mut place = scan.position();
            let found = scan.next_commit()?.map(|frame| frame.revision);
            for stretch in scan.take_damage() {
                place.offset = stretch.end_offset;
                let damage = MetDamage { known, stretch };
                known.note_damage(&damage.error());
                if stretch.last_revision > self.after && stretch.first_revision <= up_to {
                    on_damage(damage)?;
                }
            }
            let Some(revision) = found else { return Ok(ControlFlow::Continue(())) };
            let Some(frame) = scan.last_commit() else { return Ok(ControlFlow::Continue(())) };
            if revision > up_to {
                // Never remembered as read: the next read begins with this frame.
                self.at = Some((segment, place));
                self.after = self.after.max(up_to);
                return Ok(ControlFlow::Continue(()));
            }
            let flow = if revision > self.after {
                visit(&CommitFrame { segment, known, frame })?
            } else {
                ControlFlow::Continue(())
            };
            let end = scan.position();
            known.remember(revision, end);
            if revision >= self.after {
                (self.after, self.at) = (revision, Some((segment, end)));
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }
}

impl CommitFrame<'_> {
    pub(crate) fn revision(&self) -> u64 {
        self.frame.revision
    }

    /// Calls `f` with each entry, in their order.
    pub(crate) fn for_each_entry<'a>(
        &'a self,
        f: &mut dyn FnMut(FoundEntry<'_, 'a>) -> Result<()>,
    ) -> Result<()> {
        self.source().for_each_entry(&self.frame, f)
    }

    pub(crate) fn source(&self) -> EntrySource<'_> {
        EntrySource::new(self.segment, self.known)
    }
}
