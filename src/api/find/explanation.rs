//! What a find costs.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Find;
use crate::values::error::Result;

/// What a find took; made by [`Find::explain`].
///
/// See [`Find::explain`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    collection: String,
    looked_at: u64,
    found: u64,
    sorted: bool,
}

impl Explanation {
    pub(super) fn of<T: Serialize + DeserializeOwned>(find: Find<T>) -> Result<Self> {
        let collection = find.collection.name().to_owned();
        let limit = find.limit.unwrap_or(u64::MAX);
        let (_, mut matches) = find.matches()?;
        let sorted = matches.query().sort().is_some();
        let mut found = 0;
        // A sort has to look at all before it knows which are the first.
        while sorted || found < limit {
            match matches.next() {
                Some(one) => one.map(|_| found += 1)?,
                None => break,
            }
        }
        let (looked_at, found) = (matches.looked_at(), found.min(limit));
        Ok(Self { collection, looked_at, found, sorted })
    }

    /// How many items were looked at: read, parsed and compared with the filter.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// How many items the find gives.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Whether they were sorted in memory.
    #[must_use]
    pub fn sorted(&self) -> bool {
        self.sorted
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, looked_at, found, sorted } = self;
        let sorted = if *sorted { ", sorted in memory" } else { "" };
        write!(
            f,
            "scan of collection {collection:?}: {looked_at} items looked at, {found} found{sorted}"
        )
    }
}
