//! The directories that hold rows of secondary indexes.
//!
//! A row's key is the code of indexed values, followed by the item's key; its head says nothing but
//! the revision that added it. Such a directory has a number instead of a collection's name. No
//! collection's name begins with a NUL, so the two are not mistaken for each other, here or in the
//! keys of the backing store, where no collection's name begins with the byte ff.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::index::directory::Directory;
use crate::index::leaf::{Leaf, Put};
use crate::index::leaf_handle::LeafHandle;
use crate::index::{Index, Pinned};
use crate::values::error::Result;
use crate::values::head::Head;

/// Begins the keys of these directories' pairs in the backing store.
pub(super) const MARK: u8 = 0xff;
/// How long a directory's name is.
pub(crate) const NAME_BYTES: usize = 18;

/// The name of a directory, by its number.
pub(crate) fn directory_name(number: u64) -> String {
    format!("\0\0{number:016x}")
}

/// The number of a directory; `None` for a collection's name.
pub(crate) fn directory_number(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("\0\0")?, 16).ok()
}

/// Whether a directory holds rows of a secondary index.
pub(crate) fn is_directory(name: &str) -> bool {
    name.starts_with('\0')
}

/// The leaves of rows that a commit changes. The directory of the last row is mostly that of the
/// next one, too, and is not looked up again.
#[derive(Debug)]
pub(crate) struct RowLeaves<'a> {
    index: &'a Index,
    last: Option<Arc<Directory>>,
}

impl RowLeaves<'_> {
    /// Loads the leaf of a row, so that it stays in memory for as long as the pin does.
    ///
    /// # Errors
    /// What loading the leaf fails with.
    pub(crate) fn load(&mut self, directory: &str, key: &[u8]) -> Result<()> {
        self.look_into_leaf(directory, key, |_| ()).map(drop)
    }

    /// As [`load`](Self::load), and which revision added the row if it is there.
    pub(crate) fn revision_of(&mut self, directory: &str, key: &[u8]) -> Result<Option<u64>> {
        let revision = |leaf: &Leaf| leaf.find(key).map(|slot| leaf.head(slot).revision);
        self.look_into_leaf(directory, key, revision).map(Option::flatten)
    }

    fn look_into_leaf<T>(
        &mut self,
        directory: &str,
        key: &[u8],
        f: impl Fn(&Leaf) -> T,
    ) -> Result<Option<T>> {
        let index = self.index;
        let Some(directory) = self.directory(directory) else { return Ok(None) };
        match directory.in_memory(key, &f) {
            None => index.look_into_leaf(directory, key, f, || {}).map(Some),
            found => Ok(found),
        }
    }

    /// Adds a row whose leaf is in memory. No I/O, and nothing that can fail.
    pub(crate) fn add(&mut self, directory: &str, key: &[u8], revision: u64) {
        let (index, head) = (self.index, Head::bare(revision));
        if self.directory(directory).is_none() {
            self.last = Some(index.directory_or_new(directory));
        }
        let Some(directory) = &self.last else { return };
        let added = directory
            .in_memory_mut(key, |state| index.change(state, |leaf| leaf.put(key, &head, None)));
        if matches!(added, None | Some(Put::Full { .. })) {
            index.put_waiting(directory, key, &head, None);
        }
    }

    fn directory(&mut self, name: &str) -> Option<&Directory> {
        if self.last.as_ref().is_none_or(|last| *last.collection != *name) {
            self.last = self.index.directory(name);
        }
        self.last.as_deref()
    }
}

impl Index {
    /// The leaves of rows of secondary indexes. Directories come and go with nothing pinned.
    pub(crate) fn row_leaves<'a>(&'a self, _: &'a Pinned<'_>) -> RowLeaves<'a> {
        RowLeaves { index: self, last: None }
    }

    /// The numbers of the directories that hold rows of secondary indexes.
    pub(crate) fn secondary_directories(&self) -> Vec<u64> {
        let names = self.collections.read();
        names.values().filter_map(|directory| directory_number(&directory.collection)).collect()
    }

    /// Whether any row of a directory is in the backing store only.
    pub(crate) fn is_partly_stored(&self, number: u64) -> bool {
        let Some(directory) = self.directory(&directory_name(number)) else { return false };
        let absent = |handle: &Arc<LeafHandle>| handle.read().leaf.is_none();
        directory.leaves_from(&[], usize::MAX).iter().any(absent)
    }

    /// Removes a directory with all its rows. Nobody reads or writes it any more, and no write-back
    /// is under way: a thread that had found the directory would look for ever for a leaf that
    /// covers its key. The next write-back removes its pairs from the backing store.
    pub(crate) fn remove_directory(&self, number: u64) {
        // Nothing is loaded, evicted or written back in between.
        let _residency = self.residency.write();
        let name = directory_name(number);
        let Some(directory) = self.collections.write().remove(name.as_bytes()) else { return };
        let mut pairs = Vec::new();
        for handle in directory.leaves_from(&[], usize::MAX) {
            let mut state = handle.write();
            state.merged = true;
            self.memory.grew(state.memory_bytes(), 0);
            if state.is_dirty() {
                self.memory.dirty_leaves.fetch_sub(1, Ordering::AcqRel);
            }
            state.leaf = None;
            pairs.push(super::pair_key(&directory.collection, &handle.low));
        }
        self.merged_pairs.lock().extend(pairs);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::index::{pair_key, split_pair_key};

    #[test]
    fn a_directory_has_a_name_that_no_collection_has() {
        for number in [0, 1, u64::MAX] {
            let name = directory_name(number);
            assert_eq!(name.len(), NAME_BYTES);
            assert!(is_directory(&name) && crate::values::key::check_collection(&name).is_err());
            assert_eq!(directory_number(&name), Some(number));
            for low in [&b""[..], b"\0", b"\xff\0k"] {
                let key = pair_key(&name, low);
                assert_eq!(split_pair_key(&key), Some((&*name, low)));
                assert!(key > pair_key("\u{10ffff}", &[0xff; 9]));
            }
        }
        assert_eq!(directory_number("0000000000000001"), None);
    }

    #[test]
    fn the_systems_pairs_and_collections_pairs_are_split_as_before() {
        for (collection, low) in [("", &b"notes\0/a"[..]), ("", b""), ("notes", b"\0"), ("é", b"k")]
        {
            assert_eq!(split_pair_key(&pair_key(collection, low)), Some((collection, low)));
        }
    }
}
