//! Heads that a crash left pointing into segments that compaction had replaced and removed.
//!
//! Compaction moves heads in memory and removes what it has replaced; a checkpoint makes the moves
//! durable later. After a crash in between, an open moves the heads again, by what replaced their
//! segments.

use std::collections::{HashMap, HashSet};

use crate::engine::opening::content::Content;
use crate::engine::scan::item_key;
use crate::index::{Index, split_pair_key};

use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::frame::record_checksum;
use crate::journal::recover::{FoundSegment, Recovered};
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// The heads that point into segments that are gone.
#[derive(Debug)]
pub(super) struct Adrift {
    /// The segments, and what replaced each.
    gone: HashMap<u32, u32>,
    /// How many of them are of items.
    items: u64,
    /// The keys of the others.
    tombstones: Vec<Vec<u8>>,
    /// What replaced them and is damaged, and the first damaged frame in each.
    damaged: Vec<(u32, Error)>,
}

impl Adrift {
    pub(super) fn of_segments(recovered: &Recovered) -> Self {
        let there: HashSet<u32> =
            recovered.retired.iter().map(|found| found.segment.header.number).collect();
        let retired = recovered.manifest.retired.iter();
        let gone = retired.map(|retired| (retired.number, retired.replaced_by));
        let gone = gone.filter(|(number, _)| !there.contains(number)).collect();
        Self { gone, items: 0, tombstones: Vec::new(), damaged: Vec::new() }
    }

    /// Counts a head of the index if it is adrift; whether it is.
    pub(super) fn take(&mut self, key: &[u8], head: &Head) -> bool {
        let is_adrift = self.gone.contains_key(&head.segment);
        if is_adrift && head.deleted {
            self.tombstones.push(key.to_vec());
        }
        self.items += u64::from(is_adrift && !head.deleted);
        is_adrift
    }

    /// Takes an item's head away that was counted.
    pub(super) fn subtract(&mut self, head: &Head) {
        if self.gone.contains_key(&head.segment) {
            self.items = self.items.saturating_sub(1);
        }
    }

    fn is_empty(&self) -> bool {
        self.items == 0 && self.tombstones.is_empty()
    }
}

impl Content {
    /// Points the heads that are adrift at the entries of what replaced their segments. Reads each such
    /// segment once, over damage.
    pub(super) fn relocate(&mut self, index: &Index, recovered: &Recovered) -> Result<()> {
        if self.adrift.is_empty() {
            return Ok(());
        }
        let outputs: HashSet<u32> = self.adrift.gone.values().copied().collect();
        let is_output = |found: &&FoundSegment| outputs.contains(&found.segment.header.number);
        for found in recovered.segments.iter().filter(is_output) {
            let source = EntrySource::of_header(&found.segment.path, &found.segment.header);
            let mut scan = found.scan_over_damage(&*recovered.disk)?;
            while let Some(frame) = scan.next_commit()? {
                source.for_each_entry(&frame, &mut |entry| self.relocate_to(index, &entry))?;
            }
            scan.expect_end(found.end_offset)?;
            if let Some(stretch) = scan.take_damage().first() {
                let error = stretch.error(&found.segment.path);
                self.adrift.damaged.push((found.segment.header.number, error));
            }
        }
        Ok(())
    }

    fn relocate_to(&mut self, index: &Index, entry: &FoundEntry<'_, '_>) -> Result<()> {
        let pin = index.pin();
        let Some(head) = index.make_resident(&entry.key, &pin)? else { return Ok(()) };
        if head.revision != entry.revision || !self.adrift.gone.contains_key(&head.segment) {
            return Ok(());
        }
        let moved = Head {
            segment: entry.segment,
            offset: entry.offset,
            len_bytes: entry.record.len() as u32,
            checksum: record_checksum(entry.record),
            ..head
        };
        index.change_head(&entry.key, &pin, |_| Some(moved));
        self.subtract_live(&head);
        self.add_live(&moved);
        Ok(())
    }

    /// Ends it when the journal was replayed: points what is adrift still at the damaged segments that
    /// hold it, so that who reads an item of them is told, and takes the other tombstones out of the
    /// index, which compaction has dropped. Returns these segments; `None` where items are adrift
    /// without any damage.
    pub(super) fn settle(&mut self, index: &Index) -> Result<Option<Vec<(u32, Error)>>> {
        for row in std::mem::take(&mut self.adrift.tombstones) {
            let Some((collection, key)) = split_pair_key(&row) else { return Ok(None) };
            let key = ItemKey::of_parts(collection, key, &[])?;
            let pin = index.pin();
            let head = index.make_resident(&key, &pin)?.filter(|head| head.deleted);
            if let Some(moved) = head.and_then(|head| self.at_damage(&head)) {
                // Perhaps it was kept: without its row an older entry would count as the newest.
                index.change_head(&key, &pin, |_| Some(moved));
                continue;
            }
            let gone = &self.adrift.gone;
            index.remove_if(&key, &pin, |head| head.deleted && gone.contains_key(&head.segment));
        }
        if self.adrift.items > 0 && !self.adrift.damaged.is_empty() {
            self.point_at_damage(index)?;
        }
        let damaged = std::mem::take(&mut self.adrift.damaged);
        Ok((self.adrift.items == 0).then_some(damaged))
    }

    fn point_at_damage(&mut self, index: &Index) -> Result<()> {
        let mut rows = Vec::new();
        index.walk(None, usize::MAX, &mut |collection, key, head| {
            if let Some(moved) = self.at_damage(head).filter(|_| !head.deleted) {
                rows.push((item_key(collection, key), *head, moved));
            }
        })?;
        for (key, head, moved) in rows {
            let pin = index.pin();
            index.make_resident(&key, &pin)?;
            index.change_head(&key, &pin, |_| Some(moved));
            self.subtract_live(&head);
            self.add_live(&moved);
        }
        Ok(())
    }

    /// A head that is adrift, pointed at what replaced its segment, if that is damaged.
    fn at_damage(&self, head: &Head) -> Option<Head> {
        let segment = *self.adrift.gone.get(&head.segment)?;
        self.adrift.damaged.iter().find(|(damaged, _)| *damaged == segment)?;
        let room = self.ends.get(&segment)?.saturating_sub(SEGMENT_HEADER_BYTES);
        let len_bytes = u64::from(head.len_bytes).min(room) as u32;
        Some(Head { segment, offset: SEGMENT_HEADER_BYTES as u32, len_bytes, ..*head })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use crate::engine::compaction::compact_some;
    use crate::engine::throttle::Throttle;
    use crate::journal::manifest::{Loaded, ManifestFile};
    use crate::simulation::{STORE, Simulation};
    use crate::{HistoryPolicy, OnDamage, Options, Precondition, Store};

    const PAGES: u32 = 800;

    fn options() -> Options {
        Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO))
    }

    /// Writes every so many pages of the first ones.
    fn write(store: &Store, step: usize, count: u32) {
        let items = store.raw("pages").unwrap();
        for page in (0..count).step_by(step) {
            let value = vec![page as u8; 5_000].into();
            items.upsert(page.to_be_bytes(), &value, Precondition::Always).unwrap();
        }
    }

    fn compact(store: &Store) {
        while compact_some(store.shared(), Throttle::Off, || ()).unwrap() {}
        store.engine().unwrap().journal.remove_dropped();
    }

    fn dropped(store: &Store) -> usize {
        store.engine().unwrap().journal.dropped_segments().len()
    }

    fn generation(store: &Store) -> u64 {
        store.engine().unwrap().checkpoints.lock().generation
    }

    /// A store whose index on disk points into segments that are gone: of pages that stay as they are,
    /// of some that were overwritten since, of tombstones that compaction has dropped, and of a
    /// collection that was cleared since.
    fn adrift(seed: u64) -> (Simulation, Store) {
        let sim = Simulation::new(seed);
        let store = sim.open(&options()).unwrap();
        let (other, gone) = (store.raw("other").unwrap(), store.raw("gone").unwrap());
        for key in 0..50_u32 {
            other.create(key.to_be_bytes(), &vec![1; 3_000].into()).unwrap();
            gone.create(key.to_be_bytes(), &vec![2; 3_000].into()).unwrap();
        }
        write(&store, 1, PAGES);
        for key in 0..25_u32 {
            gone.delete(key.to_be_bytes(), Precondition::Always).unwrap();
        }
        write(&store, 2, PAGES);
        write(&store, 4, PAGES);
        sim.set_now_ms(1_700_000_100_000);
        store.engine().unwrap().journal.seal_if_dead().unwrap();
        Simulation::checkpoint(&store).unwrap();
        write(&store, 1, 30);
        other.clear().unwrap();
        compact(&store);
        // What was rewritten is rewritten again.
        write(&store, 1, PAGES / 2);
        compact(&store);
        assert!(dropped(&store) > 0, "nothing was dropped before a checkpoint");
        (sim, store)
    }

    #[test]
    fn heads_that_a_crash_left_pointing_at_dropped_segments_are_moved_by_the_next_open() {
        for seed in 0..4 {
            let (sim, store) = adrift(seed);
            let before = generation(&store);
            let sim = if seed % 2 == 0 {
                sim.kill(&mut fastrand::Rng::with_seed(seed))
            } else {
                sim.crash(&mut fastrand::Rng::with_seed(seed))
            };
            let store = sim.open(&options()).unwrap();
            assert_eq!(generation(&store), before, "the index was built anew");
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
            let pages = store.raw("pages").unwrap();
            assert_eq!(pages.iter().unwrap().map(Result::unwrap).count() as u32, PAGES);
            assert_eq!(store.raw("gone").unwrap().len().unwrap(), 25);
            assert!(store.raw("other").unwrap().is_empty().unwrap());
            let live = Simulation::live_bytes_by_heads(&store).unwrap();
            assert_eq!(store.stats().unwrap().live_bytes, live);
            // And by the one after it, whose index is the same.
            let sim = sim.kill(&mut fastrand::Rng::with_seed(seed));
            let store = sim.open(&options()).unwrap();
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
            compact(&store);
            Simulation::checkpoint(&store).unwrap();
            assert_eq!(dropped(&store), 0, "what the index does not need is listed");
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        }
    }

    #[test]
    fn an_item_whose_entry_is_damaged_in_what_replaced_its_segment_is_the_only_one_lost() {
        let (sim, store) = adrift(9);
        let (path, page, head) = {
            let engine = store.engine().unwrap();
            let dropped = engine.journal.dropped_segments();
            let head = |page: u32| {
                let key = ItemKey::new("pages", &page.to_be_bytes()).unwrap();
                engine.head(&key).unwrap().unwrap()
            };
            let is_moved = |head: &Head| dropped.iter().any(|of| of.replaced_by == head.segment);
            let page = (0..PAGES).rfind(|page| is_moved(&head(*page))).unwrap();
            (engine.journal.segment_path(head(page).segment), page, head(page))
        };
        let sim = sim.kill(&mut fastrand::Rng::with_seed(9));
        let mut bytes = sim.disk().read_file(&path).unwrap();
        bytes[head.end() as usize - 1] ^= 1;
        sim.disk().write_file(&path, &bytes).unwrap();
        let check = |store: &Store| {
            let pages = store.raw("pages").unwrap();
            for other in (0..PAGES).filter(|other| *other != page) {
                assert!(pages.get(other.to_be_bytes()).unwrap().is_some());
            }
            let damaged = pages.get(page.to_be_bytes());
            assert!(matches!(damaged, Err(Error::Corrupt { .. })), "{damaged:?}");
            assert_eq!(pages.len().unwrap(), u64::from(PAGES));
        };
        let store = sim.open(&options()).unwrap();
        check(&store);
        Simulation::checkpoint(&store).unwrap();
        // Also when nothing is adrift any more.
        let sim = sim.kill(&mut fastrand::Rng::with_seed(9));
        check(&sim.open(&options()).unwrap());
        let sim = sim.kill(&mut fastrand::Rng::with_seed(9));
        let store = sim.open(&options().on_damage(OnDamage::SkipDamaged)).unwrap();
        let pages = store.raw("pages").unwrap();
        assert_eq!(pages.len().unwrap(), u64::from(PAGES) - 1);
    }

    /// A regression: its row was taken out of the index as that of one that compaction had dropped, and
    /// then an older entry of its key counts as the newest.
    #[test]
    fn a_tombstone_whose_entry_is_damaged_in_what_replaced_its_segment_stays() {
        let sim = Simulation::new(11);
        let store = sim.open(&Options::new()).unwrap();
        let gone = store.raw("gone").unwrap();
        for key in 0..20_u32 {
            gone.create(key.to_be_bytes(), &vec![2; 3_000].into()).unwrap();
        }
        write(&store, 1, PAGES);
        for key in 0..20_u32 {
            gone.delete(key.to_be_bytes(), Precondition::Always).unwrap();
        }
        // So that all else of their segment is dead.
        write(&store, 1, PAGES);
        write(&store, 1, PAGES);
        store.engine().unwrap().journal.seal_if_dead().unwrap();
        Simulation::checkpoint(&store).unwrap();
        compact(&store);
        let key = ItemKey::new("gone", &7_u32.to_be_bytes()).unwrap();
        let head = |store: &Store| store.engine().unwrap().head(&key).unwrap();
        let before = head(&store).unwrap();
        let replaced = store.engine().unwrap().journal.dropped_segments();
        assert!(replaced.iter().any(|of| of.replaced_by == before.segment), "it was not moved");
        let path = store.engine().unwrap().journal.segment_path(before.segment);
        let sim = sim.kill(&mut fastrand::Rng::with_seed(11));
        let mut bytes = sim.disk().read_file(&path).unwrap();
        bytes[before.end() as usize - 1] ^= 1;
        sim.disk().write_file(&path, &bytes).unwrap();
        for _ in 0..2 {
            let store = sim.open(&Options::new()).unwrap();
            let now = head(&store).unwrap();
            assert!(now.deleted && now.revision == before.revision);
            assert!(store.raw("gone").unwrap().is_empty().unwrap());
            Simulation::checkpoint(&store).unwrap();
            store.close().unwrap();
        }
    }

    /// What a checkpoint has begun without is not durable when it ends.
    #[test]
    fn a_crash_beside_compaction_and_checkpoints_needs_no_index_built_anew() {
        let sim = Simulation::new(7);
        let store = sim.open(&options()).unwrap();
        write(&store, 1, PAGES);
        // So that a checkpoint has much to write.
        let small = store.raw("small").unwrap();
        let write_small = |step: usize| {
            for key in (0..6_000_u32).step_by(step) {
                small.upsert(key.to_be_bytes(), &"".into(), Precondition::Always).unwrap();
            }
        };
        write_small(1);
        let (before, compactions) = (generation(&store), AtomicU64::new(0));
        let images = thread::scope(|scope| {
            scope.spawn(|| {
                while compactions.load(Ordering::Relaxed) < 40 {
                    write(&store, 2, PAGES);
                    write_small(50);
                    while compact_some(store.shared(), Throttle::Off, || ()).unwrap() {
                        store.engine().unwrap().journal.remove_dropped();
                        compactions.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            // What a checkpoint has forgotten wrongly shows until the next one.
            let (mut images, mut seen) = (Vec::new(), 0);
            while seen < 40 {
                Simulation::checkpoint(&store).unwrap();
                let now = compactions.load(Ordering::Relaxed);
                if now > seen {
                    images.push(sim.kill(&mut fastrand::Rng::with_seed(now)));
                    seen = now;
                }
            }
            images
        });
        assert!(images.len() > 5);
        for image in images {
            let store = image.open(&options()).unwrap();
            assert_eq!(generation(&store), before, "the index was built anew");
            assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        }
    }

    #[test]
    fn heads_that_nothing_has_a_place_for_have_the_index_built_anew() {
        let (sim, store) = adrift(3);
        let before = generation(&store);
        let active = store.engine().unwrap().journal.position().segment;
        let sim = sim.kill(&mut fastrand::Rng::with_seed(3));
        let loaded = ManifestFile::load(sim.disk(), Path::new(STORE)).unwrap();
        let Loaded::Found(found) = loaded else { panic!("no manifest") };
        let (mut file, mut manifest) = *found;
        manifest.retired.iter_mut().for_each(|retired| retired.replaced_by = active);
        file.replace(&manifest).unwrap();
        drop(file);
        let store = sim.open(&options()).unwrap();
        assert!(generation(&store) > before);
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        assert_eq!(store.raw("pages").unwrap().len().unwrap(), u64::from(PAGES));
    }

    #[test]
    fn a_store_that_was_closed_after_a_compaction_lists_nothing_that_is_gone() {
        let (sim, store) = adrift(5);
        store.close().unwrap();
        let store = sim.open(&options()).unwrap();
        assert_eq!(dropped(&store), 0);
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    }
}
