//! fjall: plain writes and batches, under mutexes of our own. That is faster than either of its
//! kinds of transactions, which commit one at a time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "fjall",
    package: "fjall",
    peer: true,
    survives_kill: true,
    checks_reads: true,
    setup: "mutexes around read and write, PersistMode::SyncData; no persist (::Buffer); \
            cache_size, beside that memtables of 64 MiB (cold: max_memtable_size of 8 MiB)",
    open,
    restore: None,
};

const STRIPES: usize = 256;

struct Fjall {
    db: Database,
    items: Keyspace,
    mode: Mode,
    stripes: Vec<Mutex<()>>,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let db = Database::builder(dir.join("fjall")).cache_size(setup.cache_bytes).open()?;
    let options = || match setup.memtable_bytes {
        Some(bytes) => KeyspaceCreateOptions::default().max_memtable_size(bytes),
        None => KeyspaceCreateOptions::default(),
    };
    let items = db.keyspace("items", options)?;
    let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
    Ok(Box::new(Fjall { db, items, mode: setup.mode, stripes }))
}

impl Fjall {
    /// Locks the stripes of some keys, in ascending order.
    fn lock<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Outcome<Vec<MutexGuard<'_, ()>>> {
        let stripe = |key: &Key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish() as usize % STRIPES
        };
        let mut stripes: Vec<_> = keys.map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let lock = |stripe: usize| self.stripes[stripe].lock().map_err(|_| "panicked".into());
        stripes.into_iter().map(lock).collect()
    }

    fn write(&self, items: &[(Key, Item)], present: bool) -> Outcome {
        let mut batch = self.db.batch();
        for (key, item) in items {
            if present {
                see_tag(&self.items.get(key)?.ok_or("missing")?);
            }
            batch.insert(&self.items, &key[..], &item[..]);
        }
        Ok(batch.commit()?)
    }

    fn acknowledge(&self) -> Outcome {
        if self.mode == Mode::Durable {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn settle(&self) -> Outcome {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Fjall {
    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(items, false)?;
        self.acknowledge()
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let locked = self.lock([key].into_iter())?;
        see_tag(&self.items.get(key)?.ok_or("missing")?);
        self.items.insert(&key[..], item)?;
        drop(locked);
        self.acknowledge()
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        let locked = self.lock(items.iter().map(|(key, _)| key))?;
        self.write(items, true)?;
        drop(locked);
        self.acknowledge()
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        Ok(touch(&self.items.get(key)?.ok_or("missing")?[TAG_BYTES..]))
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
