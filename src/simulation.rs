//! Stores on a simulated disk, for this crate's own tests, fuzz targets and benches.
//!
//! Not part of the public interface: nothing here is covered by semantic versioning.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::instant;
pub use crate::disk::{Fault, FaultPlan, Operation, SimulatedDisk};
use crate::environment::{Entropy, Environment};
use crate::error::Result;
use crate::options::Options;
use crate::store::Store;
use crate::table::{Head, MemoryTables};

/// The store's directory on a simulated disk.
pub const STORE: &str = "store";

/// A disk, a table and a clock that a test rules over.
#[derive(Debug, Clone)]
pub struct Simulation {
    disk: SimulatedDisk,
    tables: MemoryTables,
    now_ms: Arc<AtomicU64>,
    seed: u64,
    path: PathBuf,
}

impl Simulation {
    /// An empty disk. The same seed and the same calls give the same bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(),
            tables: MemoryTables::simulated(),
            now_ms: Arc::new(AtomicU64::new(1_700_000_000_000)),
            seed,
            path: STORE.into(),
        }
    }

    /// Another directory of the same disk, under the same clock, with tables of its own,
    /// which are empty. A crash or kill copies the whole disk and only these tables, so in the copy
    /// those of every other directory are lost.
    #[must_use]
    pub fn at(&self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let seed = blake3::hash(path.as_os_str().as_encoded_bytes());
        let seed = seed
            .as_bytes()
            .iter()
            .fold(self.seed, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        Self { tables: MemoryTables::simulated(), seed, path, ..self.clone() }
    }

    /// Opens the store in this directory, without a background thread: nothing happens by itself.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(&self, options: &Options) -> Result<Store> {
        Store::open_in(self.environment(), &self.path, options)
    }

    /// Restores a store of this disk to this directory, and opens it.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub fn restore(&self, from: impl AsRef<Path>, options: &Options) -> Result<Store> {
        Store::restore_in(self.environment(), from.as_ref(), &self.path, options)
    }

    fn environment(&self) -> Environment {
        let now_ms = Arc::clone(&self.now_ms);
        Environment {
            disk: Arc::new(self.disk.clone()),
            tables: Arc::new(self.tables.clone()),
            time: Arc::new(move || instant(now_ms.load(Ordering::SeqCst))),
            entropy: Entropy::seeded(self.seed),
            backup_disk: None,
            background: false,
        }
    }

    /// What a loss of power may leave: see [`SimulatedDisk::crash`]. The table is by chance as it
    /// was flushed, older, ahead of the journal, torn or gone. This disk goes on as it was.
    #[must_use]
    pub fn crash(&self, rng: &mut fastrand::Rng) -> Self {
        Self { disk: self.disk.crash(rng), tables: self.tables.crash(rng), ..self.next(rng) }
    }

    /// What a kill of the process leaves: every byte written, and a table that lost some of its
    /// last changes.
    #[must_use]
    pub fn kill(&self, rng: &mut fastrand::Rng) -> Self {
        Self { disk: self.disk.kill(), tables: self.tables.kill(rng), ..self.next(rng) }
    }

    fn next(&self, rng: &mut fastrand::Rng) -> Self {
        let now_ms = Arc::new(AtomicU64::new(self.now_ms.load(Ordering::SeqCst)));
        Self { seed: rng.u64(..), now_ms, ..self.clone() }
    }

    /// The disk, for faults and damage.
    #[must_use]
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    /// Makes the table's calls fail from the given number on, counted from now.
    pub fn fail_table_after(&self, calls: u64) {
        self.tables.fail_after(calls);
    }

    /// Throws every table away.
    pub fn remove_tables(&mut self) {
        self.tables = MemoryTables::simulated();
    }

    /// Sets the system clock, in milliseconds since 1970; it may go back.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Takes a checkpoint, as the background thread does after a segment was sealed.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn checkpoint(store: &Store) -> Result<()> {
        store.running()?.checkpoint()
    }
}

/// Whether these bytes, if they are a row of the table at all, are the same row again after they
/// are read, written and read once more.
#[must_use]
pub fn head_round_trip(bytes: &[u8]) -> bool {
    Head::decode(bytes).is_none_or(|head| Head::decode(&head.encode()) == Some(head))
}
