//! Models of the commit path: the production code on a disk and an index in memory.
//!
//! `cargo test --lib models` runs each some times as an ordinary test. With
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib models`, loom tries every order in which the
//! threads' steps can follow each other, with up to three preemptions. Each bug of `scripts/bugs`
//! with a line `test loom` is one that a model here must find.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod batches;
mod clearing;
mod closing;
mod compaction;
mod conditions;
mod disk;
mod durability;
mod expiry;
mod failures;
mod feed;
mod history;
mod indexes;
mod publication;
mod reads;
mod rewritten;
mod rotation;
mod snapshots;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use self::disk::ModelDisk;
use crate::engine::Engine;
use crate::engine::environment::Environment;
use crate::engine::opening;
use crate::engine::operation::{Action, Attempt, Committed, Expiry, Failed, NewValue, Operation};
use crate::index::MemoryBackings;
use crate::seams::clock::instant;
use crate::seams::entropy::Entropy;
use crate::values::codec::CodecId;
use crate::values::error::{Conflict, Error, Result};
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::options::{Durability, Options};
use crate::values::precondition::{Precondition, Tags};

const COLLECTION: &str = "m";
/// Keys of different stripes in a model, where a key's last byte decides.
const A: &str = "a";
const B: &str = "b";
/// Shares the stripe of [`A`].
const C: &str = "c";

const SNAPSHOT_BYTES: u64 = 1 << 20;

/// An open store's engine, and the disk under it.
struct Rig {
    engine: Arc<Engine>,
    disk: ModelDisk,
}

impl Rig {
    /// A store whose writes are acknowledged when synced, which keeps no values in memory.
    fn immediate() -> Self {
        Self::new(Options::new().durability(Durability::Immediate), 0)
    }

    /// A store whose writes are acknowledged when written, which keeps no values in memory.
    fn eventual() -> Self {
        Self::new(Options::new().durability(Durability::Eventual), 0)
    }

    /// As [`eventual`](Self::eventual), with room in memory for everything.
    fn cached() -> Self {
        Self::new(Options::new().durability(Durability::Eventual), 2 << 20)
    }

    fn new(options: Options, cache_bytes: u64) -> Self {
        let disk = ModelDisk::default();
        let environment = environment(&disk);
        let options = options.cache_bytes(cache_bytes).snapshot_bytes(SNAPSHOT_BYTES);
        let opened = opening::open(&environment, Path::new("store"), &options).unwrap();
        let engine = Engine::new(&environment, opened, &options).unwrap();
        Self { engine: Arc::new(engine), disk }
    }

    /// Creates items before the threads start, so that the collection is recorded and a segment
    /// begun; returns the versions.
    fn with<const N: usize>(self, items: [(&str, &str); N]) -> (Self, [Meta; N]) {
        let metas = items.map(|(key, value)| create(&self.engine, key, value).unwrap());
        (self, metas)
    }
}

fn environment(disk: &ModelDisk) -> Environment {
    Environment {
        disk: Arc::new(disk.clone()),
        backings: Arc::new(MemoryBackings::new()),
        time: Arc::new(|| instant(1_700_000_000_000)),
        entropy: Entropy::seeded(1),
        backup_disk: None,
        background: false,
    }
}

fn item_key(key: &str) -> ItemKey {
    ItemKey::new(COLLECTION, key.as_bytes()).unwrap()
}

fn operation(key: &str, precondition: impl Into<Precondition>, action: Action) -> Operation {
    Operation::new(item_key(key), CodecId::Raw, precondition.into(), action)
}

fn new_value(value: &str) -> NewValue {
    NewValue::new(Bytes::copy_from_slice(value.as_bytes()), Expiry::Never).unwrap()
}

fn creating(key: &str, value: &str) -> Operation {
    operation(key, Precondition::IfNoneMatch(Tags::Any), Action::Create(new_value(value)))
}

fn replacing(key: &str, value: &str, precondition: impl Into<Precondition>) -> Operation {
    operation(key, precondition, Action::Replace(new_value(value)))
}

fn deleting(key: &str, precondition: impl Into<Precondition>) -> Operation {
    operation(key, precondition, Action::Delete)
}

fn commit<const N: usize>(
    engine: &Engine,
    mut operations: [Operation; N],
) -> Result<Committed, Failed> {
    match engine.commit(&mut operations)? {
        Attempt::Done(committed) => Ok(committed),
        other => panic!("no model patches or loses an index: {other:?}"),
    }
}

fn one(engine: &Engine, operation: Operation) -> Result<Meta> {
    commit(engine, [operation]).map(|done| done.metas[0]).map_err(|failed| failed.error)
}

fn create(engine: &Engine, key: &str, value: &str) -> Result<Meta> {
    one(engine, creating(key, value))
}

fn replace(
    engine: &Engine,
    key: &str,
    value: &str,
    precondition: impl Into<Precondition>,
) -> Result<Meta> {
    one(engine, replacing(key, value, precondition))
}

fn delete(engine: &Engine, key: &str, precondition: impl Into<Precondition>) -> Result<Meta> {
    one(engine, deleting(key, precondition))
}

/// The current tag and value.
fn read(engine: &Engine, key: &str) -> Option<(ETag, String)> {
    let version = engine.read(&item_key(key)).unwrap();
    version.map(|version| (version.meta.etag, text(&version.value)))
}

fn value_of(engine: &Engine, key: &str) -> String {
    read(engine, key).expect("the item is present").1
}

/// The head of an item.
fn head(engine: &Engine, key: &str) -> Head {
    engine.head(&item_key(key)).unwrap().unwrap()
}

/// The revision of an item's head.
fn head_revision(engine: &Engine, key: &str) -> u64 {
    engine.head(&item_key(key)).unwrap().map_or(0, |head| head.revision)
}

/// Sets an item's head to one that the model makes up.
fn set_head(engine: &Engine, key: &str, f: impl Fn(&Head) -> Head) {
    let key = item_key(key);
    let pin = engine.pin(std::iter::once(&key)).unwrap();
    engine.index.change_head(&key, &pin, &|head| Some(f(head)));
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

/// The tag and value that a conflict carries.
fn current_of(conflict: &Conflict) -> Option<(ETag, String)> {
    conflict.current_bytes().map(|item| (item.etag(), text(&item.value)))
}

/// Whether an error says that a write's fate is unknown, or that nothing is written any more.
fn is_poisoned<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::CommitUnknown { .. } | Error::Poisoned { .. }))
}
