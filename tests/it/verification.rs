//! `verify` reads everything: it passes what is whole and finds what no read has met.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Error, Options, Precondition};

use crate::backends::on_every_backend;

#[test]
fn verify_counts_items_and_commits_of_a_whole_store() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let first = numbers.create("a", &1).unwrap();
        numbers.replace("a", &2, first.etag()).unwrap();
        numbers.create("b", &3).unwrap();
        numbers.delete("b", Precondition::Always).unwrap();
        let verified = bench.store().verify().unwrap();
        assert_eq!((verified.items, verified.commits), (1, 4));
        assert!(verified.journal_bytes > 0);
    });
}

#[test]
fn verify_of_an_empty_store_finds_nothing_wrong() {
    on_every_backend(|bench| {
        let verified = bench.store().verify().unwrap();
        assert_eq!((verified.items, verified.commits, verified.journal_bytes), (0, 0, 0));
    });
}

#[test]
fn verify_finds_damage_to_a_superseded_version() {
    assert_eq!(damaged_at(b"old old old"), Some(first_segment()));
}

#[test]
fn verify_finds_damage_to_a_current_version() {
    assert_eq!(damaged_at(b"new new new"), Some(first_segment()));
}

fn first_segment() -> PathBuf {
    Path::new(STORE).join("journal").join("0000000001.seg")
}

/// Flips a bit of this value in a closed store, and returns the file that `verify` then names.
fn damaged_at(value: &[u8]) -> Option<PathBuf> {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    blobs.create("a", &Bytes::from_static(b"old old old")).unwrap();
    blobs.replace("a", &Bytes::from_static(b"new new new"), Precondition::Always).unwrap();
    store.verify().unwrap();
    store.close().unwrap();

    let path = first_segment();
    let mut bytes = sim.disk().read_file(&path).unwrap();
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(&path, &bytes).unwrap();

    let store = sim.open(&Options::new()).unwrap();
    match store.verify() {
        Err(Error::Corrupt { file, offset, .. }) => {
            assert!((4096..=at as u64).contains(&offset), "{offset} of {at}");
            Some(file)
        }
        other => panic!("damage was not found: {other:?}"),
    }
}

#[test]
fn verify_goes_on_beside_writers() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(ifmatch::Durability::Eventual);
    let store = options.open(folder.path().join("store")).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let value = Bytes::from(vec![7; 2_000]);
            for number in 0_u32..3_000 {
                let key = (number % 100).to_be_bytes();
                blobs.upsert(key, &value, Precondition::Always).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            store.verify().unwrap();
        }
    });
    let verified = store.verify().unwrap();
    // Superseded versions may have been compacted away.
    assert_eq!(verified.items, 100);
    assert!((100..=3_000).contains(&verified.commits));
}
