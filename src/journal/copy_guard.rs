//! Keeping compaction away from a journal that somebody copies.

use std::sync::Arc;

use crate::journal::Journal;
use crate::journal::manifest::Manifest;
use crate::seams::sync::{AtomicU64, Ordering};

/// How many copies of the journal are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopyCount(Arc<AtomicU64>);

/// Keeps every entry of the journal where a reader finds it, for as long as it lives. Without it
/// compaction could drop a version that a commit after the copied ones has replaced, and the copy
/// would hold neither.
#[derive(Debug)]
pub(crate) struct CopyGuard(CopyCount);

impl Drop for CopyGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Journal {
    /// Keeps compaction from taking anything out of the journal that MANIFEST, which is given
    /// too, describes.
    pub(crate) fn guard_copy(&self) -> (CopyGuard, Manifest) {
        // Under the lock, as compaction asks under it before it puts a segment in the place of
        // others: either that is in this MANIFEST already, or it does not happen.
        let manifest = self.manifest.lock();
        self.copies.0.fetch_add(1, Ordering::AcqRel);
        (CopyGuard(self.copies.clone()), manifest.current.clone())
    }

    /// Whether anything may be taken out of the journal now: asked for with MANIFEST locked.
    pub(crate) fn is_being_copied(&self) -> bool {
        self.copies.0.load(Ordering::Acquire) > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::api::store::Store;

    #[test]
    fn the_journal_is_held_until_the_last_hold_is_dropped() {
        let store = Store::in_memory();
        let engine = store.engine().unwrap();
        let journal = &engine.journal;
        assert!(!journal.is_being_copied());
        let (one, two) = (journal.guard_copy().0, journal.guard_copy().0);
        drop(one);
        assert!(journal.is_being_copied());
        drop(two);
        assert!(!journal.is_being_copied());
    }

    #[test]
    fn a_backup_that_failed_holds_nothing() {
        let store = Store::in_memory();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "in the way").unwrap();
        assert!(store.backup(folder.path()).is_err());
        assert!(!store.engine().unwrap().journal.is_being_copied());
    }
}
