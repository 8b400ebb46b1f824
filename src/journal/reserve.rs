//! Disk space that is set aside, so that a store can free space by itself when the disk is full.
//!
//! RESERVE is a file of allocated zeros. Nothing is ever read from it. A removal or a compaction
//! that finds no space cuts it, and uses the space that this frees. Other writes are refused until
//! it is whole again: they would use up the space that removals need.
//!
//! It may be lost, short or sparse without harm to any data: then the user has to free space. So it
//! is not synced for its own sake, and an open does not read it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::journal::append::Journal;
use crate::storage::Disk;
use crate::storage::layout::RESERVE_FILE;
use crate::values::error::{Error, Result};

/// The length of the reserve while the journal is one segment.
const FIRST_BYTES: u64 = 128 << 10;
/// The least that removals may use, and that a compaction leaves to them.
const LEAST_FOR_REMOVALS_BYTES: u64 = 64 << 10;
/// How much a removal takes at a time.
const STEP_BYTES: u64 = 64 << 10;

/// The file RESERVE.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Whether writes of all kinds are accepted.
    is_whole: AtomicBool,
    /// Last in the lock order: held for calls to this file only.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The length that the file should have.
    goal_bytes: u64,
    /// Its length when it was last made whole, or as long as there was space for.
    full_bytes: u64,
    /// Whether compaction uses it: nobody makes it whole until that is over.
    lent: bool,
    /// Whether it was cut or could not be made whole, and has not been made whole since.
    short: bool,
}

impl Reserve {
    pub(super) fn new(disk: &Arc<dyn Disk>, store: &Path) -> Arc<Self> {
        let (is_whole, held) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { disk: Arc::clone(disk), path: store.join(RESERVE_FILE), is_whole, held })
    }

    /// Whether the disk was found full, and no write has made the file whole since.
    fn is_short(&self) -> bool {
        if self.is_whole() {
            return false;
        }
        let held = self.held.lock();
        held.lent || held.short
    }

    fn is_whole(&self) -> bool {
        self.is_whole.load(Ordering::Acquire)
    }

    /// Makes the next write check the file again.
    fn look_again(&self) {
        self.is_whole.store(false, Ordering::Release);
    }

    /// Makes the file this long.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no space; what could be reserved is kept. Any other failure is
    /// logged, and the store continues without a reserve: the system refuses a call for the moment.
    fn make_whole(&self, goal_bytes: u64) -> Result<()> {
        let mut held = self.held.lock();
        held.goal_bytes = goal_bytes;
        if held.lent {
            return Err(self.full(io::ErrorKind::StorageFull.into()));
        }
        match self.grow(goal_bytes) {
            Ok(()) => {
                held.short = false;
                held.full_bytes = goal_bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                held.short = true;
                return Err(self.full(error));
            }
            Err(error) => {
                let error = Error::io("reserving space in", &self.path)(error);
                log::warn!("no space is set aside for removals on a full disk for now: {error}");
            }
        }
        self.is_whole.store(true, Ordering::Release);
        Ok(())
    }

    fn full(&self, error: io::Error) -> Error {
        Error::io("setting space aside in", &self.path)(error)
    }

    fn grow(&self, goal_bytes: u64) -> io::Result<()> {
        let exists = self.disk.exists(&self.path)?;
        if !exists && goal_bytes == 0 {
            return Ok(());
        }
        let file = self.disk.open(&self.path, !exists)?;
        let len = file.len()?;
        if len > goal_bytes.saturating_mul(2) {
            return file.set_len(goal_bytes);
        }
        if len >= goal_bytes {
            return Ok(());
        }
        file.allocate(len, goal_bytes - len)
    }

    /// Makes the file as long as there is space, step by step, if there is not enough for all of
    /// it. Otherwise other writers would take the space that a compaction leaves, and the next one
    /// would have none.
    fn make_part(&self, goal_bytes: u64) {
        let mut held = self.held.lock();
        if held.lent || self.is_whole() {
            return;
        }
        let made = self.disk.open(&self.path, false).and_then(|file| {
            let mut len = file.len()?;
            while len < goal_bytes && file.allocate(len, STEP_BYTES.min(goal_bytes - len)).is_ok() {
                len = file.len()?;
            }
            Ok(len)
        });
        held.full_bytes = made.unwrap_or(0);
    }

    /// The length to which removals may cut the file; the rest is for compaction.
    fn least_bytes(&self) -> u64 {
        let held = self.held.lock();
        if held.lent { 0 } else { for_compaction(held.full_bytes.min(held.goal_bytes)) }
    }

    fn is_lent(&self) -> bool {
        self.held.lock().lent
    }

    /// Cuts the file by some bytes, but not below this length; returns whether there was anything
    /// to cut.
    fn cut(&self, step_bytes: u64, least_bytes: u64) -> bool {
        let mut held = self.held.lock();
        held.short = true;
        self.look_again();
        match self.try_cut(step_bytes, least_bytes) {
            Ok(cut) => cut,
            Err(error) => {
                let error = Error::io("giving back space of", &self.path)(error);
                log::warn!("the space that is set aside cannot be used: {error}");
                false
            }
        }
    }

    fn try_cut(&self, step_bytes: u64, least_bytes: u64) -> io::Result<bool> {
        if !self.disk.exists(&self.path)? {
            return Ok(false);
        }
        let file = self.disk.open(&self.path, false)?;
        let len = file.len()?;
        if len <= least_bytes {
            return Ok(false);
        }
        file.set_len(len.saturating_sub(step_bytes).max(least_bytes))?;
        // Some file systems free blocks when the cut is durable.
        file.sync_all()?;
        Ok(true)
    }
}

/// How much of the reserve removals leave to compaction.
fn for_compaction(goal_bytes: u64) -> u64 {
    goal_bytes.saturating_sub((goal_bytes / 5).max(LEAST_FOR_REMOVALS_BYTES))
}

/// The reserve, in use by a compaction until this is dropped.
#[derive(Debug)]
pub(crate) struct LentReserve(Arc<Reserve>);

impl LentReserve {
    /// Takes the part for removals as well.
    pub(crate) fn take_rest(&self) {
        self.0.cut(u64::MAX, 0);
    }
}

impl Drop for LentReserve {
    /// Makes the reserve whole, if there is space; otherwise the next write tries again.
    fn drop(&mut self) {
        let goal_bytes = {
            let mut held = self.0.held.lock();
            held.lent = false;
            held.goal_bytes
        };
        if let Err(error) = self.0.make_whole(goal_bytes) {
            log::warn!("writes other than removals are refused until there is space: {error}");
            self.0.make_part(goal_bytes);
        }
    }
}

impl Journal {
    /// Whether the disk was found full, and no write has found space since.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.reserve.is_short()
    }

    /// Lends the reserve to a compaction, except for the part for removals. Costs a sync.
    pub(crate) fn lend_reserve(&self) -> LentReserve {
        let goal_bytes = self.reserve_goal(self.segments.count());
        {
            let mut held = self.reserve.held.lock();
            held.goal_bytes = held.goal_bytes.max(goal_bytes);
            held.lent = true;
        }
        self.reserve.cut(u64::MAX, goal_bytes - for_compaction(goal_bytes));
        LentReserve(Arc::clone(&self.reserve))
    }

    /// Makes sure that space is set aside before a write that does not free any.
    ///
    /// # Errors
    /// [`Error::Io`] of kind `StorageFull` when there is no space; nothing is changed.
    pub(super) fn keep_reserve(&self) -> Result<()> {
        if self.reserve.is_whole() {
            return Ok(());
        }
        self.reserve.make_whole(self.reserve_goal(self.segments.count()))
    }

    /// As [`keep_reserve`](Self::keep_reserve), when another segment begins.
    pub(super) fn grow_reserve(&self) -> Result<()> {
        self.reserve.make_whole(self.reserve_goal(self.segments.count() + 1))
    }

    /// Makes the next write that frees nothing check whether enough is set aside.
    pub(super) fn recheck_reserve(&self) {
        self.reserve.look_again();
    }

    /// Calls `f`, which needs so much space, and again with some of what is set aside while it
    /// finds none. While a compaction has its part of that, free space is the compaction's: then
    /// what is left is cut before.
    pub(super) fn with_reserve<T>(
        &self,
        needed_bytes: u64,
        mut f: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        if needed_bytes > 0 && self.reserve.is_lent() && !self.reserve.cut(needed_bytes, 0) {
            return Err(self.reserve.full(io::ErrorKind::StorageFull.into()));
        }
        loop {
            match f() {
                Err(error) if error.is_full_disk() && !self.is_poisoned() => {
                    if !self.reserve.cut(STEP_BYTES, self.reserve.least_bytes()) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// Enough to begin a segment and to write any one anew, and a fifth for removals.
    fn reserve_goal(&self, segments: usize) -> u64 {
        match segments {
            _ if !self.disk.can_be_full() => 0,
            0 => 0,
            1 => FIRST_BYTES,
            _ => self.segment_capacity() / 4 * 5 + FIRST_BYTES,
        }
    }
}
