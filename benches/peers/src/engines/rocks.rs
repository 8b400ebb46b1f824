//! RocksDB: pessimistic transactions, which commit in groups, tuned as its wiki advises to begin
//! with.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, Options, TransactionDB, TransactionDBOptions,
    TransactionOptions, WriteOptions,
};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, absent, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "rocksdb",
    package: "rocksdb",
    peer: true,
    survives_kill: true,
    checks_reads: true,
    setup: "TransactionDB, get_for_update and put, sync; without sync; a block cache with index \
            and filters in it, beside that memtables of 64 MiB (cold: write_buffer_size of 8 MiB); \
            no compression, as values are random",
    open,
    restore: None,
};

struct Rocks {
    db: TransactionDB,
    mode: Mode,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(setup.cache_bytes as usize));
    blocks.set_block_size(16 << 10);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_bytes_per_sync(1 << 20);
    options.set_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(4);
    if let Some(bytes) = setup.memtable_bytes {
        options.set_write_buffer_size(bytes as usize);
    }
    let db = TransactionDB::open(&options, &TransactionDBOptions::default(), dir.join("rocksdb"))?;
    Ok(Box::new(Rocks { db, mode: setup.mode }))
}

impl Rocks {
    fn write<'a>(
        &self,
        items: impl Iterator<Item = (&'a Key, &'a [u8])>,
        present: bool,
    ) -> Outcome {
        let mut options = WriteOptions::default();
        options.set_sync(self.mode == Mode::Durable);
        let transaction = self.db.transaction_opt(&options, &TransactionOptions::default());
        for (key, item) in items {
            if present {
                let found = transaction.get_pinned_for_update(key, true)?;
                see_tag(&found.ok_or("missing")?);
            }
            transaction.put(key, item)?;
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for Rocks {
    fn settle(&self) -> Outcome {
        Ok(self.db.flush_wal(true)?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn close(self: Box<Self>) -> Outcome {
        self.settle()
    }

    fn backup(&self, _: &Path) -> Outcome {
        absent("of an open TransactionDB it makes hard links, no copy")
    }
}

impl Session for &Rocks {
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
        Ok(touch(&self.db.get_pinned(key)?.ok_or("missing")?[TAG_BYTES..]))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let mut items = self.db.raw_iterator();
        items.seek_to_first();
        let mut count = 0;
        while let (Some(key), Some(value)) = (items.key(), items.value()) {
            std::hint::black_box(touch(if values { value } else { key }));
            count += 1;
            items.next();
        }
        Ok(items.status().map(|()| count)?)
    }
}
