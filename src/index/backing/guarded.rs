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
    backings: Arc<dyn Backings>,
    directory: Arc<StoreDirectory>,
}

impl GuardedBackings {
    pub(crate) fn new(backings: Arc<dyn Backings>, directory: Arc<StoreDirectory>) -> Self {
        Self { backings, directory }
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
        let (backing, folder) = (self.backings.open(generation)?, self.folder(generation));
        Ok(Arc::new(GuardedBacking { backing, directory: Arc::clone(&self.directory), folder }))
    }

    fn remove_all_but(&self, generation: u64) -> Result<()> {
        let root = self.directory.root();
        self.directory.check_lock().map_err(Error::io("removing old indexes of", root))?;
        self.backings.remove_all_but(generation)
    }
}

/// A backing store, whose folder is asked by its path when it is synced and measured.
#[derive(Debug)]
struct GuardedBacking {
    backing: Arc<dyn Backing>,
    directory: Arc<StoreDirectory>,
    folder: PathBuf,
}

impl GuardedBacking {
    /// What fails because the path leads elsewhere, or is done there, is
    /// [`Error::Moved`](Error::Moved).
    fn by_path<T>(&self, operation: &'static str, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = call();
        self.directory.check_lock().map_err(Error::io(operation, &self.folder))?;
        result
    }
}

impl Backing for GuardedBacking {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        self.backing.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.backing.insert(key, value)
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        self.backing.remove(key)
    }

    fn scan(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.backing.scan(after, limit, visit)
    }

    fn flush(&self) -> Result<()> {
        self.by_path("syncing", || self.backing.flush())
    }

    fn size_on_disk_bytes(&self) -> Result<u64> {
        self.by_path("measuring", || self.backing.size_on_disk_bytes())
    }
}
