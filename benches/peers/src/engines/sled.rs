//! sled alone, with compare-and-swap. Not a peer: its flush orders nothing on stable storage, and
//! between flushes a kill loses what was acknowledged.

use std::path::Path;

use sled::{Batch, Config, Db};

use crate::engine::{Column, Engine, Key, Mode, Outcome, Session, Tag, Value};
use crate::engine::{touch, with_tag};

pub const COLUMN: Column = Column {
    name: "sled (unsafe)",
    peer: false,
    eventual_survives_kill: false,
    setup: "compare_and_swap and flush; compare_and_swap alone, flushed every 200 ms",
    open,
};

struct Sled(Db, Mode);

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let config = Config::new().path(dir.join("sled")).cache_capacity(256 << 20);
    let flush = (mode == Mode::Eventual).then_some(200);
    Ok(Box::new(Sled(config.flush_every_ms(flush).open()?, mode)))
}

impl Sled {
    fn acknowledge(&self) -> Outcome {
        if self.1 == Mode::Durable {
            self.0.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn settle(&mut self, _: u64) -> Outcome {
        self.0.flush()?;
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &Sled {
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome {
        for key in keys {
            self.0.insert(key, &with_tag([0; 16], value)[..])?;
        }
        Ok(())
    }

    fn replace(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome {
        let new = with_tag(tag, value);
        loop {
            let old = self.0.get(key)?.ok_or("missing")?;
            if self.0.compare_and_swap(key, Some(&old), Some(&new[..]))?.is_ok() {
                return self.acknowledge();
            }
        }
    }

    fn replace_many(&mut self, keys: &[Key], value: &Value, tag: Tag) -> Outcome {
        let mut batch = Batch::default();
        for key in keys {
            std::hint::black_box(self.0.get(key)?.ok_or("missing")?);
            batch.insert(&key[..], &with_tag(tag, value)[..]);
        }
        self.0.apply_batch(batch)?;
        self.acknowledge()
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        Ok(touch(&self.0.get(key)?.ok_or("missing")?))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let mut count = 0;
        for entry in self.0.iter() {
            let (key, value) = entry?;
            std::hint::black_box(touch(if values { &value } else { &key }));
            count += 1;
        }
        Ok(count)
    }
}
