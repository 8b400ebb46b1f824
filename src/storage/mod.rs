//! The seam to the file system: every byte of the journal passes through [`Disk`].
//!
//! Three implementations pass one conformance suite (`conformance`): the operating system's files
//! ([`RealDisk`]), plain memory for `Store::in_memory` ([`MemoryDisk`]), and, with the feature
//! `simulation`, a disk that loses, reorders, tears and refuses (`SimulatedDisk`).
//!
//! The index does not pass through here: it is a cache of the journal and is proven or rebuilt
//! at every unclean open (`docs/design.md`).

mod ancestors;
#[cfg(test)]
mod conformance;
mod directory;
pub(crate) mod layout;
mod memory;
mod names;
pub(crate) mod platform;
mod read_only;
mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use ancestors::sync_ancestors;
pub(crate) use directory::StoreDirectory;
pub(crate) use memory::MemoryDisk;
pub(crate) use read_only::ReadOnlyDisk;
pub(crate) use real::RealDisk;
#[cfg(feature = "simulation")]
pub use simulated::{Fault, FaultPlan, Operation, SimulatedDisk};

/// A file system as the journal needs it.
///
/// Paths are used as given; a `Disk` does not interpret them beyond parent and name.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file for reading and writing by position. With `create` the file must not exist
    /// and is made empty; without it the file must exist.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is only going to be read; works on media that cannot be written to.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, false)
    }

    /// The path that is the same for every alias of a place. The place need not exist.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    /// Makes a directory and its missing parents; an existing directory is left as it is.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Names of the entries of a directory, sorted. Names that are not UTF-8 are not ours and are
    /// left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether anything of this name exists, including a link that leads nowhere.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The kind of what has this name, if anything does; a link is not followed.
    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>>;

    /// Removes a file. Open handles can still read and write it; Windows may keep the name taken
    /// until the last of them is closed.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Moves a file within this disk, replacing the target if it exists. The target must not be
    /// open: older versions of Windows refuse that. On Windows the new name is durable when this
    /// returns; elsewhere once its directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: files created, renamed or removed there.
    /// Does nothing if the file system cannot do that and keeps names in order itself.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether a write may find no space, so that setting some aside is worth it.
    fn can_be_full(&self) -> bool {
        true
    }

    /// Takes the lock file of a store, created if missing; `None` when another opener, in this
    /// process or another, holds it. Dropping the guard releases it; the file stays, since removing
    /// it would let two openers lock two files of the same name.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>>;
}

/// What a name in a directory represents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// A link, a device, a pipe or a socket: nothing that a store consists of.
    Other,
}

/// A lock file that is held until this is dropped.
pub(crate) trait HeldLock: Send + Sync + 'static {
    /// Whether the path at which it was locked still leads to the file that is held.
    fn is_at_path(&self) -> io::Result<bool>;
}

/// An open file, read and written by position from many threads.
pub(crate) trait DiskFile: Debug + Send + Sync + 'static {
    /// Reads some bytes at `offset`; fewer than asked for only at the end of the file or after
    /// an interruption, 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at `offset`, growing the file where needed; may write fewer than asked.
    /// A gap before `offset` reads as zero; writing no bytes does not grow the file.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or grows the file; new bytes read as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes sure that these bytes, from the end of the file on, can be written without more space;
    /// they read as zero. Costs as much as writing zeros where the system has no call for it.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeros(offset, len)
    }

    /// Returns when the contents, and the length if it is needed to read them, are on stable
    /// storage (`fdatasync`, `F_FULLFSYNC`, `FlushFileBuffers`).
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), and all metadata with it (`fsync`).
    fn sync_all(&self) -> io::Result<()>;

    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buf` at `offset`, going on after short writes and interruptions.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes this number of zeros, 64 KiB at a time.
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        const STEP_BYTES: u64 = 64 << 10;
        let zeros = vec![0; STEP_BYTES.min(len) as usize];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(STEP_BYTES);
            let zeros = zeros.get(..step as usize).unwrap_or_default();
            self.write_all_at(zeros, offset + done)?;
            done += step;
        }
        Ok(())
    }
}

/// Takes a mutex that guards plain data: a panic while it was held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
