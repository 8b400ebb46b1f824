//! The directory of an open store, and what keeps it the store's own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::{Disk, DiskFile, EntryKind, HeldLock};
use crate::storage::layout::LOCK_FILE;
use crate::values::error::{Error, MovedAway, Result};

/// A disk for the files of one store.
///
/// The names in a directory belong to the holder of its lock. A directory can be moved, removed or
/// replaced while the store is open; the path then leads to nothing or to somebody else's files.
/// So each call by a path looks first whether the lock file there is the one that is held, and is
/// refused when it is not. Open handles stay usable: they lead to the store's own files.
///
/// No link below the directory is followed, and only regular files and folders are opened:
/// otherwise the maker of the directory could choose a file of another owner that is then written
/// to.
pub(crate) struct StoreDirectory {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// None where the store is read from media that cannot be locked.
    lock: Option<Weak<dyn HeldLock>>,
}

impl StoreDirectory {
    /// Takes the lock of a directory. Calls are refused as soon as the lock is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] when another opener holds it; [`Error::Io`].
    pub(crate) fn lock(
        disk: &Arc<dyn Disk>,
        root: &Path,
    ) -> Result<(Arc<Self>, Arc<dyn HeldLock>)> {
        let path = root.join(LOCK_FILE);
        let unlocked = Self::unlocked(disk, root);
        unlocked.check_links(&path).map_err(Error::io("locking", &path))?;
        let lock = disk.lock(&path).map_err(Error::io("locking", &path))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: root.to_owned() })?;
        let lock: Arc<dyn HeldLock> = Arc::from(lock);
        let directory = Arc::new(Self { lock: Some(Arc::downgrade(&lock)), ..unlocked });
        Ok((directory, lock))
    }

    /// A directory that is only read and cannot be locked.
    pub(crate) fn unlocked(disk: &Arc<dyn Disk>, root: &Path) -> Self {
        Self { disk: Arc::clone(disk), root: root.to_owned(), lock: None }
    }

    /// The path of the directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that the path still leads to the directory that was locked.
    pub(crate) fn check_lock(&self) -> io::Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let Some(lock) = lock.upgrade() else {
            return Err(io::Error::other("the store is closed"));
        };
        if lock.is_at_path()? {
            return Ok(());
        }
        Err(io::Error::other(MovedAway { path: self.root.clone() }))
    }

    /// Checks that nothing at or below this path is a link or a special file.
    pub(crate) fn check_tree(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        if self.disk.kind(path)? == Some(EntryKind::Directory) {
            for name in self.disk.list(path)? {
                self.check_tree(&path.join(name))?;
            }
        }
        Ok(())
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        self.check_lock()?;
        self.check_links(path)
    }

    /// Looks at each part of the path below the directory.
    fn check_links(&self, path: &Path) -> io::Result<()> {
        let mut at = self.root.clone();
        // A path that is not below it leads above it, as for syncing names, and is the user's own.
        for part in path.strip_prefix(&self.root).into_iter().flat_map(Path::components) {
            at.push(part);
            match self.disk.kind(&at)? {
                Some(EntryKind::File | EntryKind::Directory) => {}
                Some(EntryKind::Other) => {
                    let message = format!(
                        "{at:?} is a link or a special file; a store consists of files and folders"
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
                None => break,
            }
        }
        Ok(())
    }
}

impl Disk for StoreDirectory {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.check(path)?;
        self.disk.open(path, create)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check(path)?;
        self.disk.open_to_read(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.disk.resolve(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check(dir)?;
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check(path)?;
        self.disk.exists(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        self.check_lock()?;
        self.disk.kind(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        self.disk.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(from)?;
        self.check_links(to)?;
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(dir)?;
        self.disk.sync_dir(dir)
    }

    fn can_be_full(&self) -> bool {
        self.disk.can_be_full()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>> {
        self.check(path)?;
        self.disk.lock(path)
    }
}

impl fmt::Debug for StoreDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreDirectory").field("root", &self.root).finish_non_exhaustive()
    }
}
