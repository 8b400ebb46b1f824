//! What one step of a scan has fetched: items or keys, in the order in which the scan met them.
//!
//! Short keys are copied into the rows, long ones and small values into one buffer, while the leaf is
//! locked. An item handed out costs a shared count, no allocation.

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
    /// The values that are not in the buffer.
    others: Vec<OtherValue>,
    /// The rows whose values are in the journal only.
    missing: Vec<Missing>,
}

/// A row whose value has to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    pub(super) row: usize,
    pub(super) head: Head,
}

/// What an item is made of. A row is written where it stays, and read there: to move it soon after it
/// was written in smaller pieces costs a processor more than all else that is done with it.
#[derive(Debug)]
struct ScannedRow {
    /// The key, if it is short.
    key: ShortBytes,
    /// The key, if it is not.
    long_key: Part,
    meta: Meta,
    /// The value. If its length is [`OTHER`], it is the one of the other values at its place.
    value: Part,
}

/// A part of the shared buffer.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: u32,
    len: u32,
}

/// No part of the shared buffer is as long.
const OTHER: u32 = u32::MAX;

/// A value that is not in the shared buffer.
#[derive(Debug)]
enum OtherValue {
    Own(Bytes),
    Failed(Box<Error>),
    /// Not read yet, or gone since the scan met the row.
    None,
}

impl Part {
    const EMPTY: Self = Self { at: 0, len: 0 };

    #[inline]
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
        Self { shared, rows, others: Vec::new(), missing: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.shared.clear();
        self.rows.clear();
        self.others.clear();
        self.missing.clear();
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.shared.len()
    }

    /// Adds the row of a key, with its value where that is in memory.
    #[inline(always)]
    pub(super) fn push(&mut self, key: KeyRef<'_>, head: &Head, value: Option<&CachedValue>) {
        let meta = Meta {
            etag: head.etag,
            parent: value.and_then(CachedValue::parent),
            revision: Revision(head.revision),
            modified_ms: head.modified_ms,
            expires_ms: head.expires_ms,
        };
        let value = match value {
            None => {
                self.missing.push(Missing { row: self.rows.len(), head: *head });
                self.other(OtherValue::None)
            }
            Some(value) if value.as_slice().len() <= COPIED_VALUE_BYTES => {
                append(&mut self.shared, [value.as_slice()])
            }
            Some(value) => self.other(OtherValue::Own(value.bytes())),
        };
        self.rows.push(ScannedRow { key: ShortBytes::EMPTY, long_key: Part::EMPTY, meta, value });
        if let Some(row) = self.rows.last_mut()
            && !row.key.set_in_place([key.prefix, key.suffix])
        {
            row.long_key = append(&mut self.shared, [key.prefix, key.suffix]);
        }
    }

    fn other(&mut self, value: OtherValue) -> Part {
        self.others.push(value);
        Part { at: self.others.len() as u32 - 1, len: OTHER }
    }

    /// The rows that have to be read, in order of position.
    pub(super) fn take_missing(&mut self) -> Vec<Missing> {
        let mut missing = std::mem::take(&mut self.missing);
        missing.sort_unstable_by_key(|missing| (missing.head.segment, missing.head.offset));
        missing
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        match self.rows.get(row) {
            Some(row) if row.long_key.len > 0 => self.shared.get(row.long_key.range()),
            row => row.map(|row| row.key.as_slice()),
        }
        .unwrap_or_default()
    }

    /// Sets what was read of a row: copied, so that a small value does not keep all that was read
    /// with it in memory. `None` where the item is gone.
    pub(super) fn set(&mut self, row: usize, version: Result<Option<Version>>) {
        let (meta, value) = match version {
            Ok(None) => return,
            Err(error) => (None, self.other(OtherValue::Failed(Box::new(error)))),
            Ok(Some(Version { meta, value })) => {
                let value = if value.len() <= COPIED_VALUE_BYTES {
                    append(&mut self.shared, [&value])
                } else {
                    self.other(OtherValue::Own(Bytes::copy_from_slice(&value)))
                };
                (Some(meta), value)
            }
        };
        if let Some(row) = self.rows.get_mut(row) {
            row.meta = meta.unwrap_or(row.meta);
            row.value = value;
        }
    }

    pub(super) fn finish(mut self, any_is_gone: bool) -> ScannedItems {
        if any_is_gone {
            let is_gone = |value: Part| {
                let other = self.others.get(value.at as usize).filter(|_| value.len == OTHER);
                matches!(other, Some(OtherValue::None))
            };
            self.rows.retain(|row| !is_gone(row.value));
        }
        let Self { shared, rows, others, .. } = self;
        ScannedItems { shared: shared.into(), end: rows.len(), rows, others, next: 0 }
    }
}

/// Fetched items, from both ends.
#[derive(Debug, Default)]
pub(crate) struct ScannedItems {
    shared: Bytes,
    rows: Vec<ScannedRow>,
    others: Vec<OtherValue>,
    /// The rows that are left: from this one on, up to the other.
    next: usize,
    end: usize,
}

impl ScannedItems {
    /// What represents items that could not be had.
    pub(crate) fn failed(error: Error) -> Self {
        let mut gathering = Gathering::default();
        let value = gathering.other(OtherValue::Failed(Box::new(error)));
        let (key, long_key, meta) = (ShortBytes::EMPTY, Part::EMPTY, Meta::UNSAVED);
        gathering.rows.push(ScannedRow { key, long_key, meta, value });
        gathering.finish(false)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// How much memory the items' keys and small values take.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.shared.len()
    }

    /// What `make` makes of the first item that is left.
    #[inline]
    pub(crate) fn next<T>(
        &mut self,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.is_empty() {
            return None;
        }
        self.next += 1;
        self.item(self.next - 1, make)
    }

    /// As [`next`](Self::next), of the last item.
    #[inline]
    pub(crate) fn next_back<T>(
        &mut self,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.is_empty() {
            return None;
        }
        self.end -= 1;
        self.item(self.end, make)
    }

    #[inline]
    fn item<T>(
        &mut self,
        at: usize,
        make: impl FnOnce(ShortBytes, &Meta, Bytes) -> Result<T>,
    ) -> Option<Result<T>> {
        let row = self.rows.get(at)?;
        let value = if row.value.len == OTHER {
            match take_other(&mut self.others, row.value) {
                Ok(value) => value,
                Err(error) => return Some(Err(error)),
            }
        } else {
            self.shared.slice(row.value.range())
        };
        let key = if row.long_key.len > 0 {
            ShortBytes::part_of(&self.shared, row.long_key.range())
        } else {
            row.key.clone()
        };
        Some(make(key, &row.meta, value))
    }
}

#[cfg(test)]
impl ScannedItems {
    /// The versions of the items that are left.
    pub(crate) fn versions(mut self) -> impl Iterator<Item = Result<Version>> {
        let version = |_, meta: &Meta, value| Ok(Version { meta: *meta, value });
        std::iter::from_fn(move || self.next(version))
    }
}

#[cold]
fn take_other(others: &mut [OtherValue], part: Part) -> Result<Bytes> {
    let other = others.get_mut(part.at as usize);
    match other.map(|other| std::mem::replace(other, OtherValue::None)) {
        Some(OtherValue::Own(value)) => Ok(value),
        Some(OtherValue::Failed(error)) => Err(*error),
        Some(OtherValue::None) | None => Ok(Bytes::new()),
    }
}

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
        self.bytes.clear();
        self.ends.clear();
        (self.next, self.next_back, self.failed) = (0, 0, None);
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
