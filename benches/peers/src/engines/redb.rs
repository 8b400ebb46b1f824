//! redb: one table, one write transaction for each replace.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::engine::{Column, Engine, Key, Mode, Outcome, Session, Tag, Value};
use crate::engine::{tag_of, touch, with_tag};

pub const COLUMN: Column = Column {
    name: "redb",
    peer: true,
    eventual_survives_kill: false,
    setup: "Durability::Immediate; ::None, which a kill undoes (it has nothing between)",
    open,
};

const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");

struct Redb(Database, Mode);

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let mut builder = Database::builder();
    builder.set_cache_size(256 << 20);
    Ok(Box::new(Redb(builder.create(dir.join("redb"))?, mode)))
}

impl Redb {
    fn write(&self, keys: &[Key], value: &Value, tag: Tag, present: bool) -> Outcome {
        let mut transaction = self.0.begin_write()?;
        if self.1 == Mode::Eventual {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut items = transaction.open_table(ITEMS)?;
            for key in keys {
                if present {
                    let found = items.get(&key[..])?.map(|found| tag_of(found.value()));
                    std::hint::black_box(found.ok_or("missing")?);
                }
                items.insert(&key[..], &with_tag(tag, value)[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn settle(&mut self, _: u64) -> Outcome {
        Ok(self.0.begin_write()?.commit()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Redb {
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome {
        self.write(keys, value, [0; 16], false)
    }

    fn replace(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome {
        self.write(&[*key], value, tag, true)
    }

    fn replace_many(&mut self, keys: &[Key], value: &Value, tag: Tag) -> Outcome {
        self.write(keys, value, tag, true)
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        let items = self.0.begin_read()?.open_table(ITEMS)?;
        let found = items.get(&key[..])?.ok_or("missing")?;
        Ok(touch(found.value()))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let items = self.0.begin_read()?.open_table(ITEMS)?;
        let mut count = 0;
        for entry in items.iter()? {
            let (key, value) = entry?;
            std::hint::black_box(touch(if values { value.value() } else { key.value() }));
            count += 1;
        }
        Ok(count)
    }
}
