//! What a recorded process has written and was promised, and which states a cut may leave.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::{Durability, ETag, HistoryPolicy, Item, Options, Store};

use super::child::ITEMS;

pub(super) type State = BTreeMap<Vec<u8>, Version>;

/// One version of an item; its value follows from number and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) len: usize,
    pub(super) revision: u64,
    pub(super) etag: Option<ETag>,
}

impl Version {
    pub(super) fn value(self) -> Bytes {
        let mut value = self.number.to_le_bytes().to_vec();
        value.resize(8 + self.len, self.number as u8);
        value.into()
    }

    /// # Panics
    /// Unless the item's value is all of one write.
    fn of(item: &Item<Bytes>) -> Self {
        let (number, filler) = item.value.split_first_chunk().expect("a value is cut off");
        let number = u64::from_le_bytes(*number);
        assert!(filler.iter().all(|byte| *byte == number as u8), "a value is mixed");
        let (revision, etag) = (item.revision().0, Some(item.etag()));
        Self { number, len: filler.len(), revision, etag }
    }
}

/// Those of the recorded process and of whoever opens what a cut leaves.
pub(super) fn options(durability: Durability) -> Options {
    let history = HistoryPolicy::new().versions(1).tombstones(Duration::ZERO);
    let options = Options::new().durability(durability).history(history);
    options.sync_interval(Duration::from_millis(5)).cache_bytes(1 << 20)
}

/// Everything that a store holds.
pub(super) fn read(store: &Store) -> State {
    let items = store.raw(ITEMS).unwrap();
    let versions = items.iter().unwrap().map(|item| {
        let item = item.expect("an item cannot be read");
        (item.key().to_vec(), Version::of(&item))
    });
    versions.collect()
}

#[derive(Debug, Clone)]
struct Commit {
    revision: u64,
    changes: Vec<(Vec<u8>, Option<Version>)>,
}

/// All commits since a state that is known to be durable, in order of revision; also those that
/// were made after the moment that is looked at.
#[derive(Debug, Clone)]
pub(super) struct History {
    durability: Durability,
    base: State,
    commits: Vec<Commit>,
    /// What had been said by the moment that is looked at: the highest revision that any write
    /// returned, and the one up to which everything is durable.
    told: u64,
    durable: u64,
}

impl History {
    pub(super) fn new(durability: Durability) -> Self {
        let (base, commits) = (State::new(), Vec::new());
        Self { durability, base, commits, told: 0, durable: 0 }
    }

    /// Learns what a process has written, from the lines of its report.
    pub(super) fn learn<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            if let Some(commit) = line.strip_prefix("commit ") {
                self.commits.push(commit_in(commit));
            }
        }
        self.commits.sort_by_key(|commit| commit.revision);
        let twice = self.commits.windows(2).any(|pair| pair[0].revision == pair[1].revision);
        assert!(!twice, "a revision was given twice");
    }

    /// Comes to the moment at which a line was written.
    pub(super) fn pass(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap();
        let revision: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        if word == "commit" {
            self.told = self.told.max(revision);
        }
        if word == "durable" || self.durability == Durability::Immediate {
            self.durable = self.durable.max(revision);
        }
    }

    /// The highest revision that any write has returned by now.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Something that tells two moments with different obligations apart.
    pub(super) fn obligation(&self) -> (u64, u64) {
        (self.durable, self.told)
    }

    /// Looks whether a state is one that a cut at this moment may leave: that after a prefix of
    /// the commits which holds everything durable.
    ///
    /// # Panics
    /// Unless it is.
    pub(super) fn check(&self, found: &State) {
        let newest = found.values().map(|version| version.revision).max().unwrap_or(0);
        let least = newest.max(self.durable);
        let mut state = self.base.clone();
        let (before, after) =
            self.commits.split_at(self.commits.partition_point(|commit| commit.revision <= least));
        before.iter().for_each(|commit| commit.apply(&mut state));
        // Commits that only took something away leave nothing newer.
        let mut after = after.iter();
        while state != *found {
            let Some(commit) = after.next() else { self.mismatch(least, found) };
            commit.apply(&mut state);
        }
    }

    /// Takes what a cut has left for the beginning: commits behind it never were.
    pub(super) fn settle(&mut self, found: State) {
        self.base = found;
        self.commits.clear();
        self.durable = 0;
    }

    fn mismatch(&self, least: u64, found: &State) -> ! {
        let mut expected = self.base.clone();
        let before = self.commits.iter().filter(|commit| commit.revision <= least);
        before.for_each(|commit| commit.apply(&mut expected));
        let mut differences = String::new();
        let keys = expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key)));
        for key in keys.filter(|key| expected.get(*key) != found.get(*key)).take(8) {
            let (left, right) = (expected.get(key), found.get(key));
            differences += &format!("\n{}: {left:?} became {right:?}", key.escape_ascii());
        }
        panic!(
            "no prefix of the commits gives what the store holds (all up to {} must be there):{}",
            self.durable, differences
        );
    }
}

impl Commit {
    fn apply(&self, state: &mut State) {
        for (key, version) in &self.changes {
            match version {
                Some(version) => drop(state.insert(key.clone(), *version)),
                None => drop(state.remove(key)),
            }
        }
    }
}

/// The commit in a line: its revision, then for each item a key, and for one that was not removed
/// number, length and tag of its version.
fn commit_in(line: &str) -> Commit {
    let mut words = line.split(' ');
    let revision = words.next().unwrap().parse().unwrap();
    let change = |word: &str| {
        let mut parts = word.split(',');
        let key = parts.next().unwrap();
        let digits = (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16));
        let version = parts.next().map(|number| Version {
            number: number.parse().unwrap(),
            len: parts.next().unwrap().parse().unwrap(),
            revision,
            etag: Some(parts.next().unwrap().parse().unwrap()),
        });
        (digits.collect::<Result<_, _>>().unwrap(), version)
    };
    Commit { revision, changes: words.map(change).collect() }
}
