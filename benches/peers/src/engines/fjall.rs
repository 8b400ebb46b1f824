//! fjall: plain writes and batches, under mutexes of our own. That is faster than either of its
//! kinds of transactions, which commit one at a time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Column, Engine, Key, Mode, Outcome, Session, Tag, Value};
use crate::engine::{tag_of, touch, with_tag};

pub const COLUMN: Column = Column {
    name: "fjall",
    peer: true,
    eventual_survives_kill: true,
    setup: "mutexes around read and write, PersistMode::SyncData; no persist (::Buffer)",
    open,
};

const STRIPES: usize = 256;

struct Fjall {
    db: Database,
    items: Keyspace,
    mode: Mode,
    stripes: Vec<Mutex<()>>,
}

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let db = Database::builder(dir.join("fjall")).cache_size(256 << 20).open()?;
    let items = db.keyspace("items", KeyspaceCreateOptions::default)?;
    let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
    Ok(Box::new(Fjall { db, items, mode, stripes }))
}

impl Fjall {
    /// Locks the stripes of some keys, in ascending order.
    fn lock(&self, keys: &[Key]) -> Outcome<Vec<MutexGuard<'_, ()>>> {
        let stripe = |key: &Key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish() as usize % STRIPES
        };
        let mut stripes: Vec<_> = keys.iter().map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let lock = |stripe: usize| self.stripes[stripe].lock().map_err(|_| "panicked".into());
        stripes.into_iter().map(lock).collect()
    }

    fn read(&self, key: &Key) -> Outcome<Tag> {
        Ok(tag_of(&self.items.get(key)?.ok_or("missing")?))
    }

    fn acknowledge(&self) -> Outcome {
        if self.mode == Mode::Durable {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn settle(&mut self, _: u64) -> Outcome {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Fjall {
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome {
        for key in keys {
            self.items.insert(&key[..], &with_tag([0; 16], value)[..])?;
        }
        Ok(())
    }

    fn replace(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome {
        let locked = self.lock(&[*key])?;
        std::hint::black_box(self.read(key)?);
        self.items.insert(&key[..], &with_tag(tag, value)[..])?;
        drop(locked);
        self.acknowledge()
    }

    fn replace_many(&mut self, keys: &[Key], value: &Value, tag: Tag) -> Outcome {
        let locked = self.lock(keys)?;
        let mut batch = self.db.batch();
        for key in keys {
            std::hint::black_box(self.read(key)?);
            batch.insert(&self.items, &key[..], &with_tag(tag, value)[..]);
        }
        batch.commit()?;
        drop(locked);
        self.acknowledge()
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        Ok(touch(&self.items.get(key)?.ok_or("missing")?))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let mut count = 0;
        for entry in self.items.iter() {
            let bytes = if values { entry.value()? } else { entry.key()? };
            std::hint::black_box(touch(&bytes));
            count += 1;
        }
        Ok(count)
    }
}
