//! Backup and restore: a copy is exactly the store at one revision, and then a store of its own.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Collection, Durability, ETag, Error, Meta, Options, Precondition, Raw, Store};

use crate::expected_commits::{Ledger, State, is_same};
use crate::writer::Writer;
use crate::{Repeat, seeds, thinned};

/// What a thread was told of a commit: its revision, and of each key what is there now.
type Told = Vec<(u64, Vec<([u8; 2], Option<Bytes>, Option<Meta>)>)>;

#[test]
fn the_progress_of_a_backup_ascends_to_its_end_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Eventual).open(folder.path().join("store"));
    let store = store.unwrap();
    let items = store.raw("items").unwrap();
    for key in 0..12_u8 {
        items.create([key], &vec![key; 1 << 20].into()).unwrap();
    }
    let (copy, mut told) = (folder.path().join("copy"), Vec::new());
    let revision = store.backup_with_progress(&copy, |progress| {
        // The store can be used, closing it aside.
        let written = items.upsert("beside", &"x".into(), Precondition::Always).unwrap();
        store.compact().unwrap();
        told.push((progress.done_bytes, progress.total_bytes, written.revision()));
    });
    let revision = revision.unwrap();
    assert!(told.len() > 2, "{told:?}");
    assert!(told.is_sorted_by_key(|(done, ..)| *done), "{told:?}");
    assert!(told.iter().all(|(done, total, _)| done <= total && *total == told[0].1), "{told:?}");
    assert_eq!(told.last().map(|(done, total, _)| done == total), Some(true));
    assert!(told.iter().all(|(.., written)| *written > revision), "{told:?}");
    assert_eq!(Store::open(copy).unwrap().raw("items").unwrap().len().unwrap(), 12);

    // The end is told also where nothing was copied.
    let (copy, mut told) = (folder.path().join("copy of nothing"), Vec::new());
    let backup = Store::in_memory().backup_with_progress(copy, |progress| told.push(progress));
    backup.unwrap();
    assert!(matches!(told[..], [end] if end.done_bytes == end.total_bytes), "{told:?}");
}

#[test]
fn a_backup_beside_writers_is_exactly_the_commits_up_to_its_revision() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Eventual);
    let store = options.open(folder.path().join("store")).unwrap();
    let (done, highest) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut copies = Vec::new();
    let mut told: Told = std::thread::scope(|scope| {
        let write = |thread| write_until(&done, &highest, &store, thread);
        let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || write(thread)));
        for number in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(40));
            let before = highest.load(Ordering::SeqCst);
            let copy = folder.path().join(format!("copy-{number}"));
            let revision = store.backup(&copy).unwrap().0;
            assert!(revision >= before, "a write made before the call is missing");
            copies.push((revision, copy));
        }
        done.store(true, Ordering::SeqCst);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    told.sort_by_key(|(revision, _)| *revision);
    for (revision, copy) in copies {
        let mut expected = BTreeMap::new();
        for (at, changes) in told.iter().filter(|(at, _)| *at <= revision) {
            for (key, value, meta) in changes {
                match value {
                    Some(value) => drop(expected.insert(key.to_vec(), (value, *at, *meta))),
                    None => drop(expected.remove(&key[..])),
                }
            }
        }
        let copy = Store::open(copy).unwrap();
        let found = copy.raw("items").unwrap().iter().unwrap().map(Result::unwrap);
        let mut count = 0;
        for item in found {
            count += 1;
            let (value, at, meta) = &expected[item.key()];
            assert_eq!((&&item.value, item.revision().0), (value, *at));
            assert!(meta.is_none_or(|meta| meta == *item.meta()));
        }
        assert_eq!(count, expected.len());
        assert!(count > 0);
        copy.verify().unwrap();
    }
}

/// Writes single items and pairs, some of them removals, on keys that the threads share.
fn write_until(done: &AtomicBool, highest: &AtomicU64, store: &Store, thread: u8) -> Told {
    let items = store.raw("items").unwrap();
    let mut rng = fastrand::Rng::with_seed(thread.into());
    let mut told = Told::new();
    while !done.load(Ordering::SeqCst) {
        let value = Bytes::from(vec![rng.u8(..); rng.usize(0..4_000)]);
        let keys = [[0, rng.u8(0..20)], [1, rng.u8(0..20)]];
        let always = Precondition::Always;
        let (revision, changes) = if rng.bool() {
            let meta = items.upsert(keys[0], &value, always).unwrap();
            (meta.revision(), vec![(keys[0], Some(value), Some(meta))])
        } else {
            let batch = store.batch().upsert(&items, keys[0], &value, always.clone());
            let batch = batch.upsert(&items, keys[1], &value, always.clone());
            let removes = rng.bool();
            let batch = if removes { batch.delete(&items, keys[1], always) } else { batch };
            let second = (!removes).then(|| value.clone());
            match batch.commit() {
                Ok(done) => {
                    (done.revision(), vec![(keys[0], Some(value), None), (keys[1], second, None)])
                }
                other => panic!("{other:?}"),
            }
        };
        highest.fetch_max(revision.0, Ordering::SeqCst);
        told.push((revision.0, changes));
    }
    told
}

/// A store on a simulated disk after some random work, with what it then holds.
fn prepared(seed: u64) -> (Simulation, Writer, State) {
    let sim = Simulation::new(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let writer = Writer::new(sim.open(&Options::new()).unwrap(), Durability::Immediate).unwrap();
    let mut ledger = Ledger::default();
    for _ in 0..40 {
        writer.step(&mut rng, &mut ledger).unwrap();
    }
    let state = writer.read().unwrap();
    (sim, writer, state)
}

fn read(store: Store) -> State {
    Writer::new(store, Durability::Immediate).unwrap().read().unwrap()
}

pub(crate) fn io_kind<T>(result: Result<T, Error>) -> ErrorKind {
    match result.map(drop) {
        Err(Error::Io { source, .. }) => source.kind(),
        other => panic!("expected Io, got {other:?}"),
    }
}

/// The collections that a random writer uses.
pub(crate) fn raw(store: &Store) -> Collection<Bytes, Raw> {
    store.raw("a").unwrap()
}

pub(crate) fn upsert(store: &Store) -> Meta {
    raw(store).upsert("same", &Bytes::from_static(b"same"), Precondition::Always).unwrap()
}

#[test]
fn a_restored_store_holds_the_same_versions_and_old_tags_match_there() {
    for seed in seeds(0..12) {
        let _repeat = Repeat::new("backup", seed);
        let (sim, writer, state) = prepared(seed);
        let original = raw(writer.store());
        let seen = original.create("kept", &Bytes::from_static(b"1")).unwrap();
        let revision = writer.store().backup("copy").unwrap();
        assert_eq!(revision, seen.revision());
        original.replace("kept", &Bytes::from_static(b"2"), seen.etag()).unwrap();

        let restored = sim.at("restored").restore("copy", &Options::new()).unwrap();
        let kept = raw(&restored).get("kept").unwrap().unwrap();
        assert_eq!(kept.meta(), &seen);
        let new = raw(&restored).replace("kept", &Bytes::from_static(b"3"), seen.etag()).unwrap();
        assert_eq!(new.parent(), Some(seen.etag()));
        raw(&restored).delete("kept", new.etag()).unwrap();
        assert!(is_same(&state, &read(restored.clone())));
        assert_eq!(restored.damage(), None);
        restored.verify().unwrap();
        restored.close().unwrap();
        // Also once it has been closed and opened as any other, and when its index is lost.
        assert!(is_same(&state, &read(sim.at("restored").open(&Options::new()).unwrap())));
    }
}

#[test]
fn two_copies_and_their_original_never_give_the_same_tag_or_revision() {
    let (sim, writer, _) = prepared(1);
    writer.store().backup("one").unwrap();
    writer.store().backup("two").unwrap();
    let one = sim.at("one").open(&Options::new()).unwrap();
    let two = sim.at("two").open(&Options::new()).unwrap();
    let three = sim.at("three").restore("one", &Options::new());
    assert!(matches!(three, Err(Error::Locked { .. })), "{three:?}");
    let stores = [writer.store(), &one, &two];
    for now_ms in [2_000_000_000_000, 2_000_000_001_000] {
        sim.set_now_ms(now_ms);
        let metas = stores.map(upsert);
        let tags = metas.map(|meta| meta.etag());
        assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[1] != tags[2]);
        assert_eq!(metas[0].modified(), metas[1].modified(), "the test is weaker than it says");
        assert!(metas[1].revision().0 > metas[0].revision().0 + (1 << 19));
    }
}

#[test]
fn a_copy_of_a_copy_keeps_the_tags_of_every_incarnation() {
    let (mut sim, writer, _) = prepared(5);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut store = writer.store().clone();
    let mut ledger = Ledger::above(store.revision().0);
    ledger.start_from(writer.read().unwrap());
    let mut tags: Vec<ETag> = Vec::new();
    for number in 0_u8..6 {
        tags.push(raw(&store).create([200, number], &Bytes::new()).unwrap().etag());
        let copy = format!("copy-{number}");
        store.backup(&copy).unwrap();
        // Opened where it lies, or restored, or restored from a store that is no backup.
        sim = sim.at(format!("store-{number}"));
        store = match number % 3 {
            0 => sim.restore(&copy, &Options::new()).unwrap(),
            1 => {
                sim = sim.at(&copy);
                sim.open(&Options::new()).unwrap()
            }
            _ => {
                let opened = sim.at(&copy).open(&Options::new()).unwrap();
                tags.push(raw(&opened).create([201, number], &Bytes::new()).unwrap().etag());
                opened.close().unwrap();
                sim.restore(&copy, &Options::new()).unwrap()
            }
        };
        for item in raw(&store).iter().unwrap().map(Result::unwrap) {
            raw(&store).replace(item.key(), &item.value, item.etag()).unwrap();
            if rng.bool() {
                raw(&store).upsert(item.key(), &item.value, Precondition::Always).unwrap();
            }
        }
        store.verify().unwrap();
    }
    let expected = read_all(&store);
    store.backup("last").unwrap();
    let last = sim.at("last").open(&Options::new()).unwrap();
    assert_eq!(read_all(&last), expected);
    last.verify().unwrap();
}

fn read_all(store: &Store) -> Vec<(Vec<u8>, Bytes, Meta)> {
    let items = ["a", "b"].map(|name| store.raw(name).unwrap());
    let items = items.iter().flat_map(|items| items.iter().unwrap()).map(Result::unwrap);
    items.map(|item| (item.key().to_vec(), item.value.clone(), *item.meta())).collect()
}

#[test]
fn a_store_that_was_killed_is_restored_as_it_would_open_and_is_left_as_it_is() {
    for seed in seeds(0..thinned(12, 30)) {
        let _repeat = Repeat::new("backup", seed);
        let (sim, writer, _) = prepared(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let image = match seed % 3 {
            0 => sim.kill(&mut rng),
            1 => sim.crash(&mut rng),
            _ => {
                writer.close().unwrap();
                sim
            }
        };
        let files = |sim: &Simulation| -> Vec<_> {
            let names = sim.disk().file_names().into_iter();
            let names = names.filter(|name| name.starts_with(STORE) && !name.ends_with("LOCK"));
            names.map(|name| (sim.disk().read_file(&name), name)).collect()
        };
        let before = files(&image);
        let restored = image.at("restored").restore(STORE, &Options::new()).unwrap();
        assert!(files(&image) == before, "the source was changed");
        let restored = read(restored);
        let opened = read(image.open(&Options::new()).unwrap());
        assert!(is_same(&opened, &restored) && is_same(&restored, &opened));
    }
}

#[test]
fn a_damaged_backup_is_refused_or_restored_whole() {
    let (sim, writer, state) = prepared(3);
    writer.store().backup("copy").unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let names = sim.disk().file_names().into_iter().filter(|name| name.starts_with("copy"));
    let (mut refused, mut restored) = (0, 0);
    for name in names.filter(|name| !name.ends_with("LOCK")) {
        let whole = sim.disk().read_file(&name).unwrap();
        for number in 0..30 {
            let mut bytes = whole.clone();
            let at = rng.usize(..bytes.len());
            match number % 3 {
                0 => bytes.truncate(at),
                _ => bytes[at] ^= 1 << rng.u8(..8),
            }
            sim.disk().write_file(&name, &bytes).unwrap();
            let target = sim.at(format!("restored-{}-{number}", name.display()));
            match target.restore("copy", &Options::new()) {
                Ok(store) => {
                    restored += 1;
                    assert!(is_same(&state, &read(store)), "{} at {at}", name.display());
                }
                Err(Error::Corrupt { .. }) => {
                    refused += 1;
                    let opened = target.open(&Options::new().create(false));
                    assert_eq!(io_kind(opened), ErrorKind::NotFound);
                }
                Err(error) => panic!("{} at {at}: {error:?}", name.display()),
            }
        }
        sim.disk().write_file(&name, &whole).unwrap();
    }
    assert!(refused > 20 && restored > 20, "{refused} refused, {restored} restored");
}

/// A regression: damage to the segment that is being written to passed for its end.
#[test]
fn damage_to_a_running_store_is_not_copied() {
    let (sim, writer, _) = prepared(4);
    let value = Bytes::from_static(b"to be damaged");
    raw(writer.store()).create("before", &value).unwrap();
    upsert(writer.store());
    let names = sim.disk().file_names();
    let name = names.iter().rfind(|name| name.extension().is_some_and(|e| e == "seg")).unwrap();
    let mut bytes = sim.disk().read_file(name).unwrap();
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(name, &bytes).unwrap();
    let backup = writer.store().backup("copy");
    assert!(matches!(backup, Err(Error::Corrupt { .. })), "{backup:?}");
    let opened = sim.at("copy").open(&Options::new().create(false));
    assert_eq!(io_kind(opened), ErrorKind::NotFound);
}

#[test]
fn closing_ends_a_backup_and_leaves_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Eventual);
    let store = options.open(folder.path().join("store")).unwrap();
    for number in 0_u8..24 {
        let value = Bytes::from(vec![number; 1 << 20]);
        raw(&store).create([number], &value).unwrap();
    }
    let copy = folder.path().join("copy");
    let backup = std::thread::scope(|scope| {
        let backup = scope.spawn(|| store.backup(&copy));
        while !copy.join("journal").exists() && !backup.is_finished() {
            std::thread::yield_now();
        }
        store.clone().close().unwrap();
        backup.join().unwrap()
    });
    let opened = Options::new().create(false).open(&copy);
    match backup {
        Ok(_) => assert_eq!(raw(&opened.unwrap()).len().unwrap(), 24),
        Err(Error::Closed) => assert_eq!(io_kind(opened), ErrorKind::NotFound),
        Err(error) => panic!("{error:?}"),
    }
    assert!(matches!(store.backup(&copy), Err(Error::Closed)));
}

#[test]
fn a_poisoned_store_is_backed_up_as_far_as_it_is_durable() {
    use ifmatch::simulation::{Fault, FaultPlan, Operation};
    let (sim, writer, state) = prepared(6);
    sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    let failed = raw(writer.store()).create("same", &Bytes::new());
    assert!(matches!(failed, Err(Error::CommitUnknown { .. })), "{failed:?}");
    assert!(writer.store().stats().unwrap().poisoned);
    writer.store().backup("copy").unwrap();
    assert!(is_same(&state, &read(sim.at("copy").open(&Options::new()).unwrap())));
}
