//! What was lost when a damaged store was opened with another [`OnDamage`](crate::OnDamage) than to
//! refuse.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::values::revision::Revision;

/// What an open found damaged and left out; see [`Store::damage`](crate::Store::damage).
///
/// An open usually proves by a count and a sum over all items that none is missing. A repair has to
/// count them again. So this report, and not a proof, says what is missing. If every frame can be
/// read, but the items do not match count and sum, it is not known which of them is wrong. Then
/// [`gone`](Self::gone) and [`items`](Self::items) are empty, and [`reason`](Self::reason) says so.
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
///     for item in damage.items() {
///         eprintln!("{:?} of {} may be older than it was", item.key(), item.collection());
///     }
///     assert!(damage.gone().iter().all(|part| part.first_revision <= part.last_revision));
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
    pub(crate) gone: Vec<DamagedPart>,
    pub(crate) items: Vec<DamagedItem>,
}

/// A part of the journal that cannot be read; see [`Damage::gone`].
///
/// See [`Damage`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedPart {
    /// The segment file, at the path that it had when the damage was found.
    pub file: PathBuf,
    /// Where in it the part begins, in bytes.
    pub offset: u64,
    /// Its length, in bytes; 0 of a file that is missing.
    pub len_bytes: u64,
    /// The lowest revision of a commit that may have been there.
    pub first_revision: Revision,
    /// The highest one.
    pub last_revision: Revision,
}

/// An item whose stored bytes are damaged.
///
/// See [`Damage`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DamagedItem {
    collection: String,
    key: Bytes,
}

impl DamagedItem {
    pub(crate) fn new(collection: &str, key: &[u8]) -> Self {
        Self { collection: collection.to_owned(), key: Bytes::copy_from_slice(key) }
    }

    /// The collection's name; empty for what the store itself records, under the name of a
    /// collection.
    #[must_use]
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// The key; empty where it was a clear of the whole collection.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }
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

    /// What is wrong there.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The newest commit that was kept, or that may have been lost before it: after
    /// [`KeepPrefix`](crate::OnDamage::KeepPrefix) what the journal still held of the commits up to it
    /// is in the store, after [`SkipDamaged`](crate::OnDamage::SkipDamaged) that without what is
    /// [`gone`](Self::gone); and nothing of those after it. What compaction had dropped, because a commit
    /// after the damage had replaced it, does not come back.
    #[must_use]
    pub fn kept(&self) -> Revision {
        self.kept
    }

    /// How many bytes of segment files, from the damage on, are no longer part of the store. It is
    /// an upper bound of what was stored in them, because segments are filled with zeros in
    /// advance.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// The parts of the journal that are no longer part of the store, in order. After
    /// [`KeepPrefix`](crate::OnDamage::KeepPrefix) it is one part: everything from the first damage
    /// on. It is empty if no commit is known to be lost, for example if only MANIFEST was damaged.
    #[must_use]
    pub fn gone(&self) -> &[DamagedPart] {
        &self.gone
    }

    /// The items whose newest version is gone, as far as the damaged bytes still name them, after
    /// [`SkipDamaged`](crate::OnDamage::SkipDamaged). A hint: a name may be damaged itself, and a file
    /// that is missing names nothing; [`gone`](Self::gone) lists what was lost.
    #[must_use]
    pub fn items(&self) -> &[DamagedItem] {
        &self.items
    }

    /// The paths to which damaged files, and whole files after the damage, were moved, so that more
    /// can be rescued by hand.
    #[must_use]
    pub fn moved(&self) -> &[PathBuf] {
        &self.moved
    }
}
