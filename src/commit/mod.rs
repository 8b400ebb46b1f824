//! The commit path: the one way by which anything is written, and the reads that must agree with
//! it.
//!
//! A commit, of one operation or of a batch:
//!
//! 1. Values are encoded and hashed by the caller. The stripes of all keys are locked.
//! 2. Each operation is decided on the table's heads, later ones seeing earlier ones.
//! 3. The journal gives revision, tags and place, and buffers the frame.
//! 4. The heads go into the table and the items into the cache, while readers of these stripes
//!    wait; then the stripes are released.
//! 5. The caller waits until the frame is written or synced. Only then is it acknowledged.
//!
//! **Lock order:** stripes in ascending order → the journal's state → MANIFEST. No user code runs
//! under any of them.

mod cache;
mod catalog;
mod change;
pub(crate) mod operation;
mod read;
mod scan;
mod stripes;
mod write;

#[cfg(test)]
mod models;

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::counters::Counters;
use crate::error::Result;
use crate::journal::Journal;
use crate::table::{Head, Table};

pub(crate) use cache::Version;

use cache::Cache;
use catalog::Catalog;
use stripes::Stripes;

/// An open store's engine.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) journal: Journal,
    pub(crate) table: Arc<dyn Table>,
    pub(crate) clock: Clock,
    catalog: Catalog,
    cache: Cache,
    stripes: Stripes,
    pub(crate) counters: Counters,
}

impl Core {
    /// Puts the parts together and reads which collections there are.
    pub(crate) fn new(
        journal: Journal,
        table: Arc<dyn Table>,
        clock: Clock,
        cache_bytes: u64,
    ) -> Result<Self> {
        let (cache, stripes, catalog) =
            (Cache::new(cache_bytes), Stripes::new(), Catalog::default());
        let counters = Counters::default();
        let mut core = Self { journal, table, clock, catalog, cache, stripes, counters };
        let load = |key: &_, head: &Head| {
            let version = core.version_at(key, head)?;
            Ok(version.map_or_else(Bytes::new, |version| version.value))
        };
        core.catalog = Catalog::load(&*core.table, load)?;
        Ok(core)
    }

    /// How many collections are recorded; each is an item of the system collection.
    pub(crate) fn recorded_collections(&self) -> u64 {
        self.catalog.len()
    }

    /// Whether this collection is recorded with this codec; not recorded at all is no error.
    ///
    /// # Errors
    /// [`Error::CodecMismatch`](crate::Error::CodecMismatch).
    pub(crate) fn check_codec(
        &self,
        collection: &str,
        codec: crate::codec::CodecId,
    ) -> Result<bool> {
        self.catalog.check(collection, codec)
    }
}
