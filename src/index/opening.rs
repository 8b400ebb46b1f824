//! Opening an index: from the file that an orderly close wrote, or from all pairs of the backing
//! store.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bincode::{Decode, Encode, config};

use crate::index::directory::Directory;
use crate::index::leaf::{Leaf, encoded_checksum};
use crate::index::leaf_handle::LeafHandle;
use crate::index::{Backing, Index, split_pair_key};
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// How many pairs of the backing store are read at a time.
const PAIRS: usize = 256;

/// All leaves of an index whose pairs are all in the backing store: what a close writes and the
/// next open relies on.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct DirectoryFile {
    pub(crate) generation: u64,
    collections: Vec<CollectionLeaves>,
}

/// The leaves of a collection: their first keys, and the checksums of their pairs.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
struct CollectionLeaves {
    name: String,
    /// Count and sum of the items, as the journal has them.
    content: (u64, u128),
    leaves: Vec<StoredLeaf>,
}

/// The first key of a leaf, and the checksum of its pair.
type StoredLeaf = (Vec<u8>, u32);

impl DirectoryFile {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Writing to a vector has no way to fail: every field type is encodable.
        bincode::encode_to_vec(self, config::standard()).unwrap_or_default()
    }

    /// Count and sum of each collection's items.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&str, (u64, u128))> {
        self.collections.iter().map(|leaves| (leaves.name.as_str(), leaves.content))
    }

    /// Reads what [`encode`](Self::encode) wrote. The caller has compared a digest of the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (file, used): (Self, usize) =
            bincode::decode_from_slice(bytes, config::standard()).ok()?;
        (used == bytes.len()).then_some(file)
    }
}

impl Index {
    /// What the next open may rely on; `None` unless every leaf is in the backing store as it is.
    /// `content` returns how many items a collection has, and their sum.
    pub(crate) fn to_file(
        &self,
        generation: u64,
        content: impl Fn(&str) -> (u64, u128),
    ) -> Option<DirectoryFile> {
        let stored = |handle: &Arc<LeafHandle>| {
            let state = handle.read();
            if state.is_dirty() { None } else { Some((handle.low.to_vec(), state.stored?)) }
        };
        let collection = |directory: &Arc<Directory>| {
            let leaves = directory.leaves_from(&[], usize::MAX);
            let leaves = leaves.iter().map(stored).collect::<Option<Vec<_>>>()?;
            let (name, content) =
                (directory.collection.to_string(), content(&directory.collection));
            Some(CollectionLeaves { name, content, leaves })
        };
        let collections = self.directories().iter().map(collection).collect::<Option<Vec<_>>>()?;
        Some(DirectoryFile { generation, collections })
    }

    /// An index from the file that a close wrote; `None` if its keys are not in order.
    pub(crate) fn from_file(
        file: DirectoryFile,
        backing: Arc<dyn Backing>,
        limit_bytes: u64,
    ) -> Option<Self> {
        let mut collections = BTreeMap::new();
        for CollectionLeaves { name, leaves, .. } in file.collections {
            let in_order = leaves.is_sorted_by(|one, other| one.0 < other.0);
            if !in_order || leaves.first().is_none_or(|(low, _)| !low.is_empty()) {
                return None;
            }
            let directory = directory_of(&name, leaves);
            collections.insert(name.as_str().into(), Arc::new(directory));
        }
        let index = Self::new(limit_bytes);
        *index.collections.write() = collections;
        *index.backing.write() = Some(backing);
        Some(index)
    }

    /// An index from all pairs of the backing store. `visit` gets each head; `None` if a pair is
    /// damaged or `visit` returns false for a head.
    ///
    /// # Errors
    /// What the backing store fails with.
    pub(crate) fn from_pairs(
        backing: Arc<dyn Backing>,
        limit_bytes: u64,
        visit: &mut dyn FnMut(&[u8], &Head) -> bool,
    ) -> Result<Option<Self>> {
        let mut pairs = Pairs { found: BTreeMap::new(), before: None, joined: Vec::new() };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (mut count, mut last, mut sound) = (0, None, true);
            backing.scan(after.as_deref(), PAIRS, &mut |key, value| {
                count += 1;
                sound = sound && pairs.take(key, value, visit);
                if count == PAIRS {
                    last = Some(key.to_vec());
                }
            })?;
            if !sound {
                return Ok(None);
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        if !pairs.show_before(None, visit) {
            return Ok(None);
        }
        let index = Self::new(limit_bytes);
        let mut unwritten = 0;
        for (name, mut leaves) in pairs.found {
            let first = leaves.first().is_none_or(|(low, _)| !low.is_empty());
            let mut directory = Vec::new();
            if first {
                // A checkpoint was cut short before it wrote the first leaf.
                let high = leaves.first().map(|(low, _)| low.clone().into_boxed_slice());
                let leaf = LeafHandle::resident(Box::default(), high, Leaf::new());
                directory.push(Arc::new(leaf));
                unwritten += 1;
            }
            directory.extend(stored_leaves(std::mem::take(&mut leaves)));
            let directory = Directory::of(&name, directory);
            index.collections.write().insert(name.as_str().into(), Arc::new(directory));
        }
        index.memory.dirty_leaves.store(unwritten, std::sync::atomic::Ordering::Relaxed);
        *index.backing.write() = Some(backing);
        Ok(Some(index))
    }
}

/// The pairs of a backing store, as they are read one after the other.
struct Pairs {
    /// By collection: the first keys of the leaves and the checksums of their pairs.
    found: BTreeMap<String, Vec<StoredLeaf>>,
    /// The pair before, which is shown when it is known where the next one begins.
    before: Option<(Vec<u8>, Vec<u8>)>,
    joined: Vec<u8>,
}

impl Pairs {
    fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        visit: &mut dyn FnMut(&[u8], &Head) -> bool,
    ) -> bool {
        let Some((collection, low)) = split_pair_key(key) else { return false };
        let Some(checksum) = encoded_checksum(value) else { return false };
        if !self.show_before(Some(key), visit) {
            return false;
        }
        match self.found.get_mut(collection) {
            Some(leaves) => leaves.push((low.to_vec(), checksum)),
            None => drop(self.found.insert(collection.to_owned(), vec![(low.to_vec(), checksum)])),
        }
        self.before = Some((key.to_vec(), value.to_vec()));
        true
    }

    /// Shows the heads of the pair before, up to where the next pair begins.
    fn show_before(
        &mut self,
        next: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &Head) -> bool,
    ) -> bool {
        let Some((key, value)) = self.before.take() else { return true };
        let Some((collection, low)) = split_pair_key(&key) else { return false };
        let next = next.and_then(split_pair_key).filter(|(name, _)| *name == collection);
        let high = next.map(|(_, high)| high);
        let joined = &mut self.joined;
        joined.clear();
        joined.extend_from_slice(collection.as_bytes());
        joined.push(ItemKey::SEPARATOR);
        let prefix = joined.len();
        let mut sound = true;
        let whole = Leaf::visit_encoded(&value, &mut |key, head| {
            if high.is_some_and(|high| key >= high) {
                return ControlFlow::Break(());
            }
            joined.truncate(prefix);
            joined.extend_from_slice(key);
            sound = key >= low && visit(joined, head);
            if sound { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        whole.is_some() && sound
    }
}

fn directory_of(name: &str, leaves: Vec<StoredLeaf>) -> Directory {
    Directory::of(name, stored_leaves(leaves))
}

fn stored_leaves(leaves: Vec<StoredLeaf>) -> Vec<Arc<LeafHandle>> {
    let highs: Vec<Option<Box<[u8]>>> =
        leaves.iter().skip(1).map(|(low, _)| Some(low.clone().into_boxed_slice())).collect();
    let highs = highs.into_iter().chain([None]);
    let leaf = |((low, checksum), high): (StoredLeaf, Option<Box<[u8]>>)| {
        Arc::new(LeafHandle::stored(low.into_boxed_slice(), high, checksum))
    };
    leaves.into_iter().zip(highs).map(leaf).collect()
}
