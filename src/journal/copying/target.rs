//! The directory that a copy is made in, and the marker of one that is not finished.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::storage::layout::{
    JOURNAL_FOLDER, LOCK_FILE, MANIFEST_FILE, UNFINISHED_FILE, UNFINISHED_MANIFEST_FILE,
    WATERMARK_FILE, segment_number,
};
use crate::storage::{Disk, EntryKind, HeldLock, StoreDirectory, sync_ancestors};
use crate::values::error::{Error, Result};

/// A directory, locked and empty except for the marker.
pub(crate) struct Target<'a> {
    directory: Arc<StoreDirectory>,
    path: &'a Path,
    _lock: Arc<dyn HeldLock>,
}

impl<'a> Target<'a> {
    /// Makes the directory, or takes an empty one or what an earlier attempt has left.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `AlreadyExists` when it holds anything else; [`Error::Locked`] when
    /// another copy is being made there.
    pub(crate) fn begin(disk: &Arc<dyn Disk>, path: &'a Path) -> Result<Self> {
        if exists(&**disk, path)? {
            check_free(&**disk, path)?;
        } else {
            disk.create_dir_all(path).map_err(Error::io("creating", path))?;
        }
        let (directory, lock) = StoreDirectory::lock(disk, path)?;
        let disk = &*directory;
        // Another copy may have been made before the lock was taken.
        check_free(disk, path)?;
        let marker = path.join(UNFINISHED_FILE);
        if exists(disk, &marker)? {
            // No crash may leave MANIFEST without the segments that it names.
            remove(disk, &path.join(MANIFEST_FILE))?;
            remove(disk, &path.join(UNFINISHED_MANIFEST_FILE))?;
            sync_dir(disk, path)?;
            clear_journal(disk, path)?;
        } else {
            drop(disk.open(&marker, true).map_err(Error::io("creating", &marker))?);
            sync_dir(disk, path)?;
        }
        sync_ancestors(disk, path)?;
        let journal = path.join(JOURNAL_FOLDER);
        disk.create_dir_all(&journal).map_err(Error::io("creating", &journal))?;
        sync_dir(disk, path)?;
        Ok(Self { directory, path, _lock: lock })
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.directory
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Says that the copy is whole, durably.
    pub(super) fn finish(self) -> Result<()> {
        remove(self.disk(), &self.path.join(UNFINISHED_FILE))?;
        sync_dir(self.disk(), self.path)
    }
}

/// Refuses a directory that holds anything but an unfinished copy.
fn check_free(disk: &dyn Disk, path: &Path) -> Result<()> {
    const LEFT_OVER: [&str; 6] = [
        LOCK_FILE,
        UNFINISHED_FILE,
        JOURNAL_FOLDER,
        WATERMARK_FILE,
        MANIFEST_FILE,
        UNFINISHED_MANIFEST_FILE,
    ];
    let names = disk.list(path).map_err(Error::io("listing", path))?;
    let marker = path.join(UNFINISHED_FILE);
    let unfinished = names.iter().any(|name| name == UNFINISHED_FILE) && is_empty(disk, &marker)?;
    let left_over = |name: &str| name == LOCK_FILE || unfinished && LEFT_OVER.contains(&name);
    match names.iter().find(|name| !left_over(name)) {
        None => Ok(()),
        Some(other) => {
            let message = format!("the directory holds {other:?}; choose an empty one");
            let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
            Err(Error::io("copying a store to", path)(source))
        }
    }
}

/// A marker is an empty file.
fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool> {
    if disk.kind(path).map_err(Error::io("looking for", path))? != Some(EntryKind::File) {
        return Ok(false);
    }
    let file = disk.open_to_read(path).map_err(Error::io("opening", path))?;
    Ok(file.len().map_err(Error::io("reading the length of", path))? == 0)
}

/// Removes the segments and WATERMARK of an unfinished copy, durably.
pub(crate) fn clear_journal(disk: &dyn Disk, path: &Path) -> Result<()> {
    remove(disk, &path.join(WATERMARK_FILE))?;
    let journal = path.join(JOURNAL_FOLDER);
    if !exists(disk, &journal)? {
        return Ok(());
    }
    let names = disk.list(&journal).map_err(Error::io("listing", &journal))?;
    for name in names.iter().filter(|name| segment_number(name).is_some()) {
        remove(disk, &journal.join(name))?;
    }
    sync_dir(disk, &journal)
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("removing", path)),
    }
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    disk.exists(path).map_err(Error::io("looking for", path))
}

pub(super) fn sync_dir(disk: &dyn Disk, path: &Path) -> Result<()> {
    disk.sync_dir(path).map_err(Error::io("syncing", path))
}
