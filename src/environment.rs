//! What a store stands on: disk, tables, time and randomness, each replaceable in tests.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock::TimeSource;
use crate::disk::Disk;
use crate::table::Tables;

/// The seams of a store, chosen once when it is opened.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) time: TimeSource,
    pub(crate) entropy: Entropy,
    /// Where backups go, if not to the disk that the store is on.
    pub(crate) backup_disk: Option<Arc<dyn Disk>>,
    /// Whether a thread of the store's own syncs, checkpoints and cleans up; without it, tests
    /// call for each step themselves.
    pub(crate) background: bool,
}

impl Environment {
    pub(crate) fn new(disk: Arc<dyn Disk>, tables: Arc<dyn Tables>) -> Self {
        let time: TimeSource = Arc::new(SystemTime::now);
        let entropy = Entropy::system();
        Self { disk, tables, time, entropy, backup_disk: None, background: true }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("disk", &self.disk)
            .field("tables", &self.tables)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

/// A source of random bytes for incarnations and salts.
#[derive(Clone)]
pub(crate) struct Entropy(Arc<Filler>);

/// Fills a buffer with random bytes.
type Filler = dyn Fn(&mut [u8]) + Send + Sync;

impl Entropy {
    /// The operating system's generator. Where it fails, which no supported system does once it
    /// has started, a seeded generator stands in: incarnations must differ, not be secret.
    pub(crate) fn system() -> Self {
        Self(Arc::new(|bytes| {
            if getrandom::fill(bytes).is_err() {
                fastrand::fill(bytes);
            }
        }))
    }

    /// A generator that gives the same bytes for the same seed.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn seeded(seed: u64) -> Self {
        let generator = std::sync::Mutex::new(fastrand::Rng::with_seed(seed));
        Self(Arc::new(move |bytes| match generator.lock() {
            Ok(mut generator) => generator.fill(bytes),
            Err(poisoned) => poisoned.into_inner().fill(bytes),
        }))
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        (self.0)(bytes);
    }

    /// 128 random bits.
    pub(crate) fn incarnation(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
