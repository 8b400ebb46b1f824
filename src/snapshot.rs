//! Reading a store as it was at one revision, while writers go on.

use crate::error::Result;
use crate::revision::Revision;
use crate::store::Store;

/// A store as it was at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    store: Store,
    revision: u64,
}

impl Snapshot {
    pub(crate) fn take(store: &Store) -> Result<Self> {
        let revision = store.running()?.core.journal.applied();
        Ok(Self { store: store.clone(), revision })
    }

    /// The revision that is seen.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }
}
