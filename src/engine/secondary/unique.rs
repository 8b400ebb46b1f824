//! Whether the values that a commit writes are unique.
//!
//! A value of a unique index is locked as a key is: by the stripe of its row's key without the
//! item's. A commit holds the stripes of the values that its items lose and get, in addition to
//! those of its keys, so nobody else changes the rows of these values while it looks at them. These
//! values are known only when the items are locked. So their stripes are tried; if one is taken,
//! all are released and locked anew, in order, and the commit is decided again.
//!
//! A batch is judged by its final state: an item of the batch holds what it has afterwards. A value
//! that an expired item holds is free, and the commit that takes it removes that item. A value that
//! an item keeps is not compared with others, so that items that share one after a repair can be
//! changed.

use std::collections::{HashMap, HashSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::change::Change;
use crate::engine::operation::{KeyState, Refusal};
use crate::engine::secondary::Secondary;
use crate::engine::secondary::maintain::ItemRows;
use crate::engine::stripes::Locked;
use crate::index::{Cell, KeyRef, Shown};
use crate::values::Few;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::encoding::is_cut;
use crate::values::query::entries::{Codes, whole_entries};

/// How many items with one code are looked at before others get a turn.
const HOLDERS: usize = 256;
/// How often an item is looked for that compaction keeps moving.
const READS: usize = 16;

/// What a commit locks, and which items it removes, in addition to its operations.
#[derive(Debug, Default)]
pub(in crate::engine) struct Claims {
    /// Rows' keys without the items'.
    values: Vec<ItemKey>,
    /// Expired items that hold a value which the commit takes.
    sweeps: Vec<ItemKey>,
}

impl Claims {
    /// All keys whose stripes are locked.
    pub(in crate::engine) fn keys(&self) -> impl Iterator<Item = &ItemKey> {
        self.values.iter().chain(&self.sweeps)
    }

    pub(in crate::engine) fn sweeps(&self) -> std::slice::Iter<'_, ItemKey> {
        self.sweeps.iter()
    }
}

/// Why a commit cannot change indexes as it has to.
#[derive(Debug)]
pub(in crate::engine) enum Hindrance {
    /// More has to be locked, or swept, which is among the claims by now.
    Locks,
    /// A unique index has no rows to look at.
    Unbuilt(Arc<Secondary>),
    /// The change at this place must not be made.
    Refused(usize, Error),
    Failed(Error),
}

impl From<Error> for Hindrance {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What one change does to the values of an item in a unique index.
struct Claim<'r> {
    /// The place of the change.
    at: usize,
    rows: &'r ItemRows,
    /// The codes that it adds, in order. A cut one counts as added, as its value may differ.
    added: Vec<&'r [u8]>,
    removed: Vec<&'r [u8]>,
}

impl<'r> Claim<'r> {
    fn of(at: usize, rows: &'r ItemRows) -> Option<Self> {
        let before = rows.before.as_ref();
        let kept = |code: &[u8]| before.is_some_and(|before| before.contains(code));
        let added = rows.after.iter().filter(|code| is_cut(code) || !kept(code));
        let removed = before.into_iter().flat_map(Codes::iter);
        let removed = removed.filter(|code| !rows.after.contains(code));
        let claim = Self { at, rows, added: added.collect(), removed: removed.collect() };
        (!claim.added.is_empty() || !claim.removed.is_empty()).then_some(claim)
    }

    /// The keys of the values.
    fn values(&self) -> impl Iterator<Item = ItemKey> + '_ {
        self.added.iter().chain(&self.removed).map(|code| self.rows.index.row_key(code, &[]))
    }

    fn refused(&self, of: &ItemKey) -> Hindrance {
        let rows = self.rows;
        Hindrance::Refused(self.at, rows.index.not_unique(&rows.key, of))
    }
}

impl Secondary {
    pub(super) fn not_unique(&self, key: &ItemKey, of: &ItemKey) -> Error {
        Error::NotUnique {
            collection: self.collection.clone(),
            index: self.definition.name().into(),
            key: key.key_bytes().into(),
            of: of.key_bytes().into(),
        }
    }

    /// Whether two documents have a value in common that is cut to this code.
    pub(super) fn share(&self, code: &[u8], a: &[u8], b: &[u8]) -> bool {
        let whole = |value| {
            let document = self.document(value);
            document.map(|document| whole_entries(&self.definition, &document, code))
        };
        match (whole(a), whole(b)) {
            (Some(a), Some(b)) => a.iter().any(|entry| b.contains(entry)),
            _ => false,
        }
    }
}

/// The items of a commit that have a code afterwards, by index and code.
type Final<'r> = HashMap<(u64, &'r [u8]), Vec<(usize, &'r ItemRows)>>;

impl Engine {
    /// Locks the values that a commit changes in unique indexes, and refuses it where one of those
    /// that it adds is another item's. The items are locked, and nothing is pinned.
    pub(in crate::engine) fn claim_unique<'a>(
        &'a self,
        rows: &[ItemRows],
        changes: &[Change<'_>],
        claims: &mut Claims,
        locked: &mut Locked<'a>,
    ) -> Result<(), Hindrance> {
        let made: Vec<Claim<'_>> =
            binding(rows).filter_map(|(at, rows)| Claim::of(at, rows)).collect();
        if made.is_empty() {
            return Ok(());
        }
        let values: Vec<ItemKey> = made.iter().flat_map(Claim::values).collect();
        if !locked.try_extend(&self.stripes, values.iter().map(ItemKey::as_bytes)) {
            claims.values.extend(values);
            return Err(Hindrance::Locks);
        }
        let mut last = Final::new();
        for (at, rows) in binding(rows).filter(|_| changes.len() > 1) {
            for code in rows.after.iter() {
                last.entry((rows.index.declared, code)).or_default().push((at, rows));
            }
        }
        let written: HashSet<&ItemKey> = changes.iter().map(Change::key).collect();
        let mut sweeps = Vec::new();
        for claim in &made {
            let value = changes.get(claim.at).and_then(Change::value);
            for code in &claim.added {
                if let Some(rival) = rival_within(claim, code, &last, changes) {
                    return Err(claim.refused(rival));
                }
                let stored = self.stored_rival(claim, code, value, &written, &mut sweeps)?;
                if let Some(rival) = stored {
                    return Err(claim.refused(&rival));
                }
            }
        }
        if sweeps.is_empty() {
            return Ok(());
        }
        sweeps.retain(|key| !claims.sweeps.contains(key));
        claims.sweeps.extend(sweeps);
        claims.values.extend(values);
        Err(Hindrance::Locks)
    }

    /// The stored item, not one of those that are `written`, which holds a value that is claimed.
    /// Expired ones hold none, and are to be swept. The value is locked.
    fn stored_rival(
        &self,
        claim: &Claim<'_>,
        code: &[u8],
        value: Option<&Bytes>,
        written: &HashSet<&ItemKey>,
        sweeps: &mut Vec<ItemKey>,
    ) -> Result<Option<ItemKey>, Hindrance> {
        let index = &claim.rows.index;
        let now_ms = self.clock.now_ms();
        let mut after = None;
        loop {
            let (holders, last) = self.holders(index, code, after.as_deref())?;
            if !index.is_built() {
                return Err(Hindrance::Unbuilt(Arc::clone(index)));
            }
            for holder in holders.into_iter().filter(|holder| !written.contains(holder)) {
                let Some(head) = self.head(&holder)?.filter(|head| !head.deleted) else { continue };
                if is_cut(code) {
                    let Some((_, other)) = self.stored_value(&holder)? else { continue };
                    if !value.is_some_and(|value| index.share(code, value, &other)) {
                        continue;
                    }
                }
                if head.is_live(now_ms) {
                    return Ok(Some(holder));
                }
                if !sweeps.contains(&holder) {
                    sweeps.push(holder);
                }
            }
            if last.is_none() {
                return Ok(None);
            }
            after = last;
        }
    }

    /// Some of the items that have rows with a code, and the last row where there are more.
    fn holders(
        &self,
        index: &Secondary,
        code: &[u8],
        after: Option<&[u8]>,
    ) -> Result<(Vec<ItemKey>, Option<Vec<u8>>)> {
        let lower = after.map_or(Bound::Included(code), Bound::Excluded);
        self.with_index(|leaves| {
            let (mut keys, mut last) = (Vec::new(), None);
            let mut visit = |key: KeyRef<'_>| {
                let row = key.to_vec();
                let Some(key) = row.strip_prefix(code) else { return ControlFlow::Break(()) };
                keys.push(ItemKey::in_directory(&index.collection, key, &[]));
                if keys.len() < HOLDERS {
                    return ControlFlow::Continue(());
                }
                last = Some(row);
                ControlFlow::Break(())
            };
            let bounds = (lower, Bound::Unbounded);
            leaves.scan(&index.directory, bounds, false, Shown::All, |key, _, _| visit(key))?;
            Ok((keys, last))
        })
    }

    /// The newest version of an item, expired or not, with its value. Takes no stripe: the caller
    /// holds some.
    pub(super) fn stored_value(&self, key: &ItemKey) -> Result<Option<(Head, Bytes)>> {
        let mut missing = None;
        for _ in 0..READS {
            let row = self.with_index(|index| index.cell(key))?;
            let Some(Cell { head, value }) = row.filter(|row| !row.head.deleted) else {
                return Ok(None);
            };
            if let Some(value) = value {
                return Ok(Some((head, value.bytes)));
            }
            if let Some(version) = self.version_at(key, &head)? {
                return Ok(Some((head, version.value)));
            }
            // Compaction has moved it, and its head before.
            missing = Some(head);
        }
        missing.map_or(Ok(None), |head| Err(self.no_segment(&head)))
    }

    /// Takes away what is expired and in the way of the commit.
    pub(in crate::engine) fn sweep_claimed(
        &self,
        claims: &Claims,
        states: &mut Few<KeyState>,
        now_ms: u64,
    ) -> Result<(), (usize, Refusal)> {
        for key in claims.sweeps() {
            if let Some(state) = states.iter_mut().find(|state| state.key == *key) {
                state.sweep();
                continue;
            }
            let state = self.state_of(key, now_ms);
            let mut state = state.map_err(|error| (0, Refusal::Error(error)))?;
            state.sweep();
            states.push(state);
        }
        Ok(())
    }
}

/// The rows in unique indexes that bind, with the places of their changes.
fn binding(rows: &[ItemRows]) -> impl Iterator<Item = (usize, &ItemRows)> {
    rows.iter().filter(|rows| rows.index.binds()).map(|rows| (rows.at, rows))
}

/// Whether an item loses or gets a value in a unique index that binds.
pub(in crate::engine) fn changes_unique(rows: &[ItemRows]) -> bool {
    binding(rows).any(|(at, rows)| Claim::of(at, rows).is_some())
}

/// The item of the same commit that has a claimed value afterwards. Of two that add it the first
/// has it.
fn rival_within<'r>(
    claim: &Claim<'_>,
    code: &[u8],
    last: &Final<'r>,
    changes: &[Change<'_>],
) -> Option<&'r ItemKey> {
    let index = &claim.rows.index;
    let value = |at: usize| changes.get(at).and_then(Change::value);
    let of_code = last.get(&(index.declared, code)).map(Vec::as_slice).unwrap_or_default();
    let rival = of_code.iter().find(|(at, rows)| {
        let keeps = || Claim::of(*at, rows).is_none_or(|other| !other.added.contains(&code));
        let shares = || match (value(claim.at), value(*at)) {
            (Some(own), Some(other)) => index.share(code, own, other),
            _ => false,
        };
        let comes_first = *at < claim.at || (*at > claim.at && keeps());
        comes_first && (!is_cut(code) || shares())
    });
    rival.map(|(_, rows)| &rows.key)
}
