//! What one step of a scan of keys has fetched, in the order in which the scan met them. The keys
//! of a leaf are copied as they are there; each becomes one of its own when it is handed out.

use std::iter::FusedIterator;

use crate::index::{KeySpan, LeafCells};
use crate::values::error::{Error, Result};

/// A key: the leaf's number, and what follows its prefix.
#[derive(Debug, Clone, Copy)]
struct ScannedKey {
    leaf: u32,
    suffix: KeySpan,
}

/// Fetched keys, from both ends.
#[derive(Debug, Default)]
pub(crate) struct ScannedKeys {
    /// The keys of each leaf, as they are there.
    bytes: Vec<u8>,
    /// Of each leaf, where its keys are and how many bytes all of them begin with.
    leaves: Vec<(usize, usize)>,
    keys: Vec<ScannedKey>,
    next: usize,
    next_back: usize,
    failed: Option<Error>,
}

impl ScannedKeys {
    /// Room for `keys` keys.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { keys: Vec::with_capacity(keys), ..Self::default() }
    }

    /// A single failure, in the place of keys that could not be read.
    pub(crate) fn failed(error: Error) -> Self {
        Self { failed: Some(error), ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.leaves.clear();
        self.keys.clear();
        (self.next, self.next_back, self.failed) = (0, 0, None);
    }

    /// The next keys are of this leaf.
    pub(super) fn begin_leaf(&mut self, leaf: &LeafCells<'_>) {
        self.leaves.push((self.bytes.len(), leaf.prefix().len()));
        self.bytes.extend_from_slice(leaf.keys());
    }

    #[inline]
    pub(super) fn push(&mut self, suffix: KeySpan) {
        let leaf = self.leaves.len() as u32 - 1;
        self.keys.push(ScannedKey { leaf, suffix });
        self.next_back = self.keys.len();
    }

    pub(super) fn len(&self) -> usize {
        self.next_back - self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next == self.next_back && self.failed.is_none()
    }

    #[inline]
    fn key(&self, at: usize) -> Vec<u8> {
        let found = || {
            let ScannedKey { leaf, suffix } = self.keys.get(at)?;
            let (start, prefix_len) = self.leaves.get(*leaf as usize)?;
            let keys = self.bytes.get(*start..)?;
            let (prefix, suffix) = (keys.get(..*prefix_len)?, keys.get(suffix.range())?);
            let mut key = Vec::with_capacity(prefix.len() + suffix.len());
            key.extend_from_slice(prefix);
            key.extend_from_slice(suffix);
            Some(key)
        };
        found().unwrap_or_default()
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
