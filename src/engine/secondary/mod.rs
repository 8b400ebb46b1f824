//! Secondary indexes: declared, kept with the store, and maintained by every writer in the same
//! commit.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | an index as the engine knows it, and the list of them |
//! | [`record`] | its definition in the journal |
//! | [`declare`] | declaring and dropping |
//! | [`maintain`] | what a commit changes in indexes |
//! | [`unique`] | whether the values that a commit writes are unique |
//! | [`rivals`] | items that share a value in a unique index |
//! | [`build`] | adding the rows of items that exist, while writers continue |
//! | [`settle`] | which indexes an open believes, and which it builds anew |
//! | [`read`] | rows in order, as they were at a view |
//!
//! **When an index is maintained.** Declaring, the beginning and the end of building, and dropping
//! hold all stripes, and a commit holds those of its keys from before it decides until it is
//! applied. So each commit is wholly before or wholly after each of these steps.
//!
//! **What a view sees.** A view is begun first and asks then whether an index is built. If it is
//! lost or dropped later, its rows stay as they were at that moment, and what was displaced before
//! is saved, so the older view continues to read them. They are removed when no older view is left.

pub(crate) mod build;
mod declare;
pub(super) mod maintain;
mod read;
pub(super) mod record;
mod rivals;
pub(super) mod settle;
pub(super) mod unique;

#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use crate::engine::snapshots::View;
use crate::index::secondary::directory_name;
use crate::values::key::ItemKey;
use crate::values::query::index::{Field, Index};
use crate::values::query::partial::Wanted;

pub(crate) use read::SecondaryRow;

/// The most indexes of a collection.
pub(crate) const MAX_OF_COLLECTION: usize = 64;
/// The most indexes of a store: MANIFEST has room for them.
pub(crate) const MAX_OF_STORE: usize = 1_024;

/// A secondary index, as it was last begun to be built.
#[derive(Debug)]
pub(crate) struct Secondary {
    pub(crate) collection: Box<str>,
    pub(crate) definition: Index,
    /// Which of the collection's indexes it is in entries of the journal.
    pub(crate) slot: u8,
    /// The revision of the entry that declared it, which names it for ever.
    pub(crate) declared: u64,
    /// The number of the directory that its rows are in: another one for each time it is built.
    pub(crate) rows: u64,
    directory: Box<str>,
    /// The parts of a document that decide which rows it has.
    wanted: Wanted,
    state: AtomicU8,
    binding: AtomicU8,
    /// The newest revision given when it was built. Older views do not use it.
    built_at: AtomicU64,
}

/// What can be done with an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Declared. Nobody adds rows.
    Unbuilt = 0,
    /// Writers maintain it; nobody reads it.
    Building = 1,
    Built = 2,
    /// What came after some commit is not in it; it has to be built anew. Older views read on.
    Lost = 3,
    /// Rows are missing; it has to be built anew.
    Gone = 4,
}

/// Whether writers hold to a unique index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    /// Its rows are not complete yet, or it is not unique.
    No = 0,
    /// They do, while the items that there were before are compared with each other.
    Checked = 1,
    /// They do, and its record says so.
    Bound = 2,
}

/// The indexes of an open store.
///
/// **Lock order:** the lock in here is a leaf: nothing else is taken while it is held. A thread
/// that changes the list holds all stripes, or is alone with the store.
#[derive(Debug, Default)]
pub(crate) struct Secondaries {
    /// Whether there is any index, so that stores without look no further.
    any: AtomicBool,
    list: RwLock<List>,
}

/// The indexes of a collection, in order of slot.
#[derive(Debug, Default)]
pub(crate) struct OfCollection {
    indexes: Vec<Arc<Secondary>>,
    /// The parts of a document that decide which rows it has in any of them.
    wanted: Wanted,
}

#[derive(Debug, Default)]
struct List {
    by_collection: HashMap<Box<str>, Arc<OfCollection>>,
    /// Indexes that nobody writes to any more, and the number below which snapshots may read them.
    retired: Vec<(Arc<Secondary>, u64)>,
    /// Directories of which rows were lost.
    lost: Vec<u64>,
    /// Above the number of every directory that there ever was in this session.
    next_rows: u64,
}

impl Secondary {
    fn new(collection: &str, definition: Index, slot: u8, declared: u64, rows: u64) -> Self {
        Self {
            collection: collection.into(),
            wanted: wanted([&definition]),
            definition,
            slot,
            declared,
            rows,
            directory: directory_name(rows).into(),
            state: AtomicU8::new(State::Unbuilt as u8),
            binding: AtomicU8::new(Binding::No as u8),
            built_at: AtomicU64::new(0),
        }
    }

    /// The same index, to be built anew.
    fn renewed(&self, rows: u64) -> Self {
        let definition = self.definition.clone();
        let same = Self::new(&self.collection, definition, self.slot, self.declared, rows);
        same.set_binding(self.binding());
        same
    }

    pub(crate) fn binding(&self) -> Binding {
        let binding = self.binding.load(Ordering::Acquire);
        let known = [Binding::No, Binding::Checked];
        known.into_iter().find(|known| *known as u8 == binding).unwrap_or(Binding::Bound)
    }

    fn set_binding(&self, binding: Binding) {
        self.binding.store(binding as u8, Ordering::Release);
    }

    /// Whether writers hold to it.
    fn binds(&self) -> bool {
        self.definition.is_unique() && self.binding() > Binding::No
    }

    /// Whether two items never have one value in it.
    pub(crate) fn is_bound(&self) -> bool {
        self.definition.is_unique() && self.binding() == Binding::Bound
    }

    /// Whether the items that there were are still to be compared with each other.
    fn is_unchecked(&self) -> bool {
        self.definition.is_unique() && self.binding() < Binding::Bound
    }

    pub(crate) fn state(&self) -> State {
        let state = self.state.load(Ordering::Acquire);
        [State::Unbuilt, State::Building, State::Built, State::Lost]
            .into_iter()
            .find(|known| *known as u8 == state)
            .unwrap_or(State::Gone)
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    fn set_built(&self, revision: u64) {
        self.built_at.store(revision, Ordering::Release);
        self.set_state(State::Built);
    }

    pub(crate) fn is_built(&self) -> bool {
        self.state() == State::Built
    }

    fn is_maintained(&self) -> bool {
        matches!(self.state(), State::Building | State::Built)
    }

    /// Whether a view, which was begun before this is asked, may read the rows.
    pub(crate) fn is_usable(&self, view: &View) -> bool {
        self.state() == State::Built && self.built_at.load(Ordering::Acquire) <= view.revision()
    }

    /// The parts of a stored document that decide which rows it has; `None` where the bytes are not
    /// a document, so that there are no rows.
    fn document(&self, value: &[u8]) -> Option<Value> {
        self.wanted.read(value).ok()
    }

    /// The key of a row.
    fn row_key(&self, code: &[u8], key: &[u8]) -> ItemKey {
        ItemKey::in_directory(&self.directory, code, key)
    }
}

impl OfCollection {
    fn new(indexes: Vec<Arc<Secondary>>) -> Self {
        let wanted = wanted(indexes.iter().map(|index| &index.definition));
        Self { indexes, wanted }
    }

    /// A stored document, as [`Secondary::document`] reads it for one of them.
    fn document(&self, value: &[u8]) -> Option<Value> {
        self.wanted.read(value).ok()
    }
}

impl Deref for OfCollection {
    type Target = [Arc<Secondary>];

    fn deref(&self) -> &Self::Target {
        &self.indexes
    }
}

fn wanted<'i>(definitions: impl IntoIterator<Item = &'i Index>) -> Wanted {
    let fields = definitions.into_iter().flat_map(|index| index.fields());
    Wanted::of(fields.map(Field::path))
}

fn sort(list: &mut [Arc<Secondary>], by: fn(&Secondary) -> u64) {
    list.sort_unstable_by_key(|index| by(index));
}

impl Secondaries {
    /// Whether there is any index, or was.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The indexes of a collection, in order of slot.
    pub(crate) fn of(&self, collection: &str) -> Arc<OfCollection> {
        if !self.any() {
            return Arc::default();
        }
        self.list.read().by_collection.get(collection).cloned().unwrap_or_default()
    }

    /// The index of this name.
    pub(crate) fn named(&self, collection: &str, name: &str) -> Option<Arc<Secondary>> {
        self.of(collection).iter().find(|index| index.definition.name() == name).cloned()
    }

    /// All indexes.
    pub(crate) fn all(&self) -> Vec<Arc<Secondary>> {
        let list = self.list.read();
        let mut all: Vec<_> =
            list.by_collection.values().flat_map(|of| of.iter().cloned()).collect();
        sort(&mut all, |index| index.declared);
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.list.read().by_collection.values().map(|of| of.len()).sum()
    }

    /// Adds an index, or puts it in the place of the same one.
    fn put(&self, index: Arc<Secondary>) {
        let mut list = self.list.write();
        let name = index.collection.clone();
        let mut of: Vec<_> = list.by_collection.get(&name).map_or_else(Vec::new, |of| of.to_vec());
        of.retain(|other| other.declared != index.declared);
        of.push(index);
        sort(&mut of, |index| u64::from(index.slot));
        list.by_collection.insert(name, Arc::new(OfCollection::new(of)));
        self.any.store(true, Ordering::Release);
    }

    /// Takes an index off the list.
    fn remove(&self, index: &Secondary) {
        let mut list = self.list.write();
        if let Some(of) = list.by_collection.get_mut(&index.collection) {
            let others = of.iter().filter(|other| other.declared != index.declared).cloned();
            *of = Arc::new(OfCollection::new(others.collect()));
        }
    }

    /// The number of a new directory.
    fn next_rows(&self) -> u64 {
        let mut list = self.list.write();
        list.next_rows += 1;
        list.next_rows
    }

    /// No directory to come has this number or a lower one.
    fn skip_rows(&self, rows: u64) {
        let mut list = self.list.write();
        list.next_rows = list.next_rows.max(rows);
    }

    /// Ends an index: nobody maintains it any more, and its rows go when no snapshot below this
    /// number lives.
    fn retire(&self, index: Arc<Secondary>, snapshots_below: u64) {
        if index.state() != State::Gone {
            index.set_state(State::Lost);
        }
        self.list.write().retired.push((index, snapshots_below));
    }

    fn note_lost(&self, rows: u64) {
        self.list.write().lost.push(rows);
    }

    fn has_lost(&self, rows: u64) -> bool {
        self.list.read().lost.contains(&rows)
    }

    /// All that have rows, those that wait for snapshots among them.
    fn with_rows(&self) -> Vec<Arc<Secondary>> {
        let mut all = self.all();
        all.extend(self.list.read().retired.iter().map(|(index, _)| Arc::clone(index)));
        all
    }

    /// Takes the directories of retired indexes that no snapshot reads any more.
    pub(super) fn take_retired(&self, lives_below: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut list = self.list.write();
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut list.retired)
            .into_iter()
            .partition(|(_, snapshots_below)| lives_below(*snapshots_below));
        list.retired = kept;
        gone.into_iter().map(|(index, _)| index.rows).collect()
    }
}
