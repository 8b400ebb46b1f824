//! Damage in addition to that of single frames: files that were cut short, what a compacted store
//! goes on with, and repairs that are cut short.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Cursor, Error, HistoryPolicy, OnDamage, Options, Precondition, Store};

use super::{FRAME_HEADER_BYTES, State, Story, check, flip, frames, read, small_store};
use crate::store_files::Place;
use crate::{Case, from_environment, thinned};

#[test]
fn a5_a_segment_that_was_cut_short_costs_what_is_behind() {
    for state in [State::Closed, State::RowsLost, State::IndexLost] {
        let (sim, story) = small_store(state);
        let frames = frames(&sim);
        for frame in &frames {
            let _case = Case(format!("{state:?}, cut within {frame:?}"));
            let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
            let files = Place::files(&damaged);
            let bytes = &files.iter().find(|file| file.0 == frame.path).unwrap().1;
            Place::write(&damaged, &frame.path, &bytes[..frame.offset + FRAME_HEADER_BYTES + 3]);
            let behind = |of: &&super::Frame| of.path == frame.path && of.offset >= frame.offset;
            let lost: BTreeSet<u64> = frames.iter().filter(behind).map(|of| of.revision).collect();
            check(&damaged, &story, state, &lost, None);
        }
    }
}

fn value(round: u8) -> Bytes {
    vec![round; 3_000].into()
}

/// A store of many segments, the first of which holds one item that stays.
fn overwritten(options: &Options) -> (Simulation, Store) {
    let sim = Simulation::new(8);
    let store = sim.open(options).unwrap();
    let items = store.raw("items").unwrap();
    items.create("stays", &value(0)).unwrap();
    for round in 0..200 {
        for key in 0..5_u8 {
            items.upsert([key], &value(round), Precondition::Always).unwrap();
        }
    }
    store.close().unwrap();
    (sim.kill(&mut fastrand::Rng::with_seed(1)), sim.open(options).unwrap())
}

fn check_items(store: &Store) {
    let items = store.raw("items").unwrap();
    assert_eq!(items.get("stays").unwrap().unwrap().value, value(0));
    for key in 0..5_u8 {
        assert_eq!(items.get([key]).unwrap().unwrap().value, value(199));
    }
}

#[test]
fn a5_compaction_goes_on_beside_a_damaged_segment_and_the_journal_stays_bounded() {
    for versions in [0, 2] {
        let options = Options::new().history(HistoryPolicy::new().versions(versions));
        let (mut sim, _) = overwritten(&options);
        let frames = frames(&sim);
        let first = frames[0].path.clone();
        let segments: BTreeSet<PathBuf> = frames.iter().map(|frame| frame.path.clone()).collect();
        assert!(segments.len() > 4, "several segments");
        // Superseded: neither the first item nor one of the last.
        let dead = &frames[10];
        assert_eq!(dead.path, first);
        flip(&sim, &first, dead.offset + 40);
        let bytes_of = |store: &Store| store.stats().unwrap().journal_bytes;
        for round in 0..3 {
            let store = sim.open(&options).unwrap();
            let before = bytes_of(&store);
            let compaction = store.compact().unwrap();
            if round == 0 {
                assert!(compaction.reclaimed_bytes > before / 3, "{compaction:?} of {before}");
            }
            let stats = store.stats().unwrap();
            assert_eq!(stats.damaged_segments, 1);
            assert!(matches!(store.verify(), Err(Error::Corrupt { .. })));
            check_items(&store);
            let changes = store.changes(Cursor::START).unwrap();
            let told: BTreeSet<Vec<u8>> =
                changes.map(|change| change.unwrap().key().to_vec()).collect();
            assert_eq!(told.len(), 6);
            store.backup(format!("copy {round}")).unwrap();
            let copy = sim.at(format!("copy {round}")).open(&options).unwrap();
            check_items(&copy);
            assert_eq!(copy.stats().unwrap().damaged_segments, 0);
            let items = store.raw("items").unwrap();
            for _ in 0..40 {
                for key in 0..5_u8 {
                    items.upsert([key], &value(199), Precondition::Always).unwrap();
                }
            }
            assert!(bytes_of(&store) < 3 << 20, "{} bytes", bytes_of(&store));
            store.close().unwrap();
            if round == 1 {
                sim.remove_index();
            }
        }
        let skip = sim.open(&options.clone().on_damage(OnDamage::SkipDamaged)).unwrap();
        check_items(&skip);
        assert!(skip.damage().unwrap().items().is_empty(), "{:?}", skip.damage());
        assert_eq!(skip.stats().unwrap().damaged_segments, 0);
        skip.compact().unwrap();
        check_items(&skip);
        skip.verify().unwrap();
    }
}

#[test]
fn a5_a_damaged_item_is_named_by_reads_and_backup_and_can_be_deleted() {
    let (sim, story) = small_store(State::Closed);
    let frames = frames(&sim);
    let latest = story.latest();
    let (revision, _) = latest[&Story::name("docs", "a")];
    let frame = frames.iter().find(|frame| frame.revision == revision).unwrap();
    flip(&sim, &frame.path, frame.end - 1);
    let store = sim.open(&Options::new()).unwrap();
    let docs = store.raw("docs").unwrap();
    for error in [docs.get("a").unwrap_err(), store.backup("copy").unwrap_err()] {
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        assert_eq!((error.collection(), error.key()), (Some("docs"), Some(&b"a"[..])));
        assert!(error.to_string().contains("item \"a\" of collection \"docs\""), "{error}");
    }
    docs.delete("a", Precondition::Always).unwrap();
    store.backup("copy").unwrap();
    let copy = sim.at("copy").open(&Options::new()).unwrap();
    let mut expected = story.contents();
    expected.remove(&Story::name("docs", "a"));
    assert_eq!(read(&copy, &story).0, expected);
}

/// A deletion whose frame is damaged is not undone by a copy.
#[test]
fn a5_a_copy_does_not_bring_back_what_was_deleted() {
    let (sim, story) = small_store(State::Closed);
    let frames = frames(&sim);
    let (revision, None) = story.latest()[&Story::name("docs", "b")].clone() else { panic!() };
    let frame = frames.iter().find(|frame| frame.revision == revision).unwrap();
    flip(&sim, &frame.path, frame.end - 1);
    let store = sim.open(&Options::new()).unwrap();
    store.backup("copy").unwrap();
    let copy = sim.at("copy").open(&Options::new()).unwrap();
    assert_eq!(read(&copy, &story).0, story.contents());
}

#[test]
fn a5_a_follower_is_not_kept_from_what_comes_after_superseded_damage() {
    let (mut sim, story) = small_store(State::IndexLost);
    let frames = frames(&sim);
    let dead = frames[1].clone();
    let store = sim.kill(&mut fastrand::Rng::with_seed(1)).open(&Options::new()).unwrap();
    let cursors: Vec<Cursor> =
        store.changes(Cursor::START).unwrap().map(|change| change.unwrap().cursor()).collect();
    drop(store);
    flip(&sim, &dead.path, dead.offset + 40);
    sim.remove_index();
    let store = sim.open(&Options::new()).unwrap();
    // A removal may have been in the frame for all that is known.
    assert!(matches!(store.changes(cursors[0]).map(drop), Err(Error::Compacted)));
    let after = store.changes(cursors[1]).unwrap().map(|change| change.unwrap());
    assert_eq!(after.count(), cursors.len() - 2);
    let last = story.latest()[&Story::name("side", "t")].0;
    let told = store.changes(Cursor::START).unwrap().last().unwrap().unwrap();
    assert_eq!(told.revision().0, last);
}

#[test]
fn a5_a_repair_that_skips_damage_may_be_cut_short_anywhere() {
    let stride = from_environment("IFMATCH_REPAIR_STRIDE").unwrap_or(thinned(29, 5));
    for state in [State::Closed, State::Killed] {
        let (sim, story) = small_store(state);
        let frames = frames(&sim);
        for damaged_frame in [2, frames.len() - 3] {
            let frame = &frames[damaged_frame];
            flip(&sim, &frame.path, frame.offset + 5);
        }
        let lost = BTreeSet::from([frames[2].revision, frames[frames.len() - 3].revision]);
        let left = (story.without(&lost).contents(), BTreeSet::new());
        let skip = Options::new().on_damage(OnDamage::SkipDamaged);
        for calls in (0..).step_by(stride as usize) {
            let mut rng = fastrand::Rng::with_seed(calls);
            let cut = sim.kill(&mut rng);
            cut.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
            let is_cut = cut.open(&skip).is_err();
            // After a loss of power WATERMARK may be older, and then damage looks like a torn tail.
            let crashed = (state == State::Closed).then(|| cut.crash(&mut rng));
            for image in [cut.kill(&mut rng)].into_iter().chain(crashed) {
                let _case = Case(format!("{state:?}, {calls} calls"));
                let store = image.open(&skip).unwrap();
                assert_eq!(read(&store, &story), left);
                store.verify().unwrap();
                store.close().unwrap();
                assert_eq!(read(&image.open(&Options::new()).unwrap(), &story), left);
            }
            if !is_cut {
                break;
            }
        }
    }
}
