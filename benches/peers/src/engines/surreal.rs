//! SurrealKV: optimistic transactions on a tokio runtime of two threads, its log's file filled
//! with zeros ahead, as its documentation advises for synchronous commits.

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use surrealkv::{Durability, Error, LSMIterator, Mode as Access, Transaction, Tree, TreeBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::engine::{
    Column, Engine, Item, Key, Mode, Outcome, Session, Setup, TAG_BYTES, see_tag, touch,
};

pub const COLUMN: Column = Column {
    name: "surrealkv",
    package: "surrealkv",
    peer: true,
    survives_kill: true,
    checks_reads: true,
    setup: "get_for_update and set, repeated on conflict (under a mutex in update-8), Durability::Immediate; ::Eventual; \
            with_block_cache_capacity, beside that memtables of 100 MiB (cold: \
            max_memtable_size of 8 MiB)",
    open,
    restore: None,
};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("threads for a runtime")
});

struct Surreal {
    tree: Tree,
    durability: Durability,
    /// For a key that many want: each of their transactions but one would be in vain.
    wanted: Mutex<()>,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let durability = match setup.mode {
        Mode::Durable => Durability::Immediate,
        Mode::Eventual => Durability::Eventual,
    };
    let mut options = surrealkv::Options::new()
        .with_path(dir.join("surrealkv"))
        .with_block_cache_capacity(setup.cache_bytes)
        .with_wal_preallocation(true);
    if let Some(bytes) = setup.memtable_bytes {
        options = options.with_max_memtable_size(bytes as usize);
    }
    let _entered = RUNTIME.enter();
    let tree = TreeBuilder::with_options(options).build()?;
    Ok(Box::new(Surreal { tree, durability, wanted: Mutex::new(()) }))
}

impl Surreal {
    fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = self.tree.begin()?;
        transaction.set_durability(self.durability);
        Ok(transaction)
    }

    /// Repeats `work` and its commit until no other transaction came in between.
    fn write(&self, mut work: impl FnMut(&mut Transaction) -> Outcome) -> Outcome {
        loop {
            let mut transaction = self.begin()?;
            work(&mut transaction)?;
            match RUNTIME.block_on(transaction.commit()) {
                Err(Error::TransactionWriteConflict) => {}
                other => return Ok(other?),
            }
        }
    }
}

impl Engine for Surreal {
    fn settle(&self) -> Outcome {
        Ok(self.tree.flush_wal(true)?)
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(RUNTIME.block_on(self.tree.close())?)
    }
}

impl Session for &Surreal {
    fn load(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(|transaction| {
            for (key, item) in items {
                transaction.set(&key[..], &item[..])?;
            }
            Ok(())
        })
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        self.write(|transaction| {
            see_tag(&transaction.get_for_update(&key[..])?.ok_or("missing")?);
            Ok(transaction.set(&key[..], item)?)
        })
    }

    fn update(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let _alone = self.wanted.lock().map_err(|_| "a writer panicked")?;
        self.replace(key, item)
    }

    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome {
        self.write(|transaction| {
            for (key, item) in items {
                see_tag(&transaction.get_for_update(&key[..])?.ok_or("missing")?);
                transaction.set(&key[..], &item[..])?;
            }
            Ok(())
        })
    }

    fn get(&mut self, key: &Key) -> Outcome<u64> {
        let transaction = self.tree.begin_with_mode(Access::ReadOnly)?;
        Ok(touch(&transaction.get(&key[..])?.ok_or("missing")?[TAG_BYTES..]))
    }

    fn scan(&mut self, values: bool) -> Outcome<u64> {
        let transaction = self.tree.begin_with_mode(Access::ReadOnly)?;
        let mut items = transaction.iter()?;
        items.seek_first()?;
        let mut count = 0;
        while items.valid() {
            if values {
                std::hint::black_box(touch(&items.value()?));
            } else {
                std::hint::black_box(touch(items.key().user_key()));
            }
            count += 1;
            items.next()?;
        }
        Ok(count)
    }
}
