//! The store-wide commit number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of the commit that wrote a version: store-wide, strictly increasing, never used
/// twice.
///
/// Revisions may skip numbers: an open after a crash continues 2^20 above the last revision that it
/// finds, so that the revision of a lost commit is not used again. All items of one batch share a
/// revision.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let first = notes.create("a", &"one".to_owned())?;
/// let second = notes.create("b", &"two".to_owned())?;
/// assert!(first.revision() < second.revision());
/// # Ok(()) }
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision before the first commit of a store.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
