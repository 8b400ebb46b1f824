//! What a store runs on: disk, backings, time and randomness, each replaceable in tests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::index::{Backings, SledBackings};
use crate::seams::clock::TimeSource;
use crate::seams::entropy::Entropy;
use crate::storage::{Disk, RealDisk};
use crate::values::error::{Error, Result};

/// The size of sled's page cache. It is small, as it holds only leaves on their way from and to the
/// disk: leaves that are read often are in the index.
const SLED_CACHE_BYTES: u64 = 8 << 20;

/// The seams of a store, chosen once when it is opened.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) backings: Arc<dyn Backings>,
    pub(crate) time: TimeSource,
    pub(crate) entropy: Entropy,
    /// The disk for backups, if it is not the store's own.
    pub(crate) backup_disk: Option<Arc<dyn Disk>>,
    /// Whether the store's own threads sync, checkpoint and compact. Without them, tests take each
    /// step themselves.
    pub(crate) background: bool,
}

impl Environment {
    pub(crate) fn new(disk: Arc<dyn Disk>, backings: Arc<dyn Backings>) -> Self {
        let time: TimeSource = Arc::new(SystemTime::now);
        let entropy = Entropy::system();
        Self { disk, backings, time, entropy, backup_disk: None, background: true }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("disk", &self.disk)
            .field("backings", &self.backings)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The operating system's files, and backings on sled next to them. Also returns the resolved
    /// path: it names the same directory after a change of the working directory or of a link.
    pub(crate) fn on_disk(path: &Path) -> Result<(Self, PathBuf)> {
        let path = RealDisk.resolve(path).map_err(Error::io("resolving", path))?;
        let backings = SledBackings::new(path.clone(), SLED_CACHE_BYTES);
        Ok((Self::new(Arc::new(RealDisk), Arc::new(backings)), path))
    }
}
