//! Files in plain memory, for `Store::in_memory` and for models of the commit path.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Names;
use super::{Disk, DiskFile, EntryKind, HeldLock, lock};
use crate::seams::sync::Mutex;

/// A disk that is gone with its last handle. Clones share their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk {
    // Not `crate::seams::sync`'s mutex: models do not explore names, and nothing that a model could
    // pre-empt happens while this is held.
    shared: Arc<std::sync::Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Names<Arc<MemoryFile>>,
    locked: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        if create {
            let file = Arc::new(MemoryFile::new());
            lock(&self.shared).names.create(path, Arc::clone(&file))?;
            return Ok(file);
        }
        let file = Arc::clone(lock(&self.shared).names.file(path)?);
        Ok(file)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        lock(&self.shared).names.create_dir_all(path)?;
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        lock(&self.shared).names.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(lock(&self.shared).names.exists(path))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        Ok(lock(&self.shared).names.kind(path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        lock(&self.shared).names.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        lock(&self.shared).names.rename(from, to)?;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        lock(&self.shared).names.check_directory(dir)
    }

    fn can_be_full(&self) -> bool {
        false
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>> {
        let file = Arc::new(MemoryFile::new());
        let mut shared = lock(&self.shared);
        if !shared.names.exists(path) {
            shared.names.create(path, file)?;
        }
        if !shared.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        let disk = self.clone();
        Ok(Some(Box::new(Lock { disk, path: path.to_owned() })))
    }
}

struct Lock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl HeldLock for Lock {
    /// Nobody else has this disk.
    fn is_at_path(&self) -> io::Result<bool> {
        Ok(true)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.disk.shared).locked.remove(&self.path);
    }
}

/// A file's bytes. Every operation takes the mutex exactly once, syncing too: that is the step at
/// which a model may switch threads.
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryFile {
    fn new() -> Self {
        Self { bytes: Mutex::new(Vec::new()) }
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").finish_non_exhaustive()
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let stored = bytes.get(start..).unwrap_or_default();
        let count = stored.len().min(buf.len());
        if let (Some(from), Some(to)) = (stored.get(..count), buf.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.bytes.lock();
        if buf.is_empty() {
            return Ok(0);
        }
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > bytes.len() {
            resize(&mut bytes, end)?;
        }
        if let Some(target) = bytes.get_mut(start..end) {
            target.copy_from_slice(buf);
        }
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock();
        resize(&mut bytes, usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.bytes.lock());
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Cuts or grows with zeros; no memory left is an error, not an abort.
fn resize(bytes: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let added = len.saturating_sub(bytes.len());
    bytes.try_reserve(added).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(len, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::seams::sync::{model, thread};
    use crate::storage::conformance;

    #[test]
    fn the_memory_disk_conforms() {
        model(|| conformance::check(&MemoryDisk::new(), Path::new("store")));
    }

    #[test]
    fn writes_of_two_threads_to_one_file_are_both_kept() {
        model(|| {
            let file = MemoryDisk::new().open(Path::new("a"), true).unwrap();
            let other = Arc::clone(&file);
            let writer = thread::spawn(move || other.write_all_at(b"one", 0).unwrap());
            file.write_all_at(b"two", 3).unwrap();
            file.sync_data().unwrap();
            writer.join().unwrap();
            let mut bytes = [0; 6];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"onetwo");
        });
    }

    #[test]
    fn an_impossible_length_is_an_error() {
        model(|| {
            let file = MemoryDisk::new().open(Path::new("a"), true).unwrap();
            assert!(file.set_len(u64::MAX).is_err());
            assert!(file.write_at(b"x", u64::MAX).is_err());
            assert_eq!(file.len().unwrap(), 0);
        });
    }
}
