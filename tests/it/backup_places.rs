//! Where a backup may go and where a restore may come from.

use std::io::ErrorKind;

use bytes::Bytes;
use ifmatch::{Error, Store};

use crate::backup::{io_kind, upsert};

#[test]
fn a_store_in_memory_is_backed_up_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("some/where/copy.ifm");
    let store = Store::in_memory();
    let meta = store.raw("blobs").unwrap().create("a", &Bytes::from_static(b"1")).unwrap();
    assert_eq!(store.backup(&copy).unwrap(), meta.revision());
    let item = Store::open(&copy).unwrap().raw("blobs").unwrap().get("a").unwrap().unwrap();
    assert_eq!(*item.meta(), meta);
}

#[test]
fn an_empty_store_is_backed_up_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = Store::open(place("store")).unwrap();
    assert_eq!(store.backup(place("copy")).unwrap(), ifmatch::Revision::ZERO);
    let restored = Store::restore(place("copy"), place("restored")).unwrap();
    restored.raw("blobs").unwrap().create("a", &Bytes::new()).unwrap();
    restored.close().unwrap();
    let restored = Store::open(place("restored")).unwrap();
    assert_eq!(restored.raw("blobs").unwrap().len().unwrap(), 1);
}

#[test]
fn a_copy_goes_only_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = Store::open(place("store")).unwrap();
    upsert(&store);
    for inside in ["store", "store/copy", "store/journal/a/b", "store/../store/x"] {
        assert_eq!(io_kind(store.backup(place(inside))), ErrorKind::InvalidInput, "{inside}");
    }
    assert!(!place("store/copy").exists());
    std::fs::create_dir(place("other")).unwrap();
    std::fs::write(place("other/file"), "mine").unwrap();
    assert_eq!(io_kind(store.backup(place("other"))), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_dir(place("other")).unwrap().count(), 1, "it was not left alone");
    assert!(store.backup(place("other/file")).is_err());

    std::fs::create_dir(place("empty")).unwrap();
    store.backup(place("empty")).unwrap();
    assert_eq!(io_kind(store.backup(place("empty"))), ErrorKind::AlreadyExists);
    let restored = || Store::restore(place("empty"), place("restored"));
    let opened = restored().unwrap();
    assert_eq!(io_kind(store.backup(place("restored"))), ErrorKind::AlreadyExists);
    assert_eq!(io_kind(restored()), ErrorKind::AlreadyExists);
    drop(opened);
    assert_eq!(io_kind(restored()), ErrorKind::AlreadyExists);

    assert!(matches!(Store::restore(place("store"), place("x")), Err(Error::Locked { .. })));
    assert_eq!(io_kind(Store::restore(place("none"), place("x"))), ErrorKind::NotFound);
    let inside = Store::restore(place("empty"), place("empty/x"));
    assert_eq!(io_kind(inside), ErrorKind::InvalidInput);
    assert!(!place("x").exists() && !place("none").exists() && !place("empty/x").exists());
}
