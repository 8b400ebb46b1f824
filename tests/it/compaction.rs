//! Compaction: what is dead is reclaimed, what lives stays, and nobody notices.

use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{
    ChangeKind, Collection, Cursor, ETag, Error, HistoryPolicy, OnDamage, Options, Precondition,
    Raw, Store,
};

use crate::{Repeat, seeds, thinned};

fn value(stamp: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(100) {
        let count = chunk.len().min(8);
        chunk[..count].copy_from_slice(&stamp.to_le_bytes()[..count]);
    }
    bytes.into()
}

/// Overwrites so many items so many times, and returns their last tags.
fn overwrite(blobs: &Collection<Bytes, Raw>, items: u64, rounds: u64, len: usize) -> Vec<ETag> {
    let mut tags = vec![ETag::UNSAVED; items as usize];
    for round in 0..rounds {
        for item in 0..items {
            let new = value(round << 32 | item, len);
            let meta = blobs.upsert(item.to_be_bytes(), &new, Precondition::Always).unwrap();
            tags[item as usize] = meta.etag();
        }
    }
    tags
}

fn check(store: &Store, tags: &[ETag], round: u64, len: usize) {
    let blobs = store.raw("blobs").unwrap();
    for (item, tag) in (0_u64..).zip(tags) {
        let found = blobs.get(item.to_be_bytes()).unwrap().expect("the item is there");
        assert_eq!((found.etag(), found.value), (*tag, value(round << 32 | item, len)));
    }
    assert_eq!(blobs.len().unwrap(), tags.len() as u64);
    assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
}

#[test]
fn what_is_dead_is_reclaimed_and_what_lives_stays_in_every_kind_of_open() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let tags = overwrite(&blobs, 100, 30, 1_000);
    let before = sim.disk().total_len_bytes();
    let compaction = store.compact().unwrap();
    assert!(compaction.reclaimed_bytes > 2_500_000, "{compaction:?}");
    let after = sim.disk().total_len_bytes();
    assert!(after < before - 2_500_000, "{before} became {after}");
    check(&store, &tags, 29, 1_000);

    let mut rng = fastrand::Rng::with_seed(1);
    let mut rebuilt = sim.crash(&mut rng);
    rebuilt.remove_index();
    for image in [sim.kill(&mut rng), sim.crash(&mut rng), rebuilt] {
        check(&image.open(&Options::new()).unwrap(), &tags, 29, 1_000);
    }
    drop(blobs);
    store.close().unwrap();
    let store = sim.open(&Options::new()).unwrap();
    check(&store, &tags, 29, 1_000);
    assert_eq!(store.verify().unwrap().items, 100);
    // Nothing is left to do.
    let again = store.compact().unwrap();
    assert_eq!(again.reclaimed_bytes, 0, "{again:?}");
}

#[test]
fn neighbours_are_merged() {
    let sim = Simulation::new(2);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for round in 0..20 {
        overwrite(&blobs, 10, 1, 30_000);
        blobs.create([round], &value(u64::from(round), 30_000)).unwrap();
    }
    let before = store.stats().unwrap().segments;
    store.compact().unwrap();
    let after = store.stats().unwrap().segments;
    assert!(before >= 8 && after <= 4, "{before} segments became {after}");
}

#[test]
fn a_tombstone_of_an_item_that_was_made_again_is_not_counted_as_purged() {
    let sim = Simulation::new(5);
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let cursor = store.cursor().unwrap();
    for item in 0..10_u64 {
        blobs.create(item.to_be_bytes(), &value(item, 1_000)).unwrap();
        blobs.delete(item.to_be_bytes(), Precondition::Always).unwrap();
        blobs.create(item.to_be_bytes(), &value(item, 1_000)).unwrap();
    }
    sim.set_now_ms(1_700_000_001_000);
    let compaction = store.compact().unwrap();
    assert!(compaction.reclaimed_bytes > 10_000, "{compaction:?}");
    assert_eq!(compaction.purged_tombstones, 0);
    // So nobody who follows the store has missed a removal.
    assert_eq!(store.changes(cursor).unwrap().map(Result::unwrap).count(), 10);
}

#[test]
fn a_tombstone_stays_for_as_long_as_a_snapshot_shows_what_was_removed() {
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let sim = Simulation::new(4);
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    overwrite(&blobs, 20, 3, 1_000);
    let snapshot = store.snapshot();
    for item in 0..10_u64 {
        blobs.delete(item.to_be_bytes(), Precondition::Always).unwrap();
    }
    sim.set_now_ms(1_700_000_001_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 0);
    let shown = snapshot.collection(&blobs);
    assert_eq!(shown.iter().unwrap().map(Result::unwrap).count(), 20);
    assert!((0..20_u64).all(|item| shown.get(item.to_be_bytes()).unwrap().is_some()));
    drop((shown, snapshot));
    assert_eq!(store.compact().unwrap().purged_tombstones, 10);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
}

#[test]
fn a_tombstone_whose_time_is_over_goes_when_its_segment_is_first_compacted() {
    let sim = Simulation::new(3);
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    overwrite(&blobs, 50, 3, 1_000);
    for item in 0..25_u64 {
        blobs.delete(item.to_be_bytes(), Precondition::Always).unwrap();
    }
    sim.set_now_ms(1_700_000_061_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 25);
}

#[test]
fn a_tombstone_goes_when_its_time_is_over_and_nothing_older_of_its_key_is_left() {
    let sim = Simulation::new(3);
    let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::from_secs(60)));
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    overwrite(&blobs, 50, 3, 1_000);
    for item in 0..25_u64 {
        blobs.delete(item.to_be_bytes(), Precondition::Always).unwrap();
    }
    assert_eq!(store.compact().unwrap().purged_tombstones, 0, "their time is not over");
    sim.set_now_ms(1_700_000_061_000);
    assert_eq!(store.compact().unwrap().purged_tombstones, 25);
    assert_eq!(store.compact().unwrap().purged_tombstones, 0);
    let mut rng = fastrand::Rng::with_seed(3);
    let mut rebuilt = sim.crash(&mut rng);
    rebuilt.remove_index();
    for image in [rebuilt, sim.kill(&mut rng)] {
        let store = image.open(&options).unwrap();
        let blobs = store.raw("blobs").unwrap();
        assert_eq!(blobs.len().unwrap(), 25);
        assert_eq!(blobs.get(0_u64.to_be_bytes()).unwrap(), None);
        let created = blobs.create(0_u64.to_be_bytes(), &value(0, 10)).unwrap();
        assert_eq!(created.parent(), None);
    }
}

#[test]
fn compaction_keeps_the_versions_that_the_policy_keeps_and_no_others() {
    let sim = Simulation::new(4);
    let options = Options::new().history(HistoryPolicy::new().versions(3));
    let store = sim.open(&options).unwrap();
    let blobs = store.raw("blobs").unwrap();
    overwrite(&blobs, 40, 10, 1_000);
    blobs.delete(0_u64.to_be_bytes(), Precondition::Always).unwrap();
    let rounds = |blobs: &Collection<Bytes, Raw>, item: u64| -> Vec<u64> {
        let versions = blobs.history(item.to_be_bytes()).unwrap();
        let stamp = |bytes: &Bytes| u64::from_le_bytes(bytes[..8].try_into().unwrap());
        versions.into_iter().map(|version| stamp(&version.unwrap().value) >> 32).collect()
    };
    let expected = |item| if item == 0 { vec![9, 8, 7] } else { vec![9, 8, 7, 6] };
    let old = blobs.history(7_u64.to_be_bytes()).unwrap().remove(3).unwrap();
    for _ in 0..2 {
        let compaction = store.compact().unwrap();
        // Four versions of each item, and no more.
        let written = 40 * 4_000..40 * 4_400;
        assert!(written.contains(&compaction.written_bytes), "{compaction:?}");
        for item in 0..40 {
            assert_eq!(rounds(&blobs, item), expected(item), "item {item}");
        }
    }
    let base = blobs.get_version(7_u64.to_be_bytes(), &old.etag()).unwrap();
    assert_eq!(base, Some(old));
    drop(blobs);
    store.close().unwrap();
    // A narrower policy lets them go.
    let store = sim.open(&Options::new().history(HistoryPolicy::new())).unwrap();
    let blobs = store.raw("blobs").unwrap();
    assert_eq!(rounds(&blobs, 5), [9]);
    assert!(store.compact().unwrap().reclaimed_bytes > 40 * 3_000);
    drop(blobs);
    store.close().unwrap();
    let store = sim.open(&options).unwrap();
    assert_eq!(rounds(&store.raw("blobs").unwrap(), 5), [9]);
}

/// Every disk call of a compaction fails in turn, and the power goes there.
#[test]
fn a_compaction_that_is_cut_short_anywhere_loses_nothing_and_is_taken_up_again() {
    let mut images = 0;
    for cut in seeds(0..u64::MAX).step_by(thinned(5, 1) as usize) {
        let _repeat = Repeat::new("compaction", cut);
        let sim = Simulation::new(cut);
        let options = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
        let store = sim.open(&options).unwrap();
        let blobs = store.raw("blobs").unwrap();
        let tags = overwrite(&blobs, 20, 6, 5_000);
        blobs.create("gone", &value(0, 5_000)).unwrap();
        blobs.delete("gone", Precondition::Always).unwrap();
        sim.set_now_ms(1_700_000_001_000);
        sim.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
        let compacted = store.compact();
        let struck = sim.disk().faults_struck() > 0;
        if let Err(error) = &compacted {
            assert!(matches!(error, Error::Io { .. } | Error::Poisoned { .. }), "{error:?}");
        }
        let mut rng = fastrand::Rng::with_seed(cut);
        for _ in 0..thinned(2, 6) {
            let image = if rng.u8(0..3) == 0 { sim.kill(&mut rng) } else { sim.crash(&mut rng) };
            let store = image.open(&options).unwrap();
            check(&store, &tags, 5, 5_000);
            store.compact().unwrap();
            check(&store, &tags, 5, 5_000);
            let files = image.disk().file_names().len();
            assert!(files <= 8, "{files} files are left after a compaction that went through");
            let mut later = image.crash(&mut rng);
            if rng.bool() {
                later.remove_index();
            }
            check(&later.open(&options).unwrap(), &tags, 5, 5_000);
            images += 1;
        }
        if !struck {
            compacted.unwrap();
            break;
        }
    }
    println!("{images} images of interrupted compactions opened");
    assert!(images > thinned(5, 60) || crate::from_environment("IFMATCH_SEED").is_some());
}

#[test]
fn a_manifest_lost_during_a_compaction_costs_nothing() {
    for cut in seeds(0..80).step_by(thinned(8, 1) as usize) {
        let _repeat = Repeat::new("compaction", cut);
        let sim = Simulation::new(cut);
        let store = sim.open(&Options::new()).unwrap();
        let blobs = store.raw("blobs").unwrap();
        overwrite(&blobs, 20, 6, 5_000);
        store.compact().unwrap();
        let tags = overwrite(&blobs, 20, 6, 5_000);
        sim.disk().inject(FaultPlan::after(cut, Fault::Eio).persistent());
        let cut_short = store.compact().is_err();
        let mut rng = fastrand::Rng::with_seed(cut);
        for _ in 0..3 {
            let mut image = sim.crash(&mut rng);
            image.disk().remove_file_durably("store/MANIFEST").unwrap();
            if rng.bool() {
                image.remove_index();
            }
            assert!(matches!(image.open(&Options::new()), Err(Error::Corrupt { .. })));
            let store = image.open(&Options::new().on_damage(OnDamage::KeepPrefix)).unwrap();
            check(&store, &tags, 5, 5_000);
            store.compact().unwrap();
            check(&store, &tags, 5, 5_000);
        }
        if !cut_short {
            break;
        }
    }
}

/// The one that is dropped later is older than one that was dropped before.
#[test]
fn a_reader_from_the_start_is_told_of_any_tombstone_that_goes_after_it_began() {
    const BEGIN_MS: u64 = 1_700_000_000_000;
    let short = Duration::from_millis(100);
    let history = HistoryPolicy::new().versions(9).max_age(short).tombstones(short);
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().history(history)).unwrap();
    let items = store.raw("items").unwrap();
    let filler = store.raw("filler").unwrap();
    let purged = |at_ms: u64| {
        sim.set_now_ms(BEGIN_MS + at_ms);
        // The first drops superseded versions, the second what they kept from going.
        let rounds = (0..2).map(|round| {
            filler.upsert("k", &value(round, 20_000), Precondition::Always).unwrap();
            store.compact().unwrap().purged_tombstones
        });
        rounds.sum::<u64>()
    };
    // A key's versions are a millisecond apart at least, so those of this one run ahead of the clock
    // and are dropped later.
    for n in 0..1_000 {
        items.upsert("hot", &value(n, 100), Precondition::Always).unwrap();
    }
    items.delete("hot", Precondition::Always).unwrap();
    items.create("new", &value(1, 100)).unwrap();
    items.delete("new", Precondition::Always).unwrap();
    store.sync().unwrap();
    // That of `new`.
    assert_eq!(purged(500), 1);

    let mut reading = items.changes(Cursor::START).unwrap();
    let mut place = Cursor::START;
    for _ in 0..2 {
        let change = reading.next().unwrap().unwrap();
        assert_eq!((change.key_str(), change.kind()), (Some("hot"), ChangeKind::Replaced));
        place = change.cursor().to_string().parse().unwrap();
    }
    assert!(items.changes(place).is_ok());
    let mut rest = items.changes(place).unwrap();
    let last = rest.by_ref().last().unwrap().unwrap();
    assert_eq!((last.key_str(), last.kind()), (Some("hot"), ChangeKind::Deleted));
    let end = rest.cursor();

    assert_eq!(purged(5_000), 1);
    assert!(matches!(items.changes(place), Err(Error::Compacted)));
    // Who has been told of all that went has missed nothing.
    assert_eq!(items.changes(end).unwrap().count(), 0);
}
