//! What an error is, as one word for programs.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

use crate::values::error::Error;

/// What an [`Error`] is, without its details: to match on, to count, or to send to a user
/// interface. The texts are stable; with serde a kind is its text.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ifmatch::ErrorKind;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let error = notes.delete("a", ifmatch::Precondition::Always).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.kind().as_str(), "not_found");
/// assert_eq!(serde_json::to_string(&error.kind())?, "\"not_found\"");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`Error::NotFound`]: `not_found`.
    NotFound,
    /// [`Error::AlreadyExists`]: `already_exists`.
    AlreadyExists,
    /// [`Error::PreconditionFailed`]: `precondition_failed`.
    PreconditionFailed,
    /// [`Error::NotUnique`]: `not_unique`.
    NotUnique,
    /// [`Error::InvalidPrecondition`]: `invalid_precondition`.
    InvalidPrecondition,
    /// [`Error::Contended`]: `contended`.
    Contended,
    /// [`Error::Patch`]: `patch`.
    Patch,
    /// [`Error::Filter`]: `filter`.
    Filter,
    /// [`Error::ScanTooLong`]: `scan_too_long`.
    ScanTooLong,
    /// [`Error::Codec`]: `codec`.
    Codec,
    /// [`Error::CodecMismatch`]: `codec_mismatch`.
    CodecMismatch,
    /// [`Error::InvalidKey`]: `invalid_key`.
    InvalidKey,
    /// [`Error::Index`]: `index`.
    Index,
    /// [`Error::TooLarge`]: `too_large`.
    TooLarge,
    /// [`Error::TooManySegments`]: `too_many_segments`.
    TooManySegments,
    /// [`Error::CommitUnknown`]: `commit_unknown`.
    CommitUnknown,
    /// [`Error::Compacted`]: `compacted`.
    Compacted,
    /// [`Error::Diverged`]: `diverged`.
    Diverged,
    /// [`Error::SnapshotTooOld`]: `snapshot_too_old`.
    SnapshotTooOld,
    /// [`Error::Corrupt`]: `corrupt`.
    Corrupt,
    /// [`Error::Locked`]: `locked`.
    Locked,
    /// [`Error::Moved`]: `moved`.
    Moved,
    /// [`Error::Poisoned`]: `poisoned`.
    Poisoned,
    /// [`Error::Closed`]: `closed`.
    Closed,
    /// [`Error::Unsupported`]: `unsupported`.
    Unsupported,
    /// [`Error::Io`] because the disk is full: `storage_full`.
    StorageFull,
    /// [`Error::Io`] for any other reason: `io`.
    Io,
    /// [`Error::IndexUnavailable`]: `index_unavailable`.
    IndexUnavailable,
    /// [`Error::Internal`]: `internal`.
    Internal,
}

impl ErrorKind {
    /// The kind as text, such as `precondition_failed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PreconditionFailed => "precondition_failed",
            Self::NotUnique => "not_unique",
            Self::InvalidPrecondition => "invalid_precondition",
            Self::Contended => "contended",
            Self::Patch => "patch",
            Self::Filter => "filter",
            Self::ScanTooLong => "scan_too_long",
            Self::Codec => "codec",
            Self::CodecMismatch => "codec_mismatch",
            Self::InvalidKey => "invalid_key",
            Self::Index => "index",
            Self::TooLarge => "too_large",
            Self::TooManySegments => "too_many_segments",
            Self::CommitUnknown => "commit_unknown",
            Self::Compacted => "compacted",
            Self::Diverged => "diverged",
            Self::SnapshotTooOld => "snapshot_too_old",
            Self::Corrupt => "corrupt",
            Self::Locked => "locked",
            Self::Moved => "moved",
            Self::Poisoned => "poisoned",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::StorageFull => "storage_full",
            Self::Io => "io",
            Self::IndexUnavailable => "index_unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Error {
    /// What the error is, without its details. The kind of a [`Batch`](Self::Batch) error is that
    /// of the operation that failed.
    ///
    /// See [`ErrorKind`] for an example.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Self::PreconditionFailed(_) => ErrorKind::PreconditionFailed,
            Self::NotUnique { .. } => ErrorKind::NotUnique,
            Self::InvalidPrecondition { .. } => ErrorKind::InvalidPrecondition,
            Self::Contended { .. } => ErrorKind::Contended,
            Self::Batch { source, .. } => source.kind(),
            Self::Patch(_) => ErrorKind::Patch,
            Self::Filter(_) => ErrorKind::Filter,
            Self::ScanTooLong { .. } => ErrorKind::ScanTooLong,
            Self::Codec(_) => ErrorKind::Codec,
            Self::CodecMismatch { .. } => ErrorKind::CodecMismatch,
            Self::InvalidKey { .. } => ErrorKind::InvalidKey,
            Self::Index(_) => ErrorKind::Index,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::TooManySegments { .. } => ErrorKind::TooManySegments,
            Self::CommitUnknown { .. } => ErrorKind::CommitUnknown,
            Self::Compacted => ErrorKind::Compacted,
            Self::Diverged => ErrorKind::Diverged,
            Self::SnapshotTooOld => ErrorKind::SnapshotTooOld,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Moved { .. } => ErrorKind::Moved,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Closed => ErrorKind::Closed,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorKind::StorageFull
            }
            Self::Io { .. } => ErrorKind::Io,
            Self::IndexUnavailable(_) => ErrorKind::IndexUnavailable,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}
