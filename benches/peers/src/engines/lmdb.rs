//! LMDB, through heed.

use std::path::Path;

use heed::types::Bytes;
use heed::{CompactionOption, Database, Env, EnvFlags, EnvOpenOptions};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "lmdb",
    package: "heed",
    peer: true,
    survives_kill: true,
    checks_reads: false,
    setup: "synchronous commits; MDB_NOSYNC; no cache of its own: it maps its file, so the \
            system's cache serves it, without a bound",
    open,
    restore: None,
};

const MAP_BYTES: usize = 64 << 30;

struct Lmdb {
    env: Env,
    items: Database<Bytes, Bytes>,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: the directory is this run's own, so nothing else maps or changes its files.
    let env = unsafe {
        if setup.mode == Mode::Eventual {
            options.flags(EnvFlags::NO_SYNC);
        }
        options.open(dir)?
    };
    let mut transaction = env.write_txn()?;
    let items = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok(Box::new(Lmdb { env, items }))
}

impl Lmdb {
    fn write<'a>(
        &self,
        items: impl Iterator<Item = (&'a Key, &'a [u8])>,
        present: bool,
    ) -> Outcome {
        let mut transaction = self.env.write_txn()?;
        for (key, item) in items {
            if present {
                see_tag(self.items.get(&transaction, key)?.ok_or("missing")?);
            }
            self.items.put(&mut transaction, key, item)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Lmdb {
    fn settle(&self) -> Outcome {
        Ok(self.env.force_sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }

    fn backup(&self, to: &Path) -> Outcome {
        Ok(self.env.copy_to_path(to.join("data.mdb"), CompactionOption::Disabled)?.sync_all()?)
    }
}

impl Session for &Lmdb {
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
        let transaction = self.env.read_txn()?;
        Ok(touch(&self.items.get(&transaction, key)?.ok_or("missing")?[TAG_BYTES..]))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let transaction = self.env.read_txn()?;
        let mut count = 0;
        for entry in self.items.iter(&transaction)? {
            let (key, value) = entry?;
            std::hint::black_box(touch(if values { value } else { key }));
            count += 1;
        }
        Ok(count)
    }
}
