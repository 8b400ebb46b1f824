//! What compaction and copies leave of indexes.

use super::*;
use crate::engine::compaction::{MANY_SMALL_SEGMENTS, compact_some};
use crate::engine::throttle::Throttle;
use crate::simulation::STORE;

const INDEXES: [&str; 3] = ["/n", "/tags/*,-/n", "unique /deep/a"];

/// A document whose indexed values all differ from those of the round before.
fn moving(key: u64, round: u64) -> Value {
    let padding = "x".repeat(3_000);
    json!({
        "n": (key + round) % 11,
        "tags": [format!("t{}", round % 5), format!("t{}", key % 5)],
        "deep": {"a": key + 1_000 * round},
        "padding": padding,
    })
}

fn write_round(rig: &Rig, round: u64) {
    for key in 0..100 {
        let document = moving(key, round);
        rig.notes().upsert(format!("{key:03}"), &document, Precondition::Always).unwrap();
    }
}

fn with_indexes(seed: u64) -> Rig {
    let rig = Rig::new(seed, Durability::Eventual);
    for name in INDEXES {
        rig.notes().ensure_index(index(name)).unwrap();
    }
    rig
}

fn rows_of_indexes(rig: &Rig) -> Vec<u64> {
    let engine = rig.store().engine().unwrap();
    INDEXES.map(|name| engine.secondaries.named("notes", &index(name).name()).unwrap().rows).into()
}

fn checkpoint(rig: &Rig) {
    rig.store().engine().unwrap().checkpoint().unwrap();
}

/// Compaction drops the lists of removed rows. It may, for what a checkpoint covers: an open after a
/// crash proves the rows by the lists of later commits, which are all there.
#[test]
fn an_open_after_a_compaction_and_a_kill_proves_every_index_without_building() {
    for seed in 0..2 {
        let mut rig = with_indexes(40 + seed);
        (0..6).for_each(|round| write_round(&rig, round));
        checkpoint(&rig);
        (6..12).for_each(|round| write_round(&rig, round));
        rig.store().sync().unwrap();
        let before = rows_of_indexes(&rig);
        let compact = || compact_some(rig.store().shared(), Throttle::Off, || ()).unwrap();
        assert!(compact(), "nothing was compacted");
        while compact() {}
        rig.notes().delete("007", Precondition::Always).unwrap();
        rig.kill();
        assert_eq!(rows_of_indexes(&rig), before, "an index was built again");
        rig.check();
    }
}

/// A checkpoint covers the first part of the last segment. The later part supersedes nothing of
/// itself, so its heads would be proven without what compaction leaves out; its rows would not, as
/// their lists are gone: the rows of the checkpoint would be taken for those of the last commit.
#[test]
fn a_segment_of_which_a_checkpoint_covers_a_part_keeps_its_lists_of_rows() {
    let mut rig = with_indexes(60);
    let (notes, last) = (rig.notes(), MANY_SMALL_SEGMENTS as u64);
    for key in 0..=last {
        for round in 0..2 {
            notes.upsert(key.to_string(), &moving(key, round), Precondition::Always).unwrap();
            if (key, round) == (last, 0) {
                checkpoint(&rig);
            }
        }
        rig.store().engine().unwrap().journal.seal_if_dead().unwrap();
    }
    let before = rows_of_indexes(&rig);
    let compact = || compact_some(rig.store().shared(), Throttle::Off, || ()).unwrap();
    assert!(compact(), "the segments are not merged");
    rig.store().sync().unwrap();
    rig.kill();
    assert_eq!(rows_of_indexes(&rig), before, "an index was built again");
    rig.check();
}

/// The indexes that MANIFEST of the source names are those of its last checkpoint, and the
/// checkpoint of a copy is its last commit: a copy that named them would take the rows of an index
/// that was empty then for all that there are. An open that makes the index of the copy on disk
/// forgets them; one that cannot has nothing else to go by.
#[test]
fn a_copy_of_which_the_index_stays_in_memory_has_every_entry() {
    let mut rig = with_indexes(70);
    checkpoint(&rig);
    write_round(&rig, 0);
    let copy = std::path::Path::new(STORE).with_extension("copy");
    rig.store().backup(&copy).unwrap();
    let there = rig.notes().indexes().unwrap();
    let sim = rig.sim.at("again");
    sim.fail_index_after(0);
    rig.store = Some(sim.restore(&copy, &rig.options).unwrap());
    rig.sim = sim;
    assert_eq!(rig.notes().indexes().unwrap(), there);
    rig.check();
}

#[test]
fn a_restored_store_has_the_indexes_of_its_source_with_every_entry() {
    for seed in 0..2 {
        let mut rig = with_indexes(50 + seed);
        (0..4).for_each(|round| write_round(&rig, round));
        rig.notes().drop_index("/n").unwrap();
        rig.notes().ensure_index(index("/n")).unwrap();
        rig.notes().ensure_index(index("/gone")).unwrap();
        if seed % 2 == 0 {
            checkpoint(&rig);
        }
        write_round(&rig, 4);
        rig.notes().drop_index("/gone").unwrap();
        rig.notes().delete("007", Precondition::Always).unwrap();
        let there = rig.notes().indexes().unwrap();
        assert_eq!(there.len(), INDEXES.len());
        let copy = std::path::Path::new(STORE).with_extension("copy");
        rig.store().backup(&copy).unwrap();
        // What comes after the backup is not in it.
        write_round(&rig, 5);

        let sim = rig.sim.at("again");
        rig.store = Some(sim.restore(&copy, &rig.options).unwrap());
        rig.sim = sim;
        assert_eq!(rig.notes().indexes().unwrap(), there);
        rig.check();
        let taken = moving(1, 4);
        let refused = rig.notes().create("new", &taken);
        assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
        rig.kill();
        rig.check();
    }
}
