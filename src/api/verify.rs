//! Verification: reading everything that a store consists of, and comparing.

use crate::api::store::Store;
use crate::engine::shared::EngineGuard;
use crate::journal::append::Extent;
use crate::journal::content_sum::ContentSum;
use crate::journal::entries::EntrySource;
use crate::journal::segment::{OpenSegment, SEGMENT_HEADER_BYTES};
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::key::ItemKey;
use crate::values::options::Progress;

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
    /// Entries of indexes that were compared with their items.
    pub index_entries: u64,
}

impl Store {
    /// Reads the whole store and checks it. It checks the checksums and entries of every frame of
    /// the journal. It recomputes the tag of every item from the journal, and compares it with the
    /// index. If nobody writes during this, it also checks that the index holds exactly the items
    /// of the journal, and that each index declared with
    /// [`ensure_index`](crate::Collection::ensure_index) holds exactly the entries of the items.
    ///
    /// Costs a read of every byte of the journal, of every leaf of the index, and of every item
    /// once more. Others can read and write at the same time; [`close`](Self::close) waits for a
    /// segment or some hundred items at most, and ends the verification.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] with the first file and place that is damaged, whether a current or a
    ///   superseded version is stored there. Every other segment is still read, and
    ///   [`Stats::damaged_segments`](crate::Stats::damaged_segments) counts the damaged ones.
    /// - [`Error::IndexUnavailable`] when the index lacks items or holds others: the next open then
    ///   rebuilds it.
    /// - [`Error::NotUnique`] when two items have the same value in a unique index. That happens
    ///   only after damage, if [`Options::on_damage`](crate::Options::on_damage) kept an older
    ///   version of an item. Nothing else is wrong with the store: give one of the items another
    ///   value.
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
        self.verify_with_progress(|_| {})
    }

    /// As [`verify`](Self::verify), and reports its progress to a function: after each segment of
    /// the journal, after each MiB of items, and at the end. The function is called on the calling
    /// thread, and may use the store.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let store = ifmatch::Store::in_memory();
    /// store.collection::<u64>("counters")?.create("visits", &1)?;
    /// let mut last = None;
    /// store.verify_with_progress(|progress| {
    ///     println!("{} of {} bytes", progress.done_bytes, progress.total_bytes);
    ///     last = Some(progress);
    /// })?;
    /// assert!(last.is_some_and(|last| last.done_bytes == last.total_bytes));
    /// # Ok(()) }
    /// ```
    pub fn verify_with_progress(&self, on_progress: impl FnMut(Progress)) -> Result<Verified> {
        let mut report = Report { on_progress, done_bytes: 0, total_bytes: 0, told_bytes: 0 };
        let mut verified = Verified::default();
        self.verify_journal(&mut verified, &mut report)?;
        self.verify_items(&mut verified, &mut report)?;
        self.verify_unique()?;
        report.end();
        Ok(verified)
    }

    fn verify_journal(
        &self,
        verified: &mut Verified,
        report: &mut Report<impl FnMut(Progress)>,
    ) -> Result<()> {
        let mut extents = {
            let engine = self.engine()?;
            let journal = &engine.journal;
            let extents = journal.extents();
            report.total_bytes = frame_bytes(&extents) + journal.segments().total_live_bytes();
            extents.into_iter()
        };
        let mut after = 0;
        let mut damage = None;
        while let Some(extent) = extents.next() {
            let engine = self.engine()?;
            let outcome = verify_segment(&engine, &extent, after, verified);
            let journal = &engine.journal;
            match outcome {
                Ok(read_bytes) => {
                    after = extent.last_revision;
                    drop(engine);
                    report.advance(read_bytes);
                    report.tell();
                }
                // Compaction has removed it since, and put another in its place.
                Err(Error::Corrupt { .. }) if journal.segments().get(extent.number).is_none() => {
                    let mut left = journal.extents();
                    left.retain(|extent| extent.last_revision > after);
                    extents = left.into_iter();
                }
                Err(error @ Error::Corrupt { .. }) => {
                    journal.segments().note_damage(extent.number, &error);
                    damage.get_or_insert(error);
                    after = extent.last_revision;
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(()), Err)
    }

    fn verify_items(
        &self,
        verified: &mut Verified,
        report: &mut Report<impl FnMut(Progress)>,
    ) -> Result<()> {
        let (before, at_rest) = {
            let engine = self.engine()?;
            let before = engine.journal.contents();
            // A commit may have its place in the journal and not be in the index yet.
            let at_rest = engine.journal.applied() >= before.0;
            (before, at_rest)
        };
        let (mut found, mut expected_rows) = (ContentSum::default(), ContentSum::default());
        let mut after: Option<ItemKey> = None;
        loop {
            let step = {
                let engine = self.engine()?;
                engine.verify_heads(after.as_ref(), STEP, &mut found, &mut expected_rows)?
            };
            report.advance(step.read_bytes);
            if step.last.is_none() {
                break;
            }
            report.tell_each_mebibyte();
            after = step.last;
        }
        let (mut rows, mut after) = (ContentSum::default(), None);
        loop {
            after = self.engine()?.sum_built(after, &mut rows)?;
            if after.is_none() {
                break;
            }
        }
        let engine = self.engine()?;
        verified.index_entries = rows.count;
        verified.items = found.count.saturating_sub(engine.recorded_collections());
        // Only a store at rest can be held against one count and sum.
        let at_rest = at_rest && engine.journal.contents() == before;
        if at_rest && found != before.1 {
            engine.journal.distrust_index();
            let message = "it does not hold the items that the journal says";
            return Err(Error::IndexUnavailable(IndexFailure::new(message)));
        }
        let mut recorded = ContentSum::default();
        before.2.iter().for_each(|index| recorded.merge(index.content));
        if at_rest && (rows != expected_rows || rows != recorded) {
            engine.journal.distrust_index();
            let message = "an index does not hold the entries that the items have";
            return Err(Error::IndexUnavailable(IndexFailure::new(message)));
        }
        Ok(())
    }

    /// Looks for items with one value in a unique index.
    fn verify_unique(&self) -> Result<()> {
        let indexes = self.engine()?.walk_unique();
        for mut rivals in indexes {
            while self.engine()?.compare_some(&mut rivals)? {}
        }
        Ok(())
    }
}

/// Reports to the caller how far a verification has come.
struct Report<F> {
    on_progress: F,
    done_bytes: u64,
    total_bytes: u64,
    told_bytes: u64,
}

impl<F: FnMut(Progress)> Report<F> {
    /// Counts what was read; what writers add during the scan does not go beyond the end.
    fn advance(&mut self, read_bytes: u64) {
        self.done_bytes = (self.done_bytes + read_bytes).min(self.total_bytes);
    }

    fn tell_each_mebibyte(&mut self) {
        if self.done_bytes - self.told_bytes >= 1 << 20 {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told_bytes = self.done_bytes;
        let Self { done_bytes, total_bytes, .. } = *self;
        (self.on_progress)(Progress { done_bytes, total_bytes });
    }

    fn end(&mut self) {
        self.done_bytes = self.total_bytes;
        self.tell();
    }
}

/// Bytes of the frames of these segments.
pub(crate) fn frame_bytes(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.end_offset.saturating_sub(SEGMENT_HEADER_BYTES)).sum()
}

/// Reads a segment's frames up to where they end and counts those above a revision; returns how
/// many bytes that were.
fn verify_segment(
    engine: &EngineGuard<'_>,
    extent: &Extent,
    after: u64,
    verified: &mut Verified,
) -> Result<u64> {
    let (disk, store) = engine.journal.files();
    let segment = OpenSegment::open(disk, store, extent.number)?;
    let source = EntrySource::of_header(&segment.facts.path, &segment.facts.header);
    let mut scan = segment.scan(extent.end_offset);
    let mut begin = scan.position().offset;
    let (mut commits, mut counted_bytes) = (0, 0);
    while let Some(frame) = scan.next_commit()? {
        source.for_each_entry(&frame, &mut |_| Ok(()))?;
        let counts = frame.revision > after;
        let end = scan.position().offset;
        if counts {
            commits += 1;
            counted_bytes += end - begin;
        }
        begin = end;
    }
    scan.expect_end(extent.end_offset)?;
    verified.commits += commits;
    verified.journal_bytes += counted_bytes;
    Ok(counted_bytes)
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::simulation::Simulation;
    use crate::values::head::Head;
    use crate::values::key::ItemKey;
    use crate::values::options::Options;

    #[test]
    fn an_item_that_is_in_the_cache_is_read_from_the_journal_all_the_same() {
        let store = Store::in_memory();
        let numbers = store.collection::<u64>("numbers").unwrap();
        numbers.create("a", &1).unwrap();
        numbers.create("b", &2).unwrap();
        store.verify().unwrap();
        {
            let engine = store.engine().unwrap();
            let head = |key| engine.head(&ItemKey::new("numbers", key).unwrap()).unwrap();
            let (a, b) = (head(b"a").unwrap(), head(b"b").unwrap());
            let misplaced = Head { offset: b.offset, len_bytes: b.len_bytes, ..a };
            let key = ItemKey::new("numbers", b"a").unwrap();
            let pin = engine.pin(std::iter::once(&key)).unwrap();
            engine.index.change_head(&key, &pin, &|_| Some(misplaced));
        }
        assert_eq!(numbers.get("a").unwrap().unwrap().value, 1);
        assert!(matches!(store.verify(), Err(Error::Corrupt { .. })));
    }

    /// An orderly close then vouches for an index that lacks the item under `a`.
    fn close_with_an_item_lacking(store: Store) {
        let numbers = store.collection::<u64>("numbers").unwrap();
        numbers.create("a", &1).unwrap();
        let key = ItemKey::new("numbers", b"a").unwrap();
        {
            let engine = store.engine().unwrap();
            let pin = engine.pin(std::iter::once(&key)).unwrap();
            engine.index.remove_if(&key, &pin, &|_| true);
        }
        store.close().unwrap();
    }

    #[test]
    fn an_index_that_was_closed_with_an_item_lacking_is_rebuilt_once_that_is_found() {
        let sim = Simulation::new(1);
        let open = || sim.open(&Options::new()).unwrap();
        close_with_an_item_lacking(open());

        let store = open();
        assert!(matches!(store.verify(), Err(Error::IndexUnavailable(_))));
        store.collection::<u64>("numbers").unwrap().create("b", &2).unwrap();
        store.close().unwrap();

        let store = open();
        let numbers = store.collection::<u64>("numbers").unwrap();
        assert_eq!(numbers.get("a").unwrap().unwrap().value, 1);
        store.verify().unwrap();
    }

    #[test]
    fn an_index_that_fails_at_a_read_is_restored_behind_the_reader() {
        let sim = Simulation::new(1);
        let open = || sim.open(&Options::new()).unwrap();
        let store = open();
        store.collection::<u64>("numbers").unwrap().create("a", &1).unwrap();
        store.close().unwrap();

        let store = open();
        let numbers = store.collection::<u64>("numbers").unwrap();
        sim.fail_index_after(0);
        assert_eq!(numbers.get("a").unwrap().unwrap().value, 1);
        numbers.create("b", &2).unwrap();
        store.close().unwrap();
        assert_eq!(open().collection::<u64>("numbers").unwrap().len().unwrap(), 2);
        sim.fail_index_after(u64::MAX);
        assert_eq!(open().collection::<u64>("numbers").unwrap().len().unwrap(), 2);
    }
}
