//! Who follows the feed ends with what the store holds, whatever compaction, purges, reopening
//! and crashes do in between.
//!
//! `IFMATCH_FOLLOWERS=n` runs so many histories, `IFMATCH_SEED=n` repeats one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{
    Change, ChangeKind, Collection, Cursor, Durability, ETag, Error, HistoryPolicy, Options,
    Precondition, Raw, Store,
};

use super::value;
use crate::{Repeat, from_environment, thinned};

const COLLECTIONS: [&str; 2] = ["one", "two"];
const KEYS: u8 = 8;

type Place = (String, Vec<u8>);
type Contents = BTreeMap<Place, (ETag, Bytes)>;

/// What the store shows of live items.
pub(crate) fn contents(store: &Store) -> Contents {
    let mut contents = Contents::new();
    for name in COLLECTIONS {
        for item in store.raw(name).unwrap().iter().unwrap() {
            let item = item.unwrap();
            let place = (name.to_owned(), item.key().to_vec());
            contents.insert(place, (item.etag(), item.value.clone()));
        }
    }
    contents
}

/// One who follows the feed, and what he has made of it.
#[derive(Debug, Clone)]
struct Follower {
    contents: Contents,
    cursor: Cursor,
    /// The newest purged tombstone that is no loss to him.
    bears: u64,
    /// How often tombstones had been purged when he began at the start: those are no loss either,
    /// while there are no others.
    began: Option<u64>,
    lists: u64,
}

impl Follower {
    fn new() -> Self {
        Self { contents: Contents::new(), cursor: Cursor::START, bears: 0, began: None, lists: 0 }
    }

    /// Takes up to so many changes; `floor` is the newest tombstone that was purged, and `purges` how
    /// often some were.
    fn follow(&mut self, store: &Store, most: usize, (floor, purges): (u64, u64)) {
        if self.cursor == Cursor::START {
            self.began = Some(purges);
        }
        let needs_list = floor > self.bears && self.began != Some(purges);
        let changes = match store.changes(self.cursor) {
            Ok(changes) => changes,
            Err(Error::Compacted) => {
                let snapshot = store.snapshot();
                assert!(needs_list, "Compacted, though nothing needed was purged");
                self.contents.clear();
                for name in COLLECTIONS {
                    let collection = store.raw(name).unwrap();
                    for item in snapshot.collection(&collection).iter().unwrap() {
                        let item = item.unwrap();
                        let place = (name.to_owned(), item.key().to_vec());
                        self.contents.insert(place, (item.etag(), item.value.clone()));
                    }
                }
                self.cursor = snapshot.cursor().unwrap();
                self.bears = snapshot.revision().0;
                self.began = None;
                self.lists += 1;
                return;
            }
            Err(error) => panic!("following from {}: {error:?}", self.cursor),
        };
        assert!(!needs_list, "a removal may be missing, and nobody says so");
        for change in changes.take(most) {
            let change = change.unwrap();
            self.apply(&change);
            self.cursor = change.cursor();
            // Of a place inside a commit only what precedes the commit is known for sure.
            let inside = u64::from(self.cursor.to_string().contains('.'));
            self.bears = self.bears.max(change.revision().0 - inside);
        }
    }

    fn apply(&mut self, change: &Change) {
        let place = (change.collection().to_owned(), change.key().to_vec());
        match change.kind() {
            ChangeKind::Created | ChangeKind::Replaced => {
                let value = change.value().expect("a write has a value").clone();
                self.contents.insert(place, (change.etag(), value));
            }
            _ => drop(self.contents.remove(&place)),
        }
    }
}

/// A store, those who follow it, and what must be true of its feed.
struct World {
    sim: Simulation,
    options: Options,
    store: Option<Store>,
    followers: Vec<Follower>,
    now_ms: u64,
    floor: u64,
    purges: u64,
    rng: fastrand::Rng,
    number: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let durability = if rng.bool() { Durability::Eventual } else { Durability::Immediate };
        let tombstones = Duration::from_secs(if rng.bool() { 0 } else { 20 });
        let history = HistoryPolicy::new().tombstones(tombstones).versions(rng.u32(0..2));
        let options = Options::new().durability(durability).history(history);
        let sim = Simulation::new(seed);
        let store = Some(sim.open(&options).unwrap());
        let followers = vec![Follower::new(); 4];
        let now_ms = 1_700_000_000_000;
        Self { sim, options, store, followers, now_ms, floor: 0, purges: 0, rng, number: 0 }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn collection(&mut self) -> Collection<Bytes, Raw> {
        let name = COLLECTIONS[self.rng.usize(0..COLLECTIONS.len())];
        self.store().raw(name).unwrap()
    }

    fn next_value(&mut self) -> Bytes {
        self.number += 1;
        let len = if self.rng.u8(0..12) == 0 { 60_000 } else { self.rng.usize(0..200) };
        value(self.number, len)
    }

    fn step(&mut self) {
        match self.rng.u8(0..40) {
            0..12 => {
                let (collection, value) = (self.collection(), self.next_value());
                let key = [self.rng.u8(0..KEYS)];
                let collection = match self.rng.u8(0..6) {
                    0 => collection.with_ttl(Duration::from_secs(self.rng.u64(0..10))),
                    _ => collection,
                };
                collection.upsert(key, &value, Precondition::Always).unwrap();
            }
            12..19 => {
                let collection = self.collection();
                let deleted = collection.delete([self.rng.u8(0..KEYS)], Precondition::Always);
                assert!(matches!(deleted, Ok(_) | Err(Error::NotFound { .. })), "{deleted:?}");
            }
            19..24 => self.write_batch(),
            24..26 => self.store().sync().unwrap(),
            26..28 => {
                self.now_ms += self.rng.u64(0..15_000);
                self.sim.set_now_ms(self.now_ms);
            }
            28..31 => self.compact(),
            31 => {
                self.store.take().unwrap().close().unwrap();
                self.store = Some(self.sim.open(&self.options).unwrap());
            }
            32 => self.crash(),
            33 => Simulation::checkpoint(self.store()).unwrap(),
            _ => self.follow_some(),
        }
    }

    fn write_batch(&mut self) {
        let mut batch = self.store().batch();
        let mut keys: Vec<u8> = (0..KEYS).collect();
        self.rng.shuffle(&mut keys);
        for key in keys.into_iter().take(self.rng.usize(1..6)) {
            let collection = self.collection();
            let present = collection.get([key]).unwrap().is_some();
            batch = if present && self.rng.bool() {
                batch.delete(&collection, [key], Precondition::Always)
            } else {
                let value = self.next_value();
                batch.upsert(&collection, [key], &value, Precondition::Always)
            };
        }
        batch.commit().unwrap();
    }

    fn follow_some(&mut self) {
        // The first hardly ever comes; the last always takes everything.
        let at = self.rng.usize(0..self.followers.len() * 4).min(self.followers.len() - 1);
        let most = if self.rng.bool() { usize::MAX } else { self.rng.usize(1..6) };
        let (store, purged) = (self.store.as_ref().unwrap(), (self.floor, self.purges));
        self.followers[at].follow(store, most, purged);
    }

    /// Compacts, and sees which tombstones that purges: each was its key's latest change and is
    /// not shown any more.
    fn compact(&mut self) {
        let store = self.store.as_ref().unwrap();
        Simulation::sweep(store).unwrap();
        store.sync().unwrap();
        let latest = latest_changes(store);
        let compaction = store.compact().unwrap();
        let after = latest_changes(store);
        let mut purged = 0;
        for (place, change) in &latest {
            match after.get(place) {
                Some(after) => assert_eq!(
                    (after.meta(), after.kind(), after.value()),
                    (change.meta(), change.kind(), change.value()),
                    "the latest change of {place:?}"
                ),
                None => {
                    assert!(change.value().is_none(), "{place:?} is shown no more");
                    purged += 1;
                    self.floor = self.floor.max(change.revision().0);
                }
            }
        }
        assert_eq!(purged, compaction.purged_tombstones);
        self.purges += u64::from(purged > 0);
        assert!(after.keys().all(|place| latest.contains_key(place)), "something came back");
        assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
    }

    fn crash(&mut self) {
        let mut image = match self.rng.u8(0..3) {
            0 => self.sim.kill(&mut self.rng),
            _ => self.sim.crash(&mut self.rng),
        };
        if self.rng.u8(0..3) == 0 {
            image.remove_index();
        }
        drop(self.store.take());
        self.sim = image;
        self.store = Some(self.sim.open(&self.options).unwrap());
    }

    /// Everybody comes to what the store holds.
    fn settle(&mut self) -> u64 {
        let store = self.store.as_ref().unwrap();
        Simulation::sweep(store).unwrap();
        store.sync().unwrap();
        let held = contents(store);
        let mut lists = 0;
        for follower in &mut self.followers {
            follower.follow(store, usize::MAX, (self.floor, self.purges));
            follower.follow(store, usize::MAX, (self.floor, self.purges));
            assert!(follower.contents == held, "a follower ends elsewhere");
            lists += follower.lists;
        }
        let mut late = Follower::new();
        late.follow(store, usize::MAX, (self.floor, self.purges));
        assert!(late.contents == held, "who begins at the end ends elsewhere");
        lists
    }
}

/// The latest change of each item that the feed shows, from its start.
fn latest_changes(store: &Store) -> BTreeMap<Place, Change> {
    let changes = store.changes(Cursor::START).unwrap().map(Result::unwrap);
    changes.map(|c| ((c.collection().to_owned(), c.key().to_vec()), c)).collect()
}

#[test]
fn a_follower_always_ends_with_what_the_store_holds() {
    let histories = from_environment("IFMATCH_FOLLOWERS").unwrap_or(thinned(8, 60));
    let only = from_environment("IFMATCH_SEED");
    let (mut lists, mut purges) = (0, 0);
    for seed in only.unwrap_or(0)..only.map_or(histories, |seed| seed + 1) {
        let _repeat = Repeat::new("upkeep::follower", seed);
        let mut world = World::new(seed);
        for _ in 0..5 {
            for _ in 0..60 {
                world.step();
            }
            lists += world.settle();
        }
        purges += u64::from(world.floor > 0);
    }
    println!("{lists} followers listed a snapshot; tombstones went in {purges} of {histories}");
    assert!(
        only.is_some() || (lists * 3 > histories && purges * 5 > histories),
        "nobody missed anything: {lists}"
    );
}

#[test]
fn a_place_inside_a_batch_stays_one_when_compaction_drops_parts_of_the_batch() {
    for (dropped, at) in (0..4_u8).flat_map(|dropped| (0..4_usize).map(move |at| (dropped, at))) {
        let _repeat = Repeat::new("upkeep::follower", u64::from(dropped));
        let sim = Simulation::new(u64::from(dropped));
        let store = sim.open(&Options::new()).unwrap();
        let one = store.raw("one").unwrap();
        let mut batch = store.batch();
        for key in 0..4_u8 {
            batch = batch.create(&one, [key], &value(u64::from(key), 5_000));
        }
        batch.commit().unwrap();
        let changes: Vec<Change> =
            store.changes(Cursor::START).unwrap().collect::<Result<_, _>>().unwrap();
        let place = changes[at].cursor();
        // All up to this key are replaced.
        for key in 0..=dropped {
            one.upsert([key], &value(9, 5_000), Precondition::Always).unwrap();
        }
        let later: Vec<Change> =
            store.changes(store.cursor().unwrap()).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(later, []);
        let newest = store.cursor().unwrap();
        assert!(store.compact().unwrap().reclaimed_bytes > 4_000);
        let rest: Vec<Change> = store.changes(place).unwrap().collect::<Result<_, _>>().unwrap();
        let of_batch = (at + 1..4).filter(|key| *key > usize::from(dropped));
        let keys: Vec<u8> = of_batch.map(|key| key as u8).chain(0..=dropped).collect();
        assert_eq!(rest.iter().map(|change| change.key()[0]).collect::<Vec<u8>>(), keys);
        assert_eq!(rest.last().unwrap().cursor(), newest);
    }
}
