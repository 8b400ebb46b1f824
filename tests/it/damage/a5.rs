//! Regression (finding A5): one flipped bit in a superseded version made compaction, backup and the
//! feed fail from then on, an open without its index was refused, and a repair kept nothing; a flipped
//! bit in the record of a collection's codec refused an orderly open.
//!
//! A small store is damaged at each byte in turn, by default at some of them, and each operation is
//! held against what is known of the frame that the byte lies in. `IFMATCH_DAMAGE_STRIDE=1` tries
//! each.

mod neighbours;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Cursor, Error, OnDamage, Options, Precondition, Store};

use crate::store_files::Place;
use crate::{Case, from_environment, thinned};

const COLLECTIONS: [&str; 2] = ["docs", "side"];
const SEGMENT_HEADER_BYTES: usize = 4_096;
pub(super) const FRAME_HEADER_BYTES: usize = 24;

/// Collection and key; of a record the empty name and that of the collection.
type Name = (String, String);
type Contents = BTreeMap<Name, Bytes>;

/// All that a store was told, by revision.
#[derive(Debug, Clone, Default)]
struct Story {
    commits: BTreeMap<u64, Vec<(Name, Option<Bytes>)>>,
}

impl Story {
    fn name(collection: &str, key: &str) -> Name {
        (collection.to_owned(), key.to_owned())
    }

    fn tell(&mut self, store: &Store, changes: &[(&str, &str, Option<&str>)]) {
        let raw = COLLECTIONS.map(|name| (name, store.raw(name).unwrap()));
        let of = |name: &str| &raw.iter().find(|(known, _)| *known == name).unwrap().1;
        let mut batch = store.batch();
        let mut told = Vec::new();
        for (collection, key, value) in changes {
            let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
            let is_new = !self.names().any(|(known, _)| known == *collection);
            if is_new {
                told.push((Self::name("", collection), Some(Bytes::new())));
            }
            batch = match &value {
                Some(value) => batch.upsert(of(collection), key, value, Precondition::Always),
                None => batch.delete(of(collection), key, Precondition::Always),
            };
            told.push((Self::name(collection, key), value));
        }
        batch.commit().unwrap();
        self.commits.insert(store.revision().0, told);
    }

    fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.commits.values().flatten().map(|(name, _)| name.clone())
    }

    /// The last change of each item, and its revision.
    fn latest(&self) -> BTreeMap<Name, (u64, Option<Bytes>)> {
        let changes = self.commits.iter();
        let changes =
            changes.flat_map(|(revision, told)| told.iter().map(move |of| (revision, of)));
        changes
            .map(|(revision, (name, value))| (name.clone(), (*revision, value.clone())))
            .collect()
    }

    fn contents(&self) -> Contents {
        let latest = self.latest().into_iter().filter(|(name, _)| !name.0.is_empty());
        latest.filter_map(|(name, (_, value))| Some((name, value?))).collect()
    }

    /// The items whose last change is in these commits.
    fn needed(&self, revisions: &BTreeSet<u64>) -> BTreeSet<Name> {
        let latest = self.latest().into_iter();
        latest.filter(|(_, (last, _))| revisions.contains(last)).map(|(name, _)| name).collect()
    }

    /// What is left when these commits are not there, and what lives.
    fn without(&self, revisions: &BTreeSet<u64>) -> Self {
        let mut left = self.clone();
        left.commits.retain(|revision, _| !revisions.contains(revision));
        left
    }

    /// Whether what lives is the same without these commits, records included.
    fn is_whole_without(&self, revisions: &BTreeSet<u64>) -> bool {
        let live = |story: &Self| -> BTreeMap<Name, u64> {
            let latest = story.latest().into_iter();
            latest.filter(|(_, (_, value))| value.is_some()).map(|(n, (r, _))| (n, r)).collect()
        };
        live(self) == live(&self.without(revisions))
    }
}

/// How a store came to be as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// Closed, and the pairs of the index are gone.
    RowsLost,
    /// Closed, and nothing is left of the index.
    IndexLost,
    Killed,
}

/// A store of two segments with frames that are needed, superseded, and both.
fn small_store(state: State) -> (Simulation, Story) {
    let mut rng = fastrand::Rng::with_seed(3);
    let sim = Simulation::new(3);
    let mut story = Story::default();
    let store = sim.open(&Options::new()).unwrap();
    story.tell(&store, &[("docs", "a", Some("one"))]);
    story.tell(&store, &[("docs", "a", Some("two"))]);
    story.tell(&store, &[("docs", "b", Some("one"))]);
    story.tell(&store, &[("docs", "a", Some("three"))]);
    story.tell(&store, &[("docs", "b", None)]);
    story.tell(&store, &[("docs", "c", Some("one")), ("side", "s", Some("one"))]);
    story.tell(&store, &[("docs", "c", Some("two"))]);
    let sim = sim.kill(&mut rng);
    let store = sim.open(&Options::new()).unwrap();
    story.tell(&store, &[("docs", "d", Some("one"))]);
    story.tell(&store, &[("docs", "d", Some("two")), ("docs", "e", Some("one"))]);
    story.tell(&store, &[("docs", "d", Some("three"))]);
    story.tell(&store, &[("docs", "e", None), ("docs", "f", Some("one"))]);
    story.tell(&store, &[("side", "s", Some("two")), ("side", "t", Some("one"))]);
    if state == State::Killed {
        return (sim.kill(&mut rng), story);
    }
    store.close().unwrap();
    (sim.kill(&mut rng), story)
}

/// A frame of a commit in a file.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) path: PathBuf,
    pub(super) offset: usize,
    pub(super) end: usize,
    pub(super) revision: u64,
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The frames of commits of all segments, in order.
pub(super) fn frames(sim: &Simulation) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (path, bytes) in Place::files(sim) {
        if !path.starts_with("journal") {
            continue;
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        while offset + FRAME_HEADER_BYTES < bytes.len() && number(&bytes, offset) > 0 {
            let end = offset + FRAME_HEADER_BYTES + number(&bytes, offset);
            let revision =
                number(&bytes, offset + 8) as u64 | (number(&bytes, offset + 12) as u64) << 32;
            if bytes[offset + FRAME_HEADER_BYTES] == 0 {
                frames.push(Frame { path: path.clone(), offset, end, revision });
            }
            offset = end;
        }
    }
    frames.sort_by_key(|frame| frame.revision);
    frames
}

pub(super) fn flip(sim: &Simulation, path: &Path, at: usize) {
    let files = Place::files(sim);
    let mut bytes = files.into_iter().find(|file| file.0 == path).unwrap().1;
    bytes[at] ^= 1 << (at % 8);
    Place::write(sim, path, &bytes);
}

/// What can be read, and the items that cannot.
fn read(store: &Store, story: &Story) -> (Contents, BTreeSet<Name>) {
    let (mut found, mut unreadable) = (Contents::new(), BTreeSet::new());
    for collection in COLLECTIONS {
        let raw = match store.raw(collection) {
            Ok(raw) => raw,
            Err(error @ Error::Corrupt { .. }) => {
                assert_eq!(error.key(), Some(collection.as_bytes()));
                unreadable.insert(Story::name("", collection));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for (of, key) in story.names().filter(|(of, _)| of == collection) {
            match raw.get(&key) {
                Ok(Some(item)) => drop(found.insert((of, key), item.value)),
                Ok(None) => {}
                Err(error @ Error::Corrupt { .. }) => {
                    assert_eq!(error.key(), Some(key.as_bytes()), "{error}");
                    assert_eq!(error.collection(), Some(collection), "{error}");
                    unreadable.insert((of, key));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    (found, unreadable)
}

/// The feed from its beginning holds each item's last change, or names one that it cannot.
fn check_feed(store: &Store, story: &Story, needed: &BTreeSet<Name>, knows_all: bool) {
    let mut told = BTreeMap::new();
    for change in store.changes(Cursor::START).unwrap() {
        match change {
            Ok(change) => {
                let key = String::from_utf8(change.key().to_vec()).unwrap();
                let value = change.value().cloned();
                told.insert((change.collection().to_owned(), key), (change.revision().0, value));
            }
            Err(error @ Error::Corrupt { .. }) => {
                let key = String::from_utf8(error.key().unwrap().to_vec()).unwrap();
                let name = (error.collection().unwrap().to_owned(), key);
                assert!(needed.contains(&name), "{error}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let mut latest = story.latest();
    latest.retain(|name, _| !name.0.is_empty());
    let shown = |name: &&Name| latest.contains_key(*name);
    if let Some(passed_over) = needed.iter().find(shown) {
        // An index that was built without the frame knows of no removal that was in it.
        let is_removal = |name: &&Name| latest.get(*name).is_some_and(|last| last.1.is_none());
        assert!(
            !knows_all && needed.iter().filter(shown).all(|n| is_removal(&n)),
            "{passed_over:?}"
        );
    }
    latest.retain(|name, _| !needed.contains(name));
    assert_eq!(told, latest, "the feed");
}

fn check_backup(sim: &Simulation, store: &Store, story: &Story, unreadable: &BTreeSet<Name>) {
    match store.backup("copy") {
        Ok(_) => {
            assert!(unreadable.is_empty(), "a copy without {unreadable:?}");
            let copy = sim.at("copy").open(&Options::new()).unwrap();
            assert_eq!(read(&copy, story).0, story.contents(), "the copy");
            copy.verify().unwrap();
            copy.close().unwrap();
        }
        Err(error @ Error::Corrupt { .. }) => {
            let key = String::from_utf8(error.key().unwrap().to_vec()).unwrap();
            let name = (error.collection().unwrap().to_owned(), key);
            assert!(unreadable.contains(&name), "{error}, of {unreadable:?}");
        }
        Err(error) => panic!("{error}"),
    }
}

/// What an open does by default with these commits damaged.
fn check_default(sim: &Simulation, story: &Story, state: State, damaged: &BTreeSet<u64>) {
    let needed = story.needed(damaged);
    let store = match sim.open(&Options::new()) {
        Ok(store) => store,
        Err(Error::Corrupt { .. }) => {
            assert!(state != State::Closed, "an orderly open is refused");
            assert!(!story.is_whole_without(damaged), "refused, and nothing is lost");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(state == State::Closed || story.is_whole_without(damaged), "opened without items");
    let (found, unreadable) = read(&store, story);
    assert!(unreadable.is_subset(&needed), "{unreadable:?} of {needed:?}");
    let hidden =
        |name: &Name| unreadable.contains(name) || unreadable.contains(&Story::name("", &name.0));
    let mut expected = story.contents();
    expected.retain(|name, _| !hidden(name));
    assert_eq!(found, expected);
    check_feed(&store, story, &needed, state == State::Closed);
    check_backup(sim, &store, story, &unreadable);
    store.compact().unwrap();
    assert_eq!(store.stats().unwrap().damaged_segments > 0, !damaged.is_empty());
    assert_eq!(store.verify().is_err(), !damaged.is_empty());
    let Ok(docs) = store.raw("docs") else { return };
    docs.create("new", &Bytes::from_static(b"new")).unwrap();
    store.close().unwrap();
    let store = sim.open(&Options::new()).unwrap();
    assert_eq!(read(&store, story), (found, unreadable), "opened again");
    assert!(store.raw("docs").unwrap().contains("new").unwrap());
}

/// What a repair that keeps all that is whole leaves.
fn check_skip(sim: &Simulation, story: &Story, damaged: &BTreeSet<u64>, named: Option<&Frame>) {
    let store = sim.open(&Options::new().on_damage(OnDamage::SkipDamaged)).unwrap();
    let left = story.without(damaged);
    assert_eq!(read(&store, story), (left.contents(), BTreeSet::new()));
    match store.damage() {
        None => assert!(damaged.is_empty(), "{damaged:?} is not reported"),
        Some(damage) => {
            assert!(!damaged.is_empty(), "{damage:?}");
            let covers = |revision: &u64| {
                let parts = damage.gone().iter();
                parts
                    .filter(|p| (p.first_revision.0..=p.last_revision.0).contains(revision))
                    .count()
            };
            assert!(damaged.iter().all(|revision| covers(revision) == 1), "{damage:?}");
            let whole = left.commits.keys().filter(|revision| covers(revision) > 0);
            assert_eq!(whole.count(), 0, "{damage:?}");
            if let Some(frame) = named {
                let told = damage.items().iter();
                let told: BTreeSet<Name> = told
                    .map(|item| {
                        Story::name(item.collection(), std::str::from_utf8(item.key()).unwrap())
                    })
                    .collect();
                assert_eq!(told, story.needed(damaged), "named by {frame:?}");
            }
        }
    }
    store.verify().unwrap();
    assert_eq!(store.stats().unwrap().damaged_segments, 0);
    check_feed(&store, &left, &BTreeSet::new(), true);
    store.compact().unwrap();
    store.raw("docs").unwrap().create("new", &Bytes::from_static(b"new")).unwrap();
    store.close().unwrap();
    Place::remove(sim, Path::new("MANIFEST"));
    let store = sim.open(&Options::new().on_damage(OnDamage::SkipDamaged)).unwrap();
    let mut found = read(&store, story);
    found.0.remove(&Story::name("docs", "new"));
    assert_eq!(found, (left.contents(), BTreeSet::new()), "without the manifest");
    store.close().unwrap();
    sim.open(&Options::new()).unwrap().verify().unwrap();
}

/// What a repair that keeps a prefix leaves: everything, where nothing current is lost.
fn check_prefix(sim: &Simulation, story: &Story, damaged: &BTreeSet<u64>) {
    let store = sim.open(&Options::new().on_damage(OnDamage::KeepPrefix)).unwrap();
    let mut left = story.clone();
    if !story.is_whole_without(damaged) {
        let first = damaged.first().unwrap();
        left.commits.retain(|revision, _| revision < first);
    }
    assert_eq!(store.damage().is_none(), story.is_whole_without(damaged));
    assert_eq!(read(&store, story), (left.contents(), BTreeSet::new()), "a prefix");
}

fn check(
    sim: &Simulation,
    story: &Story,
    state: State,
    damaged: &BTreeSet<u64>,
    named: Option<&Frame>,
) {
    let copy = || {
        let mut copy = sim.kill(&mut fastrand::Rng::with_seed(1));
        if matches!(state, State::RowsLost | State::IndexLost) {
            copy.remove_index();
        }
        if state == State::IndexLost {
            Place::remove(&copy, Path::new("INDEX"));
        }
        copy
    };
    check_default(&copy(), story, state, damaged);
    check_skip(&copy(), story, damaged, named);
    check_prefix(&copy(), story, damaged);
}

const STATES: [State; 4] = [State::Closed, State::RowsLost, State::IndexLost, State::Killed];

#[test]
fn a5_a_flipped_bit_anywhere_in_the_journal_costs_what_it_touches() {
    let stride = from_environment("IFMATCH_DAMAGE_STRIDE").unwrap_or(thinned(113, 19));
    let mut cases = 0;
    for state in STATES {
        let (sim, story) = small_store(state);
        let frames = frames(&sim);
        assert_eq!(frames.len(), story.commits.len());
        let mut skipped = u64::from(state as u8) * 5;
        for (path, bytes) in
            Place::files(&sim).iter().filter(|(path, _)| path.starts_with("journal"))
        {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            for at in 0..used {
                // The header is there twice, and mostly zeros.
                let rarity = if at < SEGMENT_HEADER_BYTES { 61 } else { 1 };
                skipped += 1;
                if skipped < stride * rarity {
                    continue;
                }
                skipped = 0;
                cases += 1;
                let _case = Case(format!("{state:?}, byte {at} of {path:?}"));
                let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
                flip(&damaged, path, at);
                let within = |of: &&Frame| of.path == *path && (of.offset..of.end).contains(&at);
                let hit = frames.iter().find(within);
                let revisions = hit.map(|frame| frame.revision).into_iter().collect();
                let named = hit.filter(|frame| at < frame.offset + FRAME_HEADER_BYTES);
                check(&damaged, &story, state, &revisions, named);
            }
        }
    }
    println!("{cases} places in small stores");
}

#[test]
fn a5_two_flipped_bits_cost_what_they_touch() {
    let stride = from_environment("IFMATCH_DAMAGE_STRIDE").unwrap_or(thinned(47, 7)) as usize;
    let mut cases = 0;
    for state in STATES {
        let (sim, story) = small_store(state);
        let frames = frames(&sim);
        for (index, first) in frames.iter().enumerate() {
            for second in &frames[index + 1..] {
                cases += 1;
                if !(cases + state as usize).is_multiple_of(stride) {
                    continue;
                }
                let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
                // A header and a body, or the other way round.
                let (one, two) = if cases % 2 == 0 { (5, 30) } else { (30, 5) };
                flip(&damaged, &first.path, first.offset + one);
                flip(&damaged, &second.path, second.offset + two);
                let _case = Case(format!("{state:?}, {first:?} at {one} and {second:?} at {two}"));
                let revisions = BTreeSet::from([first.revision, second.revision]);
                check(&damaged, &story, state, &revisions, None);
            }
        }
    }
}
