//! One operation over and over, to be run under a profiler:
//! `cargo run --release -p ifmatch-benches --example loops -- OPERATION [COUNT [THREADS [ITEMS]]]`.
//!
//! The operation is `get`, `replace` (a read, and a replace with If-Match), `durable` (the same, synced),
//! `update` (of one key), `patch` (of one document), `batch` (of 100 replaces), `scan` or `keys` (of all
//! items), or `find` (of the newest 50 documents of one of 100 tags). Prints how long it took to load an
//! item, how long one operation takes, and how many syncs, and reads that the cache could not answer,
//! there were. Values have about 256 bytes. For `find` the items are documents, and there is an index.

use std::collections::BTreeSet;
use std::error::Error;
use std::hint::black_box;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use ifmatch::{Collection, Durability, Filter, Index, Options, Patch, Precondition, Raw, Store};
use serde::{Deserialize, Serialize};

const VALUE_BYTES: usize = 256;
const BATCH: u64 = 1_000;
const BATCHED: u64 = 100;
const TAGS: u64 = 100;
const PAGE: u64 = 50;

#[derive(Serialize, Deserialize)]
struct Note {
    tag: String,
    modified: u64,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    Replace,
    Durable,
    Update,
    Patch,
    Batch,
    Scan,
    Keys,
    Find,
}

fn key(number: u64) -> String {
    format!("item-{number:016}")
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let operation = match arguments.first().map(String::as_str) {
        Some("get") => Operation::Get,
        Some("replace") => Operation::Replace,
        Some("durable") => Operation::Durable,
        Some("update") => Operation::Update,
        Some("patch") => Operation::Patch,
        Some("batch") => Operation::Batch,
        Some("scan") => Operation::Scan,
        Some("keys") => Operation::Keys,
        Some("find") => Operation::Find,
        _ => {
            let operations = "get|replace|durable|update|patch|batch|scan|keys|find";
            return Err(format!("usage: {operations} [COUNT [THREADS [ITEMS]]]").into());
        }
    };
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (count, threads, items) = (number(1, 100_000)?, number(2, 1)?.max(1), number(3, 200_000)?);

    let folder = tempfile::tempdir()?;
    let durability = match operation {
        Operation::Durable => Durability::Immediate,
        _ => Durability::Eventual,
    };
    let store = Options::new().durability(durability).open(folder.path().join("loops.ifm"))?;
    let (raw, documents) = (store.raw("items")?, store.collection("documents")?);
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    let notes = store.collection::<Note>("notes")?;
    if operation == Operation::Find {
        notes.ensure_index(Index::on("/tag").then_desc("/modified"))?;
    }
    let (began, mut random) = (Instant::now(), fastrand::Rng::with_seed(0));
    for first in (0..items).step_by(BATCH as usize) {
        let numbers = first..items.min(first + BATCH);
        let batch = numbers.fold(store.batch(), |batch, n| match operation {
            Operation::Find => batch.create(&notes, key(n), &note(&mut random)),
            _ => batch.create(&raw, key(n), &value),
        });
        batch.commit()?;
    }
    let loaded = began.elapsed().as_secs_f64() * 1e6 / items as f64;
    println!("{loaded:.2} µs to load each");
    documents.create("one", &serde_json::json!({ "count": 0, "text": "x".repeat(1_000) }))?;
    store.sync()?;

    let (began, before) = (Instant::now(), store.stats()?);
    let collections = (&raw, &documents, &notes);
    let run = |thread| run(operation, &store, collections, (thread, count / threads, items));
    thread::scope(|scope| {
        let spawn = |thread| scope.spawn(move || run(thread));
        let running: Vec<_> = (0..threads).map(spawn).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })?;
    let each = began.elapsed().as_secs_f64() * 1e6 / (count / threads * threads).max(1) as f64;
    let after = store.stats()?;
    let (syncs, misses) = (after.syncs - before.syncs, after.cache_misses - before.cache_misses);
    println!("{each:.2} µs each, {syncs} syncs, {misses} reads that the cache could not answer");
    store.close()?;
    Ok(())
}

type Collections<'s> =
    (&'s Collection<Bytes, Raw>, &'s Collection<serde_json::Value>, &'s Collection<Note>);

fn tag(number: u64) -> String {
    format!("tag-{number:02}")
}

/// A document whose JSON has about as many bytes as a value.
fn note(random: &mut fastrand::Rng) -> Note {
    let text = (0..VALUE_BYTES - 52).map(|_| random.lowercase()).collect();
    Note { tag: tag(random.u64(..TAGS)), modified: random.u64(..1_000_000_000), text }
}

fn run(
    operation: Operation,
    store: &Store,
    (raw, documents, notes): Collections<'_>,
    (thread, count, items): (u64, u64, u64),
) -> Result<(), ifmatch::Error> {
    let mut random = fastrand::Rng::with_seed(thread);
    let fresh = |random: &mut fastrand::Rng| {
        let mut value = vec![0; VALUE_BYTES];
        value[..8].copy_from_slice(&random.u64(..).to_le_bytes());
        Bytes::from(value)
    };
    for _ in 0..count {
        let key = key(random.u64(..items.max(1)));
        match operation {
            Operation::Get => drop(black_box(raw.get(&key)?)),
            Operation::Update => {
                let value = fresh(&mut random);
                raw.update(self::key(0), |stored| *stored = value.clone())?;
            }
            Operation::Batch => {
                let keys = (0..BATCHED).map(|_| self::key(random.u64(..items.max(1))));
                let replaced = keys.collect::<BTreeSet<_>>().into_iter().try_fold(
                    store.batch(),
                    |batch, key| match raw.get(&key)? {
                        Some(seen) => Ok(batch.replace(raw, key, &fresh(&mut random), seen.etag())),
                        None => Ok::<_, ifmatch::Error>(batch),
                    },
                )?;
                match replaced.commit() {
                    // Another thread was faster.
                    Err(ifmatch::Error::Batch { .. }) => {}
                    replaced => drop(replaced?),
                }
            }
            Operation::Scan => {
                raw.iter()?.try_for_each(|item| item.map(|it| drop(black_box(it))))?
            }
            Operation::Keys => {
                raw.keys()?.try_for_each(|key| key.map(|key| drop(black_box(key))))?
            }
            Operation::Find => {
                let newest = notes.find(Filter::eq("/tag", tag(random.u64(..TAGS))));
                let newest = newest.sort_desc("/modified").limit(PAGE);
                newest.iter()?.try_for_each(|note| note.map(|note| drop(black_box(note))))?
            }
            Operation::Patch => {
                let patch = Patch::new().set("/count", random.u32(..));
                documents.patch("one", &patch, Precondition::Always)?;
            }
            Operation::Replace | Operation::Durable => {
                let Some(seen) = raw.get(&key)? else { continue };
                match raw.replace(&key, &fresh(&mut random), seen.etag()) {
                    // Another thread was faster.
                    Err(ifmatch::Error::PreconditionFailed(_)) => {}
                    replaced => drop(replaced?),
                }
            }
        }
    }
    Ok(())
}
