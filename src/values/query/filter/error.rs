//! What is wrong with a filter, or with its text.

use std::fmt;

/// What is wrong with a [`Filter`](crate::Filter); inside of
/// [`Error::Filter`](crate::Error::Filter).
///
/// ```
/// use ifmatch::{Filter, FilterError};
///
/// assert!(matches!(Filter::lt("/a", f64::NAN).check(), Err(FilterError::InvalidValue { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// A path is not a JSON Pointer.
    #[error("{path:?} is not a JSON Pointer: {reason}")]
    InvalidPath {
        /// The path as it was given.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A value cannot be compared with.
    #[error("the value for {path:?} cannot be used: {reason}")]
    InvalidValue {
        /// The path that it was given for.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The cursor belongs to a find with another sort.
    #[error("the cursor belongs to a find with another sort; use the sort of that find")]
    OtherOrder,
    /// Conditions nest deeper than 32 levels.
    #[error("the filter nests deeper than 32 levels")]
    TooDeep,
    /// There are more than 1 000 conditions, groups and listed values.
    #[error("the filter has more than 1000 conditions, groups and listed values")]
    TooLarge,
}

/// The error of reading a [`Filter`](crate::Filter) from text: what is wrong and where.
///
/// Its text has three lines: what is wrong, the line of the filter, and a caret under the place. Of
/// a long line only the part around the place is shown.
///
/// ```
/// let error = "/price < and /stock exists".parse::<ifmatch::Filter>().unwrap_err();
/// assert_eq!((error.line(), error.column()), (1, 10));
/// assert_eq!(error.to_string(), "\
/// the filter cannot be read at line 1, column 10: a JSON value is expected
///   /price < and /stock exists
///            ^");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFilterError {
    line: usize,
    column: usize,
    reason: String,
    /// What surrounds the place in its line, and how many characters of that are before it.
    excerpt: String,
    before: usize,
}

/// How many characters of a line are shown on either side of the place.
const SHOWN: usize = 60;

impl ParseFilterError {
    /// An error at a byte of the text, or after its last.
    pub(super) fn new(text: &str, at: usize, reason: impl Into<String>) -> Self {
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let line = before.matches('\n').count() + 1;
        let begun = before.rsplit('\n').next().unwrap_or_default();
        let column = begun.chars().count() + 1;
        let rest = after.split('\n').next().unwrap_or_default();
        let skipped = (column - 1).saturating_sub(SHOWN);
        let shown = begun.chars().skip(skipped).chain(rest.chars().take(SHOWN));
        // A tab is as wide as it likes, and the caret must be under the place.
        let excerpt = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { line, column, reason: reason.into(), excerpt, before: column - 1 - skipped }
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1; one after the line's last where something is
    /// missing there.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ParseFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, reason, excerpt, before } = self;
        write!(
            f,
            "the filter cannot be read at line {line}, column {column}: {reason}\n  {excerpt}\n  \
             {:before$}^",
            ""
        )
    }
}

impl std::error::Error for ParseFilterError {}
