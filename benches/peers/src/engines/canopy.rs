//! canopydb: one tree, exclusive write transactions, its write-ahead log on.

use std::path::Path;

use canopydb::{Database, DbOptions, EnvOptions};

use crate::engine::{Column, Engine, Key, Mode, Outcome, Session, Tag, Value};
use crate::engine::{tag_of, touch, with_tag};

pub const COLUMN: Column = Column {
    name: "canopydb",
    peer: true,
    eventual_survives_kill: true,
    setup: "write-ahead log, commit with sync; without",
    open,
};

const ITEMS: &[u8] = b"items";

struct Canopy(Database, Mode);

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let mut environment = EnvOptions::new(dir);
    environment.page_cache_size = 256 << 20;
    Ok(Box::new(Canopy(Database::with_options(environment, DbOptions::new())?, mode)))
}

impl Canopy {
    fn write(&self, keys: &[Key], value: &Value, tag: Tag, present: bool) -> Outcome {
        let transaction = self.0.begin_write()?;
        {
            let mut items = transaction.get_or_create_tree(ITEMS)?;
            for key in keys {
                if present {
                    let found = items.get(key)?.ok_or("missing")?;
                    std::hint::black_box(tag_of(&found));
                }
                items.insert(key, &with_tag(tag, value))?;
            }
        }
        transaction.commit_with(self.1 == Mode::Durable)?;
        Ok(())
    }
}

impl Engine for Canopy {
    fn settle(&mut self, _: u64) -> Outcome {
        self.0.checkpoint()?;
        Ok(self.0.sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Canopy {
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
        let transaction = self.0.begin_read()?;
        let items = transaction.get_tree(ITEMS)?.ok_or("no tree")?;
        Ok(touch(&items.get(key)?.ok_or("missing")?))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let transaction = self.0.begin_read()?;
        let items = transaction.get_tree(ITEMS)?.ok_or("no tree")?;
        let mut count = 0;
        if values {
            for entry in items.iter()? {
                std::hint::black_box(touch(&entry?.1));
                count += 1;
            }
        } else {
            for key in items.keys()? {
                std::hint::black_box(touch(&key?));
                count += 1;
            }
        }
        Ok(count)
    }
}
