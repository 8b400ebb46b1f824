//! Rows of an index in order, as they were at a view.

use std::ops::{Bound, ControlFlow};

use crate::engine::secondary::{Secondary, State};
use crate::engine::snapshots::View;
use crate::engine::{Engine, GoOn};
use crate::index::Shown;
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::query::entries::split;

/// The most rows that are looked at before others get a turn, seen or not.
const ROWS_AT_ONCE: usize = 16 << 10;

/// A row of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecondaryRow {
    bytes: Box<[u8]>,
    code_len: usize,
}

impl SecondaryRow {
    /// The code of the indexed values.
    pub(crate) fn code(&self) -> &[u8] {
        self.bytes.get(..self.code_len).unwrap_or_default()
    }

    /// The key of the item that has them.
    pub(crate) fn key(&self) -> &[u8] {
        self.bytes.get(self.code_len..).unwrap_or_default()
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Engine {
    /// Appends rows of an index as they were at a view, about `limit` of them and more only where
    /// the view reads displaced ones. The bounds are those of a code, or of a code followed by the
    /// item's key. The index was [usable](Secondary::is_usable) when the view began to use it.
    ///
    /// # Errors
    /// - [`Error::SnapshotTooOld`].
    /// - [`Error::IndexUnavailable`] when rows were lost since: the same find may succeed later.
    pub(crate) fn scan_secondary(
        &self,
        view: &View,
        index: &Secondary,
        bounds: Bounds<'_>,
        reverse: bool,
        limit: usize,
        rows: &mut Vec<SecondaryRow>,
    ) -> Result<GoOn> {
        if is_empty(bounds) {
            return Ok(None);
        }
        let mut seen: Vec<Box<[u8]>> = Vec::new();
        let go_on = self.with_index(|leaves| {
            seen.clear();
            let (mut looked_at, mut last) = (0, None);
            leaves.scan(&index.directory, bounds, reverse, Shown::All, |key, head, _| {
                looked_at += 1;
                if head.revision <= view.revision() {
                    seen.push(key.to_vec().into());
                }
                if seen.len() < limit.max(1) && looked_at < ROWS_AT_ONCE {
                    return ControlFlow::Continue(());
                }
                last = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            Ok(last)
        })?;
        // After the rows: one that is gone from them was saved before.
        let within = match (go_on.as_deref(), reverse) {
            (None, _) => bounds,
            (Some(last), false) => (bounds.0, Bound::Included(last)),
            (Some(last), true) => (Bound::Included(last), bounds.1),
        };
        let of_index = seen.len();
        view.saved_within(index.directory.as_bytes(), within, |key| seen.push(key.into()))?;
        if seen.len() > of_index {
            // One may be in both: it was saved after it was seen.
            seen.sort_unstable();
            seen.dedup();
            if reverse {
                seen.reverse();
            }
        }
        if index.state() == State::Gone {
            let reason = "rows of an index were lost while it was read; try again";
            return Err(Error::IndexUnavailable(IndexFailure::new(reason)));
        }
        rows.extend(seen.into_iter().filter_map(|bytes| {
            let (code, _) = split(&index.definition, &bytes)?;
            Some(SecondaryRow { code_len: code.len(), bytes })
        }));
        Ok(go_on)
    }

    /// How many rows an index has now.
    pub(crate) fn secondary_len(&self, index: &Secondary) -> u64 {
        self.journal.index_sum(index.declared).map_or(0, |sum| sum.content.count)
    }
}

/// Whether no key lies within.
fn is_empty((lower, upper): Bounds<'_>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
        (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper))
        | (Bound::Excluded(lower), Bound::Included(upper)) => lower >= upper,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}
