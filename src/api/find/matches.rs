//! The items that meet a find's filter.

use std::ops::Bound;

use serde_json::Value;

use super::candidates::{Candidate, Candidates, Source};
use super::cursor::{FindCursor, Rank};
use crate::engine::Version;
use crate::values::codec::codec_error;
use crate::values::error::{CodecStep, Error, Result};
use crate::values::key::ItemKey;
use crate::values::query::filter::{Condition, FilterError};
use crate::values::query::partial::Wanted;
use crate::values::query::plan::suggestion;
use crate::values::query::sort::{Sort, SortField};
use crate::values::short_bytes::ShortBytes;

/// What a find looks for.
#[derive(Debug)]
pub(super) struct Query {
    condition: Condition,
    sort: Option<Sort>,
    after: Option<FindCursor>,
    /// The parts of a document that decide whether it is found, and where.
    wanted: Wanted,
}

impl Query {
    /// # Errors
    /// [`FilterError::OtherOrder`] for a place in another order.
    pub(super) fn new(
        condition: Condition,
        sort: Option<Sort>,
        after: Option<FindCursor>,
    ) -> Result<Self, FilterError> {
        if after.as_ref().is_some_and(|after| !after.is_of(sort.as_ref())) {
            return Err(FilterError::OtherOrder);
        }
        let mut wanted = Wanted::of(sort.iter().flat_map(Sort::fields).map(SortField::path));
        condition.add_paths(&mut wanted);
        Ok(Self { condition, sort, after, wanted })
    }

    pub(super) fn sort(&self) -> Option<&Sort> {
        self.sort.as_ref()
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The definition of an index that the find would use.
    fn suggested_index(&self) -> Option<String> {
        suggestion(&self.condition, self.sort.as_ref()).map(|index| index.name())
    }

    pub(super) fn after(&self) -> Option<&FindCursor> {
        self.after.as_ref()
    }

    /// The bounds of the items' keys: without a sort, those after the place.
    pub(super) fn keys(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let after = self.after.as_ref().filter(|_| self.sort.is_none());
        let lower = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.rank().key()));
        (lower, Bound::Unbounded)
    }

    /// The code that an item is sorted by; `None` if it is not found.
    fn place(&self, document: &Value) -> Option<ShortBytes> {
        if !self.condition.matches(document) {
            return None;
        }
        match &self.sort {
            Some(sort) => Some(ShortBytes::of([&sort.code(document)?])),
            None => Some(ShortBytes::EMPTY),
        }
    }

    /// The place of an item in the order, if it follows the place to begin after.
    fn rank(&self, key: &ItemKey, code: ShortBytes) -> Option<Rank> {
        let rank = Rank::new(code, key.item_key());
        let follows = |after: &FindCursor| rank > *after.rank();
        self.after.as_ref().is_none_or(follows).then_some(rank)
    }
}

/// An item that is found.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) key: ItemKey,
    pub(super) version: Version,
    pub(super) rank: Rank,
    /// The candidate's group.
    pub(super) group: Option<Vec<u8>>,
}

/// The items that are found, in the order of the candidates.
#[derive(Debug)]
pub(super) struct Matches {
    candidates: Candidates,
    query: Query,
    collection: Box<str>,
    /// How many items may be looked at.
    limit: u64,
    /// Whether they come in the order of the query, except for groups.
    ordered: bool,
    ended: bool,
}

impl Matches {
    pub(super) fn new(
        candidates: Candidates,
        query: Query,
        collection: &str,
        limit: u64,
        ordered: bool,
    ) -> Self {
        let collection = collection.into();
        Self { candidates, query, collection, limit, ordered, ended: false }
    }

    /// Whether the items come in the order of the query, except for groups.
    pub(super) fn are_ordered(&self) -> bool {
        self.ordered
    }

    /// The index that is used, and how many ranges of it; `None` for a scan.
    pub(super) fn source(&self) -> Option<Source> {
        self.candidates.source()
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    pub(super) fn looked_at(&self) -> u64 {
        self.candidates.looked_at()
    }

    fn found(&self, candidate: Candidate) -> Result<Option<Match>> {
        let Candidate { key, version, group, place } = candidate;
        let place = match place {
            Some(place) => Some(place),
            None => {
                let document = self.query.wanted.read(&version.value).map_err(|error| {
                    let error = codec_error(CodecStep::Decode, error);
                    error.with_item(key.collection(), key.key_bytes())
                })?;
                self.query.place(&document)
            }
        };
        let rank = place.and_then(|place| self.query.rank(&key, place));
        Ok(rank.map(|rank| Match { key, version, rank, group }))
    }
}

impl Iterator for Matches {
    type Item = Result<Match>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let candidate = match self.candidates.next()? {
                Ok(candidate) => candidate,
                Err(error) => return Some(Err(error)),
            };
            if self.candidates.looked_at() > self.limit {
                self.ended = true;
                let (collection, limit) = (self.collection.to_string(), self.limit);
                let index = self.query.suggested_index();
                return Some(Err(Error::ScanTooLong { collection, limit, index }));
            }
            if let Some(found) = self.found(candidate).transpose() {
                return Some(found);
            }
        }
        None
    }
}
