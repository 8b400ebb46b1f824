//! What was lost when a damaged store was opened with
//! [`OnDamage::KeepPrefix`](crate::OnDamage::KeepPrefix).

use std::path::{Path, PathBuf};

use crate::values::revision::Revision;

/// What an open found damaged and set aside; see [`Store::damage`](crate::Store::damage).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("app.ifm");
/// use ifmatch::{OnDamage, Options};
///
/// let store = Options::new().on_damage(OnDamage::KeepPrefix).open(&path)?;
/// if let Some(damage) = store.damage() {
///     eprintln!(
///         "{} is damaged at byte {}: {}. Kept is everything up to revision {}.",
///         damage.file().display(),
///         damage.offset(),
///         damage.reason(),
///         damage.kept(),
///     );
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) reason: String,
    pub(crate) kept: Revision,
    pub(crate) lost_bytes: u64,
    pub(crate) moved: Vec<PathBuf>,
}

impl Damage {
    /// The first damaged file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where in it the damage begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What does not fit there.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The newest commit that was kept: what the journal still held of the commits up to it is in
    /// the store, and nothing of those after it. What compaction had dropped, because a commit
    /// behind the damage had replaced it, does not come back.
    #[must_use]
    pub fn kept(&self) -> Revision {
        self.kept
    }

    /// How many bytes of segment files, from the damage on, are no longer part of the store; an
    /// upper bound of what was stored in them, as segments are filled with zeros ahead.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Where whole files behind the damage were moved to, for an attempt to rescue more by hand.
    #[must_use]
    pub fn moved(&self) -> &[PathBuf] {
        &self.moved
    }
}
