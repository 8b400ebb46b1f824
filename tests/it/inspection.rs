//! `Store::inspect` tells what a folder holds and what an open would do, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use ifmatch::{Durability, Error, Options, Precondition, Store};

/// Every file below a folder with its bytes.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if path.is_dir() {
            found.insert(path.display().to_string(), Vec::new());
            found.extend(content(&path));
        } else {
            found.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn fill(store: &Store, from: u64) {
    let numbers = store.collection::<u64>("numbers").unwrap();
    for n in from..from + 10 {
        numbers.upsert(n.to_string(), &n, Precondition::Always).unwrap();
    }
}

#[test]
fn a_closed_store_has_nothing_to_replay_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.ifm");
    let store = Store::open(&path).unwrap();
    fill(&store, 0);
    store.close().unwrap();

    let before = content(&path);
    let found = Store::inspect(&path).unwrap();
    assert_eq!(content(&path), before);
    assert!(found.closed_in_order && !found.rebuilds_index && !found.is_backup);
    assert_eq!((found.commits, found.replayed_commits, found.segments), (10, 0, 1));
}

#[test]
fn a_store_that_was_not_closed_is_replayed_or_its_index_built() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cut) = (folder.path().join("s.ifm"), folder.path().join("cut.ifm"));
    let open = || Options::new().durability(Durability::Immediate).open(&path).unwrap();
    let store = open();
    fill(&store, 0);
    store.close().unwrap();
    let store = open();
    fill(&store, 5);
    // What a killed process leaves.
    copy_folder(&path, &cut);
    fs::remove_file(cut.join("LOCK")).unwrap();
    store.close().unwrap();

    let before = content(&cut);
    let found = Store::inspect(&cut).unwrap();
    assert_eq!(content(&cut), before, "not even a file LOCK is made");
    assert!(!found.closed_in_order && !found.rebuilds_index);
    assert_eq!((found.commits, found.replayed_commits), (20, 10));

    for entry in fs::read_dir(&cut).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("index-") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    assert!(Store::inspect(&cut).unwrap().rebuilds_index);
}

#[test]
fn what_is_open_missing_or_damaged_is_told_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.ifm");
    assert!(matches!(Store::inspect(&path), Err(Error::Io { source, .. })
        if source.kind() == std::io::ErrorKind::NotFound));
    assert!(!path.exists());

    let store = Store::open(&path).unwrap();
    fill(&store, 0);
    assert!(matches!(Store::inspect(&path), Err(Error::Locked { .. })));
    store.close().unwrap();

    let segment = path.join("journal/0000000001.seg");
    fs::remove_file(&segment).unwrap();
    let before = content(&path);
    assert!(matches!(Store::inspect(&path), Err(Error::Corrupt { .. })));
    assert_eq!(content(&path), before);
}

/// Flips a bit of every byte from one place of a file to another.
fn flip(file: &Path, places: Range<usize>) {
    let mut bytes = fs::read(file).unwrap();
    bytes[places].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(file, bytes).unwrap();
}

/// The first place of these bytes in a file.
fn place_of(file: &Path, bytes: &[u8]) -> usize {
    fs::read(file).unwrap().windows(bytes.len()).position(|part| part == bytes).unwrap()
}

fn cut_in_the_second(store: &Path) {
    let segment = store.join("journal/0000000001.seg");
    let value = place_of(&segment, b"of the second");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..value]).unwrap();
}

/// The command line once told the two apart by how the error's text begins.
#[test]
fn damage_that_an_open_steps_over_is_told_from_damage_that_refuses_it() {
    type Damage = (&'static str, bool, fn(&Path));
    let damages: [Damage; 7] = [
        ("an item's frame", true, |path| {
            let segment = path.join("journal/0000000001.seg");
            let value = place_of(&segment, b"of the second");
            flip(&segment, value..value + 1);
        }),
        ("a frame's header", true, |path| {
            let segment = path.join("journal/0000000001.seg");
            // A header of 24 bytes precedes the frame's body.
            let value = place_of(&segment, b"of the second");
            flip(&segment, value - 60..value);
        }),
        ("the header of a segment", false, |path| {
            flip(&path.join("journal/0000000001.seg"), 0..4096);
        }),
        ("a segment", false, |path| {
            fs::remove_file(path.join("journal/0000000001.seg")).unwrap();
        }),
        ("the end of the journal of a closed store", true, cut_in_the_second),
        ("the newest commits of a store that was not closed", false, |path| {
            let killed = path.with_extension("killed");
            let store = Store::open(path).unwrap();
            store.collection::<String>("notes").unwrap().create("fourth", &String::new()).unwrap();
            copy_folder(path, &killed);
            drop(store);
            fs::remove_dir_all(path).unwrap();
            fs::rename(killed, path).unwrap();
            cut_in_the_second(path);
        }),
        ("MANIFEST", false, |path| fs::remove_file(path.join("MANIFEST")).unwrap()),
    ];
    for (what, is_stepped_over, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.ifm");
        let store = Store::open(&path).unwrap();
        let notes = store.collection::<String>("notes").unwrap();
        for key in ["first", "second", "third"] {
            notes.create(key, &format!("of the {key}")).unwrap();
        }
        store.close().unwrap();
        damage(&path);
        match Store::inspect(&path) {
            Err(Error::Corrupt { stepped_over, .. }) => {
                assert_eq!(stepped_over, is_stepped_over, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
        let opened = Options::new().create(false).open(&path);
        assert_eq!(opened.is_ok(), is_stepped_over, "{what}: {opened:?}");
    }
}

#[test]
fn a_backup_is_known_as_one_until_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.ifm");
    let store = Store::in_memory();
    fill(&store, 0);
    store.backup(&copy).unwrap();
    let found = Store::inspect(&copy).unwrap();
    assert!(found.is_backup && found.rebuilds_index);
    assert_eq!(found.revision, store.revision());
    drop(Store::open(&copy).unwrap());
    assert!(!Store::inspect(&copy).unwrap().is_backup);
}
