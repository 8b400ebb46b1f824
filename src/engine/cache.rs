//! The cache of hot items: their newest version, whole.

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use crate::seams::sync::Mutex;
use crate::values::head::Head;
use crate::values::item::Meta;

/// A version as it is read: what names it and its stored bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) meta: Meta,
    pub(crate) value: Bytes,
}

/// A version in the cache, with the table's head of it: writes are decided on that without a look
/// into the table.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    pub(crate) version: Version,
    pub(crate) head: Head,
}

impl Version {
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.meta.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

/// Items by their joined key. Changed only under the key's stripe, together with the table, so
/// that what is found here is what the table's head points to.
#[derive(Debug)]
pub(crate) struct Cache {
    items: QuickCache<Bytes, Cached, ByBytes>,
    /// Makes each access a step that loom may interleave.
    step: Option<Mutex<()>>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<Bytes, Cached> for ByBytes {
    fn weight(&self, key: &Bytes, cached: &Cached) -> u64 {
        /// What an entry costs beside its bytes: handles, version, slots of the cache's index.
        const ENTRY_BYTES: u64 = 320;
        ENTRY_BYTES + (key.len() + cached.version.value.len()) as u64
    }
}

impl Cache {
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let typical_item_bytes = 1_024;
        let items = usize::try_from(capacity_bytes / typical_item_bytes).unwrap_or(usize::MAX);
        let items = QuickCache::with_weighter(items.max(16), capacity_bytes, ByBytes);
        let is_step = cfg!(all(test, loom)) && capacity_bytes > 0;
        Self { items, step: is_step.then(|| Mutex::new(())) }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Cached> {
        let _step = self.step.as_ref().map(Mutex::lock);
        self.items.get(key)
    }

    pub(crate) fn insert(&self, key: &Bytes, version: Version, head: Head) {
        let _step = self.step.as_ref().map(Mutex::lock);
        self.items.insert(key.clone(), Cached { version, head });
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        let _step = self.step.as_ref().map(Mutex::lock);
        self.items.remove(key);
    }
}
