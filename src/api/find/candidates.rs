//! Where a find gets its items from. Every source returns each item once, as it was at the find's
//! view, and counts what it has looked at.

use std::collections::{HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::api::iter::{Selection, Versions};
use crate::api::store::Store;
use crate::engine::secondary::SecondaryRow;
use crate::engine::{Secondary, Version, View};
use crate::values::error::Result;
use crate::values::key::ItemKey;
use crate::values::query::encoding::is_cut;
use crate::values::query::entries::leading;
use crate::values::query::plan::{CodeRange, Plan};
use crate::values::short_bytes::ShortBytes;

/// How many rows of an index are read at a time: few at first, for a caller that wants few.
const FIRST_ROWS: usize = 16;
const MAX_ROWS: usize = 1_024;

/// An item among which a find looks.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) key: ItemKey,
    pub(super) version: Version,
    /// Items come in the order of this. Those of one group are still to be ordered among
    /// themselves; `None` where they are in order.
    pub(super) group: Option<Vec<u8>>,
    /// Where the index decides that the item is found: the code of what it is sorted by.
    pub(super) place: Option<ShortBytes>,
}

/// How an index is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) ranges: u64,
    /// Whether it leads to one item at most.
    pub(super) single: bool,
}

/// The items among which a find looks.
#[derive(Debug)]
pub(super) enum Candidates {
    /// All of a part of a collection, in order of key.
    Scan {
        versions: Box<Versions>,
        looked_at: u64,
    },
    Index(Box<IndexRows>),
}

impl Candidates {
    pub(super) fn scan(store: Store, view: Arc<View>, selection: Selection) -> Self {
        let versions = Box::new(Versions::new(store, Some(view), selection));
        Self::Scan { versions, looked_at: 0 }
    }

    /// How many items, or entries of an index, were looked at.
    pub(super) fn looked_at(&self) -> u64 {
        match self {
            Self::Scan { looked_at, .. } => *looked_at,
            Self::Index(rows) => rows.looked_at,
        }
    }

    /// The index that is used; `None` for a scan.
    pub(super) fn source(&self) -> Option<Source> {
        match self {
            Self::Scan { .. } => None,
            Self::Index(rows) => Some(Source {
                name: rows.index.definition.name(),
                ranges: rows.plan.ranges.len() as u64,
                single: rows.plan.single && rows.index.is_bound(),
            }),
        }
    }
}

impl Iterator for Candidates {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Scan { versions, looked_at } => {
                let candidate = versions.next()?;
                *looked_at += 1;
                Some(candidate.map(|(key, version)| Candidate {
                    key,
                    version,
                    group: None,
                    place: None,
                }))
            }
            Self::Index(rows) => rows.next(),
        }
    }
}

/// The items of the entries in some ranges of an index.
#[derive(Debug)]
pub(super) struct IndexRows {
    store: Store,
    view: Arc<View>,
    index: Arc<Secondary>,
    plan: Plan,
    /// The ranges that are still to be read, the next one first.
    ranges: VecDeque<CodeRange>,
    /// Where the first of them continues.
    go_on: Option<Vec<u8>>,
    rows: VecDeque<SecondaryRow>,
    step: usize,
    /// The items that were returned, where one may have several entries.
    given: HashSet<Vec<u8>>,
    looked_at: u64,
}

impl IndexRows {
    /// `wanted` is how many items the find will return, if that is known.
    pub(super) fn new(
        store: Store,
        view: Arc<View>,
        index: Arc<Secondary>,
        plan: Plan,
        wanted: Option<u64>,
    ) -> Self {
        let mut ranges: VecDeque<CodeRange> = plan.ranges.iter().cloned().collect();
        if plan.reverse {
            ranges = ranges.into_iter().rev().collect();
        }
        let (go_on, rows, given) = (None, VecDeque::new(), HashSet::new());
        // One more shows that the last of them is the last of its group.
        let step = wanted.map_or(FIRST_ROWS, |wanted| wanted.saturating_add(1) as usize);
        let step = step.clamp(FIRST_ROWS, MAX_ROWS);
        Self { store, view, index, plan, ranges, go_on, rows, step, given, looked_at: 0 }
    }

    /// The next row, read with those after it.
    fn next_row(&mut self) -> Option<Result<SecondaryRow>> {
        while self.rows.is_empty() {
            let range = self.ranges.front()?;
            if let Err(error) = self.fetch(&range.clone()) {
                self.ranges.clear();
                return Some(Err(error));
            }
        }
        self.rows.pop_front().map(Ok)
    }

    fn fetch(&mut self, range: &CodeRange) -> Result<()> {
        let reverse = self.plan.reverse;
        let (mut from, mut to) = (
            Bound::Included(&range.from[..]),
            range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        );
        if let Some(last) = &self.go_on {
            let moved = if reverse { &mut to } else { &mut from };
            *moved = Bound::Excluded(&last[..]);
        }
        let mut rows = Vec::new();
        let step = self.step;
        self.step = (step * 2).min(MAX_ROWS);
        let engine = self.store.engine()?;
        let go_on =
            engine.scan_secondary(&self.view, &self.index, (from, to), reverse, step, &mut rows)?;
        drop(engine);
        self.rows.extend(rows);
        if go_on.is_none() {
            self.ranges.pop_front();
        }
        self.go_on = go_on;
        Ok(())
    }

    /// The group of the row's item, if items are not ordered by their rows alone.
    fn group(&self, code: &[u8]) -> Option<Vec<u8>> {
        let fields = self.plan.ordered_fields();
        let in_order = !self.plan.reverse
            && self.plan.orders_all
            && fields == self.index.definition.fields().len()
            && !is_cut(code);
        let grouped = self.plan.ordered && !in_order;
        grouped.then(|| leading(&self.index.definition, code, fields).to_vec())
    }
}

impl Iterator for IndexRows {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.next_row()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            self.looked_at += 1;
            if self.plan.repeats && !self.given.insert(row.key().to_vec()) {
                continue;
            }
            let read = || {
                let key = ItemKey::new(&self.index.collection, row.key())?;
                let version = self.store.engine()?.read_found(&self.view, &key)?;
                Ok(version.map(|version| (key, version)))
            };
            match read() {
                Ok(Some((key, version))) => {
                    let (group, place) = (
                        self.group(row.code()),
                        self.plan.place(&self.index.definition, row.code()),
                    );
                    return Some(Ok(Candidate { key, version, group, place }));
                }
                // The item is expired.
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
