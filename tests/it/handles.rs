//! Stores and handles: closing, dropping, locking, opening what is there and what is not, and the
//! HTTP status of every error.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{
    Bincode, Collection, Durability, Error, Item, Iter, Json, Keys, Meta, Options, Patch,
    Precondition, Read, Revision, Store,
};

use crate::backends::on_every_backend;

const BOTH: [Durability; 2] = [Durability::Immediate, Durability::Eventual];

fn new_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    (folder, path)
}

fn numbers(store: &Store) -> Collection<u64> {
    store.collection("numbers").unwrap()
}

#[track_caller]
fn locked(opened: Result<Store, Error>) {
    assert!(matches!(opened, Err(Error::Locked { .. })), "expected Locked, got {opened:?}");
}

#[test]
fn handles_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    fn cheap_to_clone<T: Clone + Send + Sync + 'static>() {}
    // A type that is neither may be stored: handles hold no document.
    type Alone = std::rc::Rc<u64>;
    cheap_to_clone::<Store>();
    cheap_to_clone::<Collection<Alone, Json>>();
    cheap_to_clone::<Collection<Alone, Bincode>>();
    cheap_to_clone::<Options>();
    cheap_to_clone::<Patch>();
    shared::<Iter<Alone, Json>>();
    shared::<Keys>();
    shared::<ifmatch::Batch>();
    shared::<Error>();
    cheap_to_clone::<Meta>();
    cheap_to_clone::<Read<u64>>();
}

#[test]
fn clones_are_the_same_store() {
    on_every_backend(|bench| {
        let clone = bench.store().clone();
        numbers(&clone).clone().create("k", &1).unwrap();
        assert_eq!(bench.numbers().get("k").unwrap().unwrap().value, 1);
        assert_eq!(clone.revision(), bench.store().revision());
    });
}

#[test]
fn every_method_of_a_closed_store_says_so() {
    on_every_backend(|bench| {
        let (store, other) = (bench.store(), bench.numbers());
        other.create("k", &1).unwrap();
        let mut items = other.iter().unwrap();
        let mut keys = other.keys().unwrap();
        let closing = Store::in_memory();
        let numbers = numbers(&closing);
        let raw = closing.raw("never written").unwrap();
        numbers.create("k", &1).unwrap();
        let mut item = numbers.get("k").unwrap().unwrap();
        let (mut closed_items, mut closed_keys) =
            (numbers.iter().unwrap(), numbers.keys().unwrap());
        closing.clone().close().unwrap();
        let always = || Precondition::Always;
        macro_rules! closed {
            ($($call:expr),* $(,)?) => {$(
                let result = $call;
                assert!(matches!(result, Err(Error::Closed)), "{}: {result:?}", stringify!($call));
            )*};
        }
        closed!(
            numbers.get("k"),
            numbers.get_many(["k"]),
            numbers.get_if("k", always()),
            numbers.create("k", &1),
            numbers.replace("k", &1, always()),
            numbers.upsert("k", &1, always()),
            numbers.patch("k", &Patch::new(), always()),
            numbers.delete("k", always()),
            numbers.save(&mut item),
            numbers.save(&mut Item::new("new", 1)),
            numbers.update("k", |_| panic!("there is nothing to update")),
            numbers.update_or_insert_with("k", || 1, |_| {}),
            numbers.iter().and_then(|mut items| items.next().unwrap()),
            numbers.prefix("").and_then(|mut items| items.next().unwrap()),
            numbers.range(..).and_then(|mut items| items.next().unwrap()),
            numbers.keys().and_then(|mut keys| keys.next().unwrap()),
            numbers.len(),
            numbers.is_empty(),
            raw.get("k"),
            raw.create("k", &Bytes::new()),
            raw.len(),
            closed_items.next().unwrap(),
            closed_keys.next().unwrap(),
            closing.collection::<u64>("numbers"),
            closing.collection_with::<u64, Bincode>("other"),
            closing.raw("other"),
            closing.batch().commit(),
            closing.batch().create(&numbers, "k", &1).commit(),
            closing.sync(),
            closing.clone().close(),
        );
        assert!(closed_items.next().is_none() && closed_keys.next().is_none());
        assert_eq!(closing.revision(), Revision::ZERO);
        assert_eq!(numbers.name(), "numbers");
        // Another store goes on.
        assert!(items.next().unwrap().is_ok() && keys.next().unwrap().is_ok());
        store.sync().unwrap();
    });
}

#[test]
fn a_directory_can_be_opened_at_once_after_close_and_after_drop() {
    for durability in BOTH {
        let (_folder, path) = new_folder();
        let options = Options::new().durability(durability);
        for round in 0..50_u64 {
            let store = options.open(&path).unwrap();
            let numbers = numbers(&store);
            assert_eq!(numbers.len().unwrap(), round);
            numbers.create(round.to_be_bytes(), &round).unwrap();
            match round % 3 {
                0 => store.close().unwrap(),
                // The collection is then the last handle, or the store is.
                1 => drop((store, numbers)),
                _ => drop((numbers, store)),
            }
        }
    }
}

#[test]
fn dropping_one_of_several_handles_closes_nothing() {
    let (_folder, path) = new_folder();
    let store = Store::open(&path).unwrap();
    let clone = store.clone();
    let collection = numbers(&store);
    drop(store);
    collection.create("a", &1).unwrap();
    locked(Store::open(&path));
    drop(clone);
    collection.create("b", &1).unwrap();
    locked(Store::open(&path));
    let mut items = collection.iter().unwrap();
    drop(collection);
    assert_eq!(items.next().unwrap().unwrap().value, 1);
    locked(Store::open(&path));
    drop(items);
    assert_eq!(numbers(&Store::open(&path).unwrap()).len().unwrap(), 2);
}

#[test]
fn a_second_open_is_locked_until_the_first_is_closed() {
    let (_folder, path) = new_folder();
    let first = Store::open(&path).unwrap();
    match Store::open(&path) {
        Err(Error::Locked { path: told }) => assert_eq!(told, path),
        other => panic!("expected Locked, got {other:?}"),
    }
    for options in [
        Options::new().create(false),
        Options::new().durability(Durability::Eventual),
        Options::new().on_damage(ifmatch::OnDamage::KeepPrefix),
    ] {
        locked(options.open(&path));
    }
    numbers(&first).create("k", &1).unwrap();
    first.close().unwrap();
    assert_eq!(numbers(&Store::open(&path).unwrap()).len().unwrap(), 1);
}

#[test]
fn of_many_openers_at_once_one_gets_the_store() {
    let (_folder, path) = new_folder();
    drop(Store::open(&path).unwrap());
    for _ in 0..5 {
        let opened: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Store::open(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
        opened.into_iter().filter(Result::is_err).for_each(locked);
    }
}

/// The same place, told from the working directory.
#[cfg(unix)]
fn relative(path: &std::path::Path) -> PathBuf {
    let here = std::env::current_dir().unwrap();
    let mut relative: PathBuf = here.components().skip(1).map(|_| "..").collect();
    relative.extend(path.components().skip(1));
    relative
}

#[test]
#[cfg(unix)]
fn a_store_is_locked_by_whichever_path_it_is_opened() {
    let (folder, path) = new_folder();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let folder_link = folder.path().join("folder");
    std::os::unix::fs::symlink(folder.path(), &folder_link).unwrap();
    let paths = [
        path.clone(),
        relative(&path),
        folder.path().join(".").join("..").join(folder.path().file_name().unwrap()).join("store"),
        link,
        folder_link.join("store"),
    ];
    drop(Store::open(&path).unwrap());
    for (round, first) in (0..).zip(&paths) {
        let store = Store::open(first).unwrap();
        assert_eq!(numbers(&store).len().unwrap(), round);
        numbers(&store).create(round.to_be_bytes(), &round).unwrap();
        for second in &paths {
            locked(Store::open(second));
        }
    }
}

/// Nor is the working directory, if the path is relative: both are resolved once.
#[test]
#[cfg(unix)]
fn a_link_that_is_set_anew_is_of_no_matter_to_an_open_store() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let [first, second, link, copy] =
        ["first", "second", "link", "copy"].map(|name| folder.path().join(name));
    for home in [&first, &second] {
        fs::create_dir(home).unwrap();
        drop(Store::open(home.join("store")).unwrap());
    }
    symlink(&first, &link).unwrap();
    let store = Store::open(link.join("store")).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(&second, &link).unwrap();
    let blobs = store.raw("blobs").unwrap();
    for n in 0..40_u8 {
        blobs.create([n], &vec![n; 50_000].into()).unwrap();
    }
    assert!(store.stats().unwrap().segments > 1);
    store.compact().unwrap();
    store.backup(&copy).unwrap();
    store.close().unwrap();
    let items = |home: &std::path::Path| {
        let store = Store::open(home).unwrap();
        store.raw("blobs").unwrap().len().unwrap()
    };
    assert_eq!(items(&first.join("store")), 40);
    assert_eq!(items(&second.join("store")), 0);
    assert_eq!(items(&copy), 40);
}

#[test]
fn an_empty_path_is_refused() {
    let before = fs::read_dir(".").unwrap().count();
    for refused in [Store::open(""), Store::restore("", "elsewhere")] {
        let Err(Error::Io { source, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(fs::read_dir(".").unwrap().count(), before);
}

#[test]
fn without_create_a_missing_store_is_not_found_and_not_made() {
    let (_folder, path) = new_folder();
    let missing = |opened: Result<Store, Error>| match opened {
        Err(Error::Io { path: told, source, .. }) => {
            assert_eq!((told, source.kind()), (path.clone(), io::ErrorKind::NotFound));
        }
        other => panic!("expected Io, got {other:?}"),
    };
    let options = Options::new().create(false);
    missing(options.open(&path));
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    missing(options.open(&path));
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    drop(Store::open(&path).unwrap());
    drop(options.open(&path).unwrap());
}

#[test]
fn a_sync_interval_may_be_longer_than_time() {
    let (_folder, path) = new_folder();
    let options = Options::new().durability(Durability::Eventual);
    let store = options.sync_interval(Duration::MAX).open(&path).unwrap();
    numbers(&store).create("k", &1).unwrap();
    numbers(&store).create("l", &2).unwrap();
    store.close().unwrap();
    assert_eq!(numbers(&Store::open(&path).unwrap()).len().unwrap(), 2);
}

#[test]
fn a_directory_above_that_cannot_be_synced_is_no_hindrance() {
    use io::ErrorKind::{InvalidInput, Other, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    for kind in [InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported, Other] {
        let sim = Simulation::new(1);
        let plan = FaultPlan::after(0, Fault::Error(kind)).only(Operation::SyncDir);
        sim.disk().inject(plan);
        match sim.open(&Options::new()) {
            Ok(store) => assert_eq!((kind != Other, store.revision().0), (true, 0)),
            Err(Error::Io { source, .. }) => assert_eq!((kind, source.kind()), (Other, Other)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_missing_directory_is_created_with_its_parents() {
    let (_folder, path) = new_folder();
    let deep = path.join("a").join("b");
    numbers(&Store::open(&deep).unwrap()).create("k", &1).unwrap();
    assert_eq!(numbers(&Store::open(&deep).unwrap()).len().unwrap(), 1);
}

/// Windows takes 260 characters of a path as users write it. The files of the last one lie beyond.
#[test]
fn f2_a_path_is_told_as_users_write_it_up_to_the_length_that_windows_takes() {
    let (_folder, path) = new_folder();
    let above = path.as_os_str().len();
    for len in [150, 230, 250] {
        let filler = "d".repeat((len - above) / 2);
        let deep = path.join(&filler).join(&filler);
        let store = Store::open(&deep).unwrap();
        numbers(&store).create("k", &1).unwrap();
        let told = store.path().unwrap().to_str().unwrap().to_owned();
        assert!(!told.contains('?'), "{told}");
        store.close().unwrap();
        let store = Store::open(&deep).unwrap();
        assert_eq!(numbers(&store).len().unwrap(), 1);
        store.backup(path.join(&filler).join("backup")).unwrap();
    }
}

#[test]
fn a_directory_with_other_files_and_no_store_is_refused_and_left_untouched() {
    let (_folder, path) = new_folder();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("letter.txt"), "dear").unwrap();
    for create in [true, false] {
        let opened = Options::new().create(create).open(&path);
        let Err(Error::Io { source, .. }) = opened else { panic!("expected Io, got {opened:?}") };
        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        assert_eq!(fs::read(path.join("letter.txt")).unwrap(), b"dear");
    }
}

#[test]
fn a_path_that_is_a_file_is_refused_and_left_untouched() {
    let (_folder, path) = new_folder();
    fs::write(&path, "dear").unwrap();
    let opened = Store::open(&path);
    assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    let opened = Store::open(path.join("below"));
    assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    assert_eq!(fs::read(&path).unwrap(), b"dear");
}

#[test]
fn sync_returns_on_every_store_also_with_nothing_to_sync() {
    on_every_backend(|bench| {
        bench.store().sync().unwrap();
        bench.numbers().create("k", &1).unwrap();
        bench.store().sync().unwrap();
        bench.store().sync().unwrap();
        bench.step();
        bench.store().sync().unwrap();
        assert_eq!(bench.numbers().len().unwrap(), 1);
    });
}

#[test]
fn what_was_written_before_sync_survives_a_loss_of_power() {
    for seed in 0..20 {
        let simulation = Simulation::new(seed);
        let hour = Duration::from_secs(3_600);
        let options = Options::new().durability(Durability::Eventual).sync_interval(hour);
        let store = simulation.open(&options).unwrap();
        for key in 0..10_u8 {
            numbers(&store).create([key], &0).unwrap();
        }
        store.sync().unwrap();
        numbers(&store).create("after", &1).unwrap();
        let crashed = simulation.crash(&mut fastrand::Rng::with_seed(seed));
        let store = crashed.open(&options).unwrap();
        for key in 0..10_u8 {
            assert!(numbers(&store).get([key]).unwrap().is_some(), "lost {key}, seed {seed}");
        }
    }
}

#[test]
fn close_of_a_poisoned_store_says_so_and_closes() {
    let simulation = Simulation::new(1);
    let store = simulation.open(&Options::new()).unwrap();
    let numbers = numbers(&store);
    numbers.create("k", &1).unwrap();
    simulation.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    let written = numbers.create("lost?", &2);
    assert!(matches!(written, Err(Error::CommitUnknown { .. })), "{written:?}");
    assert!(matches!(numbers.create("x", &2), Err(Error::Poisoned { .. })));
    assert_eq!(numbers.get("k").unwrap().unwrap().value, 1);
    assert!(matches!(store.clone().close(), Err(Error::Poisoned { .. })));
    assert!(matches!(numbers.get("k"), Err(Error::Closed)));
}
