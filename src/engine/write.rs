//! Writing: deciding, appending and applying one commit.

mod recording;
mod refusal;

use std::collections::HashSet;
use std::mem;

use self::refusal::unknown;
use crate::engine::Engine;
use crate::engine::catalog::CollectionRecord;
use crate::engine::change::{Change, Prepared, PreparedVersion, Record};
use crate::engine::operation::{
    Attempt, Committed, Current, Expiry, Failed, KeyState, NewValue, Operation, Refusal,
};
use crate::engine::secondary::maintain::IndexPlan;
use crate::engine::secondary::unique::{Claims, Hindrance, changes_unique};
use crate::engine::stripes::Locked;
use crate::index::{Pinned, ReadValue};
use crate::journal::PreparedEntry;
use crate::journal::append::Appended;
use crate::journal::frame::EntryRecord;
use crate::values::Few;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::limits::MAX_BATCH_BYTES;
use crate::values::short_hash::{ShortHashing, ShortMap};

impl Engine {
    /// Decides the operations in order and applies all of them, or none. Returns when the commit is
    /// as durable as the store promises.
    pub(crate) fn commit(&self, operations: &mut [Operation]) -> Result<Attempt, Failed> {
        self.journal.check_poison()?;
        let mut claims = Claims::default();
        loop {
            let (unrecorded, locked) = self.lock_recorded(operations, &claims)?;
            let attempt =
                self.commit_locked(operations, &unrecorded, &mut claims, locked, &mut |_| {})?;
            if !matches!(attempt, Attempt::NeedsLocks) {
                return Ok(attempt);
            }
        }
    }

    /// As [`commit`](Self::commit), the stripes of all keys and claims being locked. Calls `note`
    /// with the revision when the commit is applied, before they are released.
    pub(super) fn commit_locked<'a>(
        &'a self,
        operations: &mut [Operation],
        unrecorded: &[Record],
        claims: &mut Claims,
        mut locked: Locked<'a>,
        note: &mut dyn FnMut(u64),
    ) -> Result<Attempt, Failed> {
        // From here on every leaf that the commit touches is in memory: to apply it needs no I/O.
        let (pin, heads) = self.pin_heads(touched(operations, unrecorded, claims))?;
        self.check_codecs(operations, unrecorded)?;
        // Read under the locks: it must not be before that of a version already there.
        let now_ms = self.clock.now_ms();
        let mut states = Few::new();
        let decided = decide(operations, &heads, now_ms, &mut states)
            .and_then(|()| self.sweep_claimed(claims, &mut states, now_ms));
        if let Err((index, refusal)) = decided {
            drop(pin);
            drop(locked);
            return self.refuse(operations, index, refusal);
        }
        check_size(&states)?;
        let changed = states.iter().filter(|state| state.touched);
        let mut changes: Few<Change<'_>> = Few::new();
        changes.reserve_exact(states.len());
        changes.extend(changed.filter_map(|state| Change::of(state, now_ms, &self.catalog)));
        let (pin, rows) =
            match self.rows_of_commit(operations, unrecorded, &changes, pin, claims, &mut locked) {
                Ok(rows) => rows,
                Err(hindrance) => return self.hindered(operations, &changes, hindrance),
            };
        let mut prepared = Prepared::default();
        self.prepare(&mut prepared, unrecorded, &changes, rows, now_ms);
        if prepared.commit.entries.is_empty() {
            let revision = self.journal.applied();
            let (metas, keys) = (Few::new(), Vec::new());
            let is_seal_near = false;
            return Ok(Attempt::Done(Committed { revision, metas, keys, is_seal_near }));
        }
        let appended = self.journal.append(&mut prepared.commit)?;
        // From here on the commit is made: a panic before it is applied must not leave later
        // writers waiting for that.
        let unapplied = self.journal.poison_on_panic();
        let metas = prepared.metas(appended.revision);
        let keys = prepared.keys_written(operations.len());
        let recorded = mem::take(&mut prepared.recorded);
        self.apply(&mut locked, &pin, &mut prepared, &appended);
        for record in recorded.iter().filter_map(|at| unrecorded.get(*at)) {
            self.catalog.record(record.collection(), CollectionRecord::new(record.codec));
        }
        self.note_records(operations);
        note(appended.revision);
        drop(pin);
        drop(locked);
        mem::forget(unapplied);
        let finished = self.journal.finish(appended.revision);
        self.index.evict();
        match finished {
            Ok(()) => {
                let Appended { revision, is_seal_near, .. } = appended;
                Ok(Attempt::Done(Committed { revision, metas, keys, is_seal_near }))
            }
            Err(failure) => Err(unknown(&metas, failure)),
        }
    }

    /// What the commit changes in secondary indexes. The pin that it returns covers the leaves of
    /// these rows, too.
    fn rows_of_commit<'a>(
        &'a self,
        operations: &[Operation],
        unrecorded: &[Record],
        changes: &[Change<'_>],
        pin: Pinned<'a>,
        claims: &mut Claims,
        locked: &mut Locked<'a>,
    ) -> Result<(Pinned<'a>, IndexPlan), Hindrance> {
        let rows = self.item_rows(changes)?;
        if rows.is_empty() {
            return Ok((pin, IndexPlan::default()));
        }
        let mut pin = Some(pin);
        if changes_unique(&rows) {
            // The search for values may need memory. What was decided stays right without the pin,
            // as the stripes are held.
            pin = None;
            self.claim_unique(&rows, changes, claims, locked)?;
        }
        let items = touched(operations, unrecorded, claims);
        Ok(self.plan_rows(&rows, changes, pin, items)?)
    }

    /// An item before any operation has changed it.
    pub(crate) fn state_of(&self, key: &ItemKey, now_ms: u64) -> Result<KeyState> {
        Ok(KeyState::new(key, self.head(key)?, now_ms))
    }

    /// Lays out the frame: the final state of each changed key, one entry each.
    fn prepare(
        &self,
        prepared: &mut Prepared,
        unrecorded: &[Record],
        changes: &[Change<'_>],
        rows: IndexPlan,
        now_ms: u64,
    ) {
        let records = self.records_to_write(unrecorded, changes);
        let entries = records.len() + changes.len();
        prepared.begin(entries, changes);
        prepared.commit.index_moves = rows.moves();
        prepared.recorded = records.iter().map(|(at, _)| *at).collect();
        prepared.rows = rows;
        let incarnation = self.journal.incarnation();
        for (_, record) in records {
            #[expect(clippy::expect_used, reason = "a collection's record has some bytes")]
            let value = NewValue::new(CollectionRecord::new(record.codec).encode(), Expiry::Never)
                .expect("a record is within the limit of a value");
            prepared.push(incarnation, &Change::created(&record.key, &value, now_ms), &[]);
        }
        for (at, change) in changes.iter().enumerate() {
            let list = prepared.rows.list_of(at).to_vec();
            prepared.push(incarnation, change, &list);
        }
        if entries > 0 {
            prepared.commit.frame.complete();
        }
    }

    /// The records that the commit writes, each with its place among the unrecorded ones.
    fn records_to_write<'r>(
        &self,
        unrecorded: &'r [Record],
        changes: &[Change<'_>],
    ) -> Vec<(usize, &'r Record)> {
        if unrecorded.is_empty() {
            return Vec::new();
        }
        let filled: HashSet<&str> = changes.iter().filter_map(Change::puts_into).collect();
        // Another writer may have recorded the collection since the look outside the locks.
        let written = |(_, record): &(usize, &Record)| {
            let name = record.collection();
            filled.contains(name) && !self.catalog.is_recorded(name)
        };
        unrecorded.iter().enumerate().filter(written).collect()
    }

    /// Puts heads and values into the index; readers of the stripes wait. The leaves are in memory,
    /// so nothing here does I/O or fails.
    fn apply(
        &self,
        locked: &mut Locked<'_>,
        pin: &Pinned<'_>,
        prepared: &mut Prepared,
        appended: &Appended,
    ) {
        locked.begin_apply();
        let Prepared { commit, versions, rows, .. } = prepared;
        self.apply_rows(rows, pin, appended.revision);
        for (entry, version) in commit.entries.iter().zip(versions) {
            let head = head_of(entry, version, appended);
            let before = version.before.as_ref();
            // Before the cell changes: a snapshot that finds the new head finds the old one saved.
            self.snapshots.save(entry.key.as_bytes(), before, appended.revision);
            let parent = version.parent;
            let value = version.value.take().map(|bytes| ReadValue { parent, bytes });
            self.index.put(&entry.key, &head, value, pin);
            // After the cell: a sweep that begins in between would miss the item.
            if let Some(expires_ms) = head.expires_ms {
                self.expiries.note(expires_ms);
            }
            self.count_change(before, &head);
        }
    }

    /// Counts a version that takes the place of another in the index.
    pub(super) fn count_change(&self, before: Option<&Head>, head: &Head) {
        let segments = self.journal.segments();
        if let Some(before) = before {
            segments.supersede(before);
        }
        segments.count_live(head);
    }
}

/// Decides every operation, in order, against the items as the earlier ones leave them; `heads` are
/// those of their keys. Their states are added to `states`.
fn decide(
    operations: &mut [Operation],
    heads: &[Option<Head>],
    now_ms: u64,
    states: &mut Few<KeyState>,
) -> Result<(), (usize, Refusal)> {
    debug_assert!(heads.len() >= operations.len(), "each operation's key has been looked up");
    states.reserve_exact(operations.len());
    // Keys that ascend are each another one.
    let ascend = operations.is_sorted_by(|one, next| one.key < next.key);
    let mut index_of: Option<ShortMap<ItemKey, usize>> = (!ascend)
        .then(|| ShortMap::with_capacity_and_hasher(operations.len(), ShortHashing::default()));
    for (index, (operation, before)) in operations.iter_mut().zip(heads).enumerate() {
        let next = states.len();
        let at = match &mut index_of {
            Some(index_of) => *index_of.entry(operation.key.clone()).or_insert(next),
            None => next,
        };
        if at == next {
            states.push(KeyState::new(&operation.key, *before, now_ms));
        }
        #[expect(clippy::expect_used, reason = "`at` is known, or was pushed just now")]
        let state = states.get_mut(at).expect("each key has a state");
        state.decide(operation).map_err(|refusal| (index, refusal))?;
    }
    Ok(())
}

/// The keys that a commit touches.
fn touched<'k>(
    operations: &'k [Operation],
    unrecorded: &'k [Record],
    claims: &'k Claims,
) -> impl Iterator<Item = &'k ItemKey> + Clone {
    let keys = operations.iter().map(|operation| &operation.key);
    keys.chain(unrecorded.iter().map(|record| &record.key)).chain(claims.sweeps())
}

/// The head of an entry that was appended.
pub(super) fn head_of(
    entry: &PreparedEntry,
    version: &PreparedVersion,
    appended: &Appended,
) -> Head {
    let EntryRecord { at, len_bytes, checksum } = entry.record;
    Head {
        etag: entry.etag,
        revision: appended.revision,
        segment: appended.segment,
        offset: appended.frame_offset + at,
        len_bytes,
        checksum,
        modified_ms: version.modified_ms,
        expires_ms: version.expires_ms,
        deleted: !entry.leaves_item,
    }
}

/// Checks the size of a batch again: its patches may have made it larger.
fn check_size(states: &[KeyState]) -> Result<()> {
    let len = |state: &KeyState| match &state.current {
        Current::Pending(value) => value.bytes.len() as u64,
        Current::Absent | Current::Stored(_) => 0,
    };
    let (actual, limit) = (states.iter().map(len).sum(), MAX_BATCH_BYTES);
    if actual > limit {
        return Err(Error::TooLarge { what: "batch", unit: "bytes", actual, limit });
    }
    Ok(())
}
