#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::engine::compaction::compact_some;
use crate::engine::throttle::Throttle;
use crate::journal::manifest::{Loaded, ManifestFile};
use crate::seams::thinned;
use crate::simulation::{STORE, Simulation};
use crate::{HistoryPolicy, OnDamage, Options, Precondition, Store};

const PAGES: u32 = 800;

fn options() -> Options {
    Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO))
}

/// Writes every `step`th of the first `count` pages.
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
    for seed in 0..thinned(2, 4) {
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

/// A regression: its head was taken out of the index as that of one that compaction had dropped,
/// and then an older entry of its key counts as the newest.
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
    let rounds = thinned(10, 40);
    let images = thread::scope(|scope| {
        scope.spawn(|| {
            while compactions.load(Ordering::Relaxed) < rounds {
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
        while seen < rounds {
            Simulation::checkpoint(&store).unwrap();
            let now = compactions.load(Ordering::Relaxed);
            if now > seen {
                images.push(sim.kill(&mut fastrand::Rng::with_seed(now)));
                seen = now;
            }
        }
        images
    });
    assert!(images.len() > thinned(3, 5));
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

/// A regression: what took the place of a head that was pointed at damage was taken for the first
/// entry of the segment, and compaction dropped that one, once the file was whole again.
#[test]
fn what_supersedes_a_head_at_damage_supersedes_nothing_else() {
    let (sim, store) = adrift(9);
    let head = |store: &Store, page: u32| {
        let key = ItemKey::new("pages", &page.to_be_bytes()).unwrap();
        store.engine().unwrap().head(&key).unwrap().unwrap()
    };
    let replaced: Vec<u32> = {
        let dropped = store.engine().unwrap().journal.dropped_segments();
        dropped.iter().map(|of| of.replaced_by).collect()
    };
    let moved = |page: &u32| replaced.contains(&head(&store, *page).segment);
    let lost = (0..PAGES).rfind(moved).unwrap();
    let at = head(&store, lost);
    let path = store.engine().unwrap().journal.segment_path(at.segment);

    let sim = sim.kill(&mut fastrand::Rng::with_seed(9));
    let whole = sim.disk().read_file(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[at.end() as usize - 1] ^= 1;
    sim.disk().write_file(&path, &damaged).unwrap();
    sim.open(&options()).unwrap().close().unwrap();
    sim.disk().write_file(&path, &whole).unwrap();
    let store = sim.open(&options()).unwrap();
    let pages = store.raw("pages").unwrap();
    assert!(pages.get(lost.to_be_bytes()).is_err());
    let is_first = |page: &u32| {
        let head = head(&store, *page);
        head.segment == at.segment && head.offset / 32 == SEGMENT_HEADER_BYTES as u32 / 32
    };
    let first = (0..PAGES).find(is_first).unwrap();
    for page in (0..PAGES).step_by(3).chain([lost]).filter(|page| *page != first) {
        pages.upsert(page.to_be_bytes(), &vec![7; 5_000].into(), Precondition::Always).unwrap();
    }
    assert!(store.compact().unwrap().reclaimed_bytes > 0);
    assert_eq!(pages.get(first.to_be_bytes()).unwrap().unwrap().value.len(), 5_000);
    store.verify().unwrap();
}
