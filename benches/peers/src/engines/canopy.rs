//! canopydb: one tree, exclusive write transactions, its write-ahead log on.

use std::path::Path;
use std::time::Duration;

use canopydb::{Database, DbOptions, EnvOptions};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "canopydb",
    package: "canopydb",
    peer: true,
    survives_kill: true,
    checks_reads: false,
    setup: "write-ahead log, commit with sync; without, synced every second; page_cache_size",
    open,
    restore: None,
};

const ITEMS: &[u8] = b"items";

struct Canopy(Database, Mode);

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut environment = EnvOptions::new(dir);
    environment.page_cache_size = setup.cache_bytes as usize;
    environment.wal_background_sync_interval = Some(Duration::from_secs(1));
    let mut options = DbOptions::new();
    options.checkpoint_db_on_drop = true;
    Ok(Box::new(Canopy(Database::with_options(environment, options)?, setup.mode)))
}

impl Canopy {
    fn write<'a>(
        &self,
        items: impl Iterator<Item = (&'a Key, &'a [u8])>,
        present: bool,
    ) -> Outcome {
        let transaction = self.0.begin_write()?;
        {
            let mut tree = transaction.get_or_create_tree(ITEMS)?;
            for (key, item) in items {
                if present {
                    see_tag(&tree.get(key)?.ok_or("missing")?);
                }
                tree.insert(key, item)?;
            }
        }
        transaction.commit_with(self.1 == Mode::Durable)?;
        Ok(())
    }
}

impl Engine for Canopy {
    fn settle(&self) -> Outcome {
        self.0.checkpoint()?;
        Ok(self.0.sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Canopy {
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
        let transaction = self.0.begin_read()?;
        let items = transaction.get_tree(ITEMS)?.ok_or("no tree")?;
        Ok(touch(&items.get(key)?.ok_or("missing")?[TAG_BYTES..]))
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
