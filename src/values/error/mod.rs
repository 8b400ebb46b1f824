//! What can go wrong: one public [`Error`], and the [`Conflict`] it carries.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Error`] |
//! | `construct.rs` | how the crate makes one |
//! | `about.rs` | the item that it is about, and its HTTP status |
//! | `display.rs` | its texts |
//! | `kind.rs` | [`ErrorKind`] |
//! | `conflict.rs`, `codec.rs`, `index_failure.rs` | [`Conflict`], [`CodecError`] and [`IndexFailure`], which errors carry |

mod about;
mod codec;
mod conflict;
mod construct;
mod display;
mod index_failure;
mod kind;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::values::damage::DamagedItem;
use crate::values::item::Meta;
use crate::values::patch::PatchError;
use crate::values::query::filter::FilterError;
use crate::values::query::index::IndexError;

pub use codec::CodecError;
pub(crate) use codec::CodecStep;
pub use conflict::Conflict;
pub(crate) use construct::MovedAway;
pub(crate) use display::FailedCall;
pub use index_failure::IndexFailure;
pub use kind::ErrorKind;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that an operation on a store can fail with.
///
/// A verb that returns an error has changed nothing. The one exception is
/// [`CommitUnknown`](Self::CommitUnknown). [`http_status`](Self::http_status) maps errors to HTTP,
/// for the store of a server. [`kind`](Self::kind) names an error in one word, and
/// [`collection`](Self::collection) and [`key`](Self::key) name the item.
///
/// The text of an error is one sentence that includes its causes, such as
/// `writing "/x/1.seg" failed: No space left on device (os error 28)`. The causes are in the
/// variants' fields. [`source`](std::error::Error::source) skips them and returns only what is
/// *not* in the text. So a report that prints a chain of errors prints each text once.
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
    /// The verb needs an existing item, and there is none (404).
    NotFound {
        /// The collection's name.
        collection: String,
        /// The key.
        key: Bytes,
    },

    /// The verb creates an item, and the item exists already (409). Carries the current item.
    AlreadyExists(Box<Conflict>),

    /// The stored version is not what the precondition demands (412). Carries the current item.
    PreconditionFailed(Box<Conflict>),

    /// Another item has the same value in a [unique](crate::Index::unique) index (409).
    /// [`ensure_index`](crate::Collection::ensure_index) and [`verify`](crate::Store::verify)
    /// return it when two stored items have the same value.
    NotUnique {
        /// The collection's name.
        collection: Box<str>,
        /// The name of the index: its fields as text, as [`Index::name`](crate::Index::name)
        /// returns it.
        index: Box<str>,
        /// The key of the item that was to be written.
        key: Box<[u8]>,
        /// The key of the item that has the value: a stored one, or one of the same batch.
        of: Box<[u8]>,
    },

    /// The verb cannot honour this precondition (400).
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

    /// An operation of a batch failed, so nothing of the batch was applied. The status is that of
    /// the operation's error.
    Batch {
        /// Which operation, counted from 0 in the order they were added.
        index: usize,
        /// The error that the verb alone would have returned.
        source: Box<Error>,
    },

    /// A patch could not be read (400) or applied (422; a failed `test` operation is 409, a result
    /// over 64 MiB is 413, a stored document that is not JSON is 500).
    Patch(PatchError),

    /// A document from the caller could not be encoded (422), or a stored document could not be
    /// decoded (500).
    Codec(Box<CodecError>),

    /// A filter cannot be used, perhaps because a path is not a JSON Pointer (400).
    Filter(FilterError),

    /// A find was given up, because it would have looked at more items than
    /// [`Options::max_scanned_items`](crate::Options::max_scanned_items) allows (413).
    ScanTooLong {
        /// The collection's name.
        collection: String,
        /// How many items a find may look at.
        limit: u64,
        /// The definition of an [index](crate::Index) that would help, if there is one.
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

    /// A key or a collection's name is not within the limits, or a batch or snapshot was used with
    /// a collection of another store (400).
    InvalidKey {
        /// Which limit was broken.
        reason: &'static str,
    },

    /// The definition of an index is not valid, or the collection has an index of these fields that
    /// is unique where this one is not, or the other way round (400).
    Index(IndexError),

    /// A value is over 64 MiB, a batch is over 64 MiB or 10 000 operations, there are too many
    /// indexes, or an item has too many entries in an index (413).
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What its size is counted in.
        unit: &'static str,
        /// Its size.
        actual: u64,
        /// The largest size that is allowed.
        limit: u64,
    },

    /// The list of the journal's segments has no room for another (507). Nothing was changed.
    /// Compaction, for example by [`Store::compact`](crate::Store::compact), makes the segments
    /// fewer.
    TooManySegments {
        /// The number of segments in the list.
        segments: u64,
    },

    /// The write was made, but then writing or syncing the journal failed, or applying the write to
    /// the index did. So it is not known whether the write survives (500). The store is poisoned.
    /// Reopen it and ask [`was_written`](crate::Collection::was_written) about this tag.
    CommitUnknown {
        /// The version as it was written; for a batch, that of its first changed item.
        meta: Box<Meta>,
        /// What failed, if this write's own thread saw it.
        source: Option<io::Error>,
        /// The text of the failure that ended writing, whichever thread saw it.
        cause: Arc<str>,
    },

    /// The cursor is older than the newest tombstone that compaction has dropped, so the feed
    /// cannot report every later removal (410). Take a [`snapshot`](crate::Store::snapshot), list
    /// it, remove from your copy what the snapshot lacks, and continue from its
    /// [`cursor`](crate::Snapshot::cursor).
    Compacted,

    /// The cursor belongs to another incarnation of the store, or is ahead of the store, as after a
    /// restore (409). Changes that were read up to it may not be part of this store. Start again
    /// from a [`snapshot`](crate::Store::snapshot).
    Diverged,

    /// The snapshot was given up, because it would have taken more memory or disk space than
    /// allowed (410). Take another.
    SnapshotTooOld,

    /// A file of the store is damaged (500). Nothing was changed; see
    /// [`Options::on_damage`](crate::Options::on_damage).
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in it the damaged part begins, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
        /// The item that cannot be read, if it is known; see [`collection`](Self::collection) and
        /// [`key`](Self::key).
        item: Option<Box<DamagedItem>>,
        /// Whether an open steps over the damage if the index is whole. Only
        /// [`Store::inspect`](crate::Store::inspect) finds this out; it is `false` in other errors.
        stepped_over: bool,
    },

    /// The store is open already, in this process or in another (503).
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

    /// An earlier write or sync of the journal failed, or applying a commit to the index did, so
    /// the store accepts no more writes (503). Reads continue. Reopening recovers every
    /// acknowledged write.
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
    /// Space is reserved before it is written to, so a full disk refuses a write before it begins.
    /// A file system that copies what is overwritten (btrfs, ZFS, snapshots of APFS) may run full
    /// in the middle of a write. Then the write returns [`CommitUnknown`](Self::CommitUnknown).
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// The index on disk failed (503). The lost part is being rebuilt from the journal, which is
    /// whole. Try again later. Items whose leaf of the index is in memory can still be read and
    /// written.
    IndexUnavailable(IndexFailure),

    /// An impossible state was found in memory: a bug in this crate (500). Please report it.
    Internal {
        /// What was found.
        what: &'static str,
    },
}

impl std::error::Error for Error {
    /// The first cause that is not part of the text.
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
    /// Makes a [`NotFound`](Self::NotFound), for a caller that treats an absent item as an error.
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
}

const _: () = {
    const fn is_an_error_anywhere<E: std::error::Error + Send + Sync + 'static>() {}
    is_an_error_anywhere::<Error>();
};
