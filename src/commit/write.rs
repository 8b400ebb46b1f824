//! Writing: deciding, appending and applying one commit.

use std::collections::HashMap;
use std::io;
use std::mem;

use bytes::Bytes;

use crate::batch::MAX_BATCH_BYTES;
use crate::codec::CodecId;
use crate::commit::Core;
use crate::commit::cache::Version;
use crate::commit::catalog::{check_same, record_key, record_value};
use crate::commit::operation::{
    Action, Base, Committed, Current, Expiry, Failed, KeyState, NewValue, Operation, Refusal,
};
use crate::commit::stripes::Locked;
use crate::error::{Conflict, Error, Result};
use crate::etag::ETag;
use crate::item::{Item, Meta};
use crate::journal::frame::{Entry, EntryKind, FrameBuilder};
use crate::journal::group::Appended;
use crate::journal::{PreparedCommit, PreparedEntry};
use crate::key::ItemKey;
use crate::retry::{Exhausted, RetryPolicy};
use crate::revision::Revision;
use crate::table::Head;

/// What one attempt at a commit came to.
enum Attempt {
    Done(Committed),
    /// A patch has to be applied to this version, outside of the locks, and the attempt repeated.
    NeedsPatch {
        index: usize,
        base: Base,
    },
}

/// A commit's entries as they will be applied.
struct Prepared {
    commit: PreparedCommit,
    versions: Vec<PreparedVersion>,
    /// How many of the entries, the first ones, record collections.
    records: usize,
}

struct PreparedVersion {
    parent: Option<ETag>,
    modified_ms: u64,
    expires_ms: Option<u64>,
    value: Option<Bytes>,
}

impl Core {
    /// Decides the operations in order and applies all of them, or none.
    ///
    /// Patches whose base another writer replaced are applied again, as often as the policy
    /// allows; nothing else is retried.
    pub(crate) fn commit(
        &self,
        operations: &mut [Operation],
        retry: &RetryPolicy,
    ) -> Result<Committed, Failed> {
        let mut attempts = retry.start();
        loop {
            let (index, base) = match self.attempt(operations)? {
                Attempt::Done(committed) => return Ok(committed),
                Attempt::NeedsPatch { index, base } => (index, base),
            };
            let at = |error| Failed { index: Some(index), error };
            let Some(operation) = operations.get_mut(index) else { continue };
            let Action::Patch(plan) = &mut operation.action else { continue };
            if plan.applied_before(&base)
                && let Err(Exhausted { attempts, elapsed }) = attempts.lost()
            {
                let current = self.conflict(operation, base.into(), 409).map_err(at)?;
                return Err(at(Error::Contended { attempts, elapsed, current }));
            }
            let value = match &base {
                Base::Stored(head) => self.version_of(&operation.key, head).map_err(at)?.value,
                Base::Pending(value) => value.bytes.clone(),
            };
            if let Action::Patch(plan) = &mut operation.action {
                plan.compute(base.id(), &value);
            }
        }
    }

    fn attempt(&self, operations: &mut [Operation]) -> Result<Attempt, Failed> {
        if self.journal.is_poisoned() {
            return Err(Error::Poisoned.into());
        }
        let unrecorded = self.unrecorded(operations)?;
        let keys = operations.iter().map(|operation| &operation.key);
        let keys = keys.chain(unrecorded.iter().map(|record| &record.key));
        let mut locked = self.stripes.lock(keys.map(ItemKey::as_bytes));
        // Another handle may have recorded another codec since.
        for record in &unrecorded {
            self.catalog.check(record.collection(), record.codec)?;
        }
        // Read under the locks: it must not be before that of a version already there.
        let now_ms = self.clock.now_ms();
        let states = match self.decide(operations, now_ms) {
            Ok(states) => states,
            Err((index, refusal)) => {
                drop(locked);
                return self.refuse(operations, index, refusal);
            }
        };
        check_size(&states)?;
        let mut prepared = self.prepare(&unrecorded, &states, now_ms);
        if prepared.commit.entries.is_empty() {
            let revision = self.journal.applied();
            return Ok(Attempt::Done(Committed { revision, metas: Vec::new() }));
        }
        let appended = self.journal.append(&mut prepared.commit)?;
        // From here on the commit is made: a panic before it is applied must not leave later
        // writers waiting for that.
        let unapplied = self.journal.poison_on_panic();
        let metas = prepared.metas(appended.revision);
        let applied = self.apply(&mut locked, prepared, &metas, &appended);
        for record in &unrecorded {
            self.catalog.record(record.collection(), record.codec);
        }
        drop(locked);
        mem::forget(unapplied);
        if let Err(error) = applied {
            // In the journal but not in the table: only an open brings them together again.
            self.journal.poison();
            return Err(unknown(&metas, Some(io::Error::other(error))));
        }
        match self.journal.finish(appended.revision) {
            Ok(()) => Ok(Attempt::Done(Committed { revision: appended.revision, metas })),
            Err(failure) => Err(unknown(&metas, failure.source)),
        }
    }

    /// Decides every operation, in order, against the items as the earlier ones leave them.
    fn decide(
        &self,
        operations: &mut [Operation],
        now_ms: u64,
    ) -> Result<Vec<KeyState>, (usize, Refusal)> {
        let mut states: Vec<KeyState> = Vec::with_capacity(operations.len());
        let mut index_of: HashMap<ItemKey, usize> = HashMap::new();
        let several = operations.len() > 1;
        for (index, operation) in operations.iter_mut().enumerate() {
            let known = if several { index_of.get(&operation.key).copied() } else { None };
            let at = known.unwrap_or(states.len());
            if known.is_none() {
                let before = self.head(&operation.key);
                let before = before.map_err(|error| (index, Refusal::Error(error)))?;
                let live = before.filter(|head| head.is_live(now_ms));
                states.push(KeyState {
                    key: operation.key.clone(),
                    before,
                    current: live.map_or(Current::Absent, Current::Stored),
                    touched: false,
                });
                if several {
                    index_of.insert(operation.key.clone(), at);
                }
            }
            if let Some(state) = states.get_mut(at) {
                state.decide(operation).map_err(|refusal| (index, refusal))?;
            }
        }
        Ok(states)
    }

    /// The collections among the operations' that no write has recorded yet.
    fn unrecorded(&self, operations: &[Operation]) -> Result<Vec<Record>, Failed> {
        let mut records: Vec<Record> = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            let name = operation.key.collection();
            let at = |error| Failed { index: Some(index), error };
            if self.catalog.check(name, operation.codec).map_err(at)? {
                continue;
            }
            if let Some(record) = records.iter().find(|record| record.collection() == name) {
                check_same(name, record.codec, operation.codec).map_err(at)?;
                continue;
            }
            let key = record_key(name).map_err(at)?;
            records.push(Record { key, codec: operation.codec });
        }
        Ok(records)
    }

    /// Lays out the frame: the final state of each changed key, one entry each.
    fn prepare(&self, unrecorded: &[Record], states: &[KeyState], now_ms: u64) -> Prepared {
        let changes = states.iter().filter(|state| state.touched);
        let changes: Vec<Change<'_>> = changes.filter_map(|s| Change::of(s, now_ms)).collect();
        // Recorded by another writer since the look outside the locks, or about to be.
        let written = |record: &&Record| {
            self.catalog.get(record.collection()).is_none()
                && changes.iter().any(|change| change.puts_into(record.collection()))
        };
        let records: Vec<&Record> = unrecorded.iter().filter(written).collect();
        let entries = records.len() + changes.len();
        let mut prepared = Prepared {
            commit: PreparedCommit {
                frame: FrameBuilder::commit(entries),
                entries: Vec::with_capacity(entries),
            },
            versions: Vec::with_capacity(entries),
            records: records.len(),
        };
        let incarnation = self.journal.incarnation();
        for record in records {
            if let Ok(value) = NewValue::new(record_value(record.codec), Expiry::Never) {
                let change = Change::created(&record.key, &value, now_ms);
                prepared.push(incarnation, &change);
            }
        }
        for change in &changes {
            prepared.push(incarnation, change);
        }
        if entries > 0 {
            prepared.commit.frame.complete();
        }
        prepared
    }

    /// Puts the heads into the table and the items into the cache; readers of the stripes wait.
    fn apply(
        &self,
        locked: &mut Locked<'_>,
        prepared: Prepared,
        metas: &[Meta],
        appended: &Appended,
    ) -> Result<()> {
        locked.begin_apply();
        let Prepared { commit, versions, records } = prepared;
        let written = commit.entries.iter().zip(versions);
        for (index, (entry, version)) in written.enumerate() {
            let head = Head {
                etag: entry.etag,
                revision: appended.revision,
                segment: appended.segment,
                offset: appended.frame_offset + entry.at,
                len_bytes: entry.len_bytes,
                value_len_bytes: version.value.as_ref().map_or(0, Bytes::len) as u32,
                modified_ms: version.modified_ms,
                expires_ms: version.expires_ms,
                deleted: !entry.leaves_item,
            };
            self.table.insert(entry.key.as_bytes(), &head.encode())?;
            let Some(meta) = index.checked_sub(records).and_then(|index| metas.get(index)) else {
                continue;
            };
            match version.value {
                Some(value) => {
                    self.cache.insert(&entry.key.to_bytes(), Version { meta: *meta, value });
                }
                None => self.cache.remove(entry.key.as_bytes()),
            }
        }
        Ok(())
    }

    /// Turns a refusal into the verb's error, reading the current version that it carries.
    fn refuse(
        &self,
        operations: &[Operation],
        index: usize,
        refusal: Refusal,
    ) -> Result<Attempt, Failed> {
        let at = |error| Failed { index: Some(index), error };
        let conflict = |current, status| match operations.get(index) {
            Some(operation) => self.conflict(operation, current, status).map_err(at),
            None => Err(at(Error::NotFound)),
        };
        Err(at(match refusal {
            Refusal::NeedsPatch(base) => return Ok(Attempt::NeedsPatch { index, base }),
            Refusal::NotFound => Error::NotFound,
            Refusal::AlreadyExists(current) => Error::AlreadyExists(conflict(current, 409)?),
            Refusal::PreconditionFailed(current) => {
                Error::PreconditionFailed(conflict(current, 412)?)
            }
            Refusal::Error(error) => {
                if matches!(error, Error::Table(_)) {
                    self.journal.poison();
                }
                error
            }
        }))
    }

    fn conflict(
        &self,
        operation: &Operation,
        current: Current,
        http_status: u16,
    ) -> Result<Box<Conflict>> {
        let key = &operation.key;
        let current = match current {
            Current::Absent => None,
            Current::Stored(head) => {
                let Version { meta, value } = self.version_of(key, &head)?;
                Some(Item::stored(key.key(), value, meta))
            }
            Current::Pending(value) => Some(Item::stored(key.key(), value.bytes, Meta::UNSAVED)),
        };
        let (collection, codec) = (key.collection(), operation.codec);
        Ok(Box::new(Conflict::new(collection, key.key(), codec, current, http_status)))
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
        return Err(Error::TooLarge { what: "a batch in bytes", actual, limit });
    }
    Ok(())
}

fn unknown(metas: &[Meta], source: Option<io::Error>) -> Failed {
    let meta = Box::new(metas.first().copied().unwrap_or(Meta::UNSAVED));
    Error::CommitUnknown { meta, source }.into()
}

impl From<Base> for Current {
    fn from(base: Base) -> Self {
        match base {
            Base::Stored(head) => Self::Stored(head),
            Base::Pending(value) => Self::Pending(value),
        }
    }
}

/// A collection whose codec the commit has to record.
struct Record {
    key: ItemKey,
    codec: CodecId,
}

impl Record {
    fn collection(&self) -> &str {
        std::str::from_utf8(self.key.key_bytes()).unwrap_or_default()
    }
}

/// What a commit does to one key.
struct Change<'a> {
    key: &'a ItemKey,
    kind: EntryKind,
    parent: Option<ETag>,
    modified_ms: u64,
    expires_ms: Option<u64>,
    value: Option<&'a NewValue>,
}

impl<'a> Change<'a> {
    fn created(key: &'a ItemKey, value: &'a NewValue, now_ms: u64) -> Self {
        let (parent, expires_ms) = (None, None);
        let kind = EntryKind::Created;
        Self { key, kind, parent, modified_ms: now_ms, expires_ms, value: Some(value) }
    }

    /// The difference that a key's final state makes; `None` from absent to absent.
    fn of(state: &'a KeyState, now_ms: u64) -> Option<Self> {
        let before = state.before.as_ref().filter(|head| !head.deleted);
        let present = before.filter(|head| head.is_live(now_ms));
        let value = match &state.current {
            Current::Pending(value) => Some(value),
            Current::Absent => None,
            Current::Stored(_) => return None,
        };
        let kind = match (present, value) {
            (Some(_), Some(_)) => EntryKind::Replaced,
            (None, Some(_)) => EntryKind::Created,
            (Some(_), None) => EntryKind::Deleted,
            (None, None) => return None,
        };
        let floor = state.before.as_ref().map_or(0, |head| head.modified_ms.saturating_add(1));
        let expires_ms = value.and_then(|value| match value.expiry {
            Expiry::Never => None,
            Expiry::Keep => present.and_then(|head| head.expires_ms),
        });
        // An expired item that no sweep has met is replaced in the count and sum as well.
        let parent = before.map(|head| head.etag);
        Some(Self {
            key: &state.key,
            kind,
            parent,
            modified_ms: now_ms.max(floor),
            expires_ms,
            value,
        })
    }

    fn puts_into(&self, collection: &str) -> bool {
        self.value.is_some() && self.key.collection() == collection
    }
}

impl Prepared {
    fn push(&mut self, incarnation: &[u8; 16], change: &Change<'_>) {
        let no_value = (&[][..], crate::etag::value_hash(&[]));
        let (value, hash) = change.value.map_or(no_value, |value| (&*value.bytes, value.hash));
        let entry = Entry {
            kind: change.kind as u8,
            // A segment that the writer makes names its own incarnation first.
            incarnation: 0,
            parent: change.parent.map(|tag| tag.0),
            modified_ms: change.modified_ms,
            expires_ms: change.expires_ms,
            collection: change.key.collection(),
            key: change.key.key_bytes(),
            value,
        };
        let tag = entry.pending_tag(incarnation, &hash);
        let (at, len_bytes) = self.commit.frame.push(&entry);
        self.commit.entries.push(PreparedEntry {
            key: change.key.clone(),
            parent: change.parent,
            leaves_item: change.kind.leaves_item(),
            tag,
            at,
            len_bytes,
            etag: ETag::UNSAVED,
        });
        self.versions.push(PreparedVersion {
            parent: change.parent,
            modified_ms: change.modified_ms,
            expires_ms: change.expires_ms,
            value: change.value.map(|value| value.bytes.clone()),
        });
    }

    /// The versions that the operations wrote, with the tags that the journal gave.
    fn metas(&self, revision: u64) -> Vec<Meta> {
        let written = self.commit.entries.iter().zip(&self.versions).skip(self.records);
        let meta = |(entry, version): (&PreparedEntry, &PreparedVersion)| Meta {
            etag: entry.etag,
            parent: version.parent,
            revision: Revision(revision),
            modified_ms: version.modified_ms,
            expires_ms: version.expires_ms,
        };
        written.map(meta).collect()
    }
}
