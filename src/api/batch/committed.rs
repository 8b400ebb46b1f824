//! What a batch wrote.

use crate::engine::operation::{self, Action, Operation};
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::revision::Revision;
use crate::values::short_hash::ShortMap;

/// The result of a [`Batch`](crate::Batch): its revision, and the version of each operation's item.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let store = ifmatch::Store::in_memory();
/// let notes = store.collection::<u64>("notes")?;
/// let a = notes.create("a", &1)?;
/// let done = store.batch().check(&notes, "a", a).create(&notes, "b", &2).commit()?;
/// assert_eq!(done.meta(0), None); // a check writes nothing
/// let b = done.meta(1).expect("it was created");
/// notes.replace("b", &3, b)?;
/// assert_eq!(b.revision(), done.revision());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    revision: Revision,
    metas: Vec<Option<Meta>>,
}

impl Committed {
    pub(super) fn new(operations: &[Operation], committed: operation::Committed) -> Self {
        let operation::Committed { revision, metas, keys, .. } = committed;
        // Most batches write each operation's item, in their order.
        let is_each = keys.iter().eq(operations.iter().map(|operation| &operation.key));
        let version_of: ShortMap<&ItemKey, &Meta> =
            keys.iter().zip(&metas).filter(|_| !is_each).collect();
        let meta = |(index, operation): (usize, &Operation)| match &operation.action {
            Action::Check => None,
            // Of a single operation there is one version at most.
            _ if operations.len() == 1 => metas.first().copied(),
            _ if is_each => metas.get(index).copied(),
            _ => version_of.get(&operation.key).map(|meta| **meta),
        };
        let metas = operations.iter().enumerate().map(meta).collect();
        Self { revision: Revision(revision), metas }
    }

    /// The revision of the commit; the store's revision if the batch changed nothing.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// For each operation, in the order in which they were added, the version of its item after the
    /// batch; for a removed item, the version of the removal. Operations on one item have the same
    /// version, because only its last state is written. `None` for a check, and for an item that
    /// was absent before the batch and is absent after it.
    #[must_use]
    pub fn metas(&self) -> &[Option<Meta>] {
        &self.metas
    }

    /// The version of one operation's item, as in [`metas`](Self::metas); operations are counted
    /// from 0.
    #[must_use]
    pub fn meta(&self, index: usize) -> Option<&Meta> {
        self.metas.get(index)?.as_ref()
    }
}
