//! LMDB, through heed.

use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use crate::engine::{Column, Engine, Key, Mode, Outcome, Session, Tag, Value};
use crate::engine::{tag_of, touch, with_tag};

pub const COLUMN: Column = Column {
    name: "lmdb",
    peer: true,
    eventual_survives_kill: true,
    setup: "synchronous commits; MDB_NOSYNC",
    open,
};

struct Lmdb {
    env: Env,
    items: Database<Bytes, Bytes>,
}

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(4 << 30);
    // SAFETY: the directory is this run's own, so nothing else maps or changes its files.
    let env = unsafe {
        if mode == Mode::Eventual {
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
    fn write(&self, keys: &[Key], value: &Value, tag: Tag, present: bool) -> Outcome {
        let mut transaction = self.env.write_txn()?;
        for key in keys {
            if present {
                let found = self.items.get(&transaction, key)?.ok_or("missing")?;
                std::hint::black_box(tag_of(found));
            }
            self.items.put(&mut transaction, key, &with_tag(tag, value))?;
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Lmdb {
    fn settle(&mut self, _: u64) -> Outcome {
        Ok(self.env.force_sync()?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Lmdb {
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
        let transaction = self.env.read_txn()?;
        Ok(touch(self.items.get(&transaction, key)?.ok_or("missing")?))
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
