//! The index on disk: sled 0.34.7, and nothing of it but an ordered map that may fail.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::guard::{Guard, attempt_within};
use super::{Backing, Backings, lower_bound};
use crate::index::leaf::MAX_ENCODED_BYTES;
use crate::storage::layout::INDEX_FOLDER_PREFIX;
use crate::storage::platform::{create_dir_all, sync_dir};
use crate::values::error::{Error, Result};

/// How long opening may take: far more than the log of a large index takes. The limit ends only an
/// open that hangs, which damage and the loss of sled's process-wide I/O threads can cause.
const OPEN_LIMIT: Duration = Duration::from_secs(600);

/// How long sled's own flush may take, which writes one buffer; after a full disk it can hang.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// How long closing may take, which flushes and then waits for sled's last file handle.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The unit in which sled allocates its file. It is stored in each folder; another size cannot open
/// it. Pages over a quarter of it would become blob files, which sled never syncs and leaks. A page
/// of 257 pairs' keys, each as long as a key may be, must stay below that.
const SEGMENT_BYTES: usize = 1 << 20;

/// How often a pair is read so that sled evicts other pages of its group. sled keeps pages in 256
/// groups, and looks at a group's size after each 64 uses of its pages. A page has eight pairs or more.
const READS_TO_EVICT: usize = 16;

/// After how many more pairs it is read. A page of more than 16 pairs is split, and the part that is
/// split off counts as used only when it is read. Pairs are written in descending order, so nothing
/// else would read it.
const PAIRS_BEFORE_EVICTING: usize = 32;

/// The indexes of a store directory: `index-<generation>/` each.
#[derive(Debug)]
pub(crate) struct SledBackings {
    root: PathBuf,
    cache_bytes: u64,
}

impl SledBackings {
    /// `cache_bytes` is sled's page cache per open index; the directory itself must exist.
    pub(crate) fn new(root: PathBuf, cache_bytes: u64) -> Self {
        // sled panics below some hundred bytes.
        const LEAST_CACHE_BYTES: u64 = 1 << 20;
        Self { root, cache_bytes: cache_bytes.max(LEAST_CACHE_BYTES) }
    }

    fn dir(&self, generation: u64) -> PathBuf {
        self.root.join(format!("{INDEX_FOLDER_PREFIX}{generation}"))
    }
}

impl Backings for SledBackings {
    fn open(&self, generation: u64) -> Result<Arc<dyn Backing>> {
        Ok(Arc::new(SledBacking::open(self.dir(generation), self.cache_bytes)?))
    }

    fn remove_all_but(&self, generation: u64) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(Error::io("list", &self.root))?;
        let mut outcome = Ok(());
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.root))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(generation_of);
            if number.is_some_and(|number| number != generation) {
                let path = entry.path();
                // A link is removed, never followed.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    free_blocks(&path);
                }
                let removed = fs::remove_dir_all(&path).map_err(Error::io("remove", &path));
                outcome = outcome.and(removed);
            }
        }
        outcome
    }
}

/// Cuts the files of a folder that is about to be removed: where sled hangs it holds its file open,
/// and the file's space would be taken for as long as the process lives.
fn free_blocks(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            // Removing it, which follows, says what does not work.
            let _ = OpenOptions::new().write(true).open(entry.path()).map(|file| file.set_len(0));
        }
    }
}

/// The generation in a folder's name; `None` for every name that is not exactly one.
fn generation_of(name: &str) -> Option<u64> {
    let generation: u64 = name.strip_prefix(INDEX_FOLDER_PREFIX)?.parse().ok()?;
    (format!("{INDEX_FOLDER_PREFIX}{generation}") == name).then_some(generation)
}

/// One opened sled folder. It holds one file handle; sled's some seven I/O threads are shared by
/// all stores of the process.
#[derive(Debug)]
pub(crate) struct SledBacking {
    /// `Some` until dropped.
    db: Option<Db>,
    dir: PathBuf,
    guard: Guard,
    /// The keys of the pairs that were inserted last.
    inserted: Mutex<VecDeque<Box<[u8]>>>,
}

impl SledBacking {
    fn open(dir: PathBuf, cache_bytes: u64) -> Result<Self> {
        // sled would make it readable for all. Where it cannot be made sled says why.
        let _ = create_dir_all(&dir);
        let guard = Guard::default();
        let config = sled::Config::default()
            .path(&dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .segment_size(SEGMENT_BYTES)
            .mode(sled::Mode::HighThroughput);
        let db = guard.call_within("open the index", OPEN_LIMIT, move || config.open())?;
        Ok(Self { db: Some(Db(db)), dir, guard, inserted: Mutex::default() })
    }

    /// Makes sled evict pages of pairs that were inserted before this one. By itself it keeps most of
    /// what checkpoints write in memory.
    fn evict_before(&self, key: &[u8]) -> Result<()> {
        let earlier = {
            let mut inserted = self.inserted.lock();
            inserted.push_back(key.into());
            if inserted.len() > PAIRS_BEFORE_EVICTING { inserted.pop_front() } else { None }
        };
        let Some(earlier) = earlier else { return Ok(()) };
        self.call("read the index", |tree| {
            (0..READS_TO_EVICT).try_for_each(|_| tree.get(&earlier).map(drop))
        })
    }

    fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce(&sled::Tree) -> Result<T, sled::Error>,
    ) -> Result<T> {
        match &self.db {
            Some(db) => self.guard.call(what, || call(&db.0)),
            None => Err(Error::Closed),
        }
    }
}

impl Backing for SledBacking {
    fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>> {
        let value = self.call("read the index", |tree| tree.get(key))?;
        Ok(value.map(|value| Box::from(&*value)))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<()> {
        debug_assert!(value.len() <= MAX_ENCODED_BYTES, "pairs are leaves");
        self.call("write the index", |tree| tree.insert(key, value))?;
        self.evict_before(key)
    }

    fn remove(&self, key: &[u8]) -> Result<()> {
        self.call("write the index", |tree| tree.remove(key)).map(drop)
    }

    fn scan(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        self.call("scan the index", |tree| {
            for pair in tree.range::<&[u8], _>((lower_bound(after), Bound::Unbounded)).take(limit) {
                let (key, value) = pair?;
                visit(&key, &value);
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<()> {
        let Some(Db(db)) = &self.db else {
            return Err(Error::Closed);
        };
        let db = db.clone();
        self.guard.call_within("flush the index", FLUSH_LIMIT, move || db.flush())?;
        // sled's flush is `sync_file_range`: neither metadata nor names, nor the device's cache.
        // A sync that the system refuses is not a failure of sled.
        sync_tree(&self.dir).map_err(Error::io("syncing", &self.dir))
    }

    fn size_on_disk_bytes(&self) -> Result<u64> {
        match &self.db {
            // A folder that cannot be listed is not a failure of sled.
            Some(Db(db)) => match db.size_on_disk() {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    let error = io::Error::other(error.to_string());
                    Err(Error::io("measuring", &self.dir)(error))
                }
            },
            None => Err(Error::Closed),
        }
    }
}

impl Drop for SledBacking {
    /// Closes the database, and returns when a reopen will find its file unlocked; sled's own drop
    /// does not wait for that, and can hang or panic.
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_LIMIT;
        let db = self.db.take();
        attempt_within("close the index", CLOSE_LIMIT, move || drop(db));
        while is_locked(&self.dir.join("db")) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A database whose `Debug` says nothing: sled's own prints every pair.
struct Db(sled::Db);

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db")
    }
}

/// Whether somebody holds sled's lock on its file; a file that cannot be asked counts as free.
fn is_locked(file: &Path) -> bool {
    match File::open(file).map(|file| file.try_lock()) {
        Ok(Err(fs::TryLockError::WouldBlock)) => true,
        Ok(Ok(()) | Err(fs::TryLockError::Error(_))) | Err(_) => false,
    }
}

/// Syncs every file under the directory, the directories, and the name of the first one.
fn sync_tree(dir: &Path) -> io::Result<()> {
    sync_below(dir)?;
    match dir.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn sync_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_below(&entry.path())?;
        } else if kind.is_file() {
            match OpenOptions::new().write(true).open(entry.path()) {
                Ok(file) => file.sync_all()?,
                // sled removes its old snapshot on a thread of its own.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    sync_dir(dir)
}

#[cfg(all(test, not(loom)))]
mod tests;
