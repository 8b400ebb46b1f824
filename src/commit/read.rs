//! Reading: the newest version of items, whole, and never half of a batch.

use std::ops::Bound;

use bytes::Bytes;

use crate::commit::Core;
use crate::commit::cache::Version;
use crate::commit::stripes::Stripe;
use crate::error::{Error, Result};
use crate::item::Meta;
use crate::journal::frame::Entry;
use crate::key::ItemKey;
use crate::revision::Revision;
use crate::table::{Head, Row};

/// After so many lost races a read takes the stripe's lock.
const OPTIMISTIC_READS: usize = 3;

/// Where a version was found, before its value is read.
enum Found {
    Nothing,
    Cached(Version),
    At(Head),
}

impl Core {
    /// The current version of an item; `None` when there is none or it is expired.
    ///
    /// Costs a look into the cache, or one read of the table and one of the journal.
    pub(crate) fn read(&self, key: &ItemKey) -> Result<Option<Version>> {
        let stripe = self.stripes.of(key.as_bytes());
        let (sequence, found) = self.find_at_rest(stripe, key)?;
        let version = match found {
            Found::Nothing => return Ok(None),
            Found::Cached(version) => version,
            Found::At(head) if !head.is_live(self.now_for(head.expires_ms)) => return Ok(None),
            Found::At(head) => {
                let version = self.version_at(key, &head)?;
                // Nothing was applied since the head was read, so it is still the newest.
                let _guard = stripe.lock();
                if stripe.is_unchanged(sequence) {
                    self.cache.insert(&key.to_bytes(), version.clone());
                }
                version
            }
        };
        Ok(Some(version).filter(|v| v.is_live(self.now_for(v.meta.expires_ms))))
    }

    /// The current versions of several items, as of one moment between batches.
    pub(crate) fn read_many(&self, keys: &[ItemKey]) -> Result<Vec<Option<Version>>> {
        let find_all = || keys.iter().map(|key| self.find(key)).collect::<Result<Vec<_>>>();
        let stripes = || keys.iter().map(|key| self.stripes.of(key.as_bytes()));
        let mut found = None;
        for _ in 0..OPTIMISTIC_READS {
            let sequences: Vec<u64> = stripes().map(|stripe| stripe.begin_read()).collect();
            let all = find_all()?;
            if stripes().zip(&sequences).all(|(stripe, sequence)| stripe.is_unchanged(*sequence)) {
                found = Some(all);
                break;
            }
        }
        let found = match found {
            Some(found) => found,
            None => {
                let _locked = self.stripes.lock(keys.iter().map(ItemKey::as_bytes));
                find_all()?
            }
        };
        let now_ms = self.clock.now_ms();
        let read = |(key, found): (&ItemKey, Found)| match found {
            Found::Cached(version) => Ok(Some(version).filter(|v| v.is_live(now_ms))),
            Found::At(head) if head.is_live(now_ms) => self.version_at(key, &head).map(Some),
            Found::At(_) | Found::Nothing => Ok(None),
        };
        keys.iter().zip(found).map(read).collect()
    }

    /// Appends the live heads within the bounds to `heads`, in order of key, and gives how many
    /// rows were looked at and the last of them; fewer than `limit` means that there are no more.
    pub(crate) fn scan(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        limit: usize,
        heads: &mut Vec<(ItemKey, Head)>,
    ) -> Result<(usize, Option<ItemKey>)> {
        let mut rows: Vec<Row> = Vec::with_capacity(limit);
        self.table.scan(lower, upper, reverse, limit, &mut rows)?;
        let now_ms = self.clock.now_ms();
        let mut last = None;
        for row in &rows {
            let head = Head::decode(&row.value).zip(ItemKey::from_joined(&row.key));
            let Some((head, key)) = head else { return Err(self.table_is_damaged()) };
            if head.is_live(now_ms) {
                heads.push((key.clone(), head));
            }
            last = Some(key);
        }
        Ok((rows.len(), last))
    }

    /// The version that a head points to, from the cache if it is there.
    pub(crate) fn version_of(&self, key: &ItemKey, head: &Head) -> Result<Version> {
        match self.cache.get(key.as_bytes()) {
            Some(version) if version.meta.etag == head.etag => Ok(version),
            _ => self.version_at(key, head),
        }
    }

    /// The versions that these heads point to, in the same order. What is not in the cache is
    /// read in order of position, so that a scan does not jump about in the journal.
    pub(crate) fn versions_of(
        &self,
        heads: Vec<(ItemKey, Head)>,
    ) -> Vec<Result<(ItemKey, Version)>> {
        let mut read: Vec<_> = heads.into_iter().map(|(key, head)| (key, head, None)).collect();
        let mut order: Vec<_> = read.iter_mut().collect();
        order.sort_unstable_by_key(|(_, head, _)| (head.segment, head.offset));
        for (key, head, version) in order {
            *version = Some(self.version_of(key, head));
        }
        let pair = |(key, head, version): (ItemKey, Head, Option<Result<Version>>)| {
            let version = version.unwrap_or_else(|| self.version_at(&key, &head))?;
            Ok((key, version))
        };
        read.into_iter().map(pair).collect()
    }

    /// Reads the version that a head points to from the journal and recomputes its tag.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes there are not what the tag was made of.
    pub(crate) fn version_at(&self, key: &ItemKey, head: &Head) -> Result<Version> {
        let corrupt = |reason| {
            let path = self.journal.segment_path(head.segment);
            Error::Corrupt { file: path, offset: u64::from(head.offset), reason }
        };
        let segment = self.journal.segments().get(head.segment)?;
        let record = self.journal.read(head.segment, head.offset, head.len_bytes)?;
        let (entry, used) =
            Entry::decode(&record).ok_or_else(|| corrupt("an entry is malformed"))?;
        let incarnation = segment.incarnations.get(usize::from(entry.incarnation));
        let incarnation = incarnation.ok_or_else(|| corrupt("an entry is malformed"))?;
        let etag = entry.etag(incarnation, head.revision);
        let same_item = entry.collection == key.collection() && entry.key == key.key_bytes();
        if etag != head.etag || !same_item || used != record.len() {
            return Err(corrupt("an item does not match its tag"));
        }
        let meta = Meta {
            etag,
            parent: entry.parent(),
            revision: Revision(head.revision),
            modified_ms: entry.modified_ms,
            expires_ms: entry.expires_ms,
        };
        let value_at = record.len() - entry.value.len();
        Ok(Version { meta, value: Bytes::from(record).slice(value_at..) })
    }

    /// The head of an item, tombstones and expired items included.
    pub(super) fn head(&self, key: &ItemKey) -> Result<Option<Head>> {
        let Some(bytes) = self.table.get(key.as_bytes())? else { return Ok(None) };
        Head::decode(&bytes).map(Some).ok_or_else(|| self.table_is_damaged())
    }

    fn find(&self, key: &ItemKey) -> Result<Found> {
        if let Some(version) = self.cache.get(key.as_bytes()) {
            return Ok(Found::Cached(version));
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

    fn table_is_damaged(&self) -> Error {
        self.journal.poison();
        Error::Table(crate::error::TableError::new("a row of the table is no head"))
    }
}
