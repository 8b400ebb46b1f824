//! sled alone, with compare-and-swap. Not a peer: its flush orders nothing on stable storage, and
//! between flushes a kill loses what was acknowledged.

use std::path::Path;

use sled::{Batch, Config, Db};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "sled alone",
    package: "sled",
    peer: false,
    survives_kill: false,
    checks_reads: true,
    setup: "compare_and_swap and flush, which power loss may undo all the same; \
            compare_and_swap alone, flushed every 200 ms; cache_capacity",
    open,
    restore: None,
};

struct Sled(Db, Mode);

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let config = Config::new().path(dir.join("sled")).cache_capacity(setup.cache_bytes);
    let flush = (setup.mode == Mode::Eventual).then_some(200);
    Ok(Box::new(Sled(config.flush_every_ms(flush).open()?, setup.mode)))
}

impl Sled {
    fn write(&self, items: &[(Key, Item)], present: bool) -> Outcome {
        let mut batch = Batch::default();
        for (key, item) in items {
            if present {
                see_tag(&self.0.get(key)?.ok_or("missing")?);
            }
            batch.insert(&key[..], &item[..]);
        }
        self.0.apply_batch(batch)?;
        self.acknowledge()
    }

    fn acknowledge(&self) -> Outcome {
        if self.1 == Mode::Durable {
            self.0.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn settle(&self) -> Outcome {
        self.0.flush()?;
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.settle()
    }
}

impl Session for &Sled {
    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(items, false)
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        loop {
            let old = self.0.get(key)?.ok_or("missing")?;
            if self.0.compare_and_swap(key, Some(&old), Some(item))?.is_ok() {
                return self.acknowledge();
            }
        }
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(items, true)
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        Ok(touch(&self.0.get(key)?.ok_or("missing")?[TAG_BYTES..]))
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
