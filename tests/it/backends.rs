//! The three ways in which a promise is tried: on disk, in memory, and on disk with the store
//! closed and reopened after every change.

use std::cell::RefCell;
use std::fmt::Debug;
use std::path::PathBuf;

use ifmatch::{Codec, Collection, Durability, Error, Item, Options, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Runs a test's body once on each backend; a failure tells on which.
pub(crate) fn on_every_backend(body: impl Fn(&Bench)) {
    for mode in [Mode::Memory, Mode::Disk, Mode::Reopened] {
        let told = TellMode(mode);
        let bench = Bench::new(mode);
        body(&bench);
        drop(told);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Memory,
    /// `Immediate`, open throughout.
    Disk,
    /// `Eventual`, so that closing has something to sync.
    Reopened,
}

/// A store under test. Take handles anew after each [`step`](Self::step): one that is kept is of
/// a closed store where that reopens.
pub(crate) struct Bench {
    mode: Mode,
    folder: TempDir,
    store: RefCell<Option<Store>>,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { mode, folder, store: RefCell::new(None) };
        bench.open();
        bench
    }

    fn open(&self) {
        let store = match self.mode {
            Mode::Memory => Store::in_memory(),
            Mode::Disk => Store::open(self.path()).unwrap(),
            Mode::Reopened => {
                Options::new().durability(Durability::Eventual).open(self.path()).unwrap()
            }
        };
        *self.store.borrow_mut() = Some(store);
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn store(&self) -> Store {
        self.store.borrow().clone().unwrap()
    }

    pub(crate) fn collection<T: Serialize + DeserializeOwned>(&self, name: &str) -> Collection<T> {
        self.store().collection(name).unwrap()
    }

    pub(crate) fn collection_with<T, C: Codec<T>>(&self, name: &str) -> Collection<T, C> {
        self.store().collection_with(name).unwrap()
    }

    /// The collection of those tests that need but one.
    pub(crate) fn numbers(&self) -> Collection<u64> {
        self.collection("numbers")
    }

    /// Ends a step that may have changed something.
    pub(crate) fn step(&self) {
        if self.mode == Mode::Reopened {
            self.store.take().unwrap().close().unwrap();
            self.open();
        }
    }
}

/// Names the backend of a test that fails.
struct TellMode(Mode);

impl Drop for TellMode {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed on {:?}", self.0);
        }
    }
}

/// The current item of the conflict that a verb must have ended in.
#[track_caller]
pub(crate) fn precondition_failed<D: DeserializeOwned, R: Debug>(
    result: Result<R, Error>,
) -> Option<Item<D>> {
    match result {
        Err(Error::PreconditionFailed(conflict)) => {
            assert_eq!(conflict.http_status(), 412);
            conflict.current().unwrap()
        }
        other => panic!("expected PreconditionFailed, got {other:?}"),
    }
}

/// The current item that a verb which creates must have run into.
#[track_caller]
pub(crate) fn already_exists<D: DeserializeOwned, R: Debug>(result: Result<R, Error>) -> Item<D> {
    match result {
        Err(Error::AlreadyExists(conflict)) => {
            assert_eq!(conflict.http_status(), 409);
            conflict.current().unwrap().expect("AlreadyExists carries the current item")
        }
        other => panic!("expected AlreadyExists, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn not_found<R: Debug>(result: Result<R, Error>) {
    assert!(matches!(result, Err(Error::NotFound { .. })), "expected NotFound, got {result:?}");
}

#[track_caller]
pub(crate) fn invalid_precondition<R: Debug>(result: Result<R, Error>) {
    assert!(
        matches!(result, Err(Error::InvalidPrecondition { .. })),
        "expected InvalidPrecondition, got {result:?}"
    );
}

/// What the operation at this index of a batch failed with.
#[track_caller]
pub(crate) fn failed_at<R: Debug>(index: usize, result: Result<R, Error>) -> Result<R, Error> {
    match result {
        Err(Error::Batch { index: found, source }) => {
            assert_eq!(found, index, "failed at another operation, with {source:?}");
            Err(*source)
        }
        other => panic!("expected Batch, got {other:?}"),
    }
}
