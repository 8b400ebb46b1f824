//! Where a find gets its items from. Whatever the source, it gives each item once, as it was at the
//! find's view, and says how many it has looked at.

use std::sync::Arc;

use crate::api::iter::{Selection, Versions};
use crate::api::store::Store;
use crate::engine::{Version, View};
use crate::values::error::Result;
use crate::values::key::ItemKey;

/// The items among which a find looks, in order of key.
#[derive(Debug)]
pub(super) struct Candidates {
    versions: Versions,
    looked_at: u64,
}

impl Candidates {
    /// All items of a part of a collection.
    pub(super) fn scan(store: Store, view: Arc<View>, selection: Selection) -> Self {
        Self { versions: Versions::new(store, Some(view), selection), looked_at: 0 }
    }

    /// How many items were given.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }
}

impl Iterator for Candidates {
    type Item = Result<(ItemKey, Version)>;

    fn next(&mut self) -> Option<Self::Item> {
        let candidate = self.versions.next()?;
        self.looked_at += 1;
        Some(candidate)
    }
}
