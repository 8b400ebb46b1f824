//! Closing waits for what is under way, keeps what was acknowledged, and ends the store's threads.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::disk::ModelDisk;
use super::{A, B, COLLECTION, environment};
use crate::api::collection::Collection;
use crate::api::store::Store;
use crate::engine::environment::Environment;
use crate::seams::sync::{model, thread};
use crate::values::codec::Raw;
use crate::values::error::{Error, Result};
use crate::values::options::{Durability, Options};
use crate::values::precondition::Precondition;

/// An open store whose writes are acknowledged when written.
struct Rig {
    store: Store,
    items: Collection<Bytes, Raw>,
    disk: ModelDisk,
}

impl Rig {
    /// Holds an item, so that the collection is recorded and a segment begun.
    fn alone() -> Self {
        let rig = Self::open(&ModelDisk::default(), false);
        write(&rig.items, A).unwrap();
        rig
    }

    /// With the store's own threads, of which one syncs what is written at once.
    fn with_threads() -> Self {
        Self::open(&ModelDisk::default(), true)
    }

    fn open(disk: &ModelDisk, background: bool) -> Self {
        let environment = Environment { background, ..environment(disk) };
        let mut options = Options::new().cache_bytes(0).durability(Durability::Eventual);
        // The least that can be set is more: how far a model has come by then differs.
        options.sync_interval = Duration::ZERO;
        let store = Store::open_in(environment, Path::new("store"), &options).unwrap();
        let items = store.raw(COLLECTION).unwrap();
        Self { store, items, disk: disk.clone() }
    }
}

fn write(items: &Collection<Bytes, Raw>, key: &str) -> Result<u64> {
    let value = Bytes::from_static(b"value");
    Ok(items.upsert(key, &value, Precondition::Always)?.revision().0)
}

/// Whether a store that is opened again holds this item.
fn is_there_after_reopening(disk: &ModelDisk, key: &str) -> bool {
    Rig::open(disk, false).items.get(key).unwrap().is_some()
}

#[test]
fn a_write_beside_a_close_is_refused_or_kept() {
    model(|| {
        let Rig { store, items, disk } = Rig::alone();
        let writer = thread::spawn(move || write(&items, B));
        store.close().unwrap();
        let survivors = disk.synced_revisions();
        let written = writer.join().unwrap();
        match &written {
            Ok(revision) => assert!(survivors.contains(revision), "not synced by the close"),
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }
        assert_eq!(is_there_after_reopening(&disk, B), written.is_ok());
    });
}

#[test]
fn of_two_closes_one_closes_and_the_other_is_told() {
    model(|| {
        let Rig { store, items, disk } = Rig::alone();
        drop(items);
        let clone = store.clone();
        let other = thread::spawn(move || clone.close());
        let closes = [store.close(), other.join().unwrap()];
        assert_eq!(closes.iter().filter(|close| close.is_ok()).count(), 1, "{closes:?}");
        assert!(closes.iter().flat_map(|c| c.as_ref().err()).all(|e| matches!(e, Error::Closed)));
        assert!(is_there_after_reopening(&disk, A));
    });
}

#[test]
fn a_store_that_is_dropped_while_its_threads_work_is_closed() {
    model(|| {
        let Rig { store, items, disk } = Rig::with_threads();
        let revision = write(&items, A).unwrap();
        drop((items, store));
        assert!(disk.synced_revisions().contains(&revision), "not synced by the close");
        assert!(is_there_after_reopening(&disk, A));
    });
}

/// With the one thread that it is about: of both together there are too many interleavings.
#[test]
fn what_is_written_is_synced_though_nobody_asks() {
    model(|| {
        let Rig { store, items, disk } = Rig::alone();
        let syncing = store.clone();
        let syncer = thread::spawn(move || syncing.background().run_syncs(syncing.shared()));
        for key in [A, B] {
            let written = write(&items, key).unwrap();
            store.notifier().wait(written - 1, None);
            assert!(disk.synced_revisions().contains(&written));
        }
        store.close().unwrap();
        syncer.join().unwrap();
    });
}
