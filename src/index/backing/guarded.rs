//! The backing stores of a store whose directory is locked.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Backing, Backings};
use crate::storage::StoreDirectory;
use crate::storage::layout::INDEX_FOLDER_PREFIX;
use crate::values::error::{Error, Result};

/// Backing stores that are made, read and removed only while the path leads to the directory that was
/// locked, and only where no link is among their files: they do not pass through the store's disk.
#[derive(Debug)]
pub(crate) struct GuardedBackings {
    tables: Arc<dyn Backings>,
    directory: Arc<StoreDirectory>,
}

impl GuardedBackings {
    pub(crate) fn new(tables: Arc<dyn Backings>, directory: Arc<StoreDirectory>) -> Self {
        Self { tables, directory }
    }

    fn folder(&self, generation: u64) -> PathBuf {
        self.directory.root().join(format!("{INDEX_FOLDER_PREFIX}{generation}"))
    }

    fn check(&self, operation: &'static str, generation: u64) -> Result<()> {
        let folder = self.folder(generation);
        self.directory.check_tree(&folder).map_err(Error::io(operation, &folder))
    }
}

impl Backings for GuardedBackings {
    fn open(&self, generation: u64) -> Result<Arc<dyn Backing>> {
        self.check("opening", generation)?;
        self.tables.open(generation)
    }

    fn remove_all_but(&self, generation: u64) -> Result<()> {
        let root = self.directory.root();
        self.directory.check_lock().map_err(Error::io("removing old indexes of", root))?;
        self.tables.remove_all_but(generation)
    }
}
