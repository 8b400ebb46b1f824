//! A watcher is notified of each commit once, in order and when it is durable, and of the end.

use std::path::Path;

use bytes::Bytes;

use super::disk::{ModelDisk, Trapped};
use super::{A, B, COLLECTION, environment};
use crate::api::collection::Collection;
use crate::api::feed::{Change, Cursor, Watch};
use crate::api::store::Store;
use crate::seams::sync::{model, thread};
use crate::values::codec::Raw;
use crate::values::error::Error;
use crate::values::options::Options;
use crate::values::precondition::Precondition;

/// An open store that holds an item, so that the collection is recorded and a segment begun.
struct Rig {
    store: Store,
    items: Collection<Bytes, Raw>,
    disk: ModelDisk,
}

impl Rig {
    fn new() -> Self {
        let disk = ModelDisk::default();
        let options = Options::new().cache_bytes(0);
        let store = Store::open_in(environment(&disk), Path::new("store"), &options).unwrap();
        let items = store.raw(COLLECTION).unwrap();
        let rig = Self { store, items, disk };
        write(&rig.items, A);
        rig
    }

    fn watch(&self) -> Watch {
        self.store.watch(self.store.cursor().unwrap()).unwrap()
    }

    fn assert_durable(&self, change: &Change) {
        let revision = change.revision().0;
        assert!(self.disk.synced_revisions().contains(&revision), "reported before it was durable");
    }
}

fn write(items: &Collection<Bytes, Raw>, key: &str) -> u64 {
    let value = Bytes::from_static(b"value");
    items.upsert(key, &value, Precondition::Always).unwrap().revision().0
}

#[test]
fn a_watch_is_told_of_each_commit_once_in_order_and_when_it_is_durable() {
    model(|| {
        let rig = Rig::new();
        let mut watch = rig.watch();
        let writers = [A, B].map(|key| {
            let items = rig.items.clone();
            thread::spawn(move || write(&items, key))
        });
        let reported = [(); 2].map(|()| {
            let change = watch.recv().unwrap();
            rig.assert_durable(&change);
            change.revision().0
        });
        let mut made = writers.map(|writer| writer.join().unwrap());
        made.sort_unstable();
        assert_eq!(reported, made);
        assert!(watch.try_recv().unwrap().is_none());
    });
}

#[test]
fn what_is_committed_while_a_watch_begins_is_before_it_or_is_told() {
    model(|| {
        let rig = Rig::new();
        let before = rig.store.cursor().unwrap();
        let items = rig.items.clone();
        let writer = thread::spawn(move || write(&items, A));
        let began = rig.store.cursor().unwrap();
        let mut watch = rig.store.watch(began).unwrap();
        let reported = (began == before).then(|| watch.recv().unwrap().revision().0);
        assert_eq!(reported.unwrap_or_else(|| newest(&rig, before)), writer.join().unwrap());
        assert!(watch.try_recv().unwrap().is_none());
    });
}

/// The one change after a place.
fn newest(rig: &Rig, after: Cursor) -> u64 {
    let mut changes = rig.store.changes(after).unwrap();
    let change = changes.next().unwrap().unwrap();
    rig.assert_durable(&change);
    assert!(changes.next().is_none());
    change.revision().0
}

#[test]
fn a_close_ends_a_watch_that_waits_or_is_about_to() {
    model(|| {
        let Rig { store, items, .. } = Rig::new();
        let mut watch = store.watch(store.cursor().unwrap()).unwrap();
        drop(items);
        let closer = thread::spawn(move || store.close().unwrap());
        assert!(matches!(watch.recv(), Err(Error::Closed)));
        closer.join().unwrap();
    });
}

#[test]
fn a_failure_ends_a_watch_that_waits_or_is_about_to() {
    model(|| {
        let rig = Rig::new();
        let mut watch = rig.watch();
        rig.disk.set_trap(Trapped::FailSync);
        let items = rig.items.clone();
        let writer = thread::spawn(move || {
            let value = Bytes::from_static(b"value");
            let lost = items.upsert(B, &value, Precondition::Always);
            assert!(matches!(lost, Err(Error::CommitUnknown { .. })));
        });
        assert!(matches!(watch.recv(), Err(Error::Poisoned { .. })));
        writer.join().unwrap();
    });
}
