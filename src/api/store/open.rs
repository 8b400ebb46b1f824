//! Opening a store: from options and a directory to the engine and its threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Handle, Store};
use crate::engine::Engine;
use crate::engine::background::Background;
use crate::engine::environment::Environment;
use crate::engine::opening;
use crate::engine::shared::Shared;
use crate::index::MemoryBackings;
use crate::seams::sync::ShardedLock;
use crate::storage::{MemoryDisk, RealDisk};
use crate::values::error::{Error, Result};
use crate::values::options::{Durability, Options};

impl Options {
    /// Opens the store in this directory, creating it if it is missing.
    ///
    /// The path, with its links, is resolved once. A later change of the working directory or of a
    /// link does not affect the open store.
    ///
    /// On Unix the store's files are made with mode 0600 and its folders with 0700, missing parent
    /// folders included. Elsewhere they inherit the permissions of the parent folder.
    ///
    /// After an orderly close, an open costs one sync, one read of the file INDEX (some 30 bytes
    /// for each 100 items), and the opening of sled's files. After a crash, all leaves of the index
    /// are read once, and the commits since the last checkpoint are read and applied. An index that
    /// does not match the journal is rebuilt from it.
    ///
    /// # Errors
    /// - [`Error::Locked`](crate::Error::Locked) when it is open already, here or elsewhere.
    /// - [`Error::Corrupt`](crate::Error::Corrupt) when a file is damaged; see
    ///   [`on_damage`](Self::on_damage).
    /// - [`Error::Unsupported`](crate::Error::Unsupported) when a newer version wrote it.
    /// - [`Error::Moved`](crate::Error::Moved) when the directory is moved or replaced during the
    ///   open.
    /// - [`Error::Io`](crate::Error::Io) when the system refuses a call. Its kind is
    ///   `AlreadyExists` when the directory has no MANIFEST and holds files that are not plainly a
    ///   store's. It is `InvalidInput` when a link is in the place of one of the store's files or
    ///   folders.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let (environment, path) = Environment::on_disk(path.as_ref())?;
        Store::open_in(environment, &path, self)
    }

    /// Makes a store with these options that lives in memory and is gone when closed: the same
    /// semantics, nothing on disk. [`create`](Self::create) has no effect: it is always new.
    ///
    /// # Panics
    /// When the system refuses to start the thread that does the store's maintenance.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{HistoryPolicy, Options};
    ///
    /// let store = Options::new().history(HistoryPolicy::new().versions(5)).in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// let first = notes.create("a", &"one".to_owned())?;
    /// notes.replace("a", &"two".to_owned(), first)?;
    /// assert_eq!(notes.history("a")?.len(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn in_memory(&self) -> Store {
        let backings = Arc::new(MemoryBackings::new());
        let environment = Environment {
            backup_disk: Some(Arc::new(RealDisk)),
            ..Environment::new(Arc::new(MemoryDisk::new()), backings)
        };
        let options = self.clone().create(true);
        #[expect(
            clippy::expect_used,
            reason = "memory has no damage, no locks and no full disk; see Panics"
        )]
        Store::open_at(environment, Path::new("memory"), None, &options)
            .expect("a store in memory opens")
    }
}

impl Store {
    pub(crate) fn open_in(
        environment: Environment,
        path: &Path,
        options: &Options,
    ) -> Result<Self> {
        Self::open_at(environment, path, Some(path.to_owned()), options)
    }

    /// Opens the store in this directory of the environment's disk; `shown` is the path that
    /// [`Store::path`] returns.
    fn open_at(
        mut environment: Environment,
        path: &Path,
        shown: Option<PathBuf>,
        options: &Options,
    ) -> Result<Self> {
        if let Some(clock) = &options.clock {
            environment.time = clock.source();
        }
        let mut opened = opening::open(&environment, path, options)?;
        let damage = opened.damage.take();
        let engine = Engine::new(&environment, opened, options)?;
        let notifier = Arc::clone(engine.journal.notifier());
        let interval =
            (options.durability == Durability::Eventual).then_some(options.sync_interval);
        let shared = Arc::new(Shared {
            engine: ShardedLock::new(Some(engine)),
            background: Background::new(interval),
            maintenance: parking_lot::Mutex::new(()),
            building: parking_lot::Mutex::new(()),
            notifier,
            damage,
        });
        // Closes the store, and ends what was started, should a thread be refused.
        let store = Self { handle: Arc::new(Handle { shared, path: shown }) };
        if environment.background {
            let started = Background::start(&store.handle.shared);
            started.map_err(Error::io("starting a thread for", path))?;
        }
        Ok(store)
    }
}
