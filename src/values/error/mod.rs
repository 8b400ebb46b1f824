//! What can go wrong: one public [`Error`], and the [`Conflict`] it carries.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Error`] and its HTTP statuses |
//! | `display.rs` | its texts |
//! | `kind.rs` | [`ErrorKind`] |
//! | `conflict.rs`, `codec.rs` | [`Conflict`] and [`CodecError`], which errors carry |

mod codec;
mod conflict;
mod display;
mod kind;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::values::damage::DamagedItem;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::patch::PatchError;
use crate::values::query::filter::FilterError;
use crate::values::query::index::IndexError;

pub use codec::CodecError;
pub(crate) use codec::CodecStep;
pub use conflict::Conflict;
pub(crate) use display::FailedCall;
pub use kind::ErrorKind;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that an operation on a store can fail with.
///
/// A verb that returns an error has changed nothing, with one named exception:
/// [`CommitUnknown`](Self::CommitUnknown). [`http_status`](Self::http_status) maps the errors to
/// HTTP for those who put a store behind a server, [`kind`](Self::kind) names them in one word,
/// and [`collection`](Self::collection) and [`key`](Self::key) name the item.
///
/// The text of an error is one sentence that includes its causes, as
/// `writing "/x/1.seg" failed: No space left on device (os error 28)`. So that a report that
/// prints a chain of errors prints each text once, [`source`](std::error::Error::source) leads to
/// what is *behind* the causes in the text; the causes themselves are in the variants' fields.
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
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The verb needs a present item and there is none (404).
    NotFound {
        /// The collection's name.
        collection: String,
        /// The key.
        key: Bytes,
    },

    /// The verb creates and the item is there already (409). Carries the current item.
    AlreadyExists(Box<Conflict>),

    /// The stored version is not what the precondition demands (412). Carries the current item.
    PreconditionFailed(Box<Conflict>),

    /// A [unique](crate::Index::unique) index lets one item have a value, and this would be the
    /// second (409). From [`ensure_index`](crate::Collection::ensure_index) and
    /// [`verify`](crate::Store::verify): two stored items have one value.
    NotUnique {
        /// The collection's name.
        collection: Box<str>,
        /// The name of the index: its fields as text, as [`Index::name`](crate::Index::name) gives it.
        index: Box<str>,
        /// The key of the item that was to be written.
        key: Box<[u8]>,
        /// The key of the item that has the value: a stored one, or one of the same batch.
        of: Box<[u8]>,
    },

    /// The verb does not take this precondition (400).
    InvalidPrecondition {
        /// Which rule was broken.
        reason: &'static str,
    },

    /// An update lost every race that its retry policy allows (409).
    Contended {
        /// How often the update was tried.
        attempts: u32,
        /// How long that took, waiting included.
        elapsed: Duration,
        /// The item as the last lost race left it.
        current: Box<Conflict>,
    },

    /// An operation of a batch failed, and so the whole batch did: nothing of it was applied.
    Batch {
        /// Which operation, counted from 0 in the order they were added.
        index: usize,
        /// What the verb alone would have failed with.
        source: Box<Error>,
    },

    /// A patch could not be read (400) or applied (422; a failed `test` operation is 409, a result
    /// over 64 MiB is 413, a stored document that is not JSON is 500).
    Patch(PatchError),

    /// A document could not be turned into bytes or back: one that the caller gave (422), or one
    /// that is stored (500).
    Codec(Box<CodecError>),

    /// A filter cannot be used, such as one with a path that is not a JSON Pointer (400).
    Filter(FilterError),

    /// A find was given up, since it would have looked at more items than
    /// [`Options::max_scanned_items`](crate::Options::max_scanned_items) allows (413).
    ScanTooLong {
        /// The collection's name.
        collection: String,
        /// How many items a find may look at.
        limit: u64,
        /// The definition of an [index](crate::Index) that would have been used, if there is one.
        index: Option<String>,
    },

    /// The collection was written with another codec (400).
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
    InvalidKey {
        /// Which limit was broken.
        reason: &'static str,
    },

    /// The definition of an index is not valid, or not that of the index which there is (400).
    Index(IndexError),

    /// A value is over 64 MiB, a batch over 64 MiB or 10 000 operations, or there are too many
    /// indexes or entries of an item in one (413).
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What its size is counted in.
        unit: &'static str,
        /// Its size.
        actual: u64,
        /// The largest size that is taken.
        limit: u64,
    },

    /// The list of the journal's segments has no room for another, until compaction, as by
    /// [`Store::compact`](crate::Store::compact), has made them fewer (507). Nothing was changed.
    TooManySegments {
        /// The number of segments in the list.
        segments: u64,
    },

    /// The write was made, but writing or syncing the journal failed, or the index did while it was
    /// applied, so whether it survives is not known (500). The store is poisoned: reopen it and look
    /// for this tag in the item's tag or its chain of parents.
    CommitUnknown {
        /// The version as it was written; for a batch, that of its first changed item.
        meta: Box<Meta>,
        /// What failed, if this write's own thread saw it.
        source: Option<io::Error>,
        /// The text of the failure that ended writing, whichever thread saw it.
        cause: Arc<str>,
    },

    /// The cursor is older than the newest tombstone that compaction has dropped, so the feed
    /// cannot report every removal since (410). Take a [`snapshot`](crate::Store::snapshot), list
    /// it, drop what it lacks, and go on from its [`cursor`](crate::Snapshot::cursor).
    Compacted,

    /// The cursor is of another incarnation of the store, or ahead of it, as after a restore (409).
    /// What was read with it need not be part of this store: start again.
    Diverged,

    /// The snapshot was given up, since keeping it would have taken more memory or disk space than
    /// it may (410). Take another.
    SnapshotTooOld,

    /// A file of the store is damaged (500). Nothing was changed; see
    /// [`Options::on_damage`](crate::Options::on_damage).
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it the damaged part begins, in bytes.
        offset: u64,
        /// What does not fit.
        reason: &'static str,
        /// The item that cannot be read, where it is known; see [`collection`](Self::collection) and
        /// [`key`](Self::key).
        item: Option<Box<DamagedItem>>,
    },

    /// Another opener, in this process or another, holds the store (503).
    Locked {
        /// The store's directory.
        path: PathBuf,
    },

    /// The directory at the store's path is not the one that this store locked: it was moved,
    /// removed or replaced (503). Nothing in it was created, renamed or removed.
    Moved {
        /// The store's directory, as it was opened.
        path: PathBuf,
    },

    /// An earlier write or sync failed, or the index was found damaged, so nothing more is accepted
    /// (503). Reads go on; reopening recovers.
    Poisoned {
        /// The text of the first failure.
        cause: Arc<str>,
    },

    /// The store was closed (503).
    Closed,

    /// The store was written by a newer version of this crate (500). It was left untouched.
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
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// The index on disk failed, and what only it held is being rebuilt from the journal, which is
    /// whole (503). Try again; what is in memory is still read and written.
    Table(TableError),

    /// Something that cannot be was found in memory: a bug in this crate (500). Please report it.
    Internal {
        /// What was found.
        what: &'static str,
    },
}

impl std::error::Error for Error {
    /// What is behind the causes that the text includes.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Batch { source, .. } => source.source(),
            Self::Codec(error) => error.source(),
            Self::Io { source, .. } | Self::CommitUnknown { source: Some(source), .. } => {
                source.source()
            }
            _ => None,
        }
    }
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        Self::Filter(error)
    }
}

impl Error {
    /// Makes a [`NotFound`](Self::NotFound), for a caller to whom an absent item is an error.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Error;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let error = notes.get("a")?.ok_or(Error::not_found("notes", "a")).unwrap_err();
    /// assert_eq!(error.to_string(), "collection \"notes\" has no item \"a\"");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn not_found(collection: impl Into<String>, key: impl AsRef<[u8]>) -> Self {
        let key = Bytes::copy_from_slice(key.as_ref());
        Self::NotFound { collection: collection.into(), key }
    }

    /// The key of the item that the error is about, where it is about one:
    /// [`NotFound`](Self::NotFound), [`AlreadyExists`](Self::AlreadyExists),
    /// [`PreconditionFailed`](Self::PreconditionFailed), [`NotUnique`](Self::NotUnique),
    /// [`Contended`](Self::Contended), [`Codec`](Self::Codec), a [`Corrupt`](Self::Corrupt) item, and a [`Batch`](Self::Batch) that
    /// one of these made fail.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let error = notes.delete("a", ifmatch::Precondition::Always).unwrap_err();
    /// assert_eq!((error.collection(), error.key()), (Some("notes"), Some(&b"a"[..])));
    /// assert_eq!(ifmatch::Error::Closed.key(), None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::NotFound { key, .. } => Some(key),
            Self::NotUnique { key, .. } => Some(key),
            Self::AlreadyExists(conflict)
            | Self::PreconditionFailed(conflict)
            | Self::Contended { current: conflict, .. } => Some(conflict.key()),
            Self::Codec(error) => error.key(),
            Self::Corrupt { item: Some(item), .. } => Some(item.key()),
            Self::Batch { source, .. } => source.key(),
            _ => None,
        }
    }

    /// The name of the collection that the error is about, where it is about one: that of the
    /// [`key`](Self::key), or that of a [`CodecMismatch`](Self::CodecMismatch) or a
    /// [`ScanTooLong`](Self::ScanTooLong).
    ///
    /// See [`key`](Self::key) for an example.
    #[must_use]
    pub fn collection(&self) -> Option<&str> {
        match self {
            Self::NotFound { collection, .. }
            | Self::ScanTooLong { collection, .. }
            | Self::CodecMismatch { collection, .. } => Some(collection),
            Self::NotUnique { collection, .. } => Some(collection),
            Self::AlreadyExists(conflict)
            | Self::PreconditionFailed(conflict)
            | Self::Contended { current: conflict, .. } => Some(conflict.collection()),
            Self::Codec(error) => error.collection(),
            Self::Corrupt { item: Some(item), .. } => Some(item.collection()),
            Self::Batch { source, .. } => source.collection(),
            _ => None,
        }
    }

    /// The HTTP status that says the same. What the caller can mend is 4xx: 400, 404, 409, 410,
    /// 412, 413 or 422. What is the server's is 5xx: 500, 503, or 507 where space is short.
    ///
    /// ```
    /// assert_eq!(ifmatch::Error::not_found("notes", "a").http_status(), 404);
    /// ```
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::InvalidPrecondition { .. }
            | Self::Filter(_)
            | Self::CodecMismatch { .. }
            | Self::InvalidKey { .. }
            | Self::Index(_) => 400,
            Self::NotFound { .. } => 404,
            Self::AlreadyExists(_)
            | Self::NotUnique { .. }
            | Self::Contended { .. }
            | Self::Diverged => 409,
            Self::Compacted | Self::SnapshotTooOld => 410,
            Self::PreconditionFailed(_) => 412,
            Self::TooLarge { .. } | Self::ScanTooLong { .. } => 413,
            Self::Patch(error) => error.http_status(),
            Self::Codec(error) => error.http_status(),
            Self::Batch { source, .. } => source.http_status(),
            Self::Locked { .. }
            | Self::Moved { .. }
            | Self::Poisoned { .. }
            | Self::Closed
            | Self::Table(_) => 503,
            Self::TooManySegments { .. } => 507,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => 507,
            Self::CommitUnknown { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::Io { .. }
            | Self::Internal { .. } => 500,
        }
    }

    /// Whether there was no space on the disk.
    pub(crate) fn is_full_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    pub(crate) fn absent(item: &ItemKey) -> Self {
        Self::NotFound { collection: item.collection().to_owned(), key: item.key() }
    }

    /// Names the item in an error of a codec or of the journal, which do not know it.
    pub(crate) fn with_item(self, collection: &str, key: &[u8]) -> Self {
        match self {
            Self::Codec(error) => Self::Codec(Box::new(error.with_item(collection, key))),
            Self::Corrupt { file, offset, reason, item: None } => {
                let item = Some(Box::new(DamagedItem::new(collection, key)));
                Self::Corrupt { file, offset, reason, item }
            }
            other => other,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(MovedAway { path }) => Self::Moved { path: path.clone() },
            None => Self::Io { operation, path: path.to_owned(), source },
        }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, reason: &'static str) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, reason, item: None }
    }
}

/// What a disk says, inside an [`io::Error`], of a call by a path that does not lead to the locked
/// directory any more; it becomes [`Error::Moved`].
#[derive(Debug, thiserror::Error)]
#[error("{path:?} does not lead to the directory that was locked")]
pub(crate) struct MovedAway {
    pub(crate) path: PathBuf,
}

/// A failure inside the backing store, without the engine's own types.
///
/// ```
/// fn explain(error: &ifmatch::Error) -> String {
///     match error {
///         ifmatch::Error::Table(inner) => format!("the index failed, try again: {inner}"),
///         other => other.to_string(),
///     }
/// }
/// assert_eq!(explain(&ifmatch::Error::Closed), "the store is closed; open it again");
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

const _: () = {
    const fn is_an_error_anywhere<E: std::error::Error + Send + Sync + 'static>() {}
    is_an_error_anywhere::<Error>();
};
