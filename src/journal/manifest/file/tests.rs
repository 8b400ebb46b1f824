#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::journal::dual_slot::MAX_STORED;
use crate::journal::manifest::{CleanClose, RetainedBytes, SealedEnd, SegmentRecord};
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::seams::thinned;
use crate::simulation::{Fault, FaultPlan, Operation, Simulation};
use crate::values::precondition::Precondition;
use crate::{Options, Store};

fn segment(number: u32) -> SegmentRecord {
    let sealed = Some(SealedEnd { last_revision: u64::MAX, offset: 1 << 26 });
    SegmentRecord { number, first_revision: 1, sealed, live_bytes: 1 << 26 }
}

/// Puts this number of segments that do not exist into MANIFEST.
fn add_segments(store: &Store, count: u32) {
    let engine = store.engine().unwrap();
    let segments = &mut engine.journal.manifest.lock().current.segments;
    segments.splice(0..0, (0..count).map(|number| segment(u32::MAX - number)));
}

fn remove_segments(store: &Store) {
    let engine = store.engine().unwrap();
    let mut manifest = engine.journal.manifest.lock();
    manifest.current.segments.retain(|record| record.number < u32::MAX / 2);
}

fn write(store: &Store, len: usize) -> Result<()> {
    let value = vec![7; len].into();
    store.raw("blobs")?.upsert("k", &value, Precondition::Always).map(drop)
}

#[test]
fn c2_numbers_that_leave_no_room_above_them_and_ends_within_a_header_are_damage() {
    let decoded = |change: &dyn Fn(&mut Manifest, &mut CleanClose, &mut SealedEnd)| {
        let mut manifest = Manifest::empty([1; 16]);
        let mut end = SealedEnd { last_revision: 9, offset: 5_000 };
        let (tail_offset, index_digest) = (6_000, [2; 32]);
        let revision = 20;
        let mut clean = CleanClose { revision, tail_offset, must_rotate: false, index_digest };
        let record = SegmentRecord { number: 1, first_revision: 1, sealed: None, live_bytes: 0 };
        manifest.segments = vec![record, SegmentRecord { number: 2, ..record }];
        change(&mut manifest, &mut clean, &mut end);
        manifest.clean = Some(clean);
        manifest.segments[0].sealed = Some(end);
        let payload = bincode::encode_to_vec(&manifest, config::standard()).unwrap();
        Manifest::decode_slot(&payload)
    };
    assert!(decoded(&|_, _, _| ()).is_some());
    let above = MAX_STORED + 1;
    assert_eq!(decoded(&|manifest, _, _| manifest.revision_floor = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.clock_ms = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.purge_floor = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.purges = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.checkpoint.revision = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.checkpoint.index_generation = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.next_segment = u32::MAX), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.segments[1].number = u32::MAX), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.segments[1].first_revision = above), None);
    assert_eq!(decoded(&|manifest, _, _| manifest.segments[1].live_bytes = above), None);
    let held = RetainedBytes { segment: 1, bytes: 1, until_ms: 1 };
    let with_held = |held| decoded(&|manifest, _, _| manifest.retained.push(held));
    assert!(with_held(held).is_some());
    assert_eq!(with_held(RetainedBytes { bytes: above, ..held }), None);
    assert_eq!(with_held(RetainedBytes { until_ms: above, ..held }), None);
    assert_eq!(decoded(&|_, clean, _| clean.revision = above), None);
    assert_eq!(decoded(&|_, clean, _| clean.tail_offset = 0), None);
    assert_eq!(decoded(&|_, clean, _| clean.tail_offset = above), None);
    assert_eq!(decoded(&|_, _, end| end.last_revision = above), None);
    assert_eq!(decoded(&|_, _, end| end.offset = SEGMENT_HEADER_BYTES - 1), None);
    assert_eq!(decoded(&|_, _, end| end.offset = above), None);
}

/// A regression: revisions were given that no reader believes.
#[test]
fn c2_no_write_is_acknowledged_that_no_reader_accepts() {
    const STEP: u64 = 1 << 20;
    for below in [0, 1, 2, 5, STEP, STEP + 1, STEP + 4, 2 * STEP + 3] {
        let mut sim = Simulation::new(below);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, 10).unwrap();
        store.close().unwrap();
        let path = Path::new(crate::simulation::STORE);
        let Loaded::Found(found) = ManifestFile::load(sim.disk(), path).unwrap() else {
            panic!("no manifest");
        };
        let (mut file, manifest) = *found;
        file.replace(&Manifest { revision_floor: MAX_STORED - below, ..manifest }).unwrap();
        drop(file);
        let (mut len, mut refused) = (10, false);
        for session in 0..4 {
            let store = sim.open(&Options::new()).unwrap();
            let blob = store.raw("blobs").unwrap().get("k").unwrap().unwrap();
            assert_eq!(blob.value.len(), len, "an acknowledged write is gone");
            for more in 1..4 {
                match write(&store, len + more) {
                    Ok(()) => len += more,
                    Err(Error::Corrupt { .. }) => refused = true,
                    Err(error) => panic!("{error:?}"),
                }
            }
            drop(store.compact());
            if session % 2 == 0 {
                store.close().unwrap();
            } else {
                sim = sim.kill(&mut fastrand::Rng::with_seed(session));
            }
        }
        assert!(refused || below > STEP, "{below}");
    }
}

#[test]
fn a_list_longer_than_its_slot_takes_no_memory() {
    for count in [1_u64 << 40, u64::MAX] {
        let payload = [&[1; 16][..], &[253], &count.to_le_bytes(), &[0; 100]].concat();
        assert_eq!(Manifest::decode_slot(&payload), None);
    }
}

/// What a session that was killed has written may be in the system's cache alone, as may the second
/// slot of each replacement.
#[test]
fn what_is_not_known_to_be_durable_is_replaced_first() {
    let path = Path::new(crate::simulation::STORE);
    let load = |sim: &Simulation| match ManifestFile::load(sim.disk(), path).unwrap() {
        Loaded::Found(found) => *found,
        _ => panic!("no manifest"),
    };
    for seed in 0..120 {
        let (is_killed, passing) = (seed % 2 == 0, seed % 3);
        let mut sim = Simulation::new(seed);
        sim.open(&Options::new()).unwrap().close().unwrap();
        let (mut file, mut manifest) = load(&sim);
        // Longer than what a disk writes as a whole.
        let sealed = Some(SealedEnd { last_revision: 9, offset: 5_000 });
        let segment = |number| SegmentRecord { sealed, ..segment(number) };
        manifest.segments = (1..2_000).map(segment).collect();
        manifest.segments.iter_mut().for_each(|segment| segment.live_bytes = 0);
        for clock_ms in 1..=3 {
            manifest.clock_ms = clock_ms;
            file.replace(&manifest).unwrap();
        }
        if is_killed {
            drop(file);
            sim = sim.kill(&mut fastrand::Rng::with_seed(seed));
            (file, manifest) = load(&sim);
            assert_eq!(manifest.clock_ms, 3);
        }
        manifest.clock_ms = 4;
        let mut replaced = false;
        if passing == 0 {
            // As far as a power cut lets it come.
            let payload = file.encode(&manifest, SLOT_BYTES).unwrap();
            let bytes = dual_slot::encode(MAGIC, FORMAT, file.sequence + 1, &payload);
            file.prove().unwrap();
            file.write_slot(file.unsynced, &bytes).unwrap();
        } else {
            sim.disk().inject(FaultPlan::after(passing - 1, Fault::Eio).only(Operation::Sync));
            replaced = file.replace(&manifest).is_ok();
            assert_eq!(replaced, passing == 2 && !is_killed);
        }
        drop(file);
        let crashed = sim.crash(&mut fastrand::Rng::with_seed(seed));
        let found = load(&crashed).1.clock_ms;
        assert!(found == 4 || found == 3 && !replaced, "an older one: {found}, {passing}");
    }
}

/// A value that does not fit into the segment that is being written.
const LARGE: usize = 1 << 20;

#[test]
fn a_list_of_segments_that_is_full_refuses_what_needs_another_and_nothing_more() {
    let store = Simulation::new(1).open(&Options::new()).unwrap();
    write(&store, 10).unwrap();
    add_segments(&store, 20_000);
    let refused = write(&store, LARGE);
    assert!(matches!(refused, Err(Error::TooManySegments { .. })), "{refused:?}");
    write(&store, 20).unwrap();
    let stats = store.stats().unwrap();
    assert!(!stats.poisoned && stats.items == 1);
    remove_segments(&store);
    write(&store, LARGE).unwrap();
    store.close().unwrap();
}

#[test]
fn what_is_held_gives_way_to_segments_in_a_list_that_is_full() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    write(&store, 10).unwrap();
    let held = RetainedBytes { segment: 1 << 30, bytes: 1 << 40, until_ms: 1 << 40 };
    let count_held = || {
        let engine = store.engine().unwrap();
        engine.journal.manifest.lock().current.retained.len()
    };
    add_segments(&store, 2_000);
    store.engine().unwrap().journal.manifest.lock().current.retained = vec![held; 2_000];
    write(&store, LARGE).unwrap();
    assert_eq!(count_held(), 2_000);
    store.engine().unwrap().journal.manifest.lock().current.retained = vec![held; 10_000];
    write(&store, LARGE).unwrap();
    assert_eq!(count_held(), 0);
    remove_segments(&store);
    store.close().unwrap();
}

/// The segments of a copy have numbers of their own.
#[test]
fn a_copy_says_nothing_of_what_compaction_kept_in_segments_of_its_source() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    write(&store, 10).unwrap();
    let held = RetainedBytes { segment: 1, bytes: 1 << 30, until_ms: 1 << 40 };
    store.engine().unwrap().journal.manifest.lock().current.retained = vec![held];
    store.backup("copy").unwrap();
    let Loaded::Found(found) = ManifestFile::load(sim.disk(), Path::new("copy")).unwrap() else {
        panic!("no manifest")
    };
    assert_eq!(found.1.retained.len(), 0);
}

#[test]
fn a_full_disk_has_no_room_for_a_longer_list_of_segments_and_nothing_is_lost() {
    let (mut refusals, step_bytes) = (0, thinned(64_000, 16_000));
    for room_bytes in (0..3_200_000).step_by(step_bytes) {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, 10).unwrap();
        // More than what a slot has room for from the beginning.
        add_segments(&store, 800);
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + room_bytes));
        match write(&store, LARGE) {
            Ok(()) => {}
            Err(Error::Io { .. }) => refusals += 1,
            Err(other) => panic!("{other:?} with room for {room_bytes} bytes"),
        }
        assert!(!store.stats().unwrap().poisoned, "with room for {room_bytes} bytes");
        sim.disk().set_capacity(None);
        write(&store, LARGE).unwrap();
        remove_segments(&store);
        store.close().unwrap();
    }
    let refused_bytes = refusals * step_bytes;
    assert!((1_600_000..3_200_000).contains(&refused_bytes), "{refusals}");
}
