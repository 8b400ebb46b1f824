//! What a store says about its collections.

use std::time::Duration;

/// What a store records about one of its collections; listed by
/// [`Store::collections`](crate::Store::collections).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use std::time::Duration;
///
/// let store = ifmatch::Store::in_memory();
/// let hour = Duration::from_secs(3_600);
/// store.collection::<String>("sessions")?.set_default_ttl(Some(hour))?;
/// let sessions = &store.collections()?[0];
/// assert_eq!((sessions.name(), sessions.codec()), ("sessions", Some("json")));
/// assert_eq!(sessions.default_ttl(), Some(hour));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionInfo {
    pub(super) name: String,
    pub(super) codec: Option<&'static str>,
    pub(super) default_ttl: Option<Duration>,
}

impl CollectionInfo {
    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The codec that its documents are stored with: `json`, `bincode` or `raw`; `None` for a codec
    /// that only a newer version of this crate knows.
    #[must_use]
    pub fn codec(&self) -> Option<&'static str> {
        self.codec
    }

    /// How long items live that are created in it without an expiry of their own; see
    /// [`Collection::set_default_ttl`](crate::Collection::set_default_ttl).
    #[must_use]
    pub fn default_ttl(&self) -> Option<Duration> {
        self.default_ttl
    }
}
