//! The operating system's files.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::platform::FileIdentity;
use super::{Disk, DiskFile, EntryKind, HeldLock, lock, platform};

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = platform::own_file();
        let file = options.read(true).write(true).create_new(create).open(path);
        Ok(Arc::new(RealFile(file.map_err(platform::name_full_disk)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(platform::own_file().read(true).open(path)?)))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is empty"));
        }
        for existing in path.ancestors() {
            let found = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
            match found.canonicalize() {
                Ok(mut resolved) => {
                    for part in path.strip_prefix(existing).into_iter().flat_map(Path::components) {
                        // What does not exist is not a link, so its parent is what the text says.
                        match part {
                            Component::ParentDir => drop(resolved.pop()),
                            Component::Normal(name) => resolved.push(name),
                            _ => {}
                        }
                    }
                    return Ok(platform::plain(resolved));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(path.to_owned())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        platform::create_dir_all(path).map_err(platform::name_full_disk)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.kind(path)?.is_some())
    }

    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        use io::ErrorKind::{NotADirectory, NotFound};
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(EntryKind::File)),
            Ok(found) if found.is_dir() => Ok(Some(EntryKind::Directory)),
            Ok(_) => Ok(Some(EntryKind::Other)),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        platform::rename(from, to).map_err(platform::name_full_disk)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        platform::sync_dir(dir).map_err(platform::name_full_disk)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>> {
        let mut options = platform::own_file();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(platform::name_full_disk)?;
        let identity = platform::identity_of(&file)?;
        let Some(registered) = Registered::take(identity) else { return Ok(None) };
        match file.try_lock() {
            Ok(()) => {
                let path = path.to_owned();
                Ok(Some(Box::new(Lock { path, registered, file })))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        platform::read_at(&self.0, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        platform::write_at(&self.0, buf, offset).map_err(platform::name_full_disk)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len).map_err(platform::name_full_disk)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if platform::allocate(&self.0, offset, len).map_err(platform::name_full_disk)? {
            return Ok(());
        }
        self.write_zeros(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(platform::name_full_disk)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all().map_err(platform::name_full_disk)
    }
}

/// What a holder of the lock keeps. Dropped in this order, after it is unlocked: a caller that
/// finds the file free in the registry then finds it unlocked as well, and its identity is taken
/// out before the file is closed, since that may give it to another.
struct Lock {
    path: PathBuf,
    registered: Registered,
    file: File,
}

impl HeldLock for Lock {
    fn is_at_path(&self) -> io::Result<bool> {
        // The file is open, so no other gets its identity.
        Ok(platform::identity_at(&self.path)? == Some(self.registered.0))
    }
}

impl Drop for Lock {
    /// Unlocked by name, not only by closing: a child that another thread is just starting holds a
    /// copy of the handle for a moment, and with it the lock.
    fn drop(&mut self) {
        // Closing, which follows, unlocks too; there is nobody to report a failure to.
        let _ = self.file.unlock();
    }
}

/// The files that this process has locked. Whether a second lock by the same process is refused
/// differs between systems and file systems; this is the same everywhere. By identity and not by
/// path: a directory that was moved is locked where it lies now, and its path is free.
static REGISTRY: Mutex<BTreeSet<FileIdentity>> = Mutex::new(BTreeSet::new());

/// An entry of the registry, for as long as it lives.
struct Registered(FileIdentity);

impl Registered {
    fn take(identity: FileIdentity) -> Option<Self> {
        // Not `then_some`: an entry that is made and dropped would remove the holder's.
        let is_free = lock(&REGISTRY).insert(identity);
        is_free.then(|| Self(identity))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&REGISTRY).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::storage::conformance;

    #[test]
    fn the_real_disk_conforms() {
        let root = tempfile::tempdir().unwrap();
        conformance::check(&RealDisk, root.path());
    }

    #[test]
    fn a_lock_held_outside_this_process_is_respected() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        // A handle that the registry knows nothing of represents another process.
        let other = File::create(&path).unwrap();
        other.try_lock().unwrap();
        assert!(RealDisk.lock(&path).unwrap().is_none());
        // Closed, not unlocked: std unlocks twice on Windows, and the second time Wine answers with
        // an error that Windows does not have for it.
        drop(other);
        let other = File::options().write(true).open(&path).unwrap();

        let guard = RealDisk.lock(&path).unwrap();
        assert!(guard.is_some());
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(guard);
        other.try_lock().unwrap();
    }

    #[test]
    fn a_refused_lock_leaves_no_trace_in_the_registry() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        let other = File::create(&path).unwrap();
        other.try_lock().unwrap();
        assert!(RealDisk.lock(&path).unwrap().is_none());
        assert!(Registered::take(platform::identity_of(&other).unwrap()).is_some());
    }

    #[test]
    fn the_registry_refuses_a_file_that_is_taken() {
        let identity = (u64::MAX, u64::MAX);
        let first = Registered::take(identity);
        assert!(first.is_some());
        assert!(Registered::take(identity).is_none());
        drop(first);
        assert!(Registered::take(identity).is_some());
    }

    #[test]
    fn a_lock_is_not_at_its_path_once_another_file_is_or_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("LOCK");
        let held = RealDisk.lock(&path).unwrap().unwrap();
        assert!(held.is_at_path().unwrap());
        fs::rename(&path, folder.join("LOCK.moved")).unwrap();
        assert!(!held.is_at_path().unwrap());
        // It is locked where it lies, and where it lay another can be made and locked.
        assert!(RealDisk.lock(&folder.join("LOCK.moved")).unwrap().is_none());
        let other = RealDisk.lock(&path).unwrap().unwrap();
        assert!(!held.is_at_path().unwrap() && other.is_at_path().unwrap());
    }

    /// The text that `canonicalize` returns on Windows begins with `\\?\`.
    #[test]
    fn a_resolved_path_is_one_that_users_write() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("there")).unwrap();
        for name in ["there", "missing", "missing/too"] {
            let resolved = RealDisk.resolve(&root.path().join(name)).unwrap();
            assert!(resolved.is_absolute());
            assert!(!resolved.to_str().unwrap().contains('?'), "{resolved:?}");
        }
    }

    #[test]
    fn a_file_that_another_handle_has_locked_is_opened_and_measured() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        let _held = RealDisk.lock(&path).unwrap().unwrap();
        // An open of the store needs only this: on Windows nobody can read a locked file.
        assert_eq!(RealDisk.kind(&path).unwrap(), Some(EntryKind::File));
        assert_eq!(RealDisk.open_to_read(&path).unwrap().len().unwrap(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn aliases_of_a_place_resolve_to_the_same() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        std::fs::create_dir(&store).unwrap();
        std::os::unix::fs::symlink(&store, root.path().join("alias")).unwrap();
        let place = RealDisk.resolve(&store).unwrap().join("a/b");
        for alias in ["store/a/b", "alias/a/b", "alias/a/x/../b", "store/../alias/./a/b"] {
            assert_eq!(RealDisk.resolve(&root.path().join(alias)).unwrap(), place, "{alias}");
        }
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(RealDisk.resolve(Path::new("no-such-name")).unwrap(), here.join("no-such-name"));
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_is_one_lock_by_whatever_path() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("store")).unwrap();
        std::os::unix::fs::symlink(root.path().join("store"), root.path().join("alias")).unwrap();
        let _guard = RealDisk.lock(&root.path().join("store/LOCK")).unwrap().unwrap();
        assert!(RealDisk.lock(&root.path().join("alias/LOCK")).unwrap().is_none());
        assert!(RealDisk.lock(&root.path().join("store/../store/LOCK")).unwrap().is_none());
    }
}
