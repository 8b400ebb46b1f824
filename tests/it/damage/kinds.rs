//! Damage to a frame of each kind, in stores of each state: records of collections, defaults and
//! secondary indexes, items, batches, removals, clears, drops and what a sweep leaves.
//!
//! A commit whose frame is damaged is as if it had never been made, and everything else stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Collection, Error, Filter, Index, OnDamage, Options, Precondition, Store};
use serde_json::{Value, json};

use super::a5::{FRAME_HEADER_BYTES, Frame, flip, frames};
use crate::store_files::Place;
use crate::{Case, from_environment, thinned};

#[allow(unreachable_pub)]
#[path = "../../../fuzz/fuzz_targets/checksums.rs"]
mod checksums;

/// Collection and key, and the number that the document holds.
type Contents = BTreeMap<(&'static str, &'static str), u64>;

enum Told {
    Put(&'static str, &'static str, u64),
    Removed(&'static str, &'static str),
    Cleared(&'static str),
}

#[derive(Default)]
struct Story(BTreeMap<u64, Vec<Told>>);

impl Story {
    fn tell(&mut self, store: &Store, told: impl IntoIterator<Item = Told>) {
        self.0.insert(store.revision().0, told.into_iter().collect());
    }

    /// The items that a commit wrote or removed.
    fn touches(&self, revision: u64, item: (&str, &str)) -> bool {
        let touches = |told: &Told| match told {
            Told::Put(collection, key, _) | Told::Removed(collection, key) => {
                item == (*collection, *key)
            }
            Told::Cleared(collection) => item.0 == *collection,
        };
        self.0.get(&revision).is_some_and(|told| told.iter().any(touches))
    }

    /// What is there after all commits but these.
    fn without(&self, lost: impl Fn(u64) -> bool) -> Contents {
        let mut contents = Contents::new();
        for told in self.0.iter().filter(|(revision, _)| !lost(**revision)).flat_map(|of| of.1) {
            match told {
                Told::Put(collection, key, number) => {
                    contents.insert((*collection, *key), *number);
                }
                Told::Removed(collection, key) => drop(contents.remove(&(*collection, *key))),
                Told::Cleared(collection) => contents.retain(|of, _| of.0 != *collection),
            }
        }
        contents
    }
}

const COLLECTIONS: [&str; 4] = ["docs", "side", "brief", "dropped"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    IndexLost,
    Killed,
    Compacted,
}

const STATES: [State; 4] = [State::Closed, State::IndexLost, State::Killed, State::Compacted];

fn all(store: &Store) -> [Collection<Value>; 4] {
    COLLECTIONS.map(|name| store.collection::<Value>(name).unwrap())
}

fn first_session(sim: &Simulation, story: &mut Story) {
    let store = sim.open(&Options::new()).unwrap();
    let [docs, side, brief, dropped] = all(&store);
    docs.create("a", &json!({ "n": 1 })).unwrap();
    story.tell(&store, [Told::Put("docs", "a", 1)]);
    docs.ensure_index(Index::on("/n")).unwrap();
    docs.create("b", &json!({ "n": 2 })).unwrap();
    story.tell(&store, [Told::Put("docs", "b", 2)]);
    docs.upsert("a", &json!({ "n": 3 }), Precondition::Always).unwrap();
    story.tell(&store, [Told::Put("docs", "a", 3)]);
    side.set_default_ttl(Some(Duration::from_secs(1 << 20))).unwrap();
    side.create("s", &json!({ "n": 4 })).unwrap();
    story.tell(&store, [Told::Put("side", "s", 4)]);
    let batch = store.batch().create(&docs, "c", &json!({ "n": 5 }));
    batch.create(&side, "t", &json!({ "n": 6 })).commit().unwrap();
    story.tell(&store, [Told::Put("docs", "c", 5), Told::Put("side", "t", 6)]);
    docs.delete("b", Precondition::Always).unwrap();
    story.tell(&store, [Told::Removed("docs", "b")]);
    dropped.create("x", &json!({ "n": 7 })).unwrap();
    story.tell(&store, [Told::Put("dropped", "x", 7)]);
    store.drop_collection("dropped").unwrap();
    story.tell(&store, [Told::Cleared("dropped")]);
    let expiring = brief.clone().with_ttl(Duration::from_millis(500));
    expiring.create("e", &json!({ "n": 8 })).unwrap();
    brief.create("f", &json!({ "n": 9 })).unwrap();
    story.tell(&store, [Told::Put("brief", "f", 9)]);
}

fn second_session(sim: &Simulation, story: &mut Story, state: State) {
    let store = sim.open(&Options::new()).unwrap();
    let [docs, side, brief, _] = all(&store);
    sim.set_now_ms(2_000_000);
    Simulation::sweep(&store).unwrap();
    side.clear().unwrap();
    story.tell(&store, [Told::Cleared("side")]);
    side.create("u", &json!({ "n": 10 })).unwrap();
    story.tell(&store, [Told::Put("side", "u", 10)]);
    if state == State::Compacted {
        store.compact().unwrap();
    }
    brief.ensure_index(Index::on("/n").unique()).unwrap();
    docs.upsert("c", &json!({ "n": 11 }), Precondition::Always).unwrap();
    story.tell(&store, [Told::Put("docs", "c", 11)]);
    brief.create("g", &json!({ "n": 12 })).unwrap();
    story.tell(&store, [Told::Put("brief", "g", 12)]);
    if matches!(state, State::Closed | State::IndexLost) {
        store.close().unwrap();
    }
}

/// A store whose journal holds frames of each kind.
fn prepared(state: State) -> (Simulation, Story) {
    let mut rng = fastrand::Rng::with_seed(3);
    let (sim, mut story) = (Simulation::new(3), Story::default());
    sim.set_now_ms(1_000_000);
    first_session(&sim, &mut story);
    let sim = sim.kill(&mut rng);
    second_session(&sim, &mut story, state);
    let mut sim = sim.kill(&mut rng);
    if state == State::IndexLost {
        sim.remove_index();
        Place::remove(&sim, Path::new("INDEX"));
    }
    (sim, story)
}

fn copy(sim: &Simulation) -> Simulation {
    sim.kill(&mut fastrand::Rng::with_seed(1))
}

/// What can be read; every index leads to what a plain look finds.
fn read(store: &Store) -> Result<Contents, Error> {
    let mut contents = Contents::new();
    for name in COLLECTIONS {
        let collection = store.collection::<Value>(name)?;
        let mut numbers = BTreeSet::new();
        for item in collection.iter()? {
            let item = item?;
            let key = ["a", "b", "c", "e", "f", "g", "s", "t", "u", "x"]
                .into_iter()
                .find(|key| key.as_bytes() == item.key())
                .unwrap();
            let number = item.value["n"].as_u64().unwrap();
            contents.insert((name, key), number);
            numbers.insert(number);
        }
        let found: Result<BTreeSet<u64>, Error> = collection
            .find(Filter::exists("/n"))
            .sort("/n")
            .iter()?
            .map(|item| Ok(item?.value["n"].as_u64().unwrap()))
            .collect();
        assert_eq!(found?, numbers, "a find in {name}");
    }
    Ok(contents)
}

/// A repaired store works, and goes on without the repair.
fn check_repaired(sim: &Simulation, store: Store, expected: &Contents) {
    assert_eq!(&read(&store).unwrap(), expected);
    store.verify().unwrap();
    assert_eq!(store.stats().unwrap().damaged_segments, 0);
    let [docs, ..] = all(&store);
    docs.upsert("b", &json!({ "n": 99 }), Precondition::Always).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let store = sim.open(&Options::new()).unwrap();
    assert!(store.damage().is_none());
    let mut expected = expected.clone();
    expected.insert(("docs", "b"), 99);
    assert_eq!(read(&store).unwrap(), expected);
    store.verify().unwrap();
}

/// By default damage is refused, or costs what it touches.
fn check_default(sim: &Simulation, whole: &Contents) {
    let Ok(store) = sim.open(&Options::new()) else { return };
    match read(&store) {
        Ok(contents) => assert_eq!(&contents, whole),
        Err(Error::Corrupt { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check_skip(sim: &Simulation, story: &Story, state: State, lost: u64) {
    let options = Options::new().on_damage(OnDamage::SkipDamaged);
    let expected = story.without(|revision| revision == lost);
    let restored = copy(sim).at("restored");
    let before = journal(sim);
    for (sim, opened) in [(sim, sim.open(&options)), (&restored, restored.restore(STORE, &options))]
    {
        let store = opened.unwrap();
        let damage = store.damage().expect("damage is reported");
        let covers = |part: &&ifmatch::DamagedPart| {
            (part.first_revision.0..=part.last_revision.0).contains(&lost)
        };
        assert_eq!(damage.gone().iter().filter(covers).count(), 1, "{damage:?}");
        let mut expected = expected.clone();
        if state == State::Compacted {
            // What the lost commit had replaced may have been dropped, and does not come back.
            let found = read(&store).unwrap();
            expected.retain(|item, _| found.contains_key(item) || !story.touches(lost, *item));
        }
        check_repaired(sim, store, &expected);
    }
    assert!(journal(&restored) == before, "a restore changed its source");
}

/// The segments of the store, wherever else on the disk there are copies.
fn journal(sim: &Simulation) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let folder = Path::new(STORE).join("journal");
    let names = sim.disk().file_names().into_iter().filter(|path| path.starts_with(&folder));
    names.map(|path| (path.clone(), sim.disk().read_file(&path))).collect()
}

fn check_prefix(sim: &Simulation, story: &Story, state: State, lost: u64) {
    let options = Options::new().on_damage(OnDamage::KeepPrefix);
    let (whole, prefix) = (story.without(|_| false), story.without(|revision| revision >= lost));
    let restored = copy(sim).at("restored");
    let mut cursors = Vec::new();
    for (sim, opened) in [(sim, sim.open(&options)), (&restored, restored.restore(STORE, &options))]
    {
        let store = opened.unwrap();
        cursors.push(store.cursor().unwrap());
        let found = read(&store).unwrap();
        if store.damage().is_none() {
            assert_eq!(found, whole);
        } else if state == State::Compacted {
            // What a later commit had replaced was dropped, and does not come back.
            assert!(found.iter().all(|item| prefix.get(item.0) == Some(item.1)), "{found:?}");
            check_repaired(sim, store, &found);
        } else {
            assert_eq!(found, prefix);
            check_repaired(sim, store, &prefix);
        }
    }
    let store = sim.open(&options).unwrap();
    assert!(matches!(store.changes(cursors[1]).map(drop), Err(Error::Diverged)), "one incarnation");
}

/// The kinds of places in a frame: its length, its checksum, the body's first byte and last.
fn places(frame: &Frame) -> [usize; 4] {
    [frame.offset, frame.offset + 5, frame.offset + FRAME_HEADER_BYTES, frame.end - 1]
}

#[test]
fn a5_a_damaged_frame_of_any_kind_costs_its_commit() {
    let stride = from_environment("IFMATCH_DAMAGE_STRIDE").unwrap_or(thinned(13, 3)) as usize;
    let mut cases = 0;
    for state in STATES {
        let (sim, story) = prepared(state);
        let whole = story.without(|_| false);
        assert_eq!(read(&copy(&sim).open(&Options::new()).unwrap()).unwrap(), whole);
        let frames = frames(&sim);
        for (frame, at) in frames.iter().flat_map(|f| places(f).map(|at| (f, at))) {
            cases += 1;
            if cases % stride > 0 {
                continue;
            }
            let _case = Case(format!("{state:?}, byte {at} of {frame:?}"));
            let damaged = copy(&sim);
            flip(&damaged, &frame.path, at);
            check_default(&copy(&damaged), &whole);
            check_skip(&copy(&damaged), &story, state, frame.revision);
            check_prefix(&copy(&damaged), &story, state, frame.revision);
        }
    }
    println!("{cases} places in frames of every kind");
}

/// A regression: frames that are whole hold an item that is other than it was, as after damage in
/// memory before the checksum was made, and the index is lost. Then no place is known to be damaged,
/// and even an open that asked for all that is whole was refused.
#[test]
fn a5_items_that_count_and_sum_do_not_speak_of_are_opened_when_asked_for() {
    let (sim, story) = prepared(State::IndexLost);
    let (path, mut bytes) = Place::files(&sim)
        .into_iter()
        .find(|(_, bytes)| find(bytes, br#"{"n":12}"#).is_some())
        .unwrap();
    let at = find(&bytes, br#"{"n":12}"#).unwrap();
    bytes[at + 6] = b'3';
    checksums::correct(&path, &mut bytes);
    Place::write(&sim, &path, &bytes);
    for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
        let refused = copy(&sim).open(&Options::new().on_damage(on_damage));
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{on_damage:?}");
    }
    let mut expected = story.without(|_| false);
    expected.insert(("brief", "g"), 13);
    let options = Options::new().on_damage(OnDamage::SkipDamaged);
    let restored = copy(&sim).at("restored");
    for (sim, opened) in
        [(&sim, sim.open(&options)), (&restored, restored.restore(STORE, &options))]
    {
        let store = opened.unwrap();
        let damage = store.damage().unwrap();
        assert!(damage.gone().is_empty() && damage.items().is_empty(), "{damage:?}");
        assert!(damage.reason().contains("lacks items"), "{damage:?}");
        check_repaired(sim, store, &expected);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
