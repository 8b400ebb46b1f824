//! The texts of errors: what happened, to what, why, and what the caller can do.

use std::fmt;
use std::io;
use std::path::Path;

use crate::values::damage::DamagedItem;
use crate::values::error::{Conflict, Error};
use crate::values::etag::ETag;
use crate::values::query::filter::FilterError;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_refusal(f)
    }
}

impl Error {
    /// What is wrong between a request and what is stored.
    fn write_refusal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { collection, key } => {
                write!(f, "collection {collection:?} has no item {}", KeyText(key))
            }
            Self::AlreadyExists(conflict) => write!(
                f,
                "collection {:?} already has an item {}: {}",
                conflict.collection(),
                KeyText(conflict.key()),
                Stored(conflict)
            ),
            Self::PreconditionFailed(conflict) => write!(
                f,
                "the precondition on {} does not hold: {}",
                NameOf(conflict),
                Stored(conflict)
            ),
            Self::NotUnique { collection, index, key, of } => write!(
                f,
                "item {} of collection {collection:?} has the same value as item {} in the unique \
                 index {index}; give one of them another value",
                KeyText(key),
                KeyText(of)
            ),
            Self::Contended { attempts, elapsed, current } => write!(
                f,
                "the change of {} was given up after {attempts} attempts in {elapsed:?}: other \
                 writers changed the item each time; try again later, or allow more attempts in \
                 the retry policy",
                NameOf(current)
            ),
            Self::Batch { index, source } => write!(
                f,
                "operation {index} of the batch failed, so nothing of the batch was applied: \
                 {source}"
            ),
            _ => self.write_invalid(f),
        }
    }

    /// What is wrong with a request itself.
    fn write_invalid(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPrecondition { reason } => {
                write!(f, "the precondition cannot be used here: {reason}")
            }
            Self::Patch(error) if error.http_status() == 400 => {
                write!(f, "the patch is not valid: {error}")
            }
            Self::Patch(error) => write!(f, "the patch cannot be applied: {error}"),
            Self::Filter(error @ FilterError::OtherOrder) => write!(f, "{error}"),
            Self::Filter(error) => write!(f, "the filter cannot be used: {error}"),
            Self::ScanTooLong { collection, limit, index } => {
                write!(
                    f,
                    "the find in collection {collection:?} was given up after {limit} items, as \
                     many as Options::max_scanned_items lets it look at; "
                )?;
                match index {
                    Some(index) => write!(f, "make an index on {index}, or allow more"),
                    None => f.write_str("narrow it, or allow more"),
                }
            }
            Self::Codec(error) => write!(f, "{error}"),
            Self::CodecMismatch { collection, stored, opened } => write!(
                f,
                "collection {collection:?} is stored as {stored} and was opened as {opened}; \
                 open it with the codec that it is stored as"
            ),
            Self::InvalidKey { reason } => f.write_str(reason),
            Self::Index(error) => write!(f, "the index cannot be made: {error}"),
            Self::TooLarge { what, unit, actual, limit } => {
                write!(f, "the {what} has {actual} {unit}, over the limit of {limit}")
            }
            _ => self.write_outdated(f),
        }
    }

    /// What a cursor or snapshot no longer reaches.
    fn write_outdated(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compacted => {
                "the cursor is older than a removal that compaction has dropped, so the change \
                 feed cannot report every removal since; take a snapshot, list it, and go on from \
                 the snapshot's cursor"
            }
            Self::Diverged => {
                "the cursor belongs to another history of the store, as after a restore; take a \
                 snapshot, list it, and go on from the snapshot's cursor"
            }
            Self::SnapshotTooOld => {
                "the snapshot was given up, because it would have taken more memory or disk space \
                 than allowed; take another"
            }
            _ => return self.write_failure(f),
        })
    }

    /// What is wrong with the store, its files or the system.
    fn write_failure(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManySegments { segments } => write!(
                f,
                "the journal has {segments} segments, and the manifest has no room to list \
                 another; compact the store to make them fewer"
            ),
            Self::CommitUnknown { meta, cause, .. } => write!(
                f,
                "whether the write survives is unknown: {cause}; reopen the store and ask \
                 Collection::was_written about the tag {}",
                meta.etag()
            ),
            Self::Corrupt { file, offset, reason, item, .. } => {
                write_damage(f, (file, *offset, reason), item.as_deref())
            }
            Self::Locked { path } => write!(
                f,
                "the store at {} is open elsewhere, in this process or in another; close it there \
                 first",
                Quoted(path)
            ),
            Self::Moved { path } => write!(
                f,
                "the directory at {} is no longer the one that this store locked: it was moved, \
                 removed or replaced; close the store, and open it where its directory is now",
                Quoted(path)
            ),
            Self::Poisoned { cause } => write!(
                f,
                "an earlier failure ended writing: {cause}; reopen the store to write again"
            ),
            Self::Closed => f.write_str("the store is closed; open it again"),
            Self::Unsupported { path, found, supported } => write!(
                f,
                "{} has format version {found}, and this version of ifmatch reads versions up to \
                 {supported}; use a newer version of ifmatch",
                Quoted(path)
            ),
            Self::Io { operation, path, source } => {
                write!(f, "{}", FailedCall { operation, path, error: source })
            }
            Self::IndexUnavailable(error) => write!(
                f,
                "the index failed: {error}; the journal is whole, and the index is rebuilt from it: \
                 try again"
            ),
            Self::Internal { what } => write!(
                f,
                "{what}: this is a bug in ifmatch; please report it at {}",
                env!("CARGO_PKG_REPOSITORY")
            ),
            Self::NotFound { .. }
            | Self::AlreadyExists(_)
            | Self::PreconditionFailed(_)
            | Self::NotUnique { .. }
            | Self::InvalidPrecondition { .. }
            | Self::Contended { .. }
            | Self::Batch { .. }
            | Self::Patch(_)
            | Self::Filter(_)
            | Self::ScanTooLong { .. }
            | Self::Codec(_)
            | Self::CodecMismatch { .. }
            | Self::InvalidKey { .. }
            | Self::Index(_)
            | Self::TooLarge { .. } => self.write_refusal(f),
            Self::Compacted | Self::Diverged | Self::SnapshotTooOld => self.write_outdated(f),
        }
    }
}

/// Writes what is damaged, and which item cannot be read because of it, if that is known.
fn write_damage(
    f: &mut fmt::Formatter<'_>,
    (file, offset, reason): (&Path, u64, &str),
    item: Option<&DamagedItem>,
) -> fmt::Result {
    let file = Quoted(file);
    match item {
        None => write!(
            f,
            "{file} is damaged at byte {offset}: {reason}; restore a backup, or open the store \
             with Options::on_damage to keep what is whole"
        ),
        Some(item) => write!(
            f,
            "item {} of collection {:?} cannot be read, as {file} is damaged at byte {offset}: \
             {reason}; restore a backup, or open the store with Options::on_damage to keep what \
             is whole",
            KeyText(item.key()),
            item.collection()
        ),
    }
}

/// A call that the system refused: `writing "/x/1.seg" failed: No space left on device`.
pub(crate) struct FailedCall<'a> {
    pub(crate) operation: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) error: &'a io::Error,
}

impl fmt::Display for FailedCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} failed: {}", self.operation, Quoted(self.path), self.error)
    }
}

/// An item as texts name it: `item "a" of collection "notes"`.
pub(super) struct ItemName<'a>(pub(super) &'a str, pub(super) &'a [u8]);

impl fmt::Display for ItemName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(collection, key) = self;
        write!(f, "item {} of collection {collection:?}", KeyText(key))
    }
}

struct NameOf<'a>(&'a Conflict);

impl fmt::Display for NameOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ItemName(self.0.collection(), self.0.key()).fmt(f)
    }
}

/// A key: quoted text where it is UTF-8, and else its bytes as `0x` and hexadecimal digits.
struct KeyText<'a>(&'a [u8]);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) => write!(f, "{text:?}"),
            Err(_) => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A path between quotes, unescaped: `Debug` would double each `\` of Windows.
struct Quoted<'a>(&'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.display())
    }
}

/// The version that a write was refused for.
struct Stored<'a>(&'a Conflict);

impl fmt::Display for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.meta() {
            None => f.write_str("there is no such item"),
            Some(meta) if meta.etag() == ETag::UNSAVED => {
                f.write_str("an earlier operation of the batch wrote it")
            }
            Some(meta) => write!(f, "its tag is {}", meta.etag()),
        }
    }
}
