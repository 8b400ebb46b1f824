//! What can go wrong: one public [`Error`], and the [`Conflict`] it carries.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::values::codec::CodecId;
use crate::values::item::{Item, Meta};
use crate::values::patch::PatchError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that an operation on a store can fail with.
///
/// A verb that returns an error has changed nothing, with one named exception:
/// [`CommitUnknown`](Self::CommitUnknown). [`http_status`](Self::http_status) maps the errors to
/// HTTP for those who put a store behind a server.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Error;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let stale = notes.create("a", &"one".to_owned())?.etag();
/// notes.replace("a", &"two".to_owned(), stale)?;
/// match notes.replace("a", &"three".to_owned(), stale) {
///     Err(Error::PreconditionFailed(conflict)) => {
///         let current = conflict.current::<String>()?.expect("the item is present");
///         assert_eq!(current.value, "two");
///     }
///     other => panic!("expected a conflict, got {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The verb needs a present item and there is none (404).
    #[error("no item under this key")]
    NotFound,

    /// The verb creates and the item is there already (409). Carries the current item.
    #[error("an item exists under this key")]
    AlreadyExists(Box<Conflict>),

    /// The stored version is not what the precondition demands (412). Carries the current item.
    #[error("the precondition does not hold for the stored version")]
    PreconditionFailed(Box<Conflict>),

    /// The verb does not take this precondition (400).
    #[error("the precondition cannot be used here: {reason}")]
    InvalidPrecondition {
        /// Which rule was broken.
        reason: &'static str,
    },

    /// An update lost every race that its retry policy allows (409).
    #[error("gave up after {attempts} lost races in {elapsed:?}")]
    Contended {
        /// How often the update was tried.
        attempts: u32,
        /// How long that took, waiting included.
        elapsed: Duration,
        /// The item as the last lost race left it.
        current: Box<Conflict>,
    },

    /// An operation of a batch failed, and so the whole batch did: nothing of it was applied.
    #[error("operation {index} of the batch failed")]
    Batch {
        /// Which operation, counted from 0 in the order they were added.
        index: usize,
        /// What the verb alone would have failed with.
        source: Box<Error>,
    },

    /// A patch could not be read (400) or applied (422; a failed `test` operation is 409, a result
    /// over 64 MiB is 413).
    #[error("the patch could not be applied")]
    Patch(#[source] PatchError),

    /// A document could not be turned into bytes or back (422).
    #[error("the document could not be encoded or decoded")]
    Codec {
        /// What the codec says.
        source: BoxError,
    },

    /// The collection was written with another codec (400).
    #[error("the collection {collection:?} is stored as {stored} and was opened as {opened}")]
    CodecMismatch {
        /// The collection's name.
        collection: String,
        /// The codec recorded with its first write.
        stored: &'static str,
        /// The codec that the collection was opened with.
        opened: &'static str,
    },

    /// A key or a collection's name is not within the limits, or a collection of another store was
    /// given to a batch or snapshot (400).
    #[error("invalid name: {reason}")]
    InvalidKey {
        /// Which limit was broken.
        reason: &'static str,
    },

    /// A value is over 64 MiB, or a batch over 64 MiB or 10 000 operations; or the list of the
    /// journal's segments has no room for another, until compaction has made them fewer (413).
    #[error("{what} of {actual} is over the limit of {limit}")]
    TooLarge {
        /// What is too large, and its unit.
        what: &'static str,
        /// Its size.
        actual: u64,
        /// The largest size that is taken.
        limit: u64,
    },

    /// The write was made, but writing or syncing the journal failed, or the table did while it was
    /// applied, so whether it survives is not known (500). The store is poisoned: reopen it and look
    /// for this tag in the item's tag or its chain of parents.
    #[error("whether the write survives is unknown; reopen the store and compare tags")]
    CommitUnknown {
        /// The version as it was written; for a batch, that of its first changed item.
        meta: Box<Meta>,
        /// What failed, if this write's own thread saw it.
        source: Option<io::Error>,
    },

    /// The cursor is older than the newest tombstone that compaction has dropped, so the feed
    /// cannot report every removal since (410). Take a [`snapshot`](crate::Store::snapshot), list
    /// it, drop what it lacks, and go on from its [`cursor`](crate::Snapshot::cursor).
    #[error("the cursor is older than the oldest removal that the change feed still holds")]
    Compacted,

    /// The cursor is of another incarnation of the store, or ahead of it, as after a restore (409).
    /// What was read with it need not be part of this store: start again.
    #[error("the cursor belongs to another history of the store")]
    Diverged,

    /// The snapshot was given up, since keeping it would have taken more memory or disk space than
    /// it may (410). Take another.
    #[error("the snapshot was given up to bound what it keeps from being reclaimed")]
    SnapshotTooOld,

    /// A file of the store is damaged (500). Nothing was changed; see
    /// [`Options::on_damage`](crate::Options::on_damage).
    #[error("{file:?} is damaged at byte {offset}: {reason}")]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it the damaged part begins, in bytes.
        offset: u64,
        /// What does not fit.
        reason: &'static str,
    },

    /// Another opener, in this process or another, holds the store (503).
    #[error("{path:?} is open elsewhere")]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },

    /// The store's directory is not at its path any more: while the store was open it was moved,
    /// removed or replaced (503). Nothing was created, renamed or removed at the path. What is
    /// stored can be read, as far as the files are open; close the store and open it where it lies
    /// now.
    #[error(
        "the store's directory was moved, removed or replaced while it was open: \
         {path:?} leads elsewhere; close the store and open it where it lies now"
    )]
    Moved {
        /// The path at which the store was opened.
        path: PathBuf,
    },

    /// An earlier write or sync failed, or the table was found damaged, so nothing more is accepted
    /// (503). Reads go on; reopening recovers.
    #[error("an earlier failure ended writing; reopen the store")]
    Poisoned,

    /// The store was closed (503).
    #[error("the store is closed")]
    Closed,

    /// The store was written by a newer version of this crate (500). It was left untouched.
    #[error("{path:?} has format version {found}, and this version reads up to {supported}")]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The format version found.
        found: u32,
        /// The newest format version that this version of the crate reads.
        supported: u32,
    },

    /// The operating system refused a call (500; 507 when the disk is full). Nothing was changed.
    ///
    /// Space is reserved before it is written to, so a full disk is met before anything is begun. Not
    /// so where a file system copies what is overwritten (btrfs, ZFS, snapshots of APFS): there it
    /// may be met in the middle, and is [`CommitUnknown`](Self::CommitUnknown).
    #[error("{operation} {path:?}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// The table engine failed (500). The journal is whole: reopening rebuilds the table.
    #[error("the table failed")]
    Table(#[source] TableError),
}

impl Error {
    /// The HTTP status that says the same: 404, 409, 410, 412, 413, 400, 422, 503, 507 or 500.
    ///
    /// ```
    /// assert_eq!(ifmatch::Error::NotFound.http_status(), 404);
    /// ```
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::InvalidPrecondition { .. }
            | Self::CodecMismatch { .. }
            | Self::InvalidKey { .. } => 400,
            Self::NotFound => 404,
            Self::AlreadyExists(_) | Self::Contended { .. } | Self::Diverged => 409,
            Self::Compacted | Self::SnapshotTooOld => 410,
            Self::PreconditionFailed(_) => 412,
            Self::TooLarge { .. } => 413,
            Self::Patch(error) => error.http_status(),
            Self::Codec { .. } => 422,
            Self::Batch { source, .. } => source.http_status(),
            Self::Locked { .. } | Self::Moved { .. } | Self::Poisoned | Self::Closed => 503,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => 507,
            Self::CommitUnknown { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::Io { .. }
            | Self::Table(_) => 500,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(MovedAway { path }) => Self::Moved { path: path.clone() },
            None => Self::Io { operation, path: path.to_owned(), source },
        }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, reason: &'static str) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, reason }
    }
}

/// What a disk says, inside an [`io::Error`], of a call by a path that does not lead to the locked
/// directory any more; it becomes [`Error::Moved`].
#[derive(Debug, thiserror::Error)]
#[error("{path:?} does not lead to the directory that was locked")]
pub(crate) struct MovedAway {
    pub(crate) path: PathBuf,
}

/// A failure inside the table engine, without the engine's own types.
///
/// ```
/// fn explain(error: &ifmatch::Error) -> String {
///     match error {
///         ifmatch::Error::Table(inner) => format!("the index failed, reopen: {inner}"),
///         other => other.to_string(),
///     }
/// }
/// assert_eq!(explain(&ifmatch::Error::Closed), "the store is closed");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TableError {
    message: String,
}

impl TableError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// The stored item that a refused write ran into, so that resolving or merging needs no second
/// read. Its version is the one that the write was decided against; if that was superseded and
/// reclaimed by compaction meanwhile, the newest one, or none where the item is gone.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Error;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let stored = notes.create("a", &"theirs".to_owned())?;
/// match notes.create("a", &"mine".to_owned()) {
///     Err(Error::AlreadyExists(conflict)) => {
///         assert_eq!((conflict.collection(), conflict.key()), ("notes", &b"a"[..]));
///         assert_eq!(conflict.http_status(), 409);
///         assert_eq!(conflict.meta(), Some(&stored));
///         let bytes = conflict.current_bytes().map(|item| &item.value[..]);
///         assert_eq!(bytes, Some(&b"\"theirs\""[..]));
///         let mut current = conflict.current::<String>()?.ok_or(Error::NotFound)?;
///         current.value.push_str(" and mine");
///         notes.save(&mut current)?;
///     }
///     other => panic!("expected a conflict, got {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    collection: String,
    key: Bytes,
    codec: CodecId,
    current: Option<Item<Bytes>>,
    http_status: u16,
}

impl Conflict {
    pub(crate) fn new(
        collection: &str,
        key: Bytes,
        codec: CodecId,
        current: Option<Item<Bytes>>,
        http_status: u16,
    ) -> Self {
        Self { collection: collection.to_owned(), key, codec, current, http_status }
    }

    /// Makes this the conflict of an update that gave up: the precondition that failed was the
    /// update's own.
    pub(crate) fn give_up(&mut self) {
        self.http_status = 409;
    }

    /// The collection that the write was for.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The key that the write was for.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The current item, decoded; `None` when there is none. `T` is the collection's document
    /// type, or `Bytes` for a raw collection.
    ///
    /// # Errors
    /// [`Error::Codec`] when the stored bytes are not a document of this type.
    pub fn current<T: DeserializeOwned>(&self) -> Result<Option<Item<T>>> {
        let decode = |item: Item<Bytes>| item.try_map(|bytes| self.codec.decode(bytes));
        self.current.clone().map(decode).transpose()
    }

    /// The current item with its stored bytes; `None` when there is none.
    #[must_use]
    pub fn current_bytes(&self) -> Option<&Item<Bytes>> {
        self.current.as_ref()
    }

    /// The version of the current item; `None` when there is none.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.current.as_ref().map(Item::meta)
    }

    /// 412 for a failed precondition, 409 for a create over a present item or an update that gave
    /// up.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.http_status
    }
}

const _: () = {
    const fn is_an_error_anywhere<E: std::error::Error + Send + Sync + 'static>() {}
    is_an_error_anywhere::<Error>();
};
