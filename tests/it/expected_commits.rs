//! What a store must hold after a crash: every commit that was made, and how far each must have
//! come. Shared by the tests that cut power, refuse disk calls and damage files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use ifmatch::{Durability, ETag, Meta};

use crate::follower::Follower;

/// What the clock of a simulation says at first.
const BEGIN_MS: u64 = 1_700_000_000_000;

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
    /// `None` where that is not known: the item below may have expired and been swept, or not.
    pub(crate) parent: Option<Option<ETag>>,
    pub(crate) expires_ms: Option<u64>,
}

impl Version {
    pub(crate) fn new(value: Bytes, meta: &Meta) -> Self {
        let (etag, parent) = (Some(meta.etag()), Some(meta.parent()));
        let expires_ms = expires_ms(meta);
        Self { value, revision: meta.revision().0, etag, parent, expires_ms }
    }

    fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }

    fn is(&self, found: &Self) -> bool {
        let tag_fits = self.etag.is_none() || self.etag == found.etag;
        tag_fits
            && self.revision == found.revision
            && (self.parent.is_none() || self.parent == found.parent)
            && self.expires_ms == found.expires_ms
            && self.value == found.value
    }
}

pub(crate) fn expires_ms(meta: &Meta) -> Option<u64> {
    let since = |at: std::time::SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_millis();
    meta.expires().map(|at| u64::try_from(since(at)).unwrap())
}

#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) changes: Vec<(Key, Option<Version>)>,
}

impl Commit {
    fn apply(&self, state: &mut State) {
        for (key, version) in &self.changes {
            match version {
                Some(version) => drop(state.insert(*key, version.clone())),
                None => drop(state.remove(key)),
            }
        }
    }
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
    /// How far the clock was moved on.
    elapsed_ms: u64,
    /// Keys that were written with an expiry at some time: what lies under one that is absent may
    /// be an expired item, which the next write has as its parent.
    fleeting: BTreeSet<Key>,
    /// Someone who follows the feed and keeps its place, through every end of the store.
    pub(crate) follower: Follower,
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

    pub(crate) fn now_ms(&self) -> u64 {
        BEGIN_MS + self.elapsed_ms
    }

    /// Moves the clock on, by which items expire.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.elapsed_ms += ms;
        let now_ms = self.now_ms();
        self.now.retain(|_, version| version.is_live(now_ms));
    }

    /// Whether a key may be one whose item has expired.
    pub(crate) fn is_fleeting(&self, key: Key) -> bool {
        self.fleeting.contains(&key) && !self.now.contains_key(&key)
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
        commit.apply(&mut self.now);
        for (key, version) in &commit.changes {
            if version.as_ref().is_some_and(|version| version.expires_ms.is_some()) {
                self.fleeting.insert(*key);
            }
        }
        self.pending.push(commit);
        self.pass(0);
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
            expected.retain(|_, version| version.is_live(self.now_ms()));
            if tried >= self.written && is_same(&expected, &found) {
                break;
            }
            let Some(commit) = self.pending.get(tried) else { self.mismatch(&found) };
            commit.apply(&mut expected);
            tried += 1;
        }
        self.base = found.clone();
        self.now = found;
        self.pending.clear();
        (self.written, self.durable) = (0, 0);
    }

    fn mismatch(&self, found: &State) -> ! {
        let mut expected = self.base.clone();
        self.pending.iter().take(self.written).for_each(|commit| commit.apply(&mut expected));
        expected.retain(|_, version| version.is_live(self.now_ms()));
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
