//! What a store must hold after a crash: every commit that was made, and how far each must have
//! come. Shared by the tests that cut power, refuse disk calls and damage files.

use std::collections::BTreeMap;

use bytes::Bytes;
use ifmatch::{Durability, ETag, Meta};

/// A collection, 0 to 2, and the number of a key in it.
pub(crate) type Key = (u8, u8);
pub(crate) type State = BTreeMap<Key, Version>;

/// One version of an item, as far as the writer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
    /// `None` for a version whose commit was never acknowledged.
    pub(crate) etag: Option<ETag>,
    pub(crate) parent: Option<ETag>,
}

impl Version {
    pub(crate) fn new(value: Bytes, meta: &Meta) -> Self {
        let (etag, parent) = (Some(meta.etag()), meta.parent());
        Self { value, revision: meta.revision().0, etag, parent }
    }

    fn is(&self, found: &Self) -> bool {
        let tag_fits = self.etag.is_none() || self.etag == found.etag;
        tag_fits
            && self.revision == found.revision
            && self.parent == found.parent
            && self.value == found.value
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) changes: Vec<(Key, Option<Version>)>,
}

/// All commits since the last state that is known to be durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    base: State,
    pending: Vec<Commit>,
    /// So many of `pending` survive a kill; more of them only where they were never acknowledged.
    written: usize,
    /// So many of `pending` survive a loss of power.
    durable: usize,
    now: State,
    highest_revision: u64,
}

impl Ledger {
    /// An empty ledger of a store that has given revisions up to this one.
    pub(crate) fn above(highest_revision: u64) -> Self {
        Self { highest_revision, ..Self::default() }
    }

    /// Takes a state without asking how it came about.
    pub(crate) fn start_from(&mut self, found: State) {
        self.base = found.clone();
        self.now = found;
    }

    /// The state after all commits, acknowledged or not.
    pub(crate) fn now(&self) -> &State {
        &self.now
    }

    /// The highest revision that was ever given.
    pub(crate) fn highest_revision(&self) -> u64 {
        self.highest_revision
    }

    /// # Panics
    /// Unless the state is that after all commits, acknowledged or not.
    pub(crate) fn check_now(&self, found: &State) {
        assert!(is_same(&self.now, found), "not what was written: {found:?}");
    }

    /// From here on everything acknowledged survives a loss of power.
    pub(crate) fn all_durable(&mut self) {
        self.durable = self.written;
    }

    /// What a loss of power obliges: only what was durable.
    pub(crate) fn after_power_cut(&self) -> Self {
        Self { written: self.durable, ..self.clone() }
    }

    pub(crate) fn acknowledge(&mut self, commit: Commit, durability: Durability) {
        self.push(commit);
        self.written = self.pending.len();
        if durability == Durability::Immediate {
            self.all_durable();
        }
    }

    pub(crate) fn push(&mut self, commit: Commit) {
        for (key, version) in &commit.changes {
            match version {
                Some(version) => drop(self.now.insert(*key, version.clone())),
                None => drop(self.now.remove(key)),
            }
        }
        self.pending.push(commit);
    }

    pub(crate) fn take_revision(&mut self, revision: u64) {
        let highest = self.highest_revision;
        assert!(revision > highest, "revision {revision} was given after {highest}");
        self.highest_revision = revision;
    }

    /// Takes the state that an opened store holds as the new base.
    ///
    /// # Panics
    /// Unless it is the state after a prefix of the commits that holds all that must be there.
    pub(crate) fn settle(&mut self, found: State) {
        let mut expected = self.base.clone();
        let mut tried = 0;
        loop {
            if tried >= self.written && is_same(&expected, &found) {
                break;
            }
            let Some(commit) = self.pending.get(tried) else { self.mismatch(&found) };
            for (key, version) in &commit.changes {
                match version {
                    Some(version) => drop(expected.insert(*key, version.clone())),
                    None => drop(expected.remove(key)),
                }
            }
            tried += 1;
        }
        let highest_revision = self.highest_revision;
        *self = Self { base: found.clone(), now: found, highest_revision, ..Self::default() };
    }

    fn mismatch(&self, found: &State) -> ! {
        let mut expected = self.base.clone();
        for commit in self.pending.iter().take(self.written) {
            for (key, version) in &commit.changes {
                match version {
                    Some(version) => drop(expected.insert(*key, version.clone())),
                    None => drop(expected.remove(key)),
                }
            }
        }
        let revision = |state: &State, key| state.get(key).map(|v: &Version| v.revision);
        let mut differences = String::new();
        for key in expected.keys().chain(found.keys()) {
            let (left, right) = (expected.get(key), found.get(key));
            if left.is_none() || !right.is_some_and(|right| left.is_some_and(|l| l.is(right))) {
                let (left, right) = (revision(&expected, key), revision(found, key));
                differences += &format!(" {key:?}: {left:?} became {right:?};");
            }
        }
        panic!(
            "no prefix of the commits gives what the store holds ({} must be there, {} may): {differences}",
            self.written,
            self.pending.len(),
        );
    }
}

/// Whether what was found is what is expected, as far as that is known.
pub(crate) fn is_same(expected: &State, found: &State) -> bool {
    expected.len() == found.len()
        && expected
            .iter()
            .zip(found)
            .all(|((left, expected), (right, found))| left == right && expected.is(found))
}
