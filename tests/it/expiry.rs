//! Expiry: an item that is expired is absent to every read and every precondition.

mod clock;
mod handles;
mod sweeps;

use std::time::{Duration, UNIX_EPOCH};

use ifmatch::simulation::Simulation;
use ifmatch::{Batch, Collection, Item, Meta, Options, Patch, Precondition, Read, Store, Tags};

use crate::backends::{already_exists, failed_at, invalid_precondition, not_found};
use crate::backends::{on_every_backend, precondition_failed};

const BEGIN_MS: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_millis(1_000);
const ALWAYS: Precondition = Precondition::Always;
const ANY: Precondition = Precondition::IfMatch(Tags::Any);

/// A store whose clock stands still until it is told otherwise.
struct Rig {
    sim: Simulation,
    store: Store,
}

impl Rig {
    fn new() -> Self {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        Self { sim, store }
    }

    fn plain(&self) -> Collection<u64> {
        self.store.collection("numbers").unwrap()
    }

    fn fleeting(&self) -> Collection<u64> {
        self.plain().with_ttl(TTL)
    }

    /// Sets the system's clock to so long after the beginning.
    fn at(&self, ms: u64) {
        self.sim.set_now_ms(BEGIN_MS + ms);
    }

    /// An item under `a` that has just expired, beside one under `b` that has not.
    fn expired() -> (Self, Meta) {
        let rig = Self::new();
        let meta = rig.fleeting().create("a", &1).unwrap();
        rig.plain().create("b", &2).unwrap();
        rig.at(1_000);
        (rig, meta)
    }

    fn close_and_open(self) -> Self {
        self.store.close().unwrap();
        let store = self.sim.open(&Options::new()).unwrap();
        Self { sim: self.sim, store }
    }

    /// What a loss of power leaves.
    fn crash(&self, seed: u64) -> Self {
        let sim = self.sim.crash(&mut fastrand::Rng::with_seed(seed));
        let store = sim.open(&Options::new()).unwrap();
        Self { sim, store }
    }

    fn is_there(&self) -> bool {
        self.plain().get("a").unwrap().is_some()
    }
}

fn expires_ms(meta: &Meta) -> Option<u64> {
    let since = meta.expires()?.duration_since(UNIX_EPOCH).unwrap();
    Some(since.as_millis() as u64 - BEGIN_MS)
}

#[test]
fn an_item_is_there_until_its_instant_and_absent_from_then_on() {
    let rig = Rig::new();
    let meta = rig.fleeting().create("a", &1).unwrap();
    assert_eq!(expires_ms(&meta), Some(1_000));
    rig.at(999);
    let item = rig.plain().get("a").unwrap().unwrap();
    assert_eq!((item.value, item.expires()), (1, meta.expires()));
    rig.at(1_000);
    assert!(!rig.is_there());
}

#[test]
fn every_read_finds_an_expired_item_absent() {
    let (rig, meta) = Rig::expired();
    // From the index after this, and from the cache before.
    for rig in [rig.crash(1), rig.close_and_open()] {
        let numbers = rig.plain();
        let values = |items: Vec<Option<Item<u64>>>| -> Vec<Option<u64>> {
            items.into_iter().map(|item| item.map(|item| item.value)).collect()
        };
        for _ in 0..2 {
            assert_eq!(numbers.get("a").unwrap(), None);
            assert_eq!(values(numbers.get_many(["a", "b"]).unwrap()), [None, Some(2)]);
            assert!(matches!(numbers.get_if("a", ALWAYS).unwrap(), Read::Missing));
            let none_match = Precondition::if_none_match(meta.etag());
            assert!(matches!(numbers.get_if("a", none_match).unwrap(), Read::Missing));
            let since = Precondition::if_modified_since(meta.modified());
            assert!(matches!(numbers.get_if("a", since).unwrap(), Read::Missing));
            assert_eq!(precondition_failed::<u64, _>(numbers.get_if("a", meta.etag())), None);
            let keys = |iter: ifmatch::Iter<u64, ifmatch::Json>| -> Vec<Vec<u8>> {
                iter.map(|item| item.unwrap().key().to_vec()).collect()
            };
            assert_eq!(keys(numbers.iter().unwrap()), [b"b"]);
            assert_eq!(keys(numbers.range("a"..="b").unwrap()), [b"b"]);
            assert!(keys(numbers.prefix("a").unwrap()).is_empty());
            let reversed: Vec<_> = numbers.iter().unwrap().rev().collect();
            assert_eq!(reversed.len(), 1);
            let keys: Result<Vec<_>, _> = numbers.keys().unwrap().collect();
            assert_eq!(keys.unwrap(), [b"b"]);
            assert_eq!((numbers.len().unwrap(), numbers.is_empty().unwrap()), (1, false));
        }
    }
}

#[test]
fn a_collection_of_expired_items_is_empty() {
    on_every_backend(|bench| {
        let gone = bench.numbers().with_ttl(Duration::ZERO);
        for n in 0..40_u64 {
            gone.create(n.to_be_bytes(), &n).unwrap();
        }
        bench.step();
        assert!(bench.numbers().is_empty().unwrap());
        assert_eq!(bench.numbers().len().unwrap(), 0);
    });
}

#[test]
fn every_precondition_meets_an_expired_item_as_absent() {
    let (rig, meta) = Rig::expired();
    let numbers = rig.plain();
    let revision = rig.store.revision();
    let refused_any = || Precondition::if_none_match(Tags::Any);
    let not_this = || Precondition::if_none_match(meta.etag());

    for precondition in [ALWAYS, ANY, meta.etag().into(), not_this()] {
        not_found(numbers.replace("a", &9, precondition.clone()));
        not_found(numbers.patch("a", &Patch::new().incr("", 1), precondition.clone()));
        not_found(numbers.delete("a", precondition));
    }
    invalid_precondition(numbers.replace("a", &9, refused_any()));
    for precondition in [ANY, meta.etag().into()] {
        assert_eq!(precondition_failed::<u64, _>(numbers.upsert("a", &9, precondition)), None);
    }
    not_found(numbers.update("a", |n| *n += 1));

    let checked = |precondition| rig.store.batch().check(&numbers, "a", precondition).commit();
    for precondition in [ANY, meta.etag().into()] {
        let failed = failed_at(0, checked(precondition));
        assert_eq!(precondition_failed::<u64, _>(failed), None);
    }
    assert!(checked(refused_any()).is_ok());
    assert!(checked(not_this()).is_ok());
    assert_eq!(rig.store.revision(), revision, "a refusal wrote something");
}

#[test]
fn an_item_that_was_read_cannot_be_saved_once_it_is_expired() {
    let rig = Rig::new();
    rig.fleeting().create("a", &1).unwrap();
    let mut item = rig.plain().get("a").unwrap().unwrap();
    rig.at(1_000);
    let before = item.clone();
    assert_eq!(precondition_failed::<u64, _>(rig.plain().save(&mut item)), None);
    assert_eq!(precondition_failed::<u64, _>(rig.fleeting().save(&mut item)), None);
    assert_eq!(item, before);
}

/// In each way an item comes into being over one that expired, with one commit.
#[test]
fn a_create_over_an_expired_item_has_its_tag_as_parent_and_no_other_entry() {
    type Create = fn(&Rig) -> Meta;
    let ways: [Create; 5] = [
        |rig| rig.plain().create("a", &2).unwrap(),
        |rig| rig.plain().upsert("a", &2, ALWAYS).unwrap(),
        |rig| rig.plain().upsert("a", &2, Precondition::if_none_match(Tags::Any)).unwrap(),
        |rig| {
            let mut item = Item::new("a", 2);
            rig.plain().save(&mut item).unwrap();
            *item.meta()
        },
        |rig| *rig.plain().update_or_insert_with("a", || 1, |n| *n += 1).unwrap().meta(),
    ];
    for create in ways {
        let (rig, expired) = Rig::expired();
        let (items, commits) = (rig.store.stats().unwrap().items, commits(&rig.store));
        let created = create(&rig);
        assert_eq!(created.parent(), Some(expired.etag()));
        assert_eq!(created.expires(), None);
        assert!(created.modified() > expired.modified());
        assert_eq!(rig.plain().get("a").unwrap().map(|item| item.value), Some(2));
        assert_eq!(rig.store.stats().unwrap().items, items, "an item was counted twice");
        assert_eq!(self::commits(&rig.store), commits + 1);
        assert_eq!(Simulation::sweep(&rig.store).unwrap(), 0, "the new item was swept");
        let rig = rig.close_and_open();
        assert_eq!(*rig.plain().get("a").unwrap().unwrap().meta(), created);
    }
}

fn commits(store: &Store) -> u64 {
    store.verify().unwrap().commits
}

#[test]
fn a_batch_meets_an_expired_item_as_absent() {
    let (rig, expired) = Rig::expired();
    let (plain, fleeting) = (rig.plain(), rig.fleeting());
    let batch = || rig.store.batch();
    let nothing_of = |batch: Batch| failed_at(1, batch.commit());
    let create = || batch().create(&plain, "c", &3);
    not_found(nothing_of(create().replace(&plain, "a", &9, ALWAYS)));
    not_found(nothing_of(create().delete(&plain, "a", ALWAYS)));
    not_found(nothing_of(create().patch(&plain, "a", &Patch::new().incr("", 1), ALWAYS)));
    let failed = nothing_of(create().upsert(&plain, "a", &9, expired.etag()));
    assert_eq!(precondition_failed::<u64, _>(failed), None);
    assert_eq!(plain.get("c").unwrap(), None);

    // From absent to absent nothing is written, although something expired lies there.
    let revision = rig.store.revision();
    let passing = batch().create(&plain, "a", &1).delete(&plain, "a", ALWAYS);
    assert_eq!(passing.commit().unwrap().revision(), revision);

    let failed = batch().create(&fleeting, "a", &5).create(&plain, "a", &6).commit();
    assert_eq!(already_exists::<u64, _>(failed_at(1, failed)).value, 5);
    batch().create(&fleeting, "a", &5).replace(&plain, "b", &6, ALWAYS).commit().unwrap();
    let item = plain.get("a").unwrap().unwrap();
    assert_eq!((item.value, item.parent()), (5, Some(expired.etag())));
    assert_eq!(expires_ms(item.meta()), Some(2_000));
}
