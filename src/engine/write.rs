//! Writing: deciding, appending and applying one commit.

use std::collections::{HashMap, HashSet};
use std::mem;

use crate::engine::Engine;
use crate::engine::Version;
use crate::engine::catalog::{CollectionRecord, check_same, record_key};
use crate::engine::change::{Change, Prepared, PreparedVersion, Record};
use crate::engine::operation::{
    Action, Attempt, Committed, Current, Expiry, Failed, KeyState, NewValue, Operation, Refusal,
};
use crate::engine::secondary::maintain::IndexPlan;
use crate::engine::secondary::unique::{Claims, Hindrance, changes_unique};
use crate::engine::stripes::Locked;
use crate::index::{Pinned, ReadValue};
use crate::journal::append::{Appended, CommitFailure};
use crate::journal::frame::{EntryRecord, FrameBuilder};
use crate::journal::{PreparedCommit, PreparedEntry};
use crate::seams::sync::Ordering;
use crate::values::Few;
use crate::values::codec::CodecId;
use crate::values::error::{Conflict, Error, Result};
use crate::values::head::Head;
use crate::values::item::{Item, Meta};
use crate::values::key::ItemKey;
use crate::values::limits::MAX_BATCH_BYTES;
use crate::values::short_hash::ShortMap;

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
        let decided = decide(operations, &heads, now_ms);
        let states = match decided.and_then(|states| self.sweep_claimed(claims, states, now_ms)) {
            Ok(states) => states,
            Err((index, refusal)) => {
                drop(pin);
                drop(locked);
                return self.refuse(operations, index, refusal);
            }
        };
        check_size(&states)?;
        let changes = states.iter().filter(|state| state.touched);
        let changes: Few<Change<'_>> =
            changes.filter_map(|s| Change::of(s, now_ms, &self.catalog)).collect();
        let (pin, rows) =
            match self.rows_of_commit(operations, unrecorded, &changes, pin, claims, &mut locked) {
                Ok(rows) => rows,
                Err(hindrance) => return self.hindered(operations, &changes, hindrance),
            };
        let mut prepared = self.prepare(unrecorded, &changes, rows, now_ms);
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
        self.apply(&mut locked, &pin, prepared, &appended);
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

    /// Another handle may have recorded another codec since the look outside the locks.
    fn check_codecs(&self, operations: &[Operation], unrecorded: &[Record]) -> Result<(), Failed> {
        for record in unrecorded {
            let at = |error| Failed { index: Some(record.index), error };
            self.catalog.check(record.collection(), record.codec).map_err(at)?;
        }
        for (index, operation) in operations.iter().enumerate() {
            let at = |error| Failed { index: Some(index), error };
            if let Some(collection) = operation.recorded_collection() {
                self.catalog.check(collection, operation.codec).map_err(at)?;
            }
        }
        Ok(())
    }

    /// What the commit changes in secondary indexes, with the leaves of these rows pinned, too.
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
            // To look for values may need room. The stripes are held: what was decided stays right
            // without the pin.
            pin = None;
            self.claim_unique(&rows, changes, claims, locked)?;
        }
        let items = touched(operations, unrecorded, claims);
        Ok(self.plan_rows(&rows, changes, pin, items)?)
    }

    /// What becomes of an attempt that cannot change indexes as it has to.
    fn hindered(
        &self,
        operations: &[Operation],
        changes: &[Change<'_>],
        hindrance: Hindrance,
    ) -> Result<Attempt, Failed> {
        let (at, error) = match hindrance {
            Hindrance::Locks => return Ok(Attempt::NeedsLocks),
            Hindrance::Unbuilt(index) => return Ok(Attempt::NeedsIndex(index)),
            Hindrance::Failed(error) => return Err(error.into()),
            Hindrance::Refused(at, error) => (at, error),
        };
        if matches!(error, Error::NotUnique { .. }) {
            self.counters.count_conflict();
        }
        let key = changes.get(at).map(Change::key);
        let index = operations.iter().rposition(|operation| Some(&operation.key) == key);
        Err(Failed { index, error })
    }

    /// Finds which collections have to be recorded, and locks the stripes of all keys.
    fn lock_recorded(
        &self,
        operations: &[Operation],
        claims: &Claims,
    ) -> Result<(Vec<Record>, Locked<'_>), Failed> {
        loop {
            let drops = self.catalog.drops().load(Ordering::Acquire);
            let unrecorded = self.unrecorded(operations, drops)?;
            let keys = operations.iter().map(|operation| &operation.key);
            let keys = keys.chain(unrecorded.iter().map(|record| &record.key));
            let keys = keys.chain(claims.keys());
            let locked = self.stripes.lock(keys.map(ItemKey::as_bytes));
            // A collection that was dropped since has to be recorded again.
            if self.catalog.drops().load(Ordering::Acquire) == drops {
                return Ok((unrecorded, locked));
            }
        }
    }

    /// Takes over the collections' records that a commit wrote.
    fn note_records(&self, operations: &[Operation]) {
        for operation in operations {
            if let (Some(collection), Action::Upsert(value)) =
                (operation.recorded_collection(), &operation.action)
                && let Some(record) = CollectionRecord::decode(&value.bytes)
            {
                self.catalog.record(collection, record);
            }
        }
    }

    /// An item before any operation has changed it.
    pub(crate) fn state_of(&self, key: &ItemKey, now_ms: u64) -> Result<KeyState> {
        Ok(KeyState::new(key, self.head(key)?, now_ms))
    }

    /// The collections among the operations' that no write has recorded yet, `drops` having been
    /// dropped before.
    fn unrecorded(&self, operations: &[Operation], drops: u64) -> Result<Vec<Record>, Failed> {
        let mut records: Vec<Record> = Vec::new();
        // A batch may be of as many collections as operations.
        let mut known: HashMap<&str, CodecId> = HashMap::new();
        for (index, operation) in operations.iter().enumerate() {
            if operation.recorded_at == Some(drops) {
                continue;
            }
            let name = operation.key.collection();
            let at = |error| Failed { index: Some(index), error };
            // A sweep puts nothing into a collection, so it need not know its form; and a record has
            // no record of its own.
            let needs_none = matches!(operation.action, Action::Expire) || name.is_empty();
            if needs_none || self.catalog.check(name, operation.codec).map_err(at)? {
                continue;
            }
            if let Some(codec) = known.insert(name, operation.codec) {
                check_same(name, codec, operation.codec).map_err(at)?;
                continue;
            }
            let key = record_key(name).map_err(at)?;
            records.push(Record { key, codec: operation.codec, index });
        }
        Ok(records)
    }

    /// Lays out the frame: the final state of each changed key, one entry each.
    fn prepare(
        &self,
        unrecorded: &[Record],
        changes: &[Change<'_>],
        rows: IndexPlan,
        now_ms: u64,
    ) -> Prepared {
        let filled: HashSet<&str> = changes
            .iter()
            .filter_map(Change::puts_into)
            .filter(|_| !unrecorded.is_empty())
            .collect();
        // Recorded by another writer since the look outside the locks, or about to be.
        let written = |(_, record): &(usize, &Record)| {
            let name = record.collection();
            filled.contains(name) && !self.catalog.is_recorded(name)
        };
        let records: Vec<(usize, &Record)> =
            unrecorded.iter().enumerate().filter(written).collect();
        let entries = records.len() + changes.len();
        let mut prepared = Prepared {
            commit: PreparedCommit {
                frame: FrameBuilder::commit(entries),
                entries: Few::with_capacity(entries),
                index_moves: rows.moves(),
            },
            versions: Few::with_capacity(entries),
            recorded: records.iter().map(|(at, _)| *at).collect(),
            rows,
        };
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
        prepared
    }

    /// Puts heads and values into the index; readers of the stripes wait. The leaves are in memory,
    /// so nothing here can fail.
    fn apply(
        &self,
        locked: &mut Locked<'_>,
        pin: &Pinned<'_>,
        prepared: Prepared,
        appended: &Appended,
    ) {
        locked.begin_apply();
        let Prepared { commit, versions, rows, .. } = prepared;
        self.apply_rows(&rows, pin, appended.revision);
        for (entry, version) in commit.entries.iter().zip(versions) {
            let head = head_of(entry, &version, appended);
            let before = version.before.as_ref();
            // Before the row changes, so that who finds the new head finds the old one saved.
            self.snapshots.save(entry.key.as_bytes(), before, appended.revision);
            let parent = version.parent;
            let value = version.value.map(|bytes| ReadValue { parent, bytes });
            self.index.put(&entry.key, &head, value, pin);
            // After: a sweep that begins between the two would not meet the item.
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

    /// Turns a refusal into the verb's error, reading the current version that it carries.
    fn refuse(
        &self,
        operations: &[Operation],
        index: usize,
        refusal: Refusal,
    ) -> Result<Attempt, Failed> {
        let at = |error| Failed { index: Some(index), error };
        if matches!(refusal, Refusal::AlreadyExists(_) | Refusal::PreconditionFailed(_)) {
            self.counters.count_conflict();
        }
        #[expect(clippy::expect_used, reason = "`decide` counts the operations themselves")]
        let operation = operations.get(index).expect("an operation that was decided");
        let conflict = |current, status| self.conflict(operation, current, status).map_err(at);
        Err(at(match refusal {
            Refusal::NeedsPatch(base) => return Ok(Attempt::NeedsPatch { index, base }),
            Refusal::NotFound => Error::absent(&operation.key),
            Refusal::AlreadyExists(current) => Error::AlreadyExists(conflict(current, 409)?),
            Refusal::PreconditionFailed(current) => {
                Error::PreconditionFailed(conflict(current, 412)?)
            }
            Refusal::Error(error) => error,
        }))
    }

    /// What an operation ran into, with the current version read.
    pub(crate) fn conflict(
        &self,
        operation: &Operation,
        current: Current,
        http_status: u16,
    ) -> Result<Box<Conflict>> {
        let key = &operation.key;
        let current = match current {
            Current::Absent => None,
            Current::Stored(head) => {
                // One that is gone by now has a newer version in its place, or none.
                let version = match self.version_of(key, &head)? {
                    Some(version) => Some(version),
                    None => self.read(key)?,
                };
                version.map(|Version { meta, value }| Item::stored(key.item_key(), value, meta))
            }
            Current::Pending(value) => {
                Some(Item::stored(key.item_key(), value.bytes, Meta::UNSAVED))
            }
        };
        let (collection, codec) = (key.collection(), operation.codec);
        Ok(Box::new(Conflict::new(collection, key.key(), codec, current, http_status)))
    }
}

/// Decides every operation, in order, against the items as the earlier ones leave them; `heads` are
/// those of their keys.
fn decide(
    operations: &mut [Operation],
    heads: &[Option<Head>],
    now_ms: u64,
) -> Result<Few<KeyState>, (usize, Refusal)> {
    debug_assert!(heads.len() >= operations.len(), "each operation's key has been looked up");
    let mut states: Few<KeyState> = Few::with_capacity(operations.len());
    let several = operations.len() > 1;
    let mut index_of: ShortMap<ItemKey, usize> = ShortMap::default();
    if several {
        index_of.reserve(operations.len());
    }
    for (index, (operation, before)) in operations.iter_mut().zip(heads).enumerate() {
        let known = if several { index_of.get(&operation.key).copied() } else { None };
        let at = known.unwrap_or(states.len());
        if known.is_none() {
            states.push(KeyState::new(&operation.key, *before, now_ms));
            if several {
                index_of.insert(operation.key.clone(), at);
            }
        }
        #[expect(clippy::expect_used, reason = "`at` is known, or was pushed just now")]
        let state = states.get_mut(at).expect("each key has a state");
        state.decide(operation).map_err(|refusal| (index, refusal))?;
    }
    Ok(states)
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

/// Patches may have made a batch larger than it was when it was added up.
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

fn unknown(metas: &[Meta], failure: CommitFailure) -> Failed {
    let CommitFailure { source, cause } = failure;
    let meta = Box::new(metas.first().copied().unwrap_or(Meta::UNSAVED));
    Error::CommitUnknown { meta, source, cause }.into()
}
