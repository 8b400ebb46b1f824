//! What an error is about: its item, and its HTTP status.

use std::io;

use super::Error;

impl Error {
    /// The key of the item that the error is about, if it is about one:
    /// [`NotFound`](Self::NotFound), [`AlreadyExists`](Self::AlreadyExists),
    /// [`PreconditionFailed`](Self::PreconditionFailed), [`NotUnique`](Self::NotUnique),
    /// [`Contended`](Self::Contended), [`Codec`](Self::Codec), a [`Corrupt`](Self::Corrupt) item,
    /// and a [`Batch`](Self::Batch) with one of these inside.
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

    /// The name of the collection that the error is about, if it is about one: that of the
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

    /// The HTTP status for this error. An error that the caller can mend is 400, 404, 409, 410,
    /// 412, 413 or
    /// 422. An error of the server is 500, 503, or 507 if space is short.
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
            | Self::IndexUnavailable(_) => 503,
            Self::TooManySegments { .. } => 507,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => 507,
            Self::CommitUnknown { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::Io { .. }
            | Self::Internal { .. } => 500,
        }
    }
}
