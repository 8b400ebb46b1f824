//! What a repair reports, and what an open that is refused leaves alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, STORE, Simulation};
use ifmatch::{Damage, Durability, Error, HistoryPolicy, OnDamage, Options, Precondition};

use crate::{Repeat, seeds, thinned};

const ITEMS: u64 = 50;

fn options() -> Options {
    Options::new().durability(Durability::Eventual)
}

/// The segments' files, in order.
fn segments(sim: &Simulation) -> Vec<PathBuf> {
    let names = sim.disk().file_names();
    let mut segments: Vec<_> =
        names.into_iter().filter(|name| name.to_string_lossy().ends_with(".seg")).collect();
    segments.sort();
    segments
}

fn flip(sim: &Simulation, path: &Path, at: usize) {
    let mut bytes = sim.disk().read_file(path).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(path, &bytes).unwrap();
}

fn lose_manifest(sim: &Simulation) {
    sim.disk().remove_file_durably(Path::new(STORE).join("MANIFEST")).unwrap();
}

/// A store of synced items that was killed `runs` times, so that it has as many segments.
fn killed(runs: u64) -> Simulation {
    let mut rng = fastrand::Rng::with_seed(runs);
    let mut sim = Simulation::new(runs);
    for run in 0..runs {
        let store = sim.open(&options()).unwrap();
        let items = store.collection::<u64>("items").unwrap();
        for n in 0..ITEMS {
            items.create((run * ITEMS + n).to_be_bytes(), &n).unwrap();
        }
        store.sync().unwrap();
        sim = sim.kill(&mut rng);
    }
    sim
}

fn repair(sim: &Simulation) -> Result<(Damage, u64), Error> {
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix))?;
    let damage = store.damage().expect("damage is reported").clone();
    let len = store.collection::<u64>("items")?.len()?;
    store.close()?;
    Ok((damage, len))
}

#[test]
fn the_bytes_of_lost_commits_are_counted() {
    let sim = killed(1);
    let [path] = &segments(&sim)[..] else { panic!("one segment") };
    let bytes = sim.disk().read_file(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for at in (5_000..used).step_by(97) {
        let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
        flip(&damaged, path, at);
        let (damage, kept) = repair(&damaged).unwrap();
        assert!(kept < ITEMS, "nothing is lost by a flipped bit at {at}");
        let offset = damage.offset() as usize;
        assert!(offset <= at, "the damage at {at} is said to be at {offset}");
        assert!(damage.lost_bytes() >= (used - offset) as u64, "{damage:?} of {used} bytes");
        assert!(damage.lost_bytes() <= (bytes.len() - offset) as u64, "{damage:?}");
        assert!(damage.moved().is_empty());
    }
}

/// The sealed segment that is damaged stays as far as it is whole; those after it are moved.
#[test]
fn files_that_were_moved_are_named_also_when_a_repair_is_repeated() {
    let sim = killed(4);
    let files = segments(&sim);
    assert_eq!(files.len(), 4);
    flip(&sim, &files[1], 5_000);
    let mut named = 0;
    for calls in (0..).step_by(thinned(3, 1) as usize) {
        let _repeat = Repeat::new("repairs", calls);
        let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
        damaged.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let cut = repair(&damaged).is_err();
        damaged.disk().clear_faults();
        if !cut {
            break;
        }
        // It may have come so far that nothing was left to be repaired.
        let store = damaged.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
        let Some(damage) = store.damage() else { continue };
        // Without its last step what a repair has kept seems to be short of what was synced.
        if damage.reason() == "frames that were synced are missing" {
            continue;
        }
        named += 1;
        let moved: Vec<_> = damage.moved().iter().map(|path| path.file_name()).collect();
        let behind: Vec<_> = files[2..].iter().map(|path| path.file_name()).collect();
        assert_eq!(moved, behind);
        assert!(damage.moved().iter().all(|path| damaged.disk().read_file(path).is_some()));
    }
    assert!(named > thinned(1, 5), "{named} repairs were repeated");
}

/// The journal then ends with less than what was synced, and lacks nothing.
#[test]
fn a_store_whose_last_commit_compaction_has_dropped_is_not_damaged() {
    let history = HistoryPolicy::new().tombstones(Duration::ZERO);
    for whole in [true, false] {
        let sim = Simulation::new(1);
        let options = options().history(history);
        let store = sim.open(&options).unwrap();
        let items = store.collection::<u64>("items").unwrap();
        items.create("stays", &1).unwrap();
        items.create("goes", &1).unwrap();
        items.delete("goes", Precondition::Always).unwrap();
        store.sync().unwrap();
        sim.set_now_ms(1_700_000_001_000);
        assert_eq!(store.compact().unwrap().purged_tombstones, 1);
        let last = store.revision();
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        if !whole {
            // Then the segment's seal alone tells.
            killed.disk().remove_file_durably(Path::new(STORE).join("MANIFEST")).unwrap();
        }
        let repaired = killed.open(&options.on_damage(OnDamage::KeepPrefix)).unwrap();
        assert_eq!(repaired.collection::<u64>("items").unwrap().len().unwrap(), 1);
        match repaired.damage() {
            None => assert!(whole),
            Some(damage) => assert_eq!((whole, damage.kept()), (false, last)),
        }
    }
}

#[test]
fn an_open_that_is_refused_removes_nothing() {
    for seed in seeds(0..4) {
        let _repeat = Repeat::new("repairs", seed);
        let sim = killed(2);
        // As a compaction that was killed leaves one.
        let left = segments(&sim)[0].with_file_name("0000000000.seg");
        sim.disk().write_file(&left, b"left over").unwrap();
        let files = segments(&sim);
        let damaged = sim.kill(&mut fastrand::Rng::with_seed(seed));
        flip(&damaged, &files[1 + seed as usize % 2], 5_000);
        let before = segments(&damaged);
        let Err(Error::Corrupt { .. }) = damaged.open(&options()) else {
            panic!("a damaged store is opened");
        };
        assert_eq!(segments(&damaged), before);

        drop(sim.open(&options()).unwrap());
        assert!(!segments(&sim).contains(&left), "a whole store is cleared of what was left over");
    }
}

#[test]
fn without_create_what_a_cut_short_creation_left_is_no_store() {
    for calls in 0.. {
        let _repeat = Repeat::new("repairs", calls);
        let sim = Simulation::new(1);
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let made = sim.open(&options()).is_ok();
        sim.disk().clear_faults();
        if made {
            break;
        }
        match sim.open(&options().create(false)) {
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::NotFound, "after {calls} calls");
            }
            // Whole, except for a last step.
            Ok(store) => assert_eq!(store.revision().0, 0),
            Err(other) => panic!("{other:?} after {calls} calls"),
        }
        let store = sim.open(&options()).expect("what was begun is finished");
        store.raw("items").unwrap().upsert("k", &"v".into(), Precondition::Always).unwrap();
    }
}

/// A store that was compacted and damaged afterwards: items' predecessors are in no segment.
fn compacted_and_damaged() -> Simulation {
    let sim = Simulation::new(1);
    let store = sim.open(&options()).unwrap();
    let items = store.collection::<u64>("items").unwrap();
    for round in 0..2 {
        for n in 0..ITEMS {
            items.upsert(n.to_be_bytes(), &round, Precondition::Always).unwrap();
        }
    }
    assert!(store.compact().unwrap().reclaimed_bytes > 0);
    items.create("last", &7).unwrap();
    store.sync().unwrap();
    store.close().unwrap();
    let holds_last = |path: &PathBuf| {
        sim.disk().read_file(path).unwrap().windows(4).any(|bytes| bytes == b"last")
    };
    let segments = segments(&sim);
    flip(&sim, segments.iter().find(|path| holds_last(path)).unwrap(), 4_100);
    sim
}

/// No index was built of what the repair kept, so nothing said what the journal has to come to.
#[test]
fn a_repair_of_a_compacted_store_may_end_before_its_index_is_built() {
    for calls in (0..).step_by(thinned(3, 1) as usize) {
        let _repeat = Repeat::new("repairs", calls);
        let sim = compacted_and_damaged();
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let cut = sim.open(&options().on_damage(OnDamage::KeepPrefix)).map(drop).is_err();
        sim.disk().clear_faults();
        let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
        assert_eq!(store.collection::<u64>("items").unwrap().len().unwrap(), ITEMS);
        store.verify().unwrap();
        store.close().unwrap();
        drop(sim.open(&options()).unwrap());
        if !cut {
            break;
        }
    }
}

#[test]
fn a_repair_whose_index_stands_in_memory_loses_nothing_that_is_written_then() {
    let sim = compacted_and_damaged();
    sim.fail_index_after(0);
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
    assert!(store.damage().is_some());
    store.collection::<u64>("items").unwrap().create("new", &1).unwrap();
    store.backup("copy").unwrap();
    sim.fail_index_after(u64::MAX);
    let copy = sim.at("copy").open(&options()).unwrap();
    let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
    drop(store);
    let again = sim.open(&options()).unwrap();
    for store in [copy, again, killed.open(&options()).unwrap()] {
        let items = store.collection::<u64>("items").unwrap();
        assert_eq!(items.len().unwrap(), ITEMS + 1);
        assert_eq!(items.get("new").unwrap().unwrap().value, 1);
        store.verify().unwrap();
    }
}

/// The end of the segment that was being written is the last whole frame, and a seal says so.
#[test]
fn a_manifest_lost_after_the_repair_of_a_killed_store_costs_nothing_more() {
    let sim = killed(1);
    let last = segments(&sim).pop().unwrap();
    flip(&sim, &last, 6_000);
    let (_, kept) = repair(&sim).unwrap();
    let store = sim.open(&options()).unwrap();
    store.collection::<u64>("items").unwrap().create("new", &1).unwrap();
    store.close().unwrap();
    lose_manifest(&sim);
    let (_, again) = repair(&sim).unwrap();
    assert_eq!(again, kept + 1);
}

/// Nothing but MANIFEST is lost, and lost again later: no commit is.
#[test]
fn a_manifest_that_is_lost_twice_costs_nothing() {
    let sim = killed(1);
    for round in 1..4 {
        lose_manifest(&sim);
        let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
        let items = store.collection::<u64>("items").unwrap();
        assert_eq!(items.len().unwrap(), ITEMS + round - 1);
        items.create(round.to_string(), &round).unwrap();
        store.close().unwrap();
    }
}

/// After a compaction the segment that is written is empty, and what does not fit goes to the next
/// one, which begins with the same revision.
#[test]
fn an_empty_segment_hides_no_other_when_the_manifest_is_lost() {
    let sim = Simulation::new(1);
    let store = sim.open(&options()).unwrap();
    let items = store.raw("items").unwrap();
    for round in 0..2 {
        items.upsert("k", &vec![round; 10_000].into(), Precondition::Always).unwrap();
    }
    store.compact().unwrap();
    items.create("large", &vec![3; 1 << 20].into()).unwrap();
    items.create("after", &"small".into()).unwrap();
    store.close().unwrap();
    let files = segments(&sim).len();
    lose_manifest(&sim);
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
    assert_eq!(segments(&sim).len(), files);
    assert_eq!(store.raw("items").unwrap().len().unwrap(), 3);
    assert_eq!(store.damage().unwrap().lost_bytes(), 0);
}

/// What one repair has put aside no later one replaces.
#[test]
fn segments_that_were_moved_aside_stay_beside_those_of_later_repairs() {
    let sim = killed(3);
    let files = segments(&sim);
    flip(&sim, &files[0], 5_000);
    let (damage, _) = repair(&sim).unwrap();
    let moved: Vec<Vec<u8>> =
        damage.moved().iter().map(|path| sim.disk().read_file(path).unwrap()).collect();
    assert_eq!(moved.len(), 2);
    lose_manifest(&sim);
    let (_, kept) = repair(&sim).unwrap();
    let store = sim.open(&options()).unwrap();
    let items = store.collection::<u64>("items").unwrap();
    items.create("new", &1).unwrap();
    assert_eq!(items.len().unwrap(), kept + 1);
    drop((items, store));
    let names: Vec<_> = files[1..].iter().map(|path| path.file_name()).collect();
    assert!(segments(&sim).iter().all(|path| path.starts_with(Path::new(STORE).join("damaged"))
        || !names.contains(&path.file_name())));
    for (path, bytes) in damage.moved().iter().zip(moved) {
        assert_eq!(sim.disk().read_file(path), Some(bytes));
    }
}

/// Loses the manifest of a store of three segments, and damages or loses one of them; returns what
/// a repair reports and how many items it keeps.
fn without_manifest_and(damage: impl Fn(&Simulation, &Path), index: usize) -> (Damage, u64) {
    let sim = killed(3);
    let before = segments(&sim);
    damage(&sim, &before[index]);
    let lengths: Vec<_> =
        before.iter().map(|path| sim.disk().read_file(path).map(|bytes| bytes.len())).collect();
    lose_manifest(&sim);
    let (damage, kept) = repair(&sim).unwrap();
    // Whatever is not kept is moved, whole.
    let moved: Vec<_> = damage.moved().iter().map(|path| sim.disk().read_file(path)).collect();
    let moved: Vec<_> = moved.into_iter().map(|bytes| bytes.map(|bytes| bytes.len())).collect();
    let missing = usize::from(lengths[index].is_none());
    assert_eq!(moved, lengths[index + missing..]);
    assert!(damage.lost_bytes() > 0);
    let repaired = sim.open(&options()).unwrap();
    repaired.verify().unwrap();
    (damage, kept)
}

/// None may be taken for what a compaction has left over.
#[test]
fn without_a_manifest_a_segment_whose_header_is_damaged_ends_what_is_kept() {
    for index in 0..3 {
        // The header is there twice.
        let both = |sim: &Simulation, path: &Path| {
            flip(sim, path, 20);
            flip(sim, path, 2_048 + 20);
        };
        let (damage, kept) = without_manifest_and(both, index as usize);
        assert_eq!(kept, index * ITEMS);
        assert!(damage.reason().contains("header"), "{damage:?}");
    }
}

/// What a crash leaves out between two segments is a multiple of what it skips; what one that is
/// missing leaves out besides is none.
#[test]
fn without_a_manifest_a_segment_of_a_killed_store_that_is_missing_ends_what_is_kept() {
    for index in 0..2 {
        let lose = |sim: &Simulation, path: &Path| sim.disk().remove_file_durably(path).unwrap();
        let (damage, kept) = without_manifest_and(lose, index as usize);
        assert_eq!(kept, index * ITEMS);
        assert!(damage.reason().contains("missing"), "{damage:?}");
    }
}

/// Revisions that do not join show it in a store that nothing has killed.
#[test]
fn without_a_manifest_a_segment_that_is_missing_ends_what_is_kept() {
    let sim = Simulation::new(1);
    let store = sim.open(&options()).unwrap();
    let items = store.raw("items").unwrap();
    let mut kept = 0;
    while segments(&sim).len() < 3 {
        kept = if segments(&sim).len() < 2 { items.len().unwrap() + 1 } else { kept };
        items.create(items.len().unwrap().to_be_bytes(), &vec![1; 10_000].into()).unwrap();
    }
    store.close().unwrap();
    sim.disk().remove_file_durably(&segments(&sim)[1]).unwrap();
    lose_manifest(&sim);
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
    let damage = store.damage().unwrap();
    assert!(damage.reason().contains("missing"), "{damage:?}");
    assert_eq!(damage.moved().len(), 1);
    // The last of them began the segment that is missing.
    assert_eq!(store.raw("items").unwrap().len().unwrap(), kept - 1);
}

/// It says nothing that the segment which took its place does not say.
#[test]
fn without_a_manifest_what_compaction_left_over_may_be_damaged() {
    let sim = Simulation::new(1);
    let store = sim.open(&options()).unwrap();
    let items = store.raw("items").unwrap();
    for round in 0..100 {
        items.upsert("k", &vec![round; 10_000].into(), Precondition::Always).unwrap();
    }
    store.sync().unwrap();
    let before = segments(&sim);
    let mut left: Vec<u8> = sim.disk().read_file(&before[0]).unwrap();
    left[20] ^= 1;
    store.compact().unwrap();
    store.close().unwrap();
    assert!(!segments(&sim).contains(&before[0]));
    sim.disk().write_file(&before[0], &left).unwrap();
    lose_manifest(&sim);
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).unwrap();
    let damage = store.damage().unwrap();
    assert_eq!((damage.lost_bytes(), damage.moved()), (0, &[][..]));
    assert_eq!(store.raw("items").unwrap().get("k").unwrap().unwrap().value[0], 99);
}

/// It says that there were commits, so no empty store takes the place of one whose other files are
/// gone.
#[test]
fn a_store_of_which_a_mark_alone_is_left_is_not_made_anew() {
    let sim = killed(1);
    let mark = Path::new(STORE).join("WATERMARK");
    for path in sim.disk().file_names().into_iter().filter(|path| *path != mark) {
        sim.disk().remove_file_durably(&path).unwrap();
    }
    for create in [true, false] {
        let refused = sim.open(&options().create(create)).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    }
    let (damage, kept) = repair(&sim).unwrap();
    assert_eq!((damage.kept().0, kept), (0, 0));
    sim.open(&options()).unwrap();
}

/// A regression: it was opened as an empty store, without an error.
#[test]
fn c1_a_manifest_of_the_first_day_without_a_journal_is_no_empty_store() {
    let sim = Simulation::new(1);
    drop(sim.open(&Options::new()).unwrap());
    let first_day = sim.disk().read_file("store/MANIFEST").unwrap();
    let store = sim.open(&Options::new()).unwrap();
    let items = store.raw("items").unwrap();
    items.create("a", &Bytes::from_static(b"1")).unwrap();
    store.close().unwrap();
    sim.disk().write_file("store/MANIFEST", &first_day).unwrap();
    for path in sim.disk().file_names() {
        if path.starts_with("store/journal") {
            sim.disk().remove_file_durably(path).unwrap();
        }
    }
    let refused = sim.open(&Options::new());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let refused = sim.at("restored").restore("store", &Options::new());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let repaired = sim.open(&Options::new().on_damage(OnDamage::KeepPrefix)).unwrap();
    assert!(repaired.damage().is_some());
    repaired.raw("items").unwrap().create("a", &Bytes::from_static(b"2")).unwrap();
    repaired.close().unwrap();
    sim.open(&Options::new()).unwrap();
}
