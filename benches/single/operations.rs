//! Single operations, for who changes one thing and wants to see what it does:
//!
//! ```text
//! cargo bench -p ifmatch-benches                     all of them: under a minute
//! cargo bench -p ifmatch-benches -- replace          those whose names contain this
//! ```
//!
//! How this crate stands beside others, under load and in size, is measured by `benches/peers`.

#![allow(clippy::expect_used, reason = "a bench that fails may stop")]

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ifmatch::{Collection, Durability, Index, Options, Patch, Precondition, Raw, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

const ITEMS: u64 = 20_000;
const VALUE_BYTES: usize = 256;
const BATCH: u64 = 100;

fn main() {
    divan::main();
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Memory,
    Disk,
}

const PLACES: [Place; 2] = [Place::Memory, Place::Disk];

struct Filled {
    store: Store,
    items: Collection<Bytes, Raw>,
    folder: TempDir,
}

/// An `Eventual` store that holds every item.
fn filled(place: Place) -> Filled {
    let folder = new_folder();
    let store = match place {
        Place::Memory => Store::in_memory(),
        Place::Disk => open(&folder),
    };
    let items = store.raw("items").expect("a collection");
    let mut rng = fastrand::Rng::with_seed(0);
    for first in (0..ITEMS).step_by(1_000) {
        let batch = (first..first + 1_000).fold(store.batch(), |batch, number| {
            batch.create(&items, key(number), &value(&mut rng))
        });
        batch.commit().expect("a batch");
    }
    Filled { store, items, folder }
}

fn new_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn open(folder: &TempDir) -> Store {
    let options = Options::new().durability(Durability::Eventual);
    options.open(folder.path().join("store")).expect("a store")
}

fn key(number: u64) -> [u8; 21] {
    let mut key = *b"item/0000000000000000";
    for (slot, digit) in key.iter_mut().skip(5).zip(format!("{number:016}").bytes()) {
        *slot = digit;
    }
    key
}

fn value(rng: &mut fastrand::Rng) -> Bytes {
    let mut value = vec![0; VALUE_BYTES];
    rng.fill(&mut value);
    value.into()
}

#[divan::bench(args = PLACES)]
fn get(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    let mut rng = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| key(rng.u64(..ITEMS)))
        .bench_local_values(|key| filled.items.get(key).expect("a get"));
}

#[divan::bench(args = PLACES)]
fn get_not_modified(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    let tag = filled.items.get(key(1)).expect("a get").expect("an item").etag();
    let condition = Precondition::if_none_match(tag);
    bencher
        .bench_local(|| filled.items.get_if(black_box(key(1)), condition.clone()).expect("a get"));
}

/// A read and a replace with If-Match.
#[divan::bench(args = PLACES)]
fn replace(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    let mut rng = fastrand::Rng::with_seed(1);
    bencher.with_inputs(|| (key(rng.u64(..ITEMS)), value(&mut rng))).bench_local_values(
        |(key, value)| {
            let seen = filled.items.get(key).expect("a get").expect("an item");
            filled.items.replace(key, &value, &seen).expect("a replace")
        },
    );
}

#[divan::bench(args = PLACES)]
fn batch_of_100(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    let mut rng = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| {
            (0..BATCH).fold(filled.store.batch(), |batch, _| {
                let (key, value) = (key(rng.u64(..ITEMS)), value(&mut rng));
                batch.upsert(&filled.items, key, &value, Precondition::Always)
            })
        })
        .input_counter(|_| ItemsCount::new(BATCH))
        .bench_local_values(|batch| batch.commit().expect("a batch"));
}

/// One batch that creates an item in each of so many new collections; in proportion to them.
#[divan::bench(args = [100, 1_000, 10_000], sample_count = 10)]
fn batch_of_new_collections(bencher: Bencher<'_, '_>, collections: u64) {
    bencher
        .with_inputs(|| {
            let store = Store::in_memory();
            (0..collections).fold(store.batch(), |batch, number| {
                let items = store.raw(&format!("collection {number}")).expect("a collection");
                batch.create(&items, key(number), &Bytes::from_static(b"item"))
            })
        })
        .input_counter(move |_| ItemsCount::new(collections))
        .bench_local_values(|batch| batch.commit().expect("a batch"));
}

/// In a queue that so many items have gone through: one is put in at the end, the first is found and
/// taken.
#[divan::bench(args = [0, 10_000, 100_000])]
fn queue_after(bencher: Bencher<'_, '_>, gone_through: u64) {
    let store = Store::in_memory();
    let items = store.raw("queue").expect("a collection");
    let mut next = 0;
    let mut step = |waiting: u64| {
        items.create(key(next), &Bytes::from_static(b"item")).expect("a create");
        next += 1;
        if next > waiting {
            let first = items.iter().expect("a scan").next().expect("an item").expect("read");
            items.delete(first.key(), &first).expect("a delete");
        }
    };
    (0..gone_through).for_each(|_| step(10));
    bencher.bench_local(|| step(10));
}

/// One field of a document of 1 KiB.
#[divan::bench(args = PLACES)]
fn patch(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    let documents = filled.store.collection::<Value>("documents").expect("a collection");
    let document = json!({ "stock": 0, "name": "tent", "text": "x".repeat(980) });
    documents.create("a", &document).expect("a document");
    let patch = Patch::new().incr("/stock", 1);
    bencher.bench_local(|| documents.patch("a", &patch, Precondition::Always).expect("a patch"));
}

#[derive(Debug, Clone, Copy)]
enum Indexed {
    None,
    Plain,
    Unique,
}

const INDEXED: [Indexed; 3] = [Indexed::None, Indexed::Plain, Indexed::Unique];

/// Documents of some 256 bytes with an address each, under no index or one of the address.
fn users(indexed: Indexed) -> (TempDir, Collection<Value>) {
    let folder = new_folder();
    let store = open(&folder);
    let users = store.collection("users").expect("a collection");
    let index = match indexed {
        Indexed::None => None,
        Indexed::Plain => Some(Index::on("/email")),
        Indexed::Unique => Some(Index::on("/email").unique()),
    };
    if let Some(index) = index {
        users.ensure_index(index).expect("an index");
    }
    for first in (0..ITEMS).step_by(1_000) {
        let batch = (first..first + 1_000)
            .fold(store.batch(), |batch, n| batch.create(&users, key(n), &user(n, 0)));
        batch.commit().expect("a batch");
    }
    (folder, users)
}

fn user(number: u64, visits: u64) -> Value {
    // In no order, as addresses are.
    let email = format!("{:016x}@example.org", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    json!({ "email": email, "visits": visits, "text": "x".repeat(190) })
}

#[divan::bench(args = INDEXED, sample_count = 200, sample_size = 100)]
fn indexed_create(bencher: Bencher<'_, '_>, indexed: Indexed) {
    let (_folder, users) = users(indexed);
    let mut next = ITEMS;
    bencher
        .with_inputs(|| {
            next += 1;
            (key(next), user(next, 0))
        })
        .bench_local_values(|(key, user)| users.create(key, &user).expect("a create"));
}

/// What is indexed stays as it is.
#[divan::bench(args = INDEXED, sample_count = 200, sample_size = 100)]
fn indexed_replace(bencher: Bencher<'_, '_>, indexed: Indexed) {
    let (_folder, users) = users(indexed);
    let mut rng = fastrand::Rng::with_seed(1);
    bencher
        .with_inputs(|| {
            let number = rng.u64(..ITEMS);
            (key(number), user(number, rng.u64(..)))
        })
        .bench_local_values(|(key, user)| {
            users.replace(key, &user, Precondition::Always).expect("a replace")
        });
}

#[divan::bench(args = PLACES)]
fn scan_values(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| {
        filled
            .items
            .iter()
            .expect("a scan")
            .map(|item| item.expect("an item").value.len())
            .sum::<usize>()
    });
}

#[divan::bench(args = PLACES)]
fn scan_keys(bencher: Bencher<'_, '_>, place: Place) {
    let filled = filled(place);
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| {
        filled.items.keys().expect("a scan").map(|key| key.expect("a key").len()).sum::<usize>()
    });
}

/// After a clean close, which is not measured.
#[divan::bench(sample_count = 20)]
fn open_closed(bencher: Bencher<'_, '_>) {
    let Filled { store, items, folder } = filled(Place::Disk);
    drop(items);
    store.close().expect("closed");
    // What is returned is dropped, and so closed, outside of what is measured.
    bencher.bench_local(|| open(&folder));
}
