//! What a find costs.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Find;
use super::candidates::Source;
use crate::values::error::Result;

/// How a find found its items, and what it cost; made by [`Find::explain`].
///
/// See [`Find::explain`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    collection: String,
    index: Option<Source>,
    looked_at: u64,
    found: u64,
    sorted: bool,
}

impl Explanation {
    pub(super) fn of<T: Serialize + DeserializeOwned>(find: Find<T>) -> Result<Self> {
        let collection = find.collection.name().to_owned();
        let limit = find.limit.unwrap_or(u64::MAX);
        let (_, mut matches) = find.matches()?;
        let (sorted, index) = (!matches.are_ordered(), matches.source());
        let mut found = 0;
        // A sort has to look at all before it knows which are the first.
        while sorted || found < limit {
            match matches.next() {
                Some(one) => one.map(|_| found += 1)?,
                None => break,
            }
        }
        let (looked_at, found) = (matches.looked_at(), found.min(limit));
        Ok(Self { collection, index, looked_at, found, sorted })
    }

    /// The name of the index that was used; `None` if every item was looked at.
    #[must_use]
    pub fn index(&self) -> Option<&str> {
        self.index.as_ref().map(|source| source.name.as_str())
    }

    /// How many parts of the index were read; 0 without one.
    #[must_use]
    pub fn ranges(&self) -> u64 {
        self.index.as_ref().map_or(0, |source| source.ranges)
    }

    /// Whether the find returns one item at most, because the index is
    /// [unique](crate::Index::unique) and the filter demands one value of each of its fields.
    #[must_use]
    pub fn at_most_one(&self) -> bool {
        self.index.as_ref().is_some_and(|source| source.single)
    }

    /// How many entries of the index were looked at, or without an index, how many items.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// How many items the find returns.
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
        let Self { collection, index, looked_at, found, sorted } = self;
        match index {
            None => {
                let items = count(*looked_at, "item", "items");
                write!(f, "scan of collection {collection:?}: {items} looked at")?;
            }
            Some(Source { name, ranges, single }) => {
                let ranges = count(*ranges, "range", "ranges");
                let single = if *single { ", one item at most" } else { "" };
                let entries = count(*looked_at, "entry", "entries");
                write!(
                    f,
                    "index {name} of collection {collection:?}, {ranges}{single}: {entries} looked at"
                )?;
            }
        }
        let sorted = if *sorted { ", sorted in memory" } else { "" };
        write!(f, ", {found} found{sorted}")
    }
}

/// A number and what it counts.
fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
