//! ifmatch: raw bytes for the items, JSON documents for the patches.

use std::path::Path;

use bytes::Bytes;
use ifmatch::{
    Collection, Durability, ETag, Error, Options, Patch, Precondition, Raw, Read, Store,
};

use crate::engine::{Column, Engine, Key, Mode, Op, Outcome, Session, Tag, Value};
use crate::engine::{document, key, touch};

pub const COLUMN: Column = Column {
    name: "ifmatch",
    peer: false,
    eventual_survives_kill: true,
    setup: "Durability::Immediate; ::Eventual",
    open,
};

struct Ours {
    store: Store,
    items: Collection<Bytes, Raw>,
    documents: Collection<serde_json::Value>,
    item_tags: Vec<ETag>,
    document_tags: Vec<ETag>,
}

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let durability = match mode {
        Mode::Durable => Durability::Immediate,
        Mode::Eventual => Durability::Eventual,
    };
    let options = Options::new().durability(durability).cache_bytes(256 << 20);
    let store = options.open(dir.join("bench.ifm"))?;
    let items = store.raw("items")?;
    let documents = store.collection("documents")?;
    let (item_tags, document_tags) = (Vec::new(), Vec::new());
    Ok(Box::new(Ours { store, items, documents, item_tags, document_tags }))
}

impl Engine for Ours {
    fn can(&self, _: Op) -> bool {
        true
    }

    fn settle(&mut self, documents: u64) -> Outcome {
        for n in 0..documents {
            let tag = self.documents.create(key(n), &document(n))?.etag();
            self.document_tags.push(tag);
        }
        for item in self.items.iter()? {
            self.item_tags.push(item?.etag());
        }
        Ok(self.store.sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Mine { ours: self, document_tags: self.document_tags.clone() }))
    }
}

struct Mine<'a> {
    ours: &'a Ours,
    document_tags: Vec<ETag>,
}

impl Session for Mine<'_> {
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome {
        let value = Bytes::copy_from_slice(value);
        let mut batch = self.ours.store.batch();
        for key in keys {
            batch = batch.create(&self.ours.items, key, &value);
        }
        batch.commit()?;
        Ok(())
    }

    fn replace(&mut self, key: &Key, value: &Value, _: Tag) -> Outcome {
        let value = Bytes::copy_from_slice(value);
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

    fn replace_many(&mut self, keys: &[Key], value: &Value, _: Tag) -> Outcome {
        let value = Bytes::copy_from_slice(value);
        let mut batch = self.ours.store.batch();
        for key in keys {
            let seen = self.ours.items.get(key)?.ok_or("missing")?.etag();
            batch = batch.replace(&self.ours.items, key, &value, seen);
        }
        batch.commit()?;
        Ok(())
    }

    fn update(&mut self, key: &Key, value: &Value, _: Tag) -> Outcome {
        let value = Bytes::copy_from_slice(value);
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
        let tag = *self.ours.item_tags.get(n as usize).ok_or("no such item")?;
        match self.ours.items.get_if(key(n), Precondition::if_none_match(tag))? {
            Read::NotModified(_) => Ok(()),
            _ => Err("an item was modified".into()),
        }
    }

    fn patch(&mut self, n: u64, number: u64) -> Outcome {
        let seen = self.document_tags.get_mut(n as usize).ok_or("no such document")?;
        let patch = Patch::new().set("/stock", number);
        *seen = self.ours.documents.patch(key(n), &patch, *seen)?.etag();
        Ok(())
    }
}
