//! Reading: the newest version of items, whole, and never half of a batch.

mod several;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::Version;
use crate::engine::snapshots::View;
use crate::engine::stripes::Stripe;
use crate::engine::version::meta_of;
use crate::index::{CachedValue, Cell, NamedCell};
use crate::journal::frame::{Entry, record_checksum};
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;

/// After this number of lost races a read takes the stripe's lock.
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
    /// Costs a look into the cache, or one read of the index and one of the journal.
    pub(crate) fn read(&self, key: &ItemKey) -> Result<Option<Version>> {
        let hash = self.stripes.hash_of(key.as_bytes());
        let stripe = self.stripes.of_hash(hash);
        if let Some((meta, value)) = self.index.hot(key, hash, stripe.begin_read()) {
            self.counters.count_copy();
            return Ok(self.live(Version { meta, value }));
        }
        self.read_leaf(key, stripe, |sequence, version| self.copy(key, hash, sequence, version))
    }

    /// Copies an item that is wanted often: what it was while its stripe had this sequence number.
    fn copy(&self, key: &ItemKey, hash: u64, sequence: u64, version: &Version) {
        let (item, looks) = ((&version.meta, &*version.value), || self.counters.looks());
        self.index.keep_hot(key, hash, sequence, item, looks);
    }

    /// As [`read`](Self::read), for an item that is about to be changed: a copy of it would not be
    /// read again.
    pub(crate) fn read_to_change(&self, key: &ItemKey) -> Result<Option<Version>> {
        self.read_leaf(key, self.stripes.of(key.as_bytes()), |_, _| {})
    }

    /// Reads an item from its leaf, or from the journal. `found` is called with a version that was
    /// in memory, and with the stripe's sequence number at that moment.
    #[inline]
    fn read_leaf(
        &self,
        key: &ItemKey,
        stripe: &Stripe,
        found: impl FnOnce(u64, &Version),
    ) -> Result<Option<Version>> {
        for _ in 0..OPTIMISTIC_READS {
            let version = match self.at_rest(stripe, || self.find(key))? {
                (Found::Nothing, _) => return Ok(None),
                (Found::Cached(version), sequence) => {
                    if let Some(sequence) = sequence {
                        found(sequence, &version);
                    }
                    version
                }
                (Found::At(head), _) if !head.is_live(self.now_for(head.expires_ms)) => {
                    return Ok(None);
                }
                (Found::At(head), _) => {
                    let Some(version) = self.version_at(key, &head)? else { continue };
                    self.index.keep_value(key, &head, version.meta.parent, &version.value);
                    version
                }
            };
            return Ok(self.live(version));
        }
        let _guard = stripe.lock();
        Ok(self.read_locked(key)?.and_then(|version| self.live(version)))
    }

    /// A version, unless it is expired.
    #[inline]
    fn live(&self, version: Version) -> Option<Version> {
        version.is_live(self.now_for(version.meta.expires_ms)).then_some(version)
    }

    /// Lets a writer that is at an item finish, for some microseconds at most: an update that reads
    /// the item now would read in vain.
    pub(crate) fn await_writer(&self, key: &ItemKey) {
        self.stripes.of(key.as_bytes()).await_writer();
    }

    /// What names the current version of an item, if that is in memory and `is_enough` says that
    /// the value is not needed. The value is not touched.
    pub(crate) fn meta_if(
        &self,
        key: &ItemKey,
        is_enough: impl FnOnce(&Meta) -> bool,
    ) -> Result<Option<Meta>> {
        let hash = self.stripes.hash_of(key.as_bytes());
        let stripe = self.stripes.of_hash(hash);
        let (meta, is_copy) = match self.index.hot_meta(key, hash, stripe.begin_read()) {
            Some(meta) => (meta, true),
            None => {
                let look = || self.with_index(|index| index.named(key));
                match self.at_rest(stripe, look)?.0 {
                    Some(NamedCell { head, parent: Some(parent) }) if !head.deleted => {
                        (meta_of(&head, parent), false)
                    }
                    _ => return Ok(None),
                }
            }
        };
        let found = meta.is_live(self.now_for(meta.expires_ms)) && is_enough(&meta);
        if found && is_copy {
            self.counters.count_copy();
        } else if found {
            self.counters.count_leaf(true);
        }
        Ok(found.then_some(meta))
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
    /// Costs as [`read`](Self::read), and does not fill the cache. Takes no stripe, for the reason
    /// given in [`snapshots`](crate::engine::snapshots).
    pub(crate) fn read_at(&self, view: &View, key: &ItemKey) -> Result<Option<Version>> {
        self.version_seen(view, key, |_, _| {})
    }

    /// As [`read_at`](Self::read_at), for an item that an index leads to, which is likely to be found
    /// again: reads a copy of what is read most if there is one, and fills the cache and the copies.
    /// Like `read_at` it waits for no writer.
    pub(crate) fn read_found(&self, view: &View, key: &ItemKey) -> Result<Option<Version>> {
        let hash = self.stripes.hash_of(key.as_bytes());
        let at_rest = self.stripes.of_hash(hash).try_begin_read();
        // The copy is current, and the view has begun before. So if its revision is not above the
        // view's, it is of the version that the view sees.
        if let Some((meta, value)) = at_rest.and_then(|now| self.index.hot(key, hash, now))
            && meta.revision.0 <= view.revision()
        {
            view.check()?;
            self.counters.count_copy();
            return Ok(self.live(Version { meta, value }));
        }
        self.version_seen(view, key, |version, head| {
            self.counters.count_leaf(head.is_none());
            if let Some(head) = head {
                self.index.keep_value(key, head, version.meta.parent, &version.value);
                return;
            }
            // If the item was replaced since the number was read, no reader gets that number any more.
            // If its collection was cleared before, the view goes on to see an item that is gone,
            // unless the view was given up, and with it what it knew of the clear.
            let is_current = || view.cleared(key.collection()).is_none() && view.check().is_ok();
            if let Some(now) = at_rest.filter(|_| is_current()) {
                self.copy(key, hash, now, version);
            }
        })
    }

    /// As [`read_at`](Self::read_at). If the version that the view sees is the newest, and its value
    /// was in memory, calls `found` with it and no head. If the value was read from the journal, calls
    /// `found` with the version and its head.
    #[inline]
    fn version_seen(
        &self,
        view: &View,
        key: &ItemKey,
        found: impl Fn(&Version, Option<&Head>),
    ) -> Result<Option<Version>> {
        let mut missing = None;
        for _ in 0..OPTIMISTIC_READS {
            let cell = self.cell_at(view, key)?;
            let current = match cell {
                Some(Cell { head, value: Some(value) })
                    if !head.deleted && head.revision <= view.revision() =>
                {
                    view.check()?;
                    let version = Version::cached(&head, value);
                    found(&version, None);
                    return Ok(self.live(version));
                }
                cell => cell.map(|cell| cell.head),
            };
            let Some(head) = view.head_at(key.as_bytes(), current)? else { return Ok(None) };
            if !head.is_live(self.now_for(head.expires_ms)) {
                return Ok(None);
            }
            if let Some(version) = self.version_at(key, &head)? {
                if current == Some(head) {
                    found(&version, Some(&head));
                }
                return Ok(Some(version));
            }
            missing = Some(head);
        }
        // Nothing that a snapshot reads is removed, unless it was given up.
        view.check()?;
        missing.map_or(Ok(None), |head| Err(self.no_segment(&head)))
    }

    /// The cell of an item; if its collection was cleared after the view began, the cell before
    /// that.
    fn cell_at(&self, view: &View, key: &ItemKey) -> Result<Option<Cell>> {
        let cell = self.with_index(|index| index.cell(key))?;
        // After the look: what is cleared is saved before it leaves the index.
        match view.cleared(key.collection()) {
            Some(leaves) => self.with_index(|index| index.cleared_cell(&leaves, key)),
            None => Ok(cell),
        }
    }

    pub(super) fn no_segment(&self, head: &Head) -> Error {
        let path = self.journal.segment_path(head.segment);
        Error::corrupt(&path, 0, "the index points into this segment, and it does not exist")
    }

    /// The version that a head points, or pointed, to; `None` when it was superseded since and
    /// compaction has removed it.
    pub(crate) fn version_of(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        if let Some(Cell { head: now, value: Some(value) }) =
            self.with_index(|index| index.cell(key))?
            && now.etag == head.etag
        {
            return Ok(Some(Version::cached(&now, value)));
        }
        self.stored_version_of(key, head)
    }

    /// Like [`version_of`](Self::version_of), but reads from the journal and bypasses the cache.
    pub(crate) fn stored_version_of(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        self.at_current_place(key, head, |head| self.version_at(key, head))
    }

    /// Like [`stored_version_of`](Self::stored_version_of), and recomputes the tag.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes in the journal are not what the tag was made of.
    pub(crate) fn verified_version_of(
        &self,
        key: &ItemKey,
        head: &Head,
    ) -> Result<Option<Version>> {
        self.at_current_place(key, head, |head| {
            let Some(record) = self.journal.read(head.segment, head.offset, head.len_bytes)? else {
                return Ok(None);
            };
            let record = record.into();
            let Some(segment) = self.journal.segments().get(head.segment) else { return Ok(None) };
            let version = self.version_in(key, head, &record)?;
            let entry = Entry::decode(&record).map(|(entry, _)| entry);
            let tag = entry.and_then(|entry| {
                let incarnation = segment.incarnations.get(usize::from(entry.incarnation))?;
                Some(entry.etag(incarnation, head.revision))
            });
            if tag != Some(head.etag) {
                let path = self.journal.segment_path(head.segment);
                let reason = "an item does not match its tag";
                return Err(Error::corrupt(&path, u64::from(head.offset), reason));
            }
            Ok(version)
        })
    }

    /// Calls `read` with the place of a version, and once more with its new place if compaction has
    /// moved it; `None` where the version was superseded and dropped.
    fn at_current_place(
        &self,
        key: &ItemKey,
        head: &Head,
        read: impl Fn(&Head) -> Result<Option<Version>>,
    ) -> Result<Option<Version>> {
        if let Some(version) = read(head)? {
            return Ok(Some(version));
        }
        // Compaction has moved it, or dropped it.
        let _guard = self.stripes.of(key.as_bytes()).lock();
        match self.head(key)? {
            Some(now) if now.etag == head.etag => read(&now),
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

    /// Reads the version that a head points to from the journal; `None` when compaction has removed
    /// the segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes there are not those that were written for this version.
    pub(crate) fn version_at(&self, key: &ItemKey, head: &Head) -> Result<Option<Version>> {
        let record = self.journal.read(head.segment, head.offset, head.len_bytes);
        match record.map_err(|error| error.with_item(key.collection(), key.key_bytes()))? {
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
            let error = Error::corrupt(&path, u64::from(head.offset), reason);
            error.with_item(key.collection(), key.key_bytes())
        };
        if record_checksum(record) != head.checksum {
            return Err(corrupt("an item's entry is not the one that was written"));
        }
        let (entry, used) =
            Entry::decode(record).ok_or_else(|| corrupt("an entry is malformed"))?;
        let same_item = entry.collection == key.collection() && entry.key == key.key_bytes();
        if !same_item || used != record.len() {
            return Err(corrupt("an item's entry is another item's"));
        }
        let meta = Meta {
            etag: head.etag,
            parent: entry.parent(),
            revision: Revision(head.revision),
            modified_ms: entry.modified_ms,
            expires_ms: entry.expires_ms,
        };
        let value_at = record.len() - entry.value.len();
        Ok(Some(Version { meta, value: record.slice(value_at..) }))
    }

    /// The newest head of an item, tombstones and expired items included.
    pub(crate) fn head(&self, key: &ItemKey) -> Result<Option<Head>> {
        self.with_index(|index| index.head(key))
    }

    fn find(&self, key: &ItemKey) -> Result<Found> {
        let found = |head: Head, value: Option<CachedValue<'_>>| match value {
            _ if head.deleted => Found::Nothing,
            Some(value) => Found::Cached(Version::cached(&head, value.for_reader())),
            None => Found::At(head),
        };
        let found = self.with_index(|index| index.with_cell_read(key, found))?;
        let found = found.unwrap_or(Found::Nothing);
        self.counters.count_leaf(matches!(found, Found::Cached(_)));
        Ok(found)
    }

    /// Looks into the index while no commit is being applied under the stripe: repeats `look` if
    /// one was. Returns the stripe's sequence number as well, unless the stripe had to be locked.
    #[inline]
    fn at_rest<T>(
        &self,
        stripe: &Stripe,
        look: impl Fn() -> Result<T>,
    ) -> Result<(T, Option<u64>)> {
        for _ in 0..OPTIMISTIC_READS {
            let sequence = stripe.begin_read();
            let found = look()?;
            if stripe.is_unchanged(sequence) {
                return Ok((found, Some(sequence)));
            }
        }
        let _guard = stripe.lock();
        Ok((look()?, None))
    }

    /// The time to compare an expiry with; read only where there is one.
    fn now_for(&self, expires_ms: Option<u64>) -> u64 {
        if expires_ms.is_some() { self.clock.now_ms() } else { 0 }
    }
}
