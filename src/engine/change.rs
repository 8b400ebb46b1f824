//! What a commit does to its keys, laid out as a frame.

use bytes::Bytes;

use crate::engine::catalog::Catalog;
use crate::engine::operation::{Current, Expiry, KeyState, NewValue};
use crate::engine::secondary::maintain::IndexPlan;
use crate::journal::frame::{Entry, EntryKind, FrameBuilder};
use crate::journal::{PreparedCommit, PreparedEntry};
use crate::seams::clock::expires_at;
use crate::values::Few;
use crate::values::codec::CodecId;
use crate::values::etag::{ETag, PendingTag, value_hash};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;

/// A commit's entries as they will be applied. It is filled where it stays, as it is large.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) commit: PreparedCommit,
    pub(super) versions: Few<PreparedVersion>,
    /// The first entries record collections: the indexes of these among the commit's records.
    pub(super) recorded: Vec<usize>,
    /// Its changes of secondary indexes.
    pub(super) rows: IndexPlan,
}

pub(super) struct PreparedVersion {
    pub(super) parent: Option<ETag>,
    pub(super) modified_ms: u64,
    pub(super) expires_ms: Option<u64>,
    pub(super) value: Option<Bytes>,
    /// The index's head that this version displaces.
    pub(super) before: Option<Head>,
}

/// A collection whose codec the commit has to record.
pub(super) struct Record {
    pub(super) key: ItemKey,
    pub(super) codec: CodecId,
    /// The first operation on it.
    pub(super) index: usize,
}

impl Record {
    pub(super) fn collection(&self) -> &str {
        #[cfg(test)]
        LOOKS.with(|looks| looks.set(looks.get() + 1));
        std::str::from_utf8(self.key.key_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has looked at a record's name: the cost of new collections.
    static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// What a commit does to one key.
pub(super) struct Change<'a> {
    key: &'a ItemKey,
    kind: EntryKind,
    before: Option<Head>,
    parent: Option<ETag>,
    modified_ms: u64,
    ahead_ms: u64,
    expires_ms: Option<u64>,
    value: Option<&'a NewValue>,
}

impl<'a> Change<'a> {
    pub(super) fn created(key: &'a ItemKey, value: &'a NewValue, now_ms: u64) -> Self {
        let kind = EntryKind::Created;
        let (before, parent, expires_ms) = (None, None, None);
        let (modified_ms, ahead_ms, value) = (now_ms, 0, Some(value));
        Self { key, kind, before, parent, modified_ms, ahead_ms, expires_ms, value }
    }

    /// A clear of the whole collection that the key represents; the value says what it removes.
    pub(super) fn cleared(key: &'a ItemKey, value: &'a NewValue, now_ms: u64) -> Self {
        Self { kind: EntryKind::Cleared, ..Self::created(key, value, now_ms) }
    }

    /// The change from a key's state before the commit to its final state; `None` if it was and
    /// stays absent.
    pub(super) fn of(state: &'a KeyState, now_ms: u64, catalog: &Catalog) -> Option<Self> {
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
            (None, None) if state.swept => EntryKind::Expired,
            (None, None) => return None,
        };
        let floor = state.before.as_ref().map_or(0, |head| head.modified_ms.saturating_add(1));
        let expires_ms = value.and_then(|value| match value.expiry {
            Expiry::Never => None,
            Expiry::Keep if present.is_some() => present.and_then(|head| head.expires_ms),
            Expiry::Keep | Expiry::Default => catalog
                .default_ttl_ms(state.key.collection())
                .and_then(|ttl_ms| expires_at(now_ms, ttl_ms)),
            Expiry::After(ttl_ms) => expires_at(now_ms, ttl_ms),
            Expiry::At(at_ms) => Some(at_ms),
        });
        // The content sum still counts an expired item that no sweep has removed, so it is the
        // parent.
        let parent = before.map(|head| head.etag);
        Some(Self {
            key: &state.key,
            kind,
            before: state.before,
            parent,
            modified_ms: now_ms.max(floor),
            ahead_ms: floor.saturating_sub(now_ms),
            expires_ms,
            value,
        })
    }

    pub(super) fn key(&self) -> &ItemKey {
        self.key
    }

    pub(super) fn parent(&self) -> Option<ETag> {
        self.parent
    }

    /// The head of the version that is replaced or removed, expired or not; `None` for a tombstone.
    pub(super) fn displaced(&self) -> Option<&Head> {
        self.before.as_ref().filter(|head| !head.deleted)
    }

    /// The bytes of the new version.
    pub(super) fn value(&self) -> Option<&Bytes> {
        self.value.map(|value| &value.bytes)
    }

    /// The length of its names and its value.
    pub(super) fn len_bytes(&self) -> usize {
        self.key.as_bytes().len() + self.value().map_or(0, Bytes::len)
    }

    /// The collection that this puts an item into; `None` for a removal.
    pub(super) fn puts_into(&self) -> Option<&'a str> {
        self.value.is_some().then(|| self.key.collection())
    }
}

impl Prepared {
    /// Begins the frame, and makes room for this number of entries, these changes among them.
    pub(super) fn begin(&mut self, entries: usize, changes: &[Change<'_>]) {
        self.commit.frame = FrameBuilder::commit(entries);
        self.commit.frame.reserve(entries, changes.iter().map(Change::len_bytes).sum());
        self.commit.entries.reserve_exact(entries);
        self.commit.tags = PendingTag::buffer(entries);
        self.versions.reserve_exact(entries);
    }

    /// Adds the entry of a change. `index_changes` are its encoded changes of secondary indexes.
    pub(super) fn push(
        &mut self,
        incarnation: &[u8; 16],
        change: &Change<'_>,
        index_changes: &[u8],
    ) {
        let no_value = || (&[][..], value_hash(&[]));
        let (value, hash) = change.value.map_or_else(no_value, |value| (&*value.bytes, value.hash));
        let entry = Entry {
            kind: change.kind as u8,
            // The writer's own incarnation is the first in the header of its segment.
            incarnation: 0,
            ordinal: self.commit.entries.len() as u16,
            parent: change.parent.map(|tag| tag.0),
            previous: change.before.map_or(0, |head| head.revision),
            modified_ms: change.modified_ms,
            ahead_ms: change.ahead_ms,
            expires_ms: change.expires_ms,
            collection: change.key.collection(),
            key: change.key.key_bytes(),
            index_changes,
            value,
        };
        let tag = entry.pending_tag(incarnation, &hash, &mut self.commit.tags);
        let record = self.commit.frame.push(&entry);
        self.commit.entries.push(PreparedEntry {
            key: change.key.clone(),
            parent: change.parent,
            leaves_item: change.kind.leaves_item(),
            tag,
            record,
            etag: ETag::UNSAVED,
        });
        self.versions.push(PreparedVersion {
            parent: change.parent,
            modified_ms: change.modified_ms,
            expires_ms: change.expires_ms,
            value: change.value.map(|value| value.bytes.clone()),
            before: change.before,
        });
    }

    /// The keys of the versions that the operations wrote; empty for a single operation, whose
    /// caller knows the key.
    pub(super) fn keys_written(&self, operations: usize) -> Vec<ItemKey> {
        if operations < 2 {
            return Vec::new();
        }
        self.commit
            .entries
            .iter()
            .skip(self.recorded.len())
            .map(|entry| entry.key.clone())
            .collect()
    }

    /// The versions that the operations wrote, with the tags that the journal has assigned.
    pub(super) fn metas(&self, revision: u64) -> Few<Meta> {
        let written = self.commit.entries.iter().zip(&self.versions).skip(self.recorded.len());
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

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::LOOKS;
    use crate::Store;

    /// A regression: the names of a batch's new collections were compared each with each, two of
    /// the three times under the locks, and all other writers waited.
    #[test]
    fn b13_new_collections_of_a_batch_cost_work_in_proportion_to_their_number() {
        const COLLECTIONS: u64 = 2_000;
        let store = Store::in_memory();
        let batch = (0..COLLECTIONS).fold(store.batch(), |batch, number| {
            let items = store.collection::<u64>(&format!("c{number}")).unwrap();
            batch.create(&items, "one", &number).create(&items, "two", &number)
        });
        let before = LOOKS.get();
        batch.commit().unwrap();
        let looks = LOOKS.get() - before;
        assert!(looks <= 4 * COLLECTIONS, "{looks} looks for {COLLECTIONS} collections");
        assert_eq!(store.collections().unwrap().len() as u64, COLLECTIONS);
    }
}
