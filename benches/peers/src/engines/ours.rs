//! ifmatch: raw bytes for the items, JSON documents for the patches.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ifmatch::{
    Collection, Durability, ETag, Error, Options, Patch, Precondition, Raw, Read, Store,
};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Op, Outcome, Session, Setup, TAG_BYTES, document, key, touch,
};

pub const NAME: &str = "ifmatch";

pub const COLUMN: Column = Column {
    name: NAME,
    package: "ifmatch",
    peer: false,
    survives_kill: true,
    checks_reads: true,
    setup: "Durability::Immediate; ::Eventual; cache_bytes",
    open,
    restore: Some(|from, to| Ok(Store::restore(from.join(STORE), to.join(STORE))?.close()?)),
};

const STORE: &str = "bench.ifm";

struct Ours {
    store: Store,
    items: Collection<Bytes, Raw>,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let durability = match setup.mode {
        Mode::Durable => Durability::Immediate,
        Mode::Eventual => Durability::Eventual,
    };
    let options = Options::new().durability(durability).cache_bytes(setup.cache_bytes);
    let store = options.open(dir.join(STORE))?;
    let items = store.raw("items")?;
    Ok(Box::new(Ours { store, items }))
}

impl Engine for Ours {
    fn settle(&self) -> Outcome {
        Ok(self.store.sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        let documents = self.store.collection("documents")?;
        Ok(Box::new(Mine { ours: self, documents, tags: Vec::new() }))
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.store.close()?)
    }

    fn backup(&self, to: &Path) -> Outcome {
        self.store.backup(to.join(STORE))?;
        Ok(())
    }

    fn watch(&self, writes: u64) -> Outcome<Vec<f64>> {
        self.store.sync()?;
        let mut watch = self.store.watch(self.store.cursor()?)?;
        let told = |n: u64| {
            thread::sleep(Duration::from_millis(20));
            let value = Bytes::from(n.to_le_bytes().repeat(32));
            let meta = self.items.upsert(key(n), &value, Precondition::Always)?;
            let written = Instant::now();
            let change = watch.recv_timeout(Duration::from_secs(10))?.ok_or("not told in 10 s")?;
            if change.revision() != meta.revision() {
                return Err("told of another change".into());
            }
            Ok(written.elapsed().as_secs_f64() * 1e3)
        };
        (0..writes).map(told).collect()
    }
}

struct Mine<'a> {
    ours: &'a Ours,
    documents: Collection<serde_json::Value>,
    /// Of the items or documents that were made ready.
    tags: Vec<ETag>,
}

fn value(item: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&item[TAG_BYTES..])
}

impl Session for Mine<'_> {
    fn prepare(&mut self, op: Op, count: u64) -> Outcome {
        let tag = |n| match op {
            Op::Patch => {
                let meta = self.documents.upsert(key(n), &document(n), Precondition::Always)?;
                Ok(meta.etag())
            }
            _ => Ok(self.ours.items.get(key(n))?.ok_or("missing")?.etag()),
        };
        if matches!(op, Op::Patch | Op::GetNotModified) {
            self.tags = (0..count).map(tag).collect::<Outcome<_>>()?;
        }
        Ok(())
    }

    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        let mut batch = self.ours.store.batch();
        for (key, item) in items {
            batch = batch.create(&self.ours.items, key, &value(item));
        }
        batch.commit()?;
        Ok(())
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let value = value(item);
        let mut seen = self.ours.items.get(key)?.ok_or("missing")?.etag();
        loop {
            match self.ours.items.replace(key, &value, seen) {
                Ok(_) => return Ok(()),
                Err(Error::PreconditionFailed(conflict)) => {
                    seen = conflict.meta().ok_or("missing")?.etag();
                }
                Err(other) => return Err(other.into()),
            }
        }
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        let mut batch = self.ours.store.batch();
        for (key, item) in items {
            let seen = self.ours.items.get(key)?.ok_or("missing")?.etag();
            batch = batch.replace(&self.ours.items, key, &value(item), seen);
        }
        batch.commit()?;
        Ok(())
    }

    fn update(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let value = value(item);
        self.ours.items.update(key, |stored| *stored = value.clone())?;
        Ok(())
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        Ok(touch(&self.ours.items.get(key)?.ok_or("missing")?.value))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let mut count = 0;
        if values {
            for item in self.ours.items.iter()? {
                std::hint::black_box(touch(&item?.value));
                count += 1;
            }
        } else {
            for key in self.ours.items.keys()? {
                std::hint::black_box(touch(key?.as_ref()));
                count += 1;
            }
        }
        Ok(count)
    }

    fn get_not_modified(&mut self, n: u64) -> Outcome {
        let tag = *self.tags.get(n as usize).ok_or("no such item")?;
        match self.ours.items.get_if(key(n), Precondition::if_none_match(tag))? {
            Read::NotModified(_) => Ok(()),
            _ => Err("an item was modified".into()),
        }
    }

    fn patch(&mut self, n: u64, number: u64) -> Outcome {
        let seen = self.tags.get_mut(n as usize).ok_or("no such document")?;
        let patch = Patch::new().set("/stock", number);
        *seen = self.documents.patch(key(n), &patch, *seen)?.etag();
        Ok(())
    }
}
