//! Which indexes an open believes.
//!
//! MANIFEST names the indexes that were built at the last checkpoint, with count and sum of their
//! rows. After an orderly close that is believed, as all of the index is. Otherwise the commits
//! after the checkpoint are replayed: what they say moves the sum that is expected, and the rows
//! that are found move with what is done to them. An index whose two sums differ, or that MANIFEST
//! does not name, is built anew.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::secondary::maintain::NO_TAG;
use crate::engine::secondary::record::IndexDefinition;
use crate::engine::secondary::{Binding, Secondary, State};
use crate::index::secondary::directory_number;
use crate::journal::content_sum::ContentSum;
use crate::journal::entries::FoundEntry;
use crate::journal::frame::EntryKind;
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::journal::index_changes::{RowChanges, decode};
use crate::journal::index_sums::IndexSum;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::query::entries::{Codes, codes};

/// How many entries are replayed before the index may evict.
const EVICT_AFTER: usize = 256;

/// Count and sum of the rows of secondary indexes as an open finds them, by directory.
#[derive(Debug, Default)]
pub(crate) struct FoundRows {
    sums: HashMap<u64, ContentSum>,
}

impl FoundRows {
    /// Adds a row, by its joined key, if it is one of a secondary index; returns whether it is. A
    /// row that is ahead of the journal's last revision counts twice, so that its index is not
    /// believed: no view would see the row.
    pub(crate) fn add(&mut self, key: &[u8], head: &Head, last_revision: u64) -> bool {
        let name = key.get(..crate::index::secondary::NAME_BYTES);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let Some(number) = name.and_then(directory_number) else { return false };
        let sum = self.sums.entry(number).or_default();
        sum.add(key, NO_TAG);
        if head.revision > last_revision {
            sum.add(key, NO_TAG);
        }
        true
    }
}

/// An index that MANIFEST names, while commits are replayed on it.
struct Candidate {
    index: Arc<Secondary>,
    expected: ContentSum,
    found: ContentSum,
    lost: bool,
}

impl Engine {
    /// Puts the declared indexes into the list. `found` has the count and sum of their rows; `None`
    /// if the index on disk is believed as an orderly close left it. Nobody else uses the store
    /// yet.
    pub(in crate::engine) fn settle_secondaries(
        &self,
        definitions: Vec<(u64, IndexDefinition)>,
        found: Option<&FoundRows>,
    ) -> Result<()> {
        let directories: BTreeSet<u64> = self.index.secondary_directories().into_iter().collect();
        let recorded = self.journal.recorded_indexes();
        let numbers = recorded.iter().map(|record| record.rows).chain(directories.last().copied());
        self.secondaries.skip_rows(numbers.max().unwrap_or(0));
        let mut candidates: HashMap<String, Vec<Candidate>> = HashMap::new();
        for (declared, definition) in definitions {
            let IndexDefinition { collection, index, slot, bound } = definition;
            let record = recorded.iter().find(|record| record.declared == declared);
            let rows = record.map_or_else(|| self.secondaries.next_rows(), |record| record.rows);
            let index = Secondary::new(&collection, index, slot, declared, rows);
            if bound.is_some() {
                index.set_binding(Binding::Bound);
            }
            let index = Arc::new(index);
            self.secondaries.put(Arc::clone(&index));
            if let Some(record) = record {
                let expected = record.content;
                let of_rows =
                    |found: &FoundRows| found.sums.get(&rows).copied().unwrap_or_default();
                let found = found.map_or(expected, of_rows);
                let candidate = Candidate { index, expected, found, lost: false };
                candidates.entry(collection).or_default().push(candidate);
            }
        }
        self.replay(&mut candidates)?;
        for candidate in candidates.into_values().flatten() {
            self.settle(&candidate);
        }
        self.remove_unused(&directories);
        Ok(())
    }

    fn settle(&self, candidate: &Candidate) {
        let Candidate { index, expected, found, lost } = candidate;
        if *lost || found != expected || self.secondaries.has_lost(index.rows) {
            log::info!(
                "the index {} of collection {:?} cannot be proven from its last checkpoint on and \
                 is built anew",
                index.definition,
                index.collection
            );
            return;
        }
        let sum = IndexSum { rows: index.rows, content: *expected, built: true };
        self.journal.set_index_sum(index.declared, sum);
        index.set_built(0);
    }

    /// Removes the directories of dropped indexes, and of those that are to be built.
    fn remove_unused(&self, directories: &BTreeSet<u64>) {
        let all = self.secondaries.all();
        let used = |rows: &u64| {
            let mut built = all.iter().filter(|index| index.state() == State::Built);
            built.any(|index| index.rows == *rows)
        };
        for number in directories.iter().filter(|number| !used(number)) {
            self.index.remove_directory(*number);
        }
    }

    /// Replays the commits after the last checkpoint on indexes that MANIFEST names.
    fn replay(&self, candidates: &mut HashMap<String, Vec<Candidate>>) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let (mut reader, up_to) =
            (FrameReader::after(self.journal.checkpoint_revision()), self.journal.applied());
        let (mut replayed, mut damaged) = (0, false);
        let mut visit = |commit: &CommitFrame<'_>| {
            commit.for_each_entry(&mut |entry| {
                if let Some(of) = candidates.get_mut(entry.key.collection()) {
                    self.replay_entry(of, &entry)?;
                    replayed += 1;
                    if replayed % EVICT_AFTER == 0 {
                        self.index.evict();
                    }
                }
                Ok(())
            })?;
            Ok(ControlFlow::Continue(()))
        };
        reader.read_over_damage(&self.journal, up_to, &mut visit, &mut |_| {
            damaged = true;
            Ok(())
        })?;
        if damaged {
            // What the lost commits changed in the rows is not known.
            candidates.values_mut().flatten().for_each(|candidate| candidate.lost = true);
        }
        Ok(())
    }

    fn replay_entry(&self, candidates: &mut [Candidate], found: &FoundEntry<'_, '_>) -> Result<()> {
        let entry = &found.entry;
        if entry.kind() == EntryKind::Cleared {
            // What is left of the collection came later, and is soon read.
            candidates.iter_mut().for_each(|candidate| candidate.lost = true);
            return Ok(());
        }
        let Some(changes) = decode(entry.index_changes) else {
            candidates.iter_mut().for_each(|candidate| candidate.lost = true);
            return Ok(());
        };
        let indexes = self.secondaries.of(found.key.collection());
        let document = entry.kind().leaves_item().then(|| indexes.document(entry.value)).flatten();
        for candidate in candidates {
            let listed = changes.iter().find(|change| change.slot == candidate.index.slot);
            let codes = |index: &Secondary| {
                let document = document.as_ref();
                document.and_then(|d| codes(&index.definition, d).ok()).unwrap_or_default()
            };
            match listed.map(|change| &change.what) {
                None if entry.parent.is_some() => {}
                None => {
                    let added = codes(&candidate.index);
                    self.replay_rows(candidate, found, &[], &added)?;
                }
                Some(RowChanges::Lost) => candidate.lost = true,
                Some(RowChanges::Rows { removed, added }) => {
                    let all = codes(&candidate.index);
                    let places = all.iter().enumerate();
                    let is_added =
                        |place: &usize| added.iter().any(|at| usize::from(*at) == *place);
                    let of_value = places.filter(|(place, _)| is_added(place));
                    let added: Codes = of_value.map(|(_, code)| code).collect();
                    self.replay_rows(candidate, found, removed, &added)?;
                }
            }
        }
        Ok(())
    }

    /// Removes and adds the rows that an entry says, where that is not done yet.
    fn replay_rows(
        &self,
        candidate: &mut Candidate,
        entry: &FoundEntry<'_, '_>,
        removed: &[&[u8]],
        added: &Codes,
    ) -> Result<()> {
        let Candidate { index, expected, found, .. } = candidate;
        let key = |code: &[u8]| index.row_key(code, entry.key.key_bytes());
        let removed: Vec<ItemKey> = removed.iter().map(|code| key(code)).collect();
        let added: Vec<ItemKey> = added.iter().map(key).collect();
        let pin = self.pin(removed.iter().chain(&added))?;
        for row in removed {
            expected.subtract(row.as_bytes(), NO_TAG);
            if self.index.head(&row)?.is_some() {
                found.subtract(row.as_bytes(), NO_TAG);
                self.index.remove_if(&row, &pin, &|_| true);
            }
        }
        for row in added {
            expected.add(row.as_bytes(), NO_TAG);
            if self.index.head(&row)?.is_none() {
                found.add(row.as_bytes(), NO_TAG);
                self.index.put(&row, &Head::bare(entry.revision), None, &pin);
            }
        }
        Ok(())
    }

    /// Builds the indexes that are declared and not built, one after the other. One that cannot be
    /// built is logged.
    ///
    /// # Errors
    /// Why writing has ended, where a failure has ended it: the store is not to be used then.
    pub(in crate::engine) fn build_all(&self) -> Result<()> {
        let mut any = false;
        for index in self.secondaries.all() {
            match self.build_whole(&index) {
                Ok(built) => any |= built,
                Err(error) if self.journal.is_poisoned() => return Err(error),
                Err(error) => log::warn!(
                    "the index {} of collection {:?} cannot be built, and finds read the items \
                     instead: {error}",
                    index.definition,
                    index.collection
                ),
            }
        }
        if any {
            self.checkpoint_or_put_off("indexes that were built are built again at the next open")?;
        }
        Ok(())
    }

    /// Builds an index, if it is not built, and then checks a new unique one; returns whether
    /// anything was built. One that binds is built whatever the items are.
    fn build_whole(&self, index: &Secondary) -> Result<bool> {
        let (collection, name) = (&*index.collection, index.definition.name());
        let build = self.begin_build(collection, &name);
        let built = build.is_some();
        if let Some(mut build) = build {
            while self.build_step(&mut build)? {}
        }
        let Some(mut rivals) = self.begin_check(collection, &name)? else { return Ok(built) };
        loop {
            match self.check_step(&mut rivals) {
                Ok(true) => {}
                Ok(false) => return Ok(built),
                Err(error @ Error::NotUnique { .. }) => {
                    log::warn!(
                        "the index {name} of collection {collection:?}, the making of which was \
                         cut short, is dropped: {error}"
                    );
                    return self.drop_index(collection, &name).map(|_| built);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
