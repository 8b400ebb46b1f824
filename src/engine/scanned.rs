//! What one step of a scan has fetched: items or keys, in the order in which the scan met them.
//!
//! Keys and small values are copied into one buffer while the leaf is locked. Copies of rows that
//! follow each other overlap in time, and an item handed out costs a shared count, no allocation.

use std::iter::FusedIterator;

use bytes::Bytes;

use crate::engine::Version;
use crate::index::{CachedValue, KeyRef};
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::revision::Revision;
use crate::values::short_bytes::ShortBytes;

/// Values of up to this length are copied; of a longer one the scan takes a handle.
const COPIED_VALUE_BYTES: usize = 1 << 10;

/// Items that a scan is gathering.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    shared: Vec<u8>,
    rows: Vec<ScannedRow>,
    /// The rows whose values are in the journal only.
    missing: Vec<Missing>,
}

/// A row whose value has to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub(super) row: usize,
    pub(super) head: Head,
}

#[derive(Debug)]
struct ScannedRow {
    key: Part,
    meta: Meta,
    value: RowValue,
}

/// A part of the shared buffer.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: u32,
    len: u32,
}

#[derive(Debug)]
enum RowValue {
    /// In the shared buffer.
    Shared(Part),
    Own(Bytes),
    Failed(Box<Error>),
    /// Not read yet, or gone since the scan met the row.
    None,
}

impl Part {
    fn range(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + self.len as usize
    }
}

/// Appends bytes to the shared buffer. Windows are bounded far below 4 GiB.
fn append<const N: usize>(shared: &mut Vec<u8>, parts: [&[u8]; N]) -> Part {
    let at = shared.len() as u32;
    parts.iter().for_each(|part| shared.extend_from_slice(part));
    Part { at, len: shared.len() as u32 - at }
}

impl Gathering {
    /// Room for a window about as large as the one before it.
    pub(super) fn with_room(rows: usize, shared_bytes: usize) -> Self {
        let (shared, rows) = (Vec::with_capacity(shared_bytes), Vec::with_capacity(rows));
        Self { shared, rows, missing: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.shared.clear();
        self.rows.clear();
        self.missing.clear();
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.shared.len()
    }

    /// Adds the row of a key, with its value where that is in memory.
    #[inline]
    pub(super) fn push(&mut self, key: KeyRef<'_>, head: &Head, value: Option<&CachedValue>) {
        let key = append(&mut self.shared, [key.prefix, key.suffix]);
        let meta = Meta {
            etag: head.etag,
            parent: value.and_then(|value| value.parent),
            revision: Revision(head.revision),
            modified_ms: head.modified_ms,
            expires_ms: head.expires_ms,
        };
        let value = match value {
            None => {
                self.missing.push(Missing { row: self.rows.len(), head: *head });
                RowValue::None
            }
            Some(value) if value.bytes.len() <= COPIED_VALUE_BYTES => {
                RowValue::Shared(append(&mut self.shared, [&value.bytes]))
            }
            Some(value) => RowValue::Own(value.bytes.clone()),
        };
        self.rows.push(ScannedRow { key, meta, value });
    }

    /// The rows that have to be read, in order of position.
    pub(super) fn take_missing(&mut self) -> Vec<Missing> {
        let mut missing = std::mem::take(&mut self.missing);
        missing.sort_unstable_by_key(|missing| (missing.head.segment, missing.head.offset));
        missing
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        let part = self.rows.get(row).map(|row| row.key.range());
        part.and_then(|part| self.shared.get(part)).unwrap_or_default()
    }

    /// Sets what was read of a row: copied, so that a small value does not keep all that was read
    /// with it in memory. `None` where the item is gone.
    pub(super) fn set(&mut self, row: usize, version: Result<Option<Version>>) {
        let Some(row) = self.rows.get_mut(row) else { return };
        row.value = match version {
            Ok(None) => return,
            Err(error) => RowValue::Failed(Box::new(error)),
            Ok(Some(Version { meta, value })) => {
                row.meta = meta;
                if value.len() <= COPIED_VALUE_BYTES {
                    RowValue::Shared(append(&mut self.shared, [&value]))
                } else {
                    RowValue::Own(Bytes::copy_from_slice(&value))
                }
            }
        };
    }

    pub(super) fn finish(mut self, any_is_gone: bool) -> ScannedItems {
        if any_is_gone {
            self.rows.retain(|row| !matches!(row.value, RowValue::None));
        }
        ScannedItems { shared: self.shared.into(), rows: self.rows.into_iter() }
    }
}

/// Fetched items, from both ends.
#[derive(Debug, Default)]
pub(crate) struct ScannedItems {
    shared: Bytes,
    rows: std::vec::IntoIter<ScannedRow>,
}

/// An item as a scan found it.
#[derive(Debug)]
pub(crate) struct ScannedItem {
    pub(crate) key: ShortBytes,
    pub(crate) version: Version,
}

impl ScannedItems {
    /// What represents items that could not be had.
    pub(crate) fn failed(error: Error) -> Self {
        let (key, value) = (Part { at: 0, len: 0 }, RowValue::Failed(Box::new(error)));
        let rows = vec![ScannedRow { key, meta: Meta::UNSAVED, value }];
        Self { shared: Bytes::new(), rows: rows.into_iter() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.as_slice().is_empty()
    }

    /// How much memory the items' keys and small values take.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.shared.len()
    }

    #[inline]
    fn item(&self, row: ScannedRow) -> Result<ScannedItem> {
        let value = match row.value {
            RowValue::Shared(part) => self.shared.slice(part.range()),
            RowValue::Own(value) => value,
            RowValue::Failed(error) => return Err(*error),
            RowValue::None => Bytes::new(),
        };
        let key = ShortBytes::part_of(&self.shared, row.key.range());
        Ok(ScannedItem { key, version: Version { meta: row.meta, value } })
    }
}

impl Iterator for ScannedItems {
    type Item = Result<ScannedItem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|row| self.item(row))
    }
}

impl DoubleEndedIterator for ScannedItems {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.rows.next_back().map(|row| self.item(row))
    }
}

impl FusedIterator for ScannedItems {}

/// Fetched keys, from both ends.
#[derive(Debug, Default)]
pub(crate) struct ScannedKeys {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<u32>,
    next: usize,
    next_back: usize,
    failed: Option<Error>,
}

impl ScannedKeys {
    /// Room for so many keys.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { ends: Vec::with_capacity(keys), ..Self::default() }
    }

    /// What represents keys that could not be had.
    pub(crate) fn failed(error: Error) -> Self {
        Self { failed: Some(error), ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::with_room(self.ends.capacity());
    }

    #[inline]
    pub(super) fn push(&mut self, key: KeyRef<'_>) {
        key.copy_to(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
        self.next_back = self.ends.len();
    }

    pub(super) fn len(&self) -> usize {
        self.next_back - self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.next_back && self.failed.is_none()
    }

    #[inline]
    fn key(&self, at: usize) -> Vec<u8> {
        let end_of = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        self.bytes.get(start..end_of(at)).unwrap_or_default().to_vec()
    }
}

impl Iterator for ScannedKeys {
    type Item = Result<Vec<u8>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.next_back {
            return self.failed.take().map(Err);
        }
        let key = self.key(self.next);
        self.next += 1;
        Some(Ok(key))
    }
}

impl DoubleEndedIterator for ScannedKeys {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next == self.next_back {
            return self.failed.take().map(Err);
        }
        self.next_back -= 1;
        Some(Ok(self.key(self.next_back)))
    }
}

impl FusedIterator for ScannedKeys {}
