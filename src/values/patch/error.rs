//! What can be wrong with a patch, or between a patch and a document.

use crate::values::error::Error;

/// Why a patch could not be read or applied.
///
/// Where one operation is at fault, [`index`](Self::index) and [`path`](Self::path) name it.
///
/// | what is wrong | HTTP status |
/// |---|---|
/// | a `test` failed | 409 |
/// | the patch itself: no array of operations, an operation, pointer or value that is none | 400 |
/// | the patch does not fit the document, or the result is not allowed | 422 |
/// | the stored document is not JSON | 500 |
/// | the result is over 64 MiB | 413 |
///
/// ```
/// use ifmatch::{Error, Patch, PatchError};
///
/// let text = r#"[{"op": "test", "path": "/a", "value": 1}, {"op": "drop", "path": "/b"}]"#;
/// let Err(Error::Patch(error)) = Patch::from_json(text) else { panic!("accepted") };
/// assert!(matches!(error, PatchError::InvalidOperation { index: 1, .. }));
/// assert_eq!(error.index(), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The text is not an array of operations (400).
    #[error("it is not an array of operations: {reason}")]
    NotAPatch {
        /// What does not fit, and where in the text.
        reason: String,
    },

    /// An operation has an unknown name, lacks a member, or is not JSON (400).
    #[error("operation {index} is invalid: {reason}")]
    InvalidOperation {
        /// Which operation, counted from 0.
        index: usize,
        /// What does not fit.
        reason: String,
    },

    /// A path is not a JSON pointer: it does not begin with `/`, or holds a `~` that is neither
    /// `~0` nor `~1` (400).
    #[error("operation {index}: the path {path:?} is not a JSON pointer")]
    InvalidPointer {
        /// Which operation, counted from 0.
        index: usize,
        /// The path as it was given.
        path: String,
    },

    /// The value given with an operation has no exact JSON form: it failed to serialize, holds a
    /// non-finite number or an integer beyond 64 bits, is too deep, or is not the number that
    /// `incr` takes (400).
    #[error("operation {index}: the value for {path:?} is invalid: {reason}")]
    InvalidValue {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
        /// What does not fit.
        reason: String,
    },

    /// A `test` found another value, or none (409).
    #[error("operation {index}: the test failed, since the document has another value at {path:?}")]
    TestFailed {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
    },

    /// The document has nothing at this path, or no place for a value there (422).
    #[error("operation {index}: the document has nothing at {path:?}")]
    PathNotFound {
        /// Which operation, counted from 0.
        index: usize,
        /// The path that was not found; of a move or copy possibly the one it reads from.
        path: String,
    },

    /// A `move` into the moved value itself (422).
    #[error("operation {index}: a value cannot be moved into itself at {path:?}")]
    MovedIntoItself {
        /// Which operation, counted from 0.
        index: usize,
        /// Where the value was to go.
        path: String,
    },

    /// A `remove` of the whole document (422): that is what `delete` is for.
    #[error("operation {index}: a patch cannot remove the whole document; delete the item instead")]
    RemovesDocument {
        /// Which operation, counted from 0.
        index: usize,
    },

    /// An `incr` of something else than a number (422).
    #[error("operation {index}: the document has no number at {path:?}")]
    NotANumber {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
    },

    /// The sum of an `incr` is below the least `i64` or above the greatest `u64` (422).
    #[error("operation {index}: the sum at {path:?} does not fit into 64 bits")]
    Overflow {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
    },

    /// The sum of an `incr` is infinite (422).
    #[error("operation {index}: the sum at {path:?} is infinite")]
    NotFinite {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
    },

    /// The document would be nested deeper than 127 levels, and so could not be read again (422).
    #[error("operation {index}: the document would nest deeper than 127 levels at {path:?}")]
    TooDeep {
        /// Which operation, counted from 0.
        index: usize,
        /// The operation's path.
        path: String,
    },

    /// The document would be over [`MAX_VALUE_BYTES`](crate::values::limits::MAX_VALUE_BYTES)
    /// (413).
    #[error("the document would have more than {limit} bytes, the limit of a value")]
    TooLarge {
        /// The largest size of a document in bytes.
        limit: usize,
    },

    /// The stored bytes are not JSON (500).
    #[error("the stored document is not JSON: {reason}")]
    InvalidDocument {
        /// What does not fit, and where.
        reason: String,
    },

    /// The stored document holds a number that a patch could not carry over exactly, in whatever
    /// field: an integer beyond 64 bits, or more than 17 significant digits (422).
    #[error("the stored document holds the number {number}, which a patch would change")]
    InexactNumber {
        /// The beginning of the number.
        number: String,
    },
}

impl PatchError {
    /// Which operation is at fault, counted from 0; `None` if it is the patch as a whole or the
    /// document.
    ///
    /// ```
    /// let error = ifmatch::PatchError::TestFailed { index: 2, path: "/sku".to_owned() };
    /// assert_eq!(error.index(), Some(2));
    /// ```
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::InvalidOperation { index, .. }
            | Self::InvalidPointer { index, .. }
            | Self::InvalidValue { index, .. }
            | Self::TestFailed { index, .. }
            | Self::PathNotFound { index, .. }
            | Self::MovedIntoItself { index, .. }
            | Self::RemovesDocument { index }
            | Self::NotANumber { index, .. }
            | Self::Overflow { index, .. }
            | Self::NotFinite { index, .. }
            | Self::TooDeep { index, .. } => Some(*index),
            Self::NotAPatch { .. }
            | Self::TooLarge { .. }
            | Self::InvalidDocument { .. }
            | Self::InexactNumber { .. } => None,
        }
    }

    /// The path at fault; `None` if none is.
    ///
    /// ```
    /// let error = ifmatch::PatchError::TestFailed { index: 2, path: "/sku".to_owned() };
    /// assert_eq!(error.path(), Some("/sku"));
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::InvalidPointer { path, .. }
            | Self::InvalidValue { path, .. }
            | Self::TestFailed { path, .. }
            | Self::PathNotFound { path, .. }
            | Self::MovedIntoItself { path, .. }
            | Self::NotANumber { path, .. }
            | Self::Overflow { path, .. }
            | Self::NotFinite { path, .. }
            | Self::TooDeep { path, .. } => Some(path),
            Self::RemovesDocument { .. } => Some(""),
            Self::NotAPatch { .. }
            | Self::InvalidOperation { .. }
            | Self::TooLarge { .. }
            | Self::InvalidDocument { .. }
            | Self::InexactNumber { .. } => None,
        }
    }

    pub(crate) fn http_status(&self) -> u16 {
        match self {
            Self::NotAPatch { .. }
            | Self::InvalidOperation { .. }
            | Self::InvalidPointer { .. }
            | Self::InvalidValue { .. } => 400,
            Self::TestFailed { .. } => 409,
            Self::PathNotFound { .. }
            | Self::MovedIntoItself { .. }
            | Self::RemovesDocument { .. }
            | Self::NotANumber { .. }
            | Self::Overflow { .. }
            | Self::NotFinite { .. }
            | Self::TooDeep { .. }
            | Self::InexactNumber { .. } => 422,
            Self::InvalidDocument { .. } => 500,
            Self::TooLarge { .. } => 413,
        }
    }
}

impl From<PatchError> for Error {
    fn from(error: PatchError) -> Self {
        Self::Patch(error)
    }
}
