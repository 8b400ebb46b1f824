//! Expired items: when the next one is due, and the sweep that removes them.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::operation::{Action, Attempt, Operation};
use crate::seams::sync::{AtomicU64, Mutex, Ordering};
use crate::values::codec::CodecId;
use crate::values::error::Result;
use crate::values::key::ItemKey;
use crate::values::precondition::Precondition;

/// The heads that one step looks at, and the entries that it writes, at most.
const STEP_HEADS: usize = 512;
const STEP_ENTRIES: usize = 256;
/// Between two passes the store's thread waits for this multiple of the time that the last one
/// took, so that items that expire one by one do not keep it reading the whole index.
const REST_FACTOR: u32 = 16;
const LEAST_REST: Duration = Duration::from_secs(1);

/// When the next item expires, so that a store sweeps only when there is something to sweep.
#[derive(Debug)]
pub(crate) struct Expiries {
    /// A lower bound of the earliest expiry; `u64::MAX` when nothing expires. Does not cover the
    /// heads that the pass under way has yet to visit.
    next_ms: AtomicU64,
    /// Taken before stripes, and held for a step of the sweep: there is one pass at a time, and
    /// the thread that sweeps continues with it.
    passes: Mutex<Passes>,
}

#[derive(Debug, Default)]
struct Passes {
    under_way: Option<Pass>,
    rest_until: Option<Instant>,
}

/// One walk over the whole index.
#[derive(Debug)]
struct Pass {
    begun: Instant,
    /// The bound that made it begin; it still counts until the pass is finished.
    due_ms: u64,
    /// The key that it has come to.
    after: Option<ItemKey>,
    /// The earliest expiry in the future among the heads that it has visited.
    earliest_ms: u64,
}

/// What one step of a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SweepStep {
    /// How many items it removed.
    pub(crate) swept: u64,
    /// Whether the pass is not finished.
    pub(crate) more: bool,
}

/// What a step found in the index.
#[derive(Default)]
struct Found {
    expired: Vec<ItemKey>,
    /// The last head that was looked at.
    last: Option<ItemKey>,
    earliest_ms: Option<u64>,
}

impl Expiries {
    pub(super) fn new() -> Self {
        Self { next_ms: AtomicU64::new(u64::MAX), passes: Mutex::new(Passes::default()) }
    }

    /// Notes that an item expires at this time. Called when its head is in the index: otherwise a
    /// pass that begins in between would drop the bound and miss the item.
    pub(crate) fn note(&self, expires_ms: u64) {
        self.next_ms.fetch_min(expires_ms, Ordering::AcqRel);
    }

    /// Nothing in the index expires before this; `u64::MAX` when nothing does.
    pub(crate) fn next_ms(&self) -> u64 {
        self.next_in(&self.passes.lock())
    }

    fn next_in(&self, passes: &Passes) -> u64 {
        let unfinished = passes.under_way.as_ref().map_or(u64::MAX, |pass| pass.due_ms);
        self.next_ms.load(Ordering::Acquire).min(unfinished)
    }
}

impl Engine {
    /// Takes one step of a sweep: continues the pass under way or, if an item is due, begins one.
    /// Looks at a bounded number of heads and removes, in one commit, the items that are expired.
    /// After an error the next step tries the same again.
    ///
    /// # Errors
    /// As any write and any look into the index.
    pub(crate) fn sweep_step(&self) -> Result<SweepStep> {
        let mut passes = self.expiries.passes.lock();
        if passes.under_way.is_none() {
            if self.expiries.next_ms.load(Ordering::Acquire) > self.clock.now_ms() {
                return Ok(SweepStep { swept: 0, more: false });
            }
            // From here on writes lower it whose items the pass may miss.
            let due_ms = self.expiries.next_ms.swap(u64::MAX, Ordering::AcqRel);
            passes.under_way = Some(Pass::begin(due_ms));
        }
        let passes = &mut *passes;
        let step = match &mut passes.under_way {
            Some(pass) => self.advance(pass),
            None => Ok(SweepStep { swept: 0, more: false }),
        };
        match &step {
            Ok(SweepStep { more: true, .. }) => {}
            Ok(SweepStep { more: false, .. }) => {
                if let Some(pass) = passes.under_way.take() {
                    self.expiries.note(pass.earliest_ms);
                    let rest = pass.begun.elapsed().saturating_mul(REST_FACTOR).max(LEAST_REST);
                    passes.rest_until = Instant::now().checked_add(rest);
                }
            }
            Err(_) => passes.rest_until = Instant::now().checked_add(LEAST_REST * REST_FACTOR),
        }
        step
    }

    /// How long the store's thread waits before the next step: zero during a pass; `None` while
    /// nothing expires.
    pub(crate) fn sweep_in(&self) -> Option<Duration> {
        let passes = self.expiries.passes.lock();
        let next_ms = self.expiries.next_in(&passes);
        if next_ms == u64::MAX {
            return None;
        }
        let due = Duration::from_millis(next_ms.saturating_sub(self.clock.now_ms()));
        let rest = passes.rest_until.map(|until| until.saturating_duration_since(Instant::now()));
        Some(due.max(rest.unwrap_or_default()))
    }

    fn advance(&self, pass: &mut Pass) -> Result<SweepStep> {
        let found = self.look(pass.after.as_ref())?;
        let (more, mut swept) = (found.last.is_some(), 0);
        if !found.expired.is_empty() {
            let mut operations: Vec<Operation> =
                found.expired.into_iter().map(Operation::expire).collect();
            // The commit decides again under the stripes: an item may have been renewed.
            if let Attempt::Done(committed) =
                self.commit(&mut operations).map_err(|failed| failed.error)?
            {
                swept = committed.metas.len() as u64;
            }
        }
        pass.earliest_ms = pass.earliest_ms.min(found.earliest_ms.unwrap_or(u64::MAX));
        pass.after = found.last;
        Ok(SweepStep { swept, more })
    }

    /// Looks at the heads after an item: at most [`STEP_HEADS`], and at most [`STEP_ENTRIES`]
    /// expired ones.
    fn look(&self, after: Option<&ItemKey>) -> Result<Found> {
        let now_ms = self.clock.now_ms();
        let (heads, last) = self.walk_heads(after, STEP_HEADS)?;
        let mut found = Found { last, ..Found::default() };
        for (key, head) in heads {
            if head.deleted {
                continue;
            }
            if head.is_live(now_ms) {
                let expiries = [found.earliest_ms, head.expires_ms];
                found.earliest_ms = expiries.into_iter().flatten().min();
                continue;
            }
            found.expired.push(key.clone());
            if found.expired.len() == STEP_ENTRIES {
                found.last = Some(key);
                break;
            }
        }
        Ok(found)
    }
}

impl Operation {
    pub(in crate::engine) fn expire(key: ItemKey) -> Self {
        // Without meaning: nothing is encoded.
        let codec = CodecId::Raw;
        Self::new(key, codec, Precondition::Always, Action::Expire)
    }
}

impl Pass {
    fn begin(due_ms: u64) -> Self {
        Self { begun: Instant::now(), due_ms, after: None, earliest_ms: u64::MAX }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::ops::ControlFlow;

    use super::*;
    use crate::journal::frame::{Body, EntryKind};
    use crate::journal::frame_reader::FrameReader;
    use crate::{Collection, Precondition, Store};

    /// What the journal says was done to each key of user collections, in order.
    fn entries(store: &Store) -> Vec<(String, EntryKind)> {
        let engine = store.engine().unwrap();
        let journal = &engine.journal;
        let mut entries = Vec::new();
        let mut visit = |commit: &crate::journal::frame_reader::CommitFrame<'_>| {
            let Some(Body::Commit(found)) = Body::decode(commit.frame.body) else { panic!() };
            for entry in found.map(|placed| placed.unwrap().entry) {
                if !entry.collection.is_empty() {
                    assert_eq!(entry.kind().leaves_item(), !entry.value.is_empty());
                    entries.push((String::from_utf8(entry.key.to_vec()).unwrap(), entry.kind()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        FrameReader::after(0).read(journal, journal.applied(), &mut visit).unwrap();
        entries
    }

    fn gone(store: &Store) -> Collection<u64> {
        store.collection("numbers").unwrap().with_ttl(Duration::ZERO)
    }

    fn kinds(store: &Store, skip: usize) -> Vec<(String, EntryKind)> {
        entries(store).split_off(skip)
    }

    #[test]
    fn a_swept_item_leaves_an_expired_entry_and_an_overwritten_one_does_not() {
        let store = Store::in_memory();
        gone(&store).create("a", &1).unwrap();
        gone(&store).create("b", &1).unwrap();
        gone(&store).create("b", &2).unwrap();
        assert_eq!(store.shared().sweep().unwrap(), 2);
        assert_eq!(store.shared().sweep().unwrap(), 0);
        let (a, b) = (|kind| ("a".to_owned(), kind), |kind| ("b".to_owned(), kind));
        let (created, expired) = (EntryKind::Created, EntryKind::Expired);
        assert_eq!(kinds(&store, 0)[..3], [a(created), b(created), b(created)]);
        assert_eq!(kinds(&store, 3), [a(expired), b(expired)]);
        gone(&store).upsert("a", &3, Precondition::Always).unwrap();
        assert_eq!(kinds(&store, 5), [a(created)]);
    }

    #[test]
    fn a_step_is_bounded_in_heads_and_in_entries() {
        let store = Store::in_memory();
        let (gone, kept) = (gone(&store), store.collection("numbers").unwrap());
        let mut batch = store.batch();
        for n in 0..2_000_u64 {
            // Live, then expired, then live again.
            let collection = if (600..1_200).contains(&n) { &gone } else { &kept };
            batch = batch.create(collection, n.to_be_bytes(), &n);
        }
        batch.commit().unwrap();
        let engine = store.engine().unwrap();
        let step = || {
            let revision = engine.journal.applied();
            let SweepStep { swept, more } = engine.sweep_step().unwrap();
            assert_eq!(engine.journal.applied() - revision, u64::from(swept > 0));
            (swept, more)
        };
        // The first head is the collection's record.
        assert_eq!(step(), (0, true));
        assert_eq!(step(), (256, true));
        assert_eq!(engine.sweep_in(), Some(Duration::ZERO));
        assert_eq!(step(), (256, true));
        assert_eq!(step(), (88, true));
        assert_eq!(step(), (0, false));
        assert_eq!(engine.sweep_in(), None);
        assert_eq!(step(), (0, false));
    }

    #[test]
    fn during_a_pass_the_bound_is_that_which_made_it_begin() {
        let store = Store::in_memory();
        let gone = gone(&store);
        let later = gone.clone().with_ttl(Duration::from_secs(3_600));
        let mut batch = store.batch().create(&later, "later", &1);
        for n in 0..600_u64 {
            batch = batch.create(&gone, n.to_be_bytes(), &n);
        }
        batch.commit().unwrap();
        let engine = store.engine().unwrap();
        let due_ms = engine.expiries.next_ms();
        assert!(due_ms < u64::MAX);
        while engine.sweep_step().unwrap().more {
            assert_eq!(engine.expiries.next_ms(), due_ms, "a checkpoint would forget");
        }
        let next_ms = engine.expiries.next_ms();
        assert!(next_ms > due_ms && next_ms < u64::MAX);
        assert!(engine.sweep_in().unwrap() > LEAST_REST);
    }

    #[test]
    fn the_thread_rests_between_two_passes() {
        let store = Store::in_memory();
        for n in 0..2 {
            gone(&store).create(format!("{n}"), &n).unwrap();
            let wait = store.engine().unwrap().sweep_in().unwrap();
            assert_eq!(wait > Duration::ZERO, n > 0, "{wait:?}");
            assert!(n == 0 || store.engine().unwrap().sweep_step().unwrap().swept == 1);
            store.shared().sweep().unwrap();
        }
    }
}
