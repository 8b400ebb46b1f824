//! What a store keeps of the past: [`HistoryPolicy`].

use std::time::Duration;

/// How many superseded versions of each item a store keeps, how long, and how long it remembers
/// removals.
///
/// [`history`](crate::Collection::history) and [`get_version`](crate::Collection::get_version) do
/// not return versions beyond the policy. Their space is reclaimed when their part of the journal
/// is compacted.
///
/// The policy is part of the store: it is recorded on disk and copied into backups. An open that
/// sets no policy with [`Options::history`](crate::Options::history) uses the recorded one. An open
/// that sets another policy records that. If the new policy is narrower, compaction drops what the
/// old one kept, within a day, or at once when [`Store::compact`](crate::Store::compact) is called.
/// Ages are stored in whole milliseconds.
///
/// Kept versions take their bytes in the journal. For each item with superseded versions in a
/// segment, compaction reads the item's chain of versions.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("app.ifm");
/// use std::time::Duration;
/// use ifmatch::{HistoryPolicy, Options};
///
/// let day = Duration::from_secs(24 * 60 * 60);
/// let policy = HistoryPolicy::new().versions(10).max_age(7 * day);
/// let store = Options::new().history(policy).open(&path)?;
/// let notes = store.collection::<String>("notes")?;
/// let first = notes.create("a", &"one".to_owned())?;
/// notes.replace("a", &"two".to_owned(), first.etag())?;
/// let base = notes.get_version("a", &first.etag())?;
/// assert_eq!(base.map(|item| item.value).as_deref(), Some("one"));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct HistoryPolicy {
    versions: u32,
    max_age: Option<Duration>,
    tombstones: Duration,
}

impl HistoryPolicy {
    /// The default: no superseded versions, and tombstones for 30 days.
    pub const fn new() -> Self {
        let tombstones = Duration::from_secs(30 * 24 * 60 * 60);
        Self { versions: 0, max_age: None, tombstones }
    }

    /// Sets how many superseded versions of each item are kept; 0 by default. A removal counts as a
    /// version.
    pub const fn versions(mut self, versions: u32) -> Self {
        self.versions = versions;
        self
    }

    /// Sets for how long a version is kept after it was replaced. By default there is no limit but
    /// the number of [`versions`](Self::versions).
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Sets for how long a tombstone is kept at least after the removal; 30 days by default. A
    /// reader of the change feed that stays away for longer may get
    /// [`Error::Compacted`](crate::Error::Compacted). The time is that of the store's clock: if the
    /// system's clock was ever ahead, tombstones go early.
    pub const fn tombstones(mut self, age: Duration) -> Self {
        self.tombstones = age;
        self
    }

    /// Versions, and the ages in milliseconds, as they are stored.
    pub(crate) fn to_parts(self) -> (u32, Option<u64>, u64) {
        (self.versions, self.max_age.map(whole_ms), whole_ms(self.tombstones))
    }

    pub(crate) fn from_parts(versions: u32, max_age_ms: Option<u64>, tombstones_ms: u64) -> Self {
        let (max_age, tombstones) =
            (max_age_ms.map(Duration::from_millis), Duration::from_millis(tombstones_ms));
        Self { versions, max_age, tombstones }
    }

    /// How many steps back from the newest version anything may be kept.
    pub(crate) fn depth(&self) -> usize {
        self.versions as usize
    }

    /// Whether a version that was replaced at this time is young enough.
    pub(crate) fn keeps_replaced_at(&self, replaced_ms: u64, now_ms: u64) -> bool {
        let Some(age) = self.max_age else { return true };
        let age_ms = whole_ms(age);
        now_ms < replaced_ms.saturating_add(age_ms)
    }

    /// Whether a removal at this time still has to be remembered.
    pub(crate) fn keeps_tombstone_of(&self, removed_ms: u64, now_ms: u64) -> bool {
        let age_ms = whole_ms(self.tombstones);
        now_ms < removed_ms.saturating_add(age_ms)
    }
}

fn whole_ms(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

impl Default for HistoryPolicy {
    fn default() -> Self {
        Self::new()
    }
}
