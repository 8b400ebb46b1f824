//! Reading: the newest version of items, whole, and never half of a batch.

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::cache::Version;
use crate::engine::snapshots::View;
use crate::engine::stripes::Stripe;
use crate::journal::frame::Entry;
use crate::values::error::{Error, Result, TableError};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;

/// After so many lost races a read takes the stripe's lock.
const OPTIMISTIC_READS: usize = 3;

/// Where a version was found, before its value is read.
enum Found {
    Nothing,
    Cached(Version),
    At(Head),
}

impl Engine {
    /// The current version of an item; `None` when there is none or it is expired.
    ///
    /// Costs a look into the cache, or one read of the table and one of the journal.
    pub(crate) fn read(&self, key: &ItemKey) -> Result<Option<Version>> {
        let stripe = self.stripes.of(key.as_bytes());
        for _ in 0..OPTIMISTIC_READS {
            let (sequence, found) = self.find_at_rest(stripe, key)?;
            let version = match found {
                Found::Nothing => return Ok(None),
                Found::Cached(version) => version,
                Found::At(head) if !head.is_live(self.now_for(head.expires_ms)) => return Ok(None),
                Found::At(head) => {
                    let Some(version) = self.version_at(key, &head)? else { continue };
                    // Nothing was applied since the head was read, so it is still the newest.
                    let _guard = stripe.lock();
                    if stripe.is_unchanged(sequence) {
                        self.cache.insert(&key.to_bytes(), version.clone(), head);
                    }
                    version
                }
            };
            return Ok(Some(version).filter(|v| v.is_live(self.now_for(v.meta.expires_ms))));
        }
        let _guard = stripe.lock();
        let version = self.read_locked(key)?;
        Ok(version.filter(|v| v.is_live(self.now_for(v.meta.expires_ms))))
    }

    /// The newest version of an item whose stripe is locked, expired or not.
    fn read_locked(&self, key: &ItemKey) -> Result<Option<Version>> {
        match self.find(key)? {
            Found::Nothing => Ok(None),
            Found::Cached(version) => Ok(Some(version)),
            Found::At(head) => {
                let version = self.version_at(key, &head)?;
                version.map(Some).ok_or_else(|| self.no_segment(&head))
            }
        }
    }

    /// An item as it was at a snapshot; `None` when there was none or it is expired by now.
    ///
    /// Costs as [`read`](Self::read), which alone fills the cache. Takes no stripe, for the reason
    /// given in [`snapshots`](crate::engine::snapshots).
    pub(crate) fn read_at(&self, view: &View, key: &ItemKey) -> Result<Option<Version>> {
        let mut missing = None;
        for _ in 0..OPTIMISTIC_READS {
            let current = match self.cache.get(key.as_bytes()) {
                // In the cache is what the table holds, or for a moment still what it held.
                Some(cached) if cached.head.revision <= view.revision() => {
                    view.check()?;
                    let version = cached.version;
                    return Ok(Some(version).filter(|v| v.is_live(self.now_for(v.meta.expires_ms))));
                }
                Some(cached) => Some(cached.head),
                None => self.head(key)?,
            };
            let Some(head) = view.head_at(key.as_bytes(), current)? else { return Ok(None) };
            if !head.is_live(self.now_for(head.expires_ms)) {
                return Ok(None);
            }
            if let Some(version) = self.version_at(key, &head)? {
                return Ok(Some(version));
            }
            missing = Some(head);
        }
        // Nothing that a snapshot reads is removed, unless it was given up.
        view.check()?;
        missing.map_or(Ok(None), |head| Err(self.no_segment(&head)))
    }

    fn no_segment(&self, head: &Head) -> Error {
        let path = self.journal.segment_path(head.segment);
        Error::corrupt(&path, 0, "the table points into this segment, and it does not exist")
    }

    /// The current versions of several items, as of one moment between batches.
    pub(crate) fn read_many(&self, keys: &[ItemKey]) -> Result<Vec<Option<Version>>> {
        let stripes = || keys.iter().map(|key| self.stripes.of(key.as_bytes()));
        for _ in 0..OPTIMISTIC_READS {
            let sequences: Vec<u64> = stripes().map(|stripe| stripe.begin_read()).collect();
            let found: Vec<Found> = keys.iter().map(|key| self.find(key)).collect::<Result<_>>()?;
            if stripes().zip(&sequences).any(|(stripe, seen)| !stripe.is_unchanged(*seen)) {
                continue;
            }
            if let Some(versions) = self.versions_found(keys, found)? {
                return Ok(versions);
            }
        }
        let _locked = self.stripes.lock(keys.iter().map(ItemKey::as_bytes));
        let now_ms = self.clock.now_ms();
        let read = |key| Ok(self.read_locked(key)?.filter(|version| version.is_live(now_ms)));
        keys.iter().map(read).collect()
    }

    /// The live versions that were found; `None` when one of them lay in a segment that
    /// compaction has removed since.
    fn versions_found(
        &self,
        keys: &[ItemKey],
        found: Vec<Found>,
    ) -> Result<Option<Vec<Option<Version>>>> {
        let now_ms = self.clock.now_ms();
        let mut versions = Vec::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(found) {
            versions.push(match found {
                Found::Cached(version) => Some(version).filter(|v| v.is_live(now_ms)),
                Found::At(head) if head.is_live(now_ms) => match self.version_at(key, &head)? {
                    Some(version) => Some(version),
                    None => return Ok(None),
                },
                Found::At(_) | Found::Nothing => None,
            });
        }
        Ok(Some(versions))
    }

    /// The version that a head points, or pointed, to; `None` when it was superseded since and
    /// compaction has removed it.
    pub(crate) fn version_of(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        if let Some(cached) = self.cache.get(key.as_bytes())
            && cached.head.etag == head.etag
        {
            return Ok(Some(cached.version));
        }
        self.stored_version_of(key, head)
    }

    /// As [`version_of`](Self::version_of), from the journal though it be in the cache.
    pub(crate) fn stored_version_of(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        if let Some(version) = self.version_at(key, head)? {
            return Ok(Some(version));
        }
        // Compaction has moved it, or dropped it.
        let _guard = self.stripes.of(key.as_bytes()).lock();
        match self.head(key)? {
            Some(now) if now.etag == head.etag => self.version_at(key, &now),
            _ => Ok(None),
        }
    }

    /// The version that a head of a scan points, or pointed, to. If that was moved or removed
    /// since: the version of the snapshot, or without one the newest; `None` when the item is gone.
    pub(super) fn version_of_scan(
        &self,
        key: &ItemKey,
        head: &Head,
        view: Option<&View>,
    ) -> Result<Option<Version>> {
        match (self.version_at(key, head)?, view) {
            (Some(version), _) => Ok(Some(version)),
            (None, Some(view)) => self.read_at(view, key),
            (None, None) => self.read(key),
        }
    }

    /// Reads the version that a head points to from the journal and recomputes its tag; `None`
    /// when compaction has removed the segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes there are not what the tag was made of.
    pub(crate) fn version_at(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        match self.journal.read(head.segment, head.offset, head.len_bytes)? {
            Some(record) => self.version_in(key, head, &record.into()),
            None => Ok(None),
        }
    }

    /// Makes a version of the entry's record, which `head` points to.
    pub(super) fn version_in(
        &self,
        key: &ItemKey,
        head: &Head,
        record: &Bytes,
    ) -> Result<Option<Version>> {
        let corrupt = |reason| {
            let path = self.journal.segment_path(head.segment);
            Error::Corrupt { file: path, offset: u64::from(head.offset), reason }
        };
        let Some(segment) = self.journal.segments().get(head.segment) else { return Ok(None) };
        let (entry, used) =
            Entry::decode(record).ok_or_else(|| corrupt("an entry cannot be decoded"))?;
        let incarnation = segment.incarnations.get(usize::from(entry.incarnation));
        let incarnation = incarnation.ok_or_else(|| corrupt("an entry cannot be decoded"))?;
        let etag = entry.etag(incarnation, head.revision);
        let same_item = entry.collection == key.collection() && entry.key == key.key_bytes();
        if etag != head.etag || !same_item || used != record.len() {
            return Err(corrupt("the item that is stored here does not match its tag"));
        }
        let meta = Meta {
            etag,
            parent: entry.parent(),
            revision: Revision(head.revision),
            modified_ms: entry.modified_ms,
            expires_ms: entry.expires_ms,
        };
        let value_at = record.len() - entry.value.len();
        Ok(Some(Version { meta, value: record.slice(value_at..) }))
    }

    /// The head of an item, tombstones and expired items included, for a writer that holds the
    /// item's stripe: then the cache agrees with the table.
    pub(super) fn head_for_write(&self, key: &ItemKey) -> Result<Option<Head>> {
        match self.cache.get(key.as_bytes()) {
            Some(cached) => Ok(Some(cached.head)),
            None => self.head(key),
        }
    }

    /// The newest head of an item, tombstones and expired items included.
    pub(crate) fn head(&self, key: &ItemKey) -> Result<Option<Head>> {
        let Some(bytes) = self.table.get(key.as_bytes())? else { return Ok(None) };
        Head::decode(&bytes).map(Some).ok_or_else(|| self.table_is_damaged())
    }

    fn find(&self, key: &ItemKey) -> Result<Found> {
        let cached = self.cache.get(key.as_bytes());
        self.counters.count_cache(cached.is_some());
        if let Some(cached) = cached {
            return Ok(Found::Cached(cached.version));
        }
        Ok(match self.head(key)? {
            Some(head) if !head.deleted => Found::At(head),
            _ => Found::Nothing,
        })
    }

    /// What [`find`](Self::find) gives while no commit is being applied under the stripe, with
    /// the stripe's number at that time.
    fn find_at_rest(&self, stripe: &Stripe, key: &ItemKey) -> Result<(u64, Found)> {
        for _ in 0..OPTIMISTIC_READS {
            let sequence = stripe.begin_read();
            let found = self.find(key)?;
            if stripe.is_unchanged(sequence) {
                return Ok((sequence, found));
            }
        }
        let _guard = stripe.lock();
        Ok((stripe.sequence(), self.find(key)?))
    }

    /// The time to compare an expiry with; read only where there is one.
    fn now_for(&self, expires_ms: Option<u64>) -> u64 {
        if expires_ms.is_some() { self.clock.now_ms() } else { 0 }
    }

    pub(super) fn table_is_damaged(&self) -> Error {
        let error = Error::Table(TableError::new("one of its rows is not a valid row"));
        self.journal.distrust_table(&error);
        error
    }
}
