//! The items of a find, in its order.

use std::collections::BinaryHeap;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;
use std::vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Find;
use super::cursor::{FindCursor, Rank};
use super::matches::{Match, Matches};
use crate::api::collection::decode;
use crate::api::store::Store;
use crate::engine::{Version, View};
use crate::values::codec::Json;
use crate::values::error::Result;
use crate::values::item::Item;
use crate::values::key::ItemKey;
use crate::values::query::sort::Sort;
use crate::values::short_bytes::ShortBytes;

/// An iterator over the items of a find, in its order; made by [`Find::iter`]. Dropping it early
/// costs nothing.
///
/// See [`Find`] for an example.
#[derive(Debug)]
pub struct Found<T> {
    items: Items,
    sort: Option<Sort>,
    /// How many are still to be given.
    left: u64,
    /// The place after the last one that was given.
    place: Option<Rank>,
    documents: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Items {
    /// As they are met, except for groups of which each is sorted.
    Streamed(Box<InOrder>),
    /// Sorted before; read again one by one, at the same moment.
    Sorted { store: Store, view: Arc<View>, collection: Box<str>, ranks: vec::IntoIter<Rank> },
}

impl<T: Serialize + DeserializeOwned> Found<T> {
    pub(super) fn new(find: Find<T>) -> Result<Self> {
        let left = find.limit.unwrap_or(u64::MAX);
        let (store, name) = (find.collection.store().clone(), find.collection.name().into());
        let (view, mut matches) = find.matches()?;
        let (sort, place) = (matches.query().sort().cloned(), matches.query().after());
        let place = place.map(|after| after.rank().clone());
        let items = if !matches.are_ordered() {
            let ranks = sorted(&mut matches, left)?.into_iter();
            Items::Sorted { store, view, collection: name, ranks }
        } else {
            Items::Streamed(Box::new(InOrder::new(matches)))
        };
        Ok(Self { items, sort, left, place, documents: PhantomData })
    }
}

impl<T> Found<T> {
    /// The place after the last item that was returned, for [`Find::after`]. Before the first item
    /// it is the place that the find began after. An item that could not be decoded counts as
    /// returned.
    ///
    /// See [`Find::after`] for an example.
    #[must_use]
    pub fn cursor(&self) -> Option<FindCursor> {
        self.place.clone().map(|place| FindCursor::new(self.sort.as_ref(), place))
    }
}

/// The keys of the items that a find returns, in its order.
pub(super) fn keys<T: Serialize + DeserializeOwned>(find: Find<T>) -> Result<Vec<ShortBytes>> {
    let limit = find.limit.unwrap_or(u64::MAX);
    let (_, mut matches) = find.matches()?;
    if !matches.are_ordered() {
        let ranks = sorted(&mut matches, limit)?;
        return Ok(ranks.into_iter().map(Rank::into_key).collect());
    }
    let mut keys = Vec::new();
    let mut found = InOrder::new(matches);
    while (keys.len() as u64) < limit {
        match found.next() {
            Some(found) => keys.push(found?.rank.into_key()),
            None => break,
        }
    }
    Ok(keys)
}

/// The places of the first items that are found, in order.
fn sorted(matches: &mut Matches, limit: u64) -> Result<Vec<Rank>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Vec::new());
    }
    // The greatest on top: what makes room for a lesser one.
    let mut kept = BinaryHeap::new();
    for found in matches {
        let Match { rank, .. } = found?;
        if kept.len() < limit {
            kept.push(rank);
        } else if let Some(mut greatest) = kept.peek_mut()
            && rank < *greatest
        {
            *greatest = rank;
        }
    }
    Ok(kept.into_sorted_vec())
}

/// Items that come in order except for groups, of which each is sorted.
#[derive(Debug)]
struct InOrder {
    matches: Matches,
    group: vec::IntoIter<Match>,
    /// What ended the group.
    next: Option<Result<Match>>,
}

impl InOrder {
    fn new(matches: Matches) -> Self {
        Self { matches, group: Vec::new().into_iter(), next: None }
    }
}

impl Iterator for InOrder {
    type Item = Result<Match>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(found) = self.group.next() {
            return Some(Ok(found));
        }
        let first = match self.next.take().or_else(|| self.matches.next())? {
            Ok(first) if first.group.is_some() => first,
            other => return Some(other),
        };
        let mut group = vec![first];
        for found in &mut self.matches {
            match found {
                Ok(found) if group.last().is_some_and(|last| last.group == found.group) => {
                    group.push(found);
                }
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        group.sort_unstable_by(|a, b| a.rank.cmp(&b.rank));
        self.group = group.into_iter();
        self.group.next().map(Ok)
    }
}

impl Items {
    /// The next item and its place.
    fn next(&mut self) -> Option<Result<(ItemKey, Version, Rank)>> {
        match self {
            Self::Streamed(found) => {
                Some(found.next()?.map(|Match { key, version, rank, .. }| (key, version, rank)))
            }
            Self::Sorted { store, view, collection, ranks } => loop {
                let rank = ranks.next()?;
                let read = || {
                    let key = ItemKey::new(collection, rank.key())?;
                    let version = store.engine()?.read_at(view, &key)?;
                    Ok(version.map(|version| (key, version)))
                };
                match read() {
                    Ok(Some((key, version))) => return Some(Ok((key, version, rank))),
                    // It has expired since.
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            },
        }
    }
}

impl<T: Serialize + DeserializeOwned> Iterator for Found<T> {
    type Item = Result<Item<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        match self.items.next() {
            Some(Ok((key, version, rank))) => {
                self.left -= 1;
                self.place = Some(rank);
                Some(decode::<T, Json>(&key, version))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.left = 0;
                None
            }
        }
    }
}

impl<T: Serialize + DeserializeOwned> FusedIterator for Found<T> {}
