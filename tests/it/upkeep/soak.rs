//! A store on disk that does everything at once for a while, and must not grow meanwhile.
//!
//! `IFMATCH_SOAK_SECONDS=n` goes on for so long; the usual run is a short one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ifmatch::{
    ChangeKind, Cursor, Durability, ETag, Error, HistoryPolicy, Options, Precondition, Store,
};

use super::{number_in, value};
use crate::{Repeat, from_environment, thinned};

const KEYS: u64 = 4_000;
const TTL_KEYS: u64 = 500;
const LEN: usize = 600;
/// Between two openings of the store.
const RUN: Duration = Duration::from_secs(20);

/// What is bounded, whatever the running time.
const MOST_RESIDENT_BYTES: u64 = 350 << 20;
const MOST_HANDLES: usize = 120;
/// Of the live bytes, items and the index's minimum together some 30 MiB.
const MOST_FOLDER_BYTES: u64 = 160 << 20;

type Contents = BTreeMap<Vec<u8>, (ETag, u64)>;

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    resident_bytes: u64,
    handles: usize,
    folder_bytes: u64,
}

impl Sample {
    fn take(folder: &Path) -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let handles = fs::read_dir("/proc/self/fd").map_or(0, |handles| handles.count());
        let resident_bytes = pages.unwrap_or(0) * 4_096;
        Self { resident_bytes, handles, folder_bytes: bytes_below(folder) }
    }

    fn max(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            handles: self.handles.max(other.handles),
            folder_bytes: self.folder_bytes.max(other.folder_bytes),
        }
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        // One that compaction removes meanwhile is gone.
        metadata => metadata.map_or(0, |metadata| metadata.len()),
    };
    entries.flatten().map(bytes).sum()
}

/// What the threads count.
#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    changes: AtomicU64,
    lists: AtomicU64,
    snapshots: AtomicU64,
    compactions: AtomicU64,
    backups: AtomicU64,
}

/// Takes the store's changes until it ends.
struct Follower {
    contents: Contents,
    cursor: Cursor,
    pause: Duration,
}

impl Follower {
    fn new(pause: Duration) -> Self {
        Self { contents: Contents::new(), cursor: Cursor::START, pause }
    }

    fn follow(&mut self, store: &Store, counts: &Counts, end: &AtomicBool) {
        loop {
            match self.watch(store, counts, end) {
                Ok(()) | Err(Error::Closed) => return,
                Err(Error::Compacted) => {
                    let snapshot = store.snapshot();
                    counts.lists.fetch_add(1, Ordering::Relaxed);
                    let items = store.raw("items").unwrap();
                    let listed = snapshot.collection(&items).iter().and_then(|items| {
                        let entry = |item: ifmatch::Item<bytes::Bytes>| {
                            (item.key().to_vec(), (item.etag(), number_in(&item.value)))
                        };
                        items.map(|item| item.map(entry)).collect()
                    });
                    // One that was given up meanwhile is asked for again.
                    if let Ok(listed) = listed {
                        self.contents = listed;
                        self.cursor = snapshot.cursor().unwrap();
                    }
                }
                Err(error) => panic!("following: {error:?}"),
            }
        }
    }

    fn watch(&mut self, store: &Store, counts: &Counts, end: &AtomicBool) -> Result<(), Error> {
        let mut watch = store.watch(self.cursor)?;
        loop {
            let ended = end.load(Ordering::SeqCst);
            let Some(change) = watch.recv_timeout(Duration::from_millis(20))? else {
                if ended {
                    self.cursor = watch.cursor();
                    return Ok(());
                }
                continue;
            };
            counts.changes.fetch_add(1, Ordering::Relaxed);
            match change.kind() {
                ChangeKind::Created | ChangeKind::Replaced => {
                    let number = number_in(change.value().unwrap());
                    self.contents.insert(change.key().to_vec(), (change.etag(), number));
                }
                _ => drop(self.contents.remove(change.key())),
            }
            self.cursor = change.cursor();
            if !ended {
                thread::sleep(self.pause);
            }
        }
    }
}

fn options(run: u64) -> Options {
    let history = HistoryPolicy::new().tombstones(Duration::from_secs(2)).versions(1);
    let durability = if run % 4 == 3 { Durability::Immediate } else { Durability::Eventual };
    Options::new().durability(durability).history(history).cache_bytes(8 << 20)
}

fn write(store: &Store, seed: u64, counts: &Counts, end: &AtomicBool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let items = store.raw("items").unwrap();
    let passing = items.clone().with_ttl(Duration::from_millis(1_500));
    while !end.load(Ordering::SeqCst) {
        let (key, number) = (rng.u64(0..KEYS).to_be_bytes(), rng.u64(..));
        match rng.u8(0..20) {
            0 => drop(items.delete(key, Precondition::Always)),
            1 => {
                let mut batch = store.batch();
                for key in 0..20_u64 {
                    let key = (key * 97 + number % 97).to_be_bytes();
                    let new = value(number, LEN);
                    batch = batch.upsert(&items, key, &new, Precondition::Always);
                }
                batch.commit().unwrap();
            }
            2 => {
                let key = (KEYS + rng.u64(0..TTL_KEYS)).to_be_bytes();
                passing.upsert(key, &value(number, LEN), Precondition::Always).unwrap();
            }
            _ => drop(items.upsert(key, &value(number, LEN), Precondition::Always).unwrap()),
        }
        counts.writes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Snapshots, watches that are dropped, compactions and backups, one after the other.
fn look_after(store: &Store, folder: &Path, seed: u64, counts: &Counts, end: &AtomicBool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let items = store.raw("items").unwrap();
    while !end.load(Ordering::SeqCst) {
        match rng.u8(0..12) {
            0 => {
                store.compact().unwrap();
                counts.compactions.fetch_add(1, Ordering::Relaxed);
            }
            1 => {
                let copy = folder.join("copy");
                store.backup(&copy).unwrap();
                drop(Store::open(&copy).unwrap());
                fs::remove_dir_all(copy).unwrap();
                counts.backups.fetch_add(1, Ordering::Relaxed);
            }
            2 => {
                let mut watch = store.watch(Cursor::START).unwrap();
                for _ in 0..rng.u16(0..400) {
                    watch.recv_timeout(Duration::from_millis(1)).unwrap();
                }
            }
            _ => {
                let snapshot = store.snapshot();
                thread::sleep(Duration::from_millis(rng.u64(0..120)));
                let old = snapshot.collection(&items);
                for item in old.iter().unwrap().take(500) {
                    match item {
                        Ok(item) => assert!(item.revision() <= snapshot.revision()),
                        Err(Error::SnapshotTooOld) => break,
                        Err(error) => panic!("reading a snapshot: {error:?}"),
                    }
                }
                counts.snapshots.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(rng.u64(0..60)));
    }
}

/// Ends the threads, also when the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One opening of the store; returns what it took at most.
fn live(
    folder: &Path,
    run: u64,
    lasts: Duration,
    followers: &mut [Follower],
    all: &Counts,
) -> Sample {
    let path = folder.join("store");
    let store = options(run).open(&path).unwrap();
    let (end, writers_end) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut most, began) = (Sample::default(), Instant::now());
    thread::scope(|scope| {
        let _end = (EndOnDrop(&writers_end), EndOnDrop(&end));
        let (store, end, writers_end) = (&store, &end, &writers_end);
        let writers = [0, 1]
            .map(|writer| scope.spawn(move || write(store, run * 2 + writer, all, writers_end)));
        let others = scope.spawn(move || look_after(store, folder, run, all, writers_end));
        for follower in followers.iter_mut() {
            scope.spawn(move || follower.follow(store, all, end));
        }
        while began.elapsed() < lasts && !writers.iter().any(|writer| writer.is_finished()) {
            thread::sleep(Duration::from_millis(200).min(lasts));
            most = most.max(Sample::take(&path));
        }
        writers_end.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        others.join().unwrap();
        // What is expired goes, and then nothing changes any more.
        thread::sleep(Duration::from_millis(1_600));
        store.compact().unwrap();
        store.sync().unwrap();
        end.store(true, Ordering::SeqCst);
    });
    let items = store.raw("items").unwrap();
    let held: Contents = items
        .iter()
        .unwrap()
        .map(Result::unwrap)
        .map(|item| (item.key().to_vec(), (item.etag(), number_in(&item.value))))
        .collect();
    for follower in followers {
        assert!(follower.contents == held, "a follower ends elsewhere");
    }
    store.verify().unwrap();
    drop(items);
    store.close().unwrap();
    most
}

#[test]
fn a_store_that_does_everything_for_long_grows_no_further() {
    let seconds = from_environment("IFMATCH_SOAK_SECONDS").unwrap_or(thinned(1, 5));
    let _repeat = Repeat::new("upkeep::soak", 0);
    let folder = tempfile::tempdir().unwrap();
    let counts = Counts::default();
    let mut followers = [0, 300, 3_000].map(|us| Follower::new(Duration::from_micros(us)));
    let (mut most, mut left) = (Sample::default(), Duration::from_secs(seconds));
    for run in 0.. {
        let lasts = if seconds <= 10 { left.div_f32(2.0) } else { left.min(RUN) };
        let sample = live(folder.path(), run, lasts, &mut followers, &counts);
        most = most.max(sample);
        let closed_bytes = bytes_below(&folder.path().join("store"));
        println!("run {run}: {sample:?}, {closed_bytes} bytes when closed");
        left = left.saturating_sub(lasts);
        if left < Duration::from_secs(1) || run > 0 && seconds <= 10 {
            break;
        }
    }
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{} writes, {} changes followed, {} lists, {} snapshots, {} compactions, {} backups",
        load(&counts.writes),
        load(&counts.changes),
        load(&counts.lists),
        load(&counts.snapshots),
        load(&counts.compactions),
        load(&counts.backups),
    );
    println!("at most {most:?}");
    // The other tests of this process take theirs as well.
    if seconds > 10 {
        assert!(most.resident_bytes < MOST_RESIDENT_BYTES, "{most:?}");
        assert!(most.handles < MOST_HANDLES, "{most:?}");
    }
    assert!(most.folder_bytes < MOST_FOLDER_BYTES, "{most:?}");
}
