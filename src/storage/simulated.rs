//! A disk in memory that loses, reorders, tears and refuses, as real ones do.
//!
//! It is as bad as POSIX allows, and somewhat worse than any one file system: what a file holds
//! is durable only after a sync of the file, its name only after a sync of the directory, a write
//! is torn at sectors and each sector kept or lost for itself, and a failed sync calls the pages
//! clean that it did not write (as on Linux). [`SimulatedDisk::crash`] draws one image of what a
//! power cut may leave, [`SimulatedDisk::kill`] returns what the end of the process leaves.

mod content;
mod crash;
mod fault;
#[cfg(test)]
mod fault_tests;
mod file;
mod media;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub use fault::{Fault, FaultPlan, Operation};

use super::{Disk, DiskFile, EntryKind, HeldLock, lock};
use fault::{Faults, eio};
use file::SimulatedFile;
use media::{FileId, Media, Opened};

/// A simulated disk. Clones are handles to the same one; [`crash`](Self::crash) and
/// [`kill`](Self::kill) make new ones, and handles of the old one keep working on the old one.
///
/// Equal calls in equal order and an equal seed give equal images.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    // Of std, not of `crate::seams::sync`: this disk is outside of what models explore.
    state: Arc<Mutex<State>>,
    process: Arc<Process>,
}

/// A simulated process: the handles of a disk that end together.
#[derive(Default)]
struct Process {
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    media: Media,
    faults: Faults,
    locked: BTreeMap<FileId, Arc<Process>>,
    capacity: Option<u64>,
    fills_up: bool,
}

impl SimulatedDisk {
    /// Makes an empty disk without faults or limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws one legal image of this disk after power loss, as a new disk with nothing pending, no
    /// faults, no limit and no locks.
    ///
    /// What was synced is there. Of what was not, the image keeps all, nothing, what came before
    /// one moment with the change of that moment torn, or a random part with random tears. Sectors
    /// are of 512 or of 4096 bytes. Lost bytes before kept ones read as they did before, or as
    /// zero where the file has grown. Changes of one name keep their order.
    #[must_use]
    pub fn crash(&self, rng: &mut fastrand::Rng) -> Self {
        Self::from(crash::image(&self.state().media, rng))
    }

    /// Copies this disk as the end of the process leaves it: all that was written is there, and
    /// what was not synced still is not, so that a later [`crash`](Self::crash) may lose it. The
    /// copy has no faults, no limit and no locks.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::from(self.state().media.copy())
    }

    /// The same disk, used by another process: what one of them locks is locked for the others.
    #[must_use]
    pub fn other_process(&self) -> Self {
        Self { state: Arc::clone(&self.state), process: Arc::default() }
    }

    /// Ends the process that this handle belongs to, as a kill does: its locks are free, what it
    /// has written is there, and nothing that is left of it in a test does anything any more.
    pub fn end_process(&self) {
        // Under the lock: no call of it is half done.
        let mut state = self.state();
        self.process.ended.store(true, Ordering::Relaxed);
        state.locked.retain(|_, holder| !Arc::ptr_eq(holder, &self.process));
    }

    /// Adds a plan for calls that fail. Of several that are due at one call the first decides and
    /// the others wait.
    pub fn inject(&self, plan: FaultPlan) {
        self.state().faults.add(plan);
    }

    /// Removes all plans.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Number of calls so far, failed ones too.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().faults.calls()
    }

    /// Number of calls of one kind so far, failed ones too.
    #[must_use]
    pub fn calls_of(&self, operation: Operation) -> u64 {
        self.state().faults.calls_of(operation)
    }

    /// How often a plan has struck, calls that pass unharmed (see [`Fault::Short`]) included.
    #[must_use]
    pub fn faults_struck(&self) -> u64 {
        self.state().faults.struck()
    }

    /// Limits the sum of all files' lengths in bytes. What would grow a file beyond it fails with
    /// `StorageFull` and changes nothing; overwriting in place still works.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// Chooses whether a write that does not fit under the limit first writes what does, reported
    /// as a short write, as Linux does; the default is that it writes nothing.
    pub fn fill_up_before_full(&self, fills_up: bool) {
        self.state().fills_up = fills_up;
    }

    /// Makes this disk and its images behave as NTFS does where a directory cannot be flushed: no
    /// sync of a directory does anything; a power cut loses the youngest changes of names and no
    /// others, over the whole disk; and a file's sync, or a rename, makes all of them durable.
    pub fn keep_names_in_order(&self) {
        self.state().media.names_in_order = true;
    }

    /// Number of changes, of contents and of names, that a power cut may still lose.
    #[must_use]
    pub fn unsynced_changes(&self) -> usize {
        crash::pending_sequences(&self.state().media).len()
    }

    /// Paths of all files, in order.
    #[must_use]
    pub fn file_names(&self) -> Vec<PathBuf> {
        self.state().media.names.files().map(|(path, _)| path.to_owned()).collect()
    }

    /// The bytes of a file as a reader sees them, if there is one. Neither counted nor failed.
    #[must_use]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.media.names.file(path.as_ref()).ok()?;
        Some(state.media.inode(*id).ok()?.current.to_vec())
    }

    /// Makes a file hold these bytes, durably, with all directories above it; open handles see
    /// them. For preparing and damaging; neither counted nor failed, nor limited.
    ///
    /// # Errors
    /// When the path, or one above it, is not what it would have to be.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.state().media.put_durably(path.as_ref(), bytes)
    }

    /// Removes a file, durably. Neither counted nor failed.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn remove_file_durably(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut state = self.state();
        state.media.remove_file(path.as_ref())?;
        state.media.settle_path(path.as_ref());
        Ok(())
    }

    /// Moves a directory with all that is in it, durably, in the place of what is there: what
    /// another program may do while a store is open. Neither counted nor failed.
    pub fn move_directory(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        self.state().media.move_tree(from.as_ref(), to.as_ref());
    }

    /// Removes a directory with all that is in it, durably; open handles go on. Neither counted
    /// nor failed.
    pub fn remove_directory(&self, path: impl AsRef<Path>) {
        self.state().media.take_tree(path.as_ref());
    }

    /// Sum of the lengths of all files.
    #[must_use]
    pub fn total_len_bytes(&self) -> u64 {
        self.state().media.total_len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The state for a call of the process that this handle belongs to, if that lives.
    fn state_of_process(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if self.process.ended.load(Ordering::Relaxed) { Err(eio()) } else { Ok(state) }
    }

    /// Counts a call that either passes or does nothing, and fails it if a plan says so.
    fn call(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        let (state, _) = self.partial_call(operation)?;
        Ok(state)
    }

    /// As [`call`](Self::call), with the fault that lets a part of the call be done.
    fn partial_call(
        &self,
        operation: Operation,
    ) -> io::Result<(MutexGuard<'_, State>, Option<Fault>)> {
        let mut state = self.state_of_process()?;
        let fault = state.faults.meet(operation);
        match fault.and_then(|fault| fault.refusal(operation)) {
            Some(error) => Err(error),
            None => Ok((state, fault)),
        }
    }
}

impl From<Media> for SimulatedDisk {
    fn from(media: Media) -> Self {
        let state = Arc::new(Mutex::new(State { media, ..State::default() }));
        Self { state, process: Arc::default() }
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl State {
    /// How many of `len` bytes at `offset` fit under the limit.
    fn fitting(&self, opened: &Opened, len: usize, offset: u64) -> io::Result<usize> {
        let Some(capacity) = self.capacity else { return Ok(len) };
        let file_len = self.media.inode(opened.id)?.current.len();
        let room = capacity.saturating_sub(self.media.total_len());
        let end = offset.saturating_add(len as u64);
        if len == 0 || end <= file_len.saturating_add(room) {
            return Ok(len);
        }
        let part = file_len.saturating_add(room).saturating_sub(offset);
        match usize::try_from(part) {
            Ok(part) if part > 0 && self.fills_up => Ok(part),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let opened = self.call(Operation::Open)?.media.open(path, create)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), opened }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::CreateDir)?.media.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(Operation::List)?.media.names.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.call(Operation::List)?.media.names.exists(path))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        Ok(self.state_of_process()?.media.names.kind(path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::Remove)?.media.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Operation::Rename)?.media.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(Operation::SyncDir)?.media.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>> {
        let mut state = self.call(Operation::Lock)?;
        let is_missing = !state.media.names.exists(path);
        let opened = state.media.open(path, is_missing)?;
        if state.locked.contains_key(&opened.id) {
            return Ok(None);
        }
        state.locked.insert(opened.id, Arc::clone(&self.process));
        Ok(Some(Box::new(Lock { disk: self.clone(), path: path.to_owned(), opened })))
    }
}

struct Lock {
    disk: SimulatedDisk,
    path: PathBuf,
    opened: Opened,
}

impl HeldLock for Lock {
    fn is_at_path(&self) -> io::Result<bool> {
        let state = self.disk.call(Operation::List)?;
        Ok(state.media.names.file(&self.path).is_ok_and(|found| *found == self.opened.id))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // That of a process which has ended is free, and may be another's now.
        if let Ok(mut state) = self.disk.state_of_process() {
            state.locked.remove(&self.opened.id);
        }
    }
}
