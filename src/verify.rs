//! Verification: reading everything that a store consists of, and comparing.

use std::ops::Bound;

use crate::error::{Error, Result, TableError};
use crate::journal::frame::Body;
use crate::journal::recover::check_frame;
use crate::journal::segment::OpenSegment;
use crate::journal::totals::Totals;
use crate::store::{RunningGuard, Store};

/// How many items are verified at a time.
const STEP: usize = 512;

/// What [`Store::verify`] has read and found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Items whose tag was recomputed from the journal, in all collections.
    pub items: u64,
    /// Commits whose frames were read, those of superseded versions among them.
    pub commits: u64,
    /// Bytes of the journal's frames.
    pub journal_bytes: u64,
}

impl Store {
    /// Reads the whole store and checks it: every frame of the journal with its checksums and
    /// entries, and of every item the tag, recomputed from the journal and compared with the
    /// table's. While nobody writes, the table must hold every item that the journal says.
    ///
    /// Costs a read of every byte of the journal, of every row of the table, and of every item
    /// once more. Others read and write meanwhile; [`close`](Self::close) waits for a segment or
    /// some hundred items at most, and ends the verification.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] with the first file and place that is damaged.
    /// - [`Error::Table`] when the table lacks items or holds others: the store is then poisoned,
    ///   and the next open rebuilds the table.
    /// - [`Error::Io`], [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// notes.replace("a", &"two".to_owned(), first.etag())?;
    /// let verified = store.verify()?;
    /// assert_eq!((verified.items, verified.commits), (1, 2));
    /// # Ok(()) }
    /// ```
    pub fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        let extents = self.running()?.core.journal.extents();
        for extent in extents {
            verify_segment(&self.running()?, extent.number, extent.end_offset, &mut verified)?;
        }
        self.verify_items(&mut verified)?;
        Ok(verified)
    }

    fn verify_items(&self, verified: &mut Verified) -> Result<()> {
        let (before, at_rest) = {
            let running = self.running()?;
            let before = running.core.journal.totals();
            // A commit may have its place in the journal and not be in the table yet.
            (before, running.core.journal.applied() >= before.0)
        };
        let mut found = Totals::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let running = self.running()?;
            let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let (rows, last) = running.core.verify_rows(lower, STEP, &mut found)?;
            if rows < STEP {
                break;
            }
            after = last;
        }
        let running = self.running()?;
        verified.items = found.count.saturating_sub(running.core.recorded_collections());
        // Only a store at rest can be held against one count and sum.
        let at_rest = at_rest && running.core.journal.totals() == before;
        if at_rest && found != before.1 {
            running.core.journal.poison();
            let message = "the table does not hold the items that the journal says";
            return Err(Error::Table(TableError::new(message)));
        }
        Ok(())
    }
}

/// Reads a segment's frames up to where they end.
fn verify_segment(
    running: &RunningGuard<'_>,
    number: u32,
    end_offset: u64,
    verified: &mut Verified,
) -> Result<()> {
    let (disk, store) = running.core.journal.place();
    let segment = OpenSegment::open(disk, store, number)?;
    let path = &segment.facts.path;
    let mut scan = segment.scan(end_offset);
    let (begin, mut last) = (scan.position().offset, 0);
    while let Some(frame) = scan.next()? {
        let damaged = || Error::corrupt(path, frame.offset, "an entry is malformed");
        if let Body::Commit(mut entries) = check_frame(path, &frame, last)? {
            if entries.any(|entry| entry.is_none()) {
                return Err(damaged());
            }
            verified.commits += 1;
            last = frame.revision;
        }
    }
    let end = scan.position().offset;
    if end != end_offset {
        return Err(Error::corrupt(path, end, "a frame is damaged"));
    }
    verified.journal_bytes += end - begin;
    Ok(())
}
