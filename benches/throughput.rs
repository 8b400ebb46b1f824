//! Operations per second of this crate, of sled alone and of the raw disk, in one run.
//!
//! `cargo bench --bench throughput`, or with a part of a row's name to run only those rows.
//! `IFMATCH_BENCH_SECONDS` and `IFMATCH_BENCH_ITEMS` change the time per figure and the size.
//! `replace` is a read and a replace with If-Match of the tag that was read. Ratios between rows
//! of one run count; absolute figures depend on the machine.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that fails may stop")]

mod common;

use std::fs::File;
use std::sync::Mutex;

use bytes::Bytes;
use common::{Folder, grouped, items, key, per_second, value};
use ifmatch::{Collection, Durability, Error, Options, Precondition, Raw, Read, Store};

type StepResult = Result<u64, Box<dyn std::error::Error + Send + Sync>>;

const VALUE_BYTES: usize = 256;
const BATCH: u64 = 100;

fn main() {
    // cargo passes `--bench`; anything else is a part of a row's name.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let run = Run { wanted };
    println!(
        "{} items of {VALUE_BYTES} bytes, 21-byte keys, uniform random",
        grouped(items() as f64)
    );
    println!("{:<44}{:>14}", "operation", "per second");
    raw_disk(&run);
    sled_alone(&run);
    own(&run);
}

struct Run {
    wanted: Vec<String>,
}

impl Run {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|part| name.contains(part))
    }

    fn row(
        &self,
        name: &str,
        threads: usize,
        step: impl Fn(&mut fastrand::Rng) -> StepResult + Sync,
    ) {
        if self.wants(name) {
            println!("{name:<44}{:>14}", grouped(per_second(threads, step)));
        }
    }
}

/// The bound that no durable write of one thread passes: a small write and an fdatasync on a file
/// filled with zeros.
fn raw_disk(run: &Run) {
    let folder = Folder::new("raw");
    let path = folder.path().join("file");
    std::fs::write(&path, vec![0; 64 << 20]).expect("zeros");
    let file = File::options().read(true).write(true).open(&path).expect("the file");
    file.sync_all().expect("synced zeros");
    let offset = Mutex::new(0);
    run.row("raw disk: write + fdatasync, 1 thread", 1, |rng| {
        let bytes = value(rng, VALUE_BYTES + 100);
        let mut offset = offset.lock().expect("no panic");
        write_at(&file, &bytes, *offset)?;
        file.sync_data()?;
        *offset = (*offset + bytes.len() as u64) % (63 << 20);
        Ok(1)
    });
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset).map(drop)
}

/// sled by itself: a row, not a peer, as its flush does not survive a loss of power.
fn sled_alone(run: &Run) {
    let folder = Folder::new("sled");
    let config = sled::Config::default().path(folder.path().join("db")).flush_every_ms(None);
    let db = config.cache_capacity(64 << 20).open().expect("sled");
    let mut rng = fastrand::Rng::with_seed(0);
    for number in 0..items() {
        db.insert(key(number), value(&mut rng, VALUE_BYTES)).expect("insert");
    }
    db.flush().expect("flush");
    let file = File::open(folder.path().join("db").join("db")).expect("sled's file");
    let swap = |rng: &mut fastrand::Rng| -> StepResult {
        let key = key(rng.u64(..items()));
        let old = db.get(key)?;
        let swapped = db.compare_and_swap(key, old, Some(value(rng, VALUE_BYTES)))?;
        Ok(u64::from(swapped.is_ok()))
    };
    for threads in [1, 2] {
        run.row(&format!("sled: get, {threads} threads"), threads, |rng| {
            std::hint::black_box(db.get(key(rng.u64(..items())))?);
            Ok(1)
        });
    }
    for threads in [1, 2] {
        run.row(&format!("sled: get + swap, unsafe, {threads} threads"), threads, swap);
    }
    for threads in [1, 8, 64] {
        run.row(&format!("sled: get + swap + flush, unsafe, {threads} threads"), threads, |rng| {
            let done = swap(rng)?;
            db.flush()?;
            file.sync_data()?;
            Ok(done)
        });
    }
}

fn own(run: &Run) {
    let folder = Folder::new("ifmatch");
    let eventual = filled(&folder, "eventual", Durability::Eventual);
    reads(run, &eventual.1);
    for threads in [1, 2] {
        let name = format!("ifmatch: replace, eventual, {threads} threads");
        run.row(&name, threads, |rng| replace(&eventual.1, rng));
    }
    drop(eventual);
    let (store, blobs) = filled(&folder, "immediate", Durability::Immediate);
    for threads in [1, 8, 64] {
        let name = format!("ifmatch: replace, durable, {threads} threads");
        run.row(&name, threads, |rng| replace(&blobs, rng));
    }
    run.row("ifmatch: batch of 100, durable, items", 1, |rng| {
        let mut batch = store.batch();
        for _ in 0..BATCH {
            let key = key(rng.u64(..items()));
            let new = Bytes::from(value(rng, VALUE_BYTES));
            batch = batch.upsert(&blobs, key, &new, Precondition::Always);
        }
        batch.commit()?;
        Ok(BATCH)
    });
    let counters = store.collection::<u64>("counters").expect("a collection");
    counters.create("one", &0).expect("a counter");
    run.row("ifmatch: update of one key, durable, 8 threads", 8, |_| {
        counters.update("one", |count| *count += 1)?;
        Ok(1)
    });
}

fn reads(run: &Run, blobs: &Collection<Bytes, Raw>) {
    // A tenth of the items, so that they are read from the cache.
    let hot = (items() / 10).max(1);
    for threads in [1, 2] {
        run.row(&format!("ifmatch: get, hot, {threads} threads"), threads, |rng| {
            std::hint::black_box(blobs.get(key(rng.u64(..hot)))?);
            Ok(1)
        });
    }
    run.row("ifmatch: get, all items, 1 threads", 1, |rng| {
        std::hint::black_box(blobs.get(key(rng.u64(..items())))?);
        Ok(1)
    });
    let tags: Vec<_> =
        (0..hot).map(|n| blobs.get(key(n)).expect("get").expect("item").etag()).collect();
    run.row("ifmatch: get_if not modified, hot, 1 threads", 1, |rng| {
        let number = rng.u64(..hot);
        let read = blobs.get_if(key(number), Precondition::if_none_match(tags[number as usize]))?;
        assert!(matches!(read, Read::NotModified(_)), "nobody has changed the item");
        Ok(1)
    });
    run.row("ifmatch: scan with values, items", 1, |_| {
        Ok(blobs.iter()?.try_fold(0, |count, item| item.map(|_| count + 1))?)
    });
    run.row("ifmatch: scan of keys, items", 1, |_| Ok(blobs.len()?));
}

#[inline(never)]
fn replace(blobs: &Collection<Bytes, Raw>, rng: &mut fastrand::Rng) -> StepResult {
    let key = key(rng.u64(..items()));
    let item = blobs.get(key)?.ok_or("an item is missing")?;
    match blobs.replace(key, &Bytes::from(value(rng, VALUE_BYTES)), &item) {
        Ok(_) => Ok(1),
        Err(Error::PreconditionFailed(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// A store that holds every item, filled by batches, closed and opened again.
fn filled(folder: &Folder, name: &str, durability: Durability) -> (Store, Collection<Bytes, Raw>) {
    let path = folder.path().join(name);
    let mut rng = fastrand::Rng::with_seed(0);
    let store = Options::new().durability(Durability::Eventual).open(&path).expect("a store");
    let blobs = store.raw("items").expect("a collection");
    for start in (0..items()).step_by(1_000) {
        let mut batch = store.batch();
        for number in start..(start + 1_000).min(items()) {
            batch = batch.create(&blobs, key(number), &Bytes::from(value(&mut rng, VALUE_BYTES)));
        }
        batch.commit().expect("a batch");
    }
    drop(blobs);
    store.close().expect("closed");
    let store = Options::new().durability(durability).open(&path).expect("a store");
    let blobs = store.raw("items").expect("a collection");
    (store, blobs)
}
