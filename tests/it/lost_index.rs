//! The index on disk is a cache: whatever becomes of its files, the store opens complete.
//!
//! `IFMATCH_INDEXES=n` damages this number of indexes, `IFMATCH_SEED=n` repeats one.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{Durability, OnDamage, Options, Precondition, Store};

use crate::expected_commits::{Ledger, is_same};
use crate::prepared_stores::{Template, live, open};
use crate::store_files::{Files, Folder, Place};
use crate::{Case, Repeat, from_environment, seeds, thinned};

/// Where WATERMARK says that an open is in the index.
const MARKER: std::ops::Range<usize> = 8192..8200;

/// Stores in folders, closed in order and not.
fn templates() -> [Template; 2] {
    [true, false].map(|closed| live(&Folder::new(), 2, 30, false, closed))
}

fn is_index(path: &Path) -> bool {
    path.to_str().unwrap().starts_with("index-")
}

/// The files of a template, the index's through `f`, which may drop them.
fn with_index(template: &Template, mut f: impl FnMut(&Path, &[u8]) -> Option<Vec<u8>>) -> Folder {
    let mut files = Files::new();
    for (path, bytes) in &template.files {
        let bytes = if is_index(path) { f(path, bytes) } else { Some(bytes.clone()) };
        files.extend(bytes.map(|bytes| (path.clone(), bytes)));
    }
    Folder::holding(&files)
}

/// Opens a store twice: it holds everything, and what is written in between.
fn check_complete(place: &dyn Place, template: &Template) {
    let writer = open(place, OnDamage::Refuse).expect("opening");
    assert!(is_same(template.last(), &writer.read().unwrap()), "not what the journal says");
    let mut ledger = Ledger::default();
    ledger.start_from(template.last().clone());
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..5 {
        writer.step(&mut rng, &mut ledger).unwrap();
    }
    writer.close().unwrap();
    let writer = open(place, OnDamage::Refuse).expect("opening again");
    ledger.settle(writer.read().unwrap());
    writer.close().unwrap();
}

/// The one folder of an index, after an open.
fn index_folder(place: &Folder) -> PathBuf {
    let entries = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut indexes = entries.filter(|path| is_index(Path::new(path.file_name().unwrap())));
    let index = indexes.next().expect("an index");
    assert_eq!(indexes.next(), None, "an index that was replaced is removed");
    index
}

#[test]
fn a_deleted_index_is_rebuilt() {
    for template in templates() {
        check_complete(&with_index(&template, |_, _| None), &template);
    }
}

/// A regression: where a frame that nobody needs was damaged, the lost heads came back in no order, and
/// a clear took away what was written after it: items were absent until the next open.
#[test]
fn a5_cleared_collections_come_back_whole_from_a_journal_with_damage_in_what_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let dead = [0xD7; 64];
    let store = Store::open(&path).unwrap();
    for name in ["a", "b", "c"] {
        let items = store.raw(name).unwrap();
        items.create("before", &Bytes::from("cleared")).unwrap();
        items.clear().unwrap();
        for n in 0..40_u8 {
            items.create([n], &vec![n; 10].into()).unwrap();
        }
    }
    let item = store.raw("other").unwrap();
    // The first commit of a collection holds its record too.
    item.create("first", &Bytes::new()).unwrap();
    item.create("item", &dead.to_vec().into()).unwrap();
    item.replace("item", &Bytes::from("alive"), Precondition::Always).unwrap();
    drop(item);
    store.close().unwrap();

    let segments = fs::read_dir(path.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let damaged = segments.filter(|segment| {
        let mut bytes = fs::read(segment).unwrap();
        let at = bytes.windows(dead.len()).position(|window| window == dead);
        at.map(|at| bytes[at] ^= 1).map(|()| fs::write(segment, bytes).unwrap()).is_some()
    });
    assert_eq!(damaged.count(), 1);
    for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap()) {
        if is_index(Path::new(&entry.file_name())) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }

    let store = Store::open(&path).unwrap();
    assert_eq!(store.raw("other").unwrap().get("item").unwrap().unwrap().value, "alive");
    for name in ["a", "b", "c"] {
        let items = store.raw(name).unwrap();
        assert_eq!(items.keys().unwrap().count(), 40, "items of {name}");
        assert_eq!(items.get([7]).unwrap().expect("an item").value, vec![7; 10]);
        assert!(items.get("before").unwrap().is_none());
    }
}

#[test]
fn an_older_copy_of_the_index_is_not_believed() {
    for closed in [true, false] {
        let folder = Folder::new();
        let older = live(&folder, 1, 30, false, true);
        // The same store, further on.
        let newer = continue_from(&folder, &older, closed);
        check_complete(&with_index_of(&newer.files, &older.files), &newer);
    }
}

/// A store with another one's index in the place of its own.
fn with_index_of(store: &Files, other: &Files) -> Folder {
    let own = store.iter().find(|(path, _)| is_index(path)).unwrap().0.clone();
    let own = own.components().next().unwrap();
    let mut files: Files = store.iter().filter(|(path, _)| !is_index(path)).cloned().collect();
    for (path, bytes) in other.iter().filter(|(path, _)| is_index(path)) {
        let below = path.components().skip(1).collect::<PathBuf>();
        files.push((Path::new(&own).join(below), bytes.clone()));
    }
    Folder::holding(&files)
}

#[test]
fn an_index_behind_the_journal_is_brought_up_to_it_and_not_built_anew() {
    let folder = Folder::new();
    let older = live(&folder, 1, 30, false, true);
    let newer = continue_from(&folder, &older, false);
    let place = with_index_of(&newer.files, &older.files);
    let index = index_folder(&place);
    let writer = open(&place, OnDamage::Refuse).unwrap();
    assert!(is_same(newer.last(), &writer.read().unwrap()));
    assert_eq!(Simulation::differs_from_journal(writer.store()).unwrap(), None);
    assert_eq!(index_folder(&place), index, "the index was built anew");
}

/// Else the entries that precede it would pass for superseded.
#[test]
fn a_tombstone_of_a_commit_that_is_lost_leaves_the_index() {
    let folder = Folder::new();
    let write = |key: &str, deletes: bool| {
        let store = folder.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        items.create(key, &Bytes::from_static(b"1")).unwrap();
        if deletes {
            items.delete(key, Precondition::Always).unwrap();
        }
        drop(items);
        store.close().unwrap();
        folder.files()
    };
    let (older, newer) = (write("kept", false), write("lost", true));
    let place = with_index_of(&older, &newer);
    let index = index_folder(&place);
    let store = place.open(&Options::new()).unwrap();
    assert_eq!(store.raw("items").unwrap().len().unwrap(), 1);
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    assert_eq!(index_folder(&place), index, "the index was built anew");
}

fn continue_from(folder: &Folder, older: &Template, closed: bool) -> Template {
    let writer = open(folder, OnDamage::Refuse).unwrap();
    let mut ledger = Ledger::default();
    ledger.start_from(older.last().clone());
    let mut rng = fastrand::Rng::with_seed(2);
    for _ in 0..20 {
        writer.single(&mut rng, &mut ledger).unwrap();
    }
    let mut writer = Some(writer);
    if closed {
        writer.take().unwrap().close().unwrap();
    }
    let place = folder.copy(&mut rng);
    let states = vec![(ledger.highest_revision(), ledger.now().clone())];
    Template { files: place.files(), place, states, manifests: Vec::new() }
}

#[test]
fn damaged_index_files_never_show() {
    let templates = templates();
    let indexes = from_environment("IFMATCH_INDEXES").unwrap_or(thinned(12, 90));
    for seed in seeds(0..indexes) {
        let _repeat = Repeat::new("lost_index", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let template = &templates[usize::from(rng.u8(0..2))];
        let place = with_index(template, |_, bytes| {
            let mut bytes = bytes.to_vec();
            match rng.u8(0..4) {
                0 => rng.fill(&mut bytes),
                1 => bytes.truncate(rng.usize(0..=bytes.len())),
                2 => bytes.extend_from_within(..bytes.len() / 2),
                _ => {
                    for _ in 0..rng.u8(1..40) {
                        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                        if let Some(byte) = bytes.get_mut(rng.usize(0..=used)) {
                            *byte ^= 1 << rng.u8(0..8);
                        }
                    }
                }
            }
            Some(bytes)
        });
        check_complete(&place, template);
    }
    println!("{indexes} damaged indexes, every store complete");
}

#[test]
fn an_open_that_died_in_the_index_leads_to_a_new_one() {
    let harmless = [true, false].into_iter();
    for (template, harmless) in
        templates().iter().flat_map(|t| harmless.clone().map(move |h| (t, h)))
    {
        let place = Folder::holding(&template.files);
        let before = index_folder(&place);
        let path = Path::new("WATERMARK");
        let mut watermark = fs::read(place.path().join(path)).unwrap();
        assert_eq!(watermark[MARKER], [0; 8], "the marker is cleared when an open is over");
        watermark[MARKER].copy_from_slice(b"OPENING\0");
        place.write(path, &watermark);
        if !harmless {
            let index = before.join("db");
            place.write(index.strip_prefix(place.path()).unwrap(), b"poison");
        }
        check_complete(&place, template);
        assert_ne!(index_folder(&place), before, "the old index was used again");
        let watermark = fs::read(place.path().join(path)).unwrap();
        assert_eq!(watermark[MARKER], [0; 8], "the marker is cleared when an open is over");
    }
}

#[test]
fn an_open_marks_that_it_is_in_the_index_before_it_is() {
    let sim = Simulation::new(1);
    let template = live(&sim, 1, 20, false, false);
    let mut rng = fastrand::Rng::with_seed(1);
    // Once the marker is set, no power cut takes it away until the index is open.
    let is_marked = |image: Simulation| {
        let watermark = image.files().into_iter().find(|(path, _)| path.ends_with("WATERMARK"));
        watermark.unwrap().1[MARKER] == *b"OPENING\0"
    };
    let mut marked = 0;
    for calls in 0.. {
        let sim = sim.kill(&mut rng);
        sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
        let cut = open(&sim, OnDamage::Refuse).is_err();
        marked += u64::from((0..16).all(|_| is_marked(sim.crash(&mut rng))));
        check_complete(&sim.kill(&mut rng), &template);
        if !cut {
            break;
        }
    }
    assert!(marked > 0, "no cut left the marker");
}

#[test]
fn no_value_and_no_key_makes_a_blob_file() {
    let place = Folder::new();
    let options = Options::new().durability(Durability::Eventual);
    let store = place.open(&options).unwrap();
    let items = store.raw("items").unwrap();
    let sizes = (0..60).chain((60..20_000).step_by(997)).chain((20_000..=1 << 20).step_by(99_991));
    for len in sizes {
        items.create(format!("size {len}"), &vec![7; len].into()).unwrap();
    }
    for round in 0..8_u8 {
        let mut batch = store.batch();
        for len in 1..=511 {
            let mut key = vec![b'k'; len];
            key[len - 1] = b'0' + round;
            batch =
                batch.upsert(&items, key, &vec![round; 3].into(), ifmatch::Precondition::Always);
        }
        batch.commit().unwrap();
        // Bytes that the index has to escape are the longest there.
        items.create([vec![0; 510], vec![round]].concat(), &vec![1].into()).unwrap();
    }
    let case = Case("the blob files".to_owned());
    drop(items);
    store.close().unwrap();
    let blobs = index_folder(&place).join("blobs");
    assert!(blobs.is_dir());
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
    drop(case);
}
