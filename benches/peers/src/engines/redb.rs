//! redb: one table, one write transaction for each replace.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "redb",
    package: "redb",
    peer: true,
    survives_kill: false,
    checks_reads: false,
    setup: "Durability::Immediate; ::None, which a kill undoes (it has nothing between), each \
            10 000th commit ::Immediate, as its documentation asks for; set_cache_size",
    open,
    restore: None,
};

const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");
const DURABLE_EACH: u64 = 10_000;

struct Redb {
    db: Database,
    mode: Mode,
    commits: AtomicU64,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut builder = Database::builder();
    builder.set_cache_size(setup.cache_bytes as usize);
    let db = builder.create(dir.join("redb"))?;
    Ok(Box::new(Redb { db, mode: setup.mode, commits: AtomicU64::new(0) }))
}

impl Redb {
    fn write<'a>(
        &self,
        items: impl Iterator<Item = (&'a Key, &'a [u8])>,
        present: bool,
    ) -> Outcome {
        let mut transaction = self.db.begin_write()?;
        let nth = self.commits.fetch_add(1, Ordering::Relaxed);
        if self.mode == Mode::Eventual && nth % DURABLE_EACH != DURABLE_EACH - 1 {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut table = transaction.open_table(ITEMS)?;
            for (key, item) in items {
                if present {
                    see_tag(table.get(&key[..])?.ok_or("missing")?.value());
                }
                table.insert(&key[..], item)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn settle(&self) -> Outcome {
        Ok(self.db.begin_write()?.commit()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.settle()
    }
}

impl Session for &Redb {
    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(items.iter().map(|(key, item)| (key, &item[..])), false)
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        self.write([(key, item)].into_iter(), true)
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(items.iter().map(|(key, item)| (key, &item[..])), true)
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        let items = self.db.begin_read()?.open_table(ITEMS)?;
        let found = items.get(&key[..])?.ok_or("missing")?;
        Ok(touch(&found.value()[TAG_BYTES..]))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let items = self.db.begin_read()?.open_table(ITEMS)?;
        let mut count = 0;
        for entry in items.iter()? {
            let (key, value) = entry?;
            std::hint::black_box(touch(if values { value.value() } else { key.value() }));
            count += 1;
        }
        Ok(count)
    }
}
