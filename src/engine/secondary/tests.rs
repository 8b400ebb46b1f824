//! Indexes against an oracle that reads every item: at rest, at snapshots, after closes, kills and
//! losses of power, beside compaction, sweeps and lost leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod upkeep;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::engine::Engine;
use crate::journal::content_sum::ContentSum;
use crate::journal::index_sums::IndexSum;
use crate::seams::thinned;
use crate::simulation::Simulation;
use crate::values::head::Head;
use crate::values::query::entries::entries;
use crate::{Collection, Durability, HistoryPolicy, Options, Patch, Precondition, Store};

const NAMES: [&str; 3] = ["/tags/*,-/n", "/n", "/deep/a"];
/// Unique ones are tried in a store of their own: they refuse many of the same writes.
const UNIQUE: [&str; 3] = ["unique /tags/*,-/n", "unique /n", "unique /deep/a"];

type Rows = BTreeSet<(Vec<u8>, Vec<u8>)>;

/// A snapshot, and the rows of each usable index at it.
type Past = (Arc<View>, Vec<(Arc<Secondary>, Rows)>);

struct Rig {
    sim: Simulation,
    options: Options,
    store: Option<Store>,
    past: Vec<Past>,
    rng: fastrand::Rng,
    now_ms: u64,
    names: [&'static str; 3],
}

fn index(name: &str) -> Index {
    name.parse().unwrap()
}

/// The rows that the items have: all that are stored, expired or not.
fn expected(engine: &Engine, index: &Secondary) -> Rows {
    let mut rows = Rows::new();
    let (mut after, mut more) = (None, true);
    while more {
        let (items, last) = engine.some_items(&index.collection, after.as_ref()).unwrap();
        for (key, head) in items {
            let version = engine.version_of(&key, &head).unwrap().unwrap();
            let document = serde_json::from_slice(&version.value).unwrap();
            for code in entries(&index.definition, &document).unwrap() {
                rows.insert((code, key.key_bytes().to_vec()));
            }
        }
        more = last.is_some();
        after = last;
    }
    rows
}

/// The rows at a view, some at a time.
fn found(
    engine: &Engine,
    view: &View,
    index: &Secondary,
    reverse: bool,
    limit: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut rows, mut go_on) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let bounds = match (&go_on, reverse) {
            (None, _) => (Bound::Unbounded, Bound::Unbounded),
            (Some(last), false) => (Bound::Excluded(last.as_slice()), Bound::Unbounded),
            (Some(last), true) => (Bound::Unbounded, Bound::Excluded(last.as_slice())),
        };
        go_on = engine.scan_secondary(view, index, bounds, reverse, limit, &mut rows).unwrap();
        if go_on.is_none() {
            return rows.into_iter().map(|row| (row.code().to_vec(), row.key().to_vec())).collect();
        }
    }
}

impl Rig {
    fn new(seed: u64, durability: Durability) -> Self {
        let history = HistoryPolicy::new().tombstones(Duration::ZERO);
        let options = Options::new().durability(durability).history(history).cache_bytes(1 << 20);
        let sim = Simulation::new(seed);
        let store = Some(sim.open(&options).unwrap());
        let rng = fastrand::Rng::with_seed(seed);
        let (past, now_ms) = (Vec::new(), 1_700_000_000_000);
        Self { sim, options, store, past, rng, now_ms, names: NAMES }
    }

    /// An index whose rows have another directory than they get where all of the index is built anew.
    fn ensure_second(&self) {
        self.notes().ensure_index(index("/deep/a")).unwrap();
        self.notes().drop_index("/deep/a").unwrap();
        self.notes().ensure_index(index("/n")).unwrap();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn notes(&self) -> Collection<Value> {
        self.store().collection("notes").unwrap()
    }

    fn document(&mut self) -> Value {
        let tags: Vec<String> =
            (0..self.rng.usize(..4)).map(|_| format!("t{}", self.rng.u8(..5))).collect();
        let mut document = json!({ "tags": tags });
        match self.rng.u8(..6) {
            0 => document["n"] = json!("a long text ".repeat(30)),
            1 => document["n"] = Value::Null,
            2 => document["deep"] = json!({"a": self.rng.u8(..4)}),
            3 => document["tags"] = json!("no list"),
            _ => document["n"] = json!(self.rng.u8(..6)),
        }
        document
    }

    fn key(&mut self) -> String {
        format!("k{:02}", self.rng.u8(..40))
    }

    fn write(&mut self) {
        let (key, document, notes) = (self.key(), self.document(), self.notes());
        let always = Precondition::Always;
        match self.rng.u8(..8) {
            0 => drop(notes.create(&key, &document)),
            1 => drop(notes.replace(&key, &document, always)),
            2 => drop(notes.patch(&key, &Patch::new().set("/n", 3).set("/tags/0", "t9"), always)),
            _ if self.is_unique() => drop(notes.upsert(&key, &document, always)),
            3 | 4 => drop(notes.delete(&key, always)),
            5 => {
                let ttl = Duration::from_millis(self.rng.u64(..50));
                notes.with_ttl(ttl).upsert(&key, &document, always).unwrap();
            }
            _ => drop(notes.upsert(&key, &document, always).unwrap()),
        }
    }

    fn batch(&mut self) {
        let notes = self.notes();
        let mut batch = self.store().batch();
        for _ in 0..self.rng.usize(1..9) {
            let (key, document) = (self.key(), self.document());
            batch = if self.rng.bool() {
                batch.upsert(&notes, key, &document, Precondition::Always)
            } else {
                batch.create(&notes, key, &document)
            };
        }
        let _ = batch.commit();
    }

    fn step(&mut self) {
        match self.rng.u8(..60) {
            0 => self.ensure(),
            1 if self.rng.bool() => {
                let name = index(self.names[self.rng.usize(..3)]).name();
                self.notes().drop_index(&name).unwrap();
            }
            2..=4 => self.begin_snapshot(),
            5 if !self.past.is_empty() => drop(self.past.remove(self.rng.usize(..self.past.len()))),
            6 => {
                self.now_ms += 30;
                self.sim.set_now_ms(self.now_ms);
                self.store().shared().sweep().unwrap();
            }
            7 => self.store().engine().unwrap().checkpoint().unwrap(),
            8 => drop(self.store().compact().unwrap()),
            9 => self.end(),
            10 if self.rng.bool() => self.lose_leaves(),
            11..=16 => self.batch(),
            17 if self.rng.u8(..4) == 0 => drop(self.notes().clear().unwrap()),
            _ => self.write(),
        }
    }

    fn is_unique(&self) -> bool {
        self.names == UNIQUE
    }

    /// Makes an index, unless items break it.
    fn ensure(&mut self) {
        let name = self.names[self.rng.usize(..3)];
        match self.notes().ensure_index(index(name)) {
            Ok(_) => {}
            Err(crate::Error::NotUnique { .. }) if self.is_unique() => {
                assert!(self.shares(&index(name)), "{name} is refused, and no item breaks it");
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Whether two live items have one value in an index.
    fn shares(&self, index: &Index) -> bool {
        let mut seen = BTreeSet::new();
        self.notes().iter().unwrap().any(|item| {
            let codes = entries(index, &item.unwrap().value).unwrap();
            codes.into_iter().any(|code| !seen.insert(code))
        })
    }

    /// The backing store gives nothing back any more.
    fn lose_leaves(&mut self) {
        self.sim.fail_index_after(self.rng.u64(..20));
    }

    fn begin_snapshot(&mut self) {
        let engine = self.store().engine().unwrap();
        let view = engine.begin_snapshot().unwrap();
        let usable = engine.secondaries.of("notes");
        let usable = usable.iter().filter(|index| index.is_usable(&view));
        let rows = usable.map(|index| (Arc::clone(index), expected(&engine, index))).collect();
        drop(engine);
        self.past.push((view, rows));
    }

    fn end(&mut self) {
        self.past.clear();
        let store = self.store.take().unwrap();
        match self.rng.u8(..3) {
            0 => store.close().unwrap(),
            1 => {
                let killed = self.sim.kill(&mut self.rng);
                drop(store);
                self.sim = killed;
            }
            _ => {
                let crashed = self.sim.crash(&mut self.rng);
                drop(store);
                self.sim = crashed;
            }
        }
        self.store = Some(self.sim.open(&self.options).unwrap());
    }

    fn kill(&mut self) {
        let killed = self.sim.kill(&mut self.rng);
        drop(self.store.take());
        self.sim = killed;
        self.store = Some(self.sim.open(&self.options).unwrap());
    }

    fn check(&mut self) {
        let engine = self.store().engine().unwrap();
        let view = engine.begin_snapshot().unwrap();
        let limit = [1, 3, 1_000][self.now_ms as usize % 3];
        for index in engine.secondaries.of("notes").iter() {
            if !index.is_usable(&view) {
                assert_eq!(index.state(), State::Gone, "{index:?}");
                continue;
            }
            let expected: Vec<_> = expected(&engine, index).into_iter().collect();
            let mut found_rows = found(&engine, &view, index, false, limit);
            assert_eq!(found_rows, expected, "{}", index.definition);
            assert_eq!(engine.secondary_len(index), expected.len() as u64);
            found_rows.reverse();
            assert_eq!(found(&engine, &view, index, true, limit), found_rows);
        }
        for (view, rows) in &self.past {
            for (index, expected) in rows {
                if index.state() == State::Gone {
                    continue;
                }
                let expected: Vec<_> = expected.iter().cloned().collect();
                assert_eq!(found(&engine, view, index, false, limit), expected);
                let mut backward = found(&engine, view, index, true, limit);
                backward.reverse();
                assert_eq!(backward, expected, "{}", index.definition);
            }
        }
        for index in engine.secondaries.of("notes").iter() {
            assert!(!index.definition.is_unique() || !self.shares(&index.definition));
        }
        drop(engine);
        self.store().verify().unwrap();
    }
}

#[test]
fn unique_indexes_hold_each_value_once_whatever_happens() {
    let rounds = std::env::var("IFMATCH_INDEX_ROUNDS").ok().and_then(|n| n.parse().ok());
    let first = std::env::var("IFMATCH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + rounds.unwrap_or(thinned(8, 60)) {
        println!("IFMATCH_SEED={seed}");
        let durability = if seed % 2 == 0 { Durability::Immediate } else { Durability::Eventual };
        let mut rig = Rig::new(seed, durability);
        rig.names = UNIQUE;
        for _ in 0..12 {
            for _ in 0..rig.rng.usize(..25) {
                rig.step();
            }
            rig.check();
        }
    }
}

#[test]
fn indexes_hold_what_the_items_have_whatever_happens() {
    let rounds = std::env::var("IFMATCH_INDEX_ROUNDS").ok().and_then(|n| n.parse().ok());
    let first = std::env::var("IFMATCH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for seed in first..first + rounds.unwrap_or(thinned(8, 60)) {
        println!("IFMATCH_SEED={seed}");
        let durability = if seed % 2 == 0 { Durability::Immediate } else { Durability::Eventual };
        let mut rig = Rig::new(seed, durability);
        for name in NAMES {
            rig.notes().ensure_index(index(name)).unwrap();
        }
        for _ in 0..12 {
            for _ in 0..rig.rng.usize(..25) {
                rig.step();
            }
            rig.check();
        }
    }
}

#[test]
fn a_clean_open_believes_an_index_and_an_unclean_one_proves_it_without_building() {
    let mut rig = Rig::new(1, Durability::Immediate);
    rig.ensure_second();
    let built = |rig: &Rig| {
        let engine = rig.store().engine().unwrap();
        let index = engine.secondaries.named("notes", "/n").unwrap();
        assert_eq!(index.state(), State::Built);
        index.rows
    };
    let rows = built(&rig);
    for n in 0..200 {
        rig.notes().create(format!("{n:03}"), &json!({"n": n % 7})).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    assert_eq!(built(&rig), rows, "it was built again after an orderly close");
    for n in 0..100 {
        rig.notes().upsert(format!("{n:03}"), &json!({"n": 9}), Precondition::Always).unwrap();
        rig.notes().delete(format!("{:03}", n + 100), Precondition::Always).unwrap();
    }
    rig.kill();
    assert_eq!(built(&rig), rows, "it was built again though it could be proven");
    rig.check();
}

/// Leaves out a row, or adds one that no item has; the number of the rows' directory.
fn falsify(store: &Store, lacking: bool) -> u64 {
    let engine = store.engine().unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    let codes = entries(&index.definition, &json!({"n": 3})).unwrap();
    let row = index.row_key(codes.first().unwrap(), if lacking { b"3" } else { b"4" });
    let pin = engine.pin(std::iter::once(&row)).unwrap();
    if lacking {
        engine.index.remove_if(&row, &pin, |_| true);
    } else {
        engine.index.put(&row, &Head::bare(1), None, &pin);
    }
    drop(pin);
    engine.checkpoint().unwrap();
    index.rows
}

fn with_five_rows(seed: u64) -> Rig {
    let rig = Rig::new(seed, Durability::Immediate);
    rig.ensure_second();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
    }
    rig
}

#[test]
fn an_index_that_lacks_a_row_or_has_one_too_many_is_built_anew_by_an_unclean_open() {
    for (seed, lacking) in (0..8).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rig = with_five_rows(seed);
        let rows = falsify(rig.store(), lacking);
        rig.notes().create("last", &json!({"n": 1})).unwrap();
        rig.kill();
        let engine = rig.store().engine().unwrap();
        assert_ne!(engine.secondaries.named("notes", "/n").unwrap().rows, rows);
        drop(engine);
        rig.check();
    }
}

#[test]
fn verify_finds_an_index_that_lacks_a_row_or_has_one_too_many() {
    for lacking in [true, false] {
        let mut rig = with_five_rows(2);
        assert_eq!(rig.store().verify().unwrap().index_entries, 5);
        falsify(rig.store(), lacking);
        assert!(matches!(rig.store().verify(), Err(crate::Error::IndexUnavailable(_))));
        rig.store.take().unwrap().close().unwrap();
        rig.store = Some(rig.sim.open(&rig.options).unwrap());
        rig.check();
    }
}

/// A writer that kept the sum with a row of its own making would go unseen otherwise.
#[test]
fn verify_compares_rows_with_items_also_where_the_sum_agrees_with_the_rows() {
    for lacking in [true, false] {
        let rig = with_five_rows(14);
        falsify(rig.store(), lacking);
        {
            let engine = rig.store().engine().unwrap();
            let index = engine.secondaries.named("notes", "/n").unwrap();
            let (mut content, mut after) = (ContentSum::default(), None);
            loop {
                after = engine.sum_built(after, &mut content).unwrap();
                if after.is_none() {
                    break;
                }
            }
            let sum = IndexSum { rows: index.rows, content, built: true };
            engine.journal.set_index_sum(index.declared, sum);
        }
        assert!(matches!(rig.store().verify(), Err(crate::Error::IndexUnavailable(_))));
    }
}

#[test]
fn a_build_that_is_cut_short_is_begun_again_by_the_next_open() {
    let mut rig = Rig::new(3, Durability::Immediate);
    for n in 0..1_000 {
        rig.notes().create(format!("{n:04}"), &json!({"n": n % 7})).unwrap();
    }
    {
        let engine = rig.store().engine().unwrap();
        engine.declare_index("notes", &index("/n")).unwrap();
        let mut build = engine.begin_build("notes", "/n").unwrap();
        assert!(engine.build_step(&mut build).unwrap());
        engine.checkpoint().unwrap();
        let view = engine.begin_snapshot().unwrap();
        let index = engine.secondaries.named("notes", "/n").unwrap();
        assert!(!index.is_usable(&view), "half an index was shown");
    }
    rig.kill();
    assert_eq!(rig.notes().indexes().unwrap()[0].entries, 1_000);
    rig.check();
}

#[test]
fn writers_beside_a_build_leave_nothing_out_and_nothing_twice() {
    let mut rig = Rig::new(4, Durability::Immediate);
    for n in 0..1_000 {
        rig.notes().create(format!("{n:04}"), &json!({"n": n % 7, "tags": ["a", "b"]})).unwrap();
    }
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &index("/tags/*,-/n")).unwrap();
    let mut build = engine.begin_build("notes", "/tags/*,-/n").unwrap();
    let mut n = 0;
    loop {
        // Before and behind the place that the builder has come to.
        for _ in 0..40 {
            n += 37;
            let key = format!("{:04}", n % 1_000);
            match n % 3 {
                0 => drop(rig.notes().delete(&key, Precondition::Always)),
                1 => {
                    let document = json!({"n": n % 5, "tags": ["b", "c"]});
                    rig.notes().upsert(&key, &document, Precondition::Always).unwrap();
                }
                _ => drop(rig.notes().create(format!("{key}+"), &json!({"n": 1, "tags": ["d"]}))),
            }
        }
        if !engine.build_step(&mut build).unwrap() {
            break;
        }
    }
    drop(engine);
    rig.check();
}

#[test]
fn an_index_is_not_used_by_a_view_that_is_older_than_it_and_stays_for_one_when_it_is_dropped() {
    let mut rig = Rig::new(5, Durability::Immediate);
    rig.notes().create("a", &json!({"n": 1})).unwrap();
    let engine = rig.store().engine().unwrap();
    let older = engine.begin_snapshot().unwrap();
    rig.notes().ensure_index(index("/n")).unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    assert!(!index.is_usable(&older));
    drop(older);
    let view = engine.begin_snapshot().unwrap();
    assert!(index.is_usable(&view));
    let rows = found(&engine, &view, &index, false, 10);
    rig.notes().drop_index("/n").unwrap();
    rig.notes().upsert("a", &json!({"n": 2}), Precondition::Always).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(found(&engine, &view, &index, false, 10), rows);
    assert_eq!(engine.index.secondary_directories(), [index.rows]);
    drop(view);
    rig.notes().upsert("a", &json!({"n": 3}), Precondition::Always).unwrap();
    engine.checkpoint().unwrap();
    assert!(engine.index.secondary_directories().is_empty());
    drop(engine);
    rig.check();
}

#[test]
fn an_item_with_too_many_entries_is_refused_and_an_index_of_one_leaves_nothing_behind() {
    let rig = Rig::new(6, Durability::Immediate);
    let wide = json!({"tags": (0..1_001).collect::<Vec<_>>()});
    rig.notes().create("wide", &wide).unwrap();
    let refused = rig.notes().ensure_index(index("/tags/*"));
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(rig.notes().indexes().unwrap(), []);
    rig.notes().delete("wide", Precondition::Always).unwrap();
    rig.notes().ensure_index(index("/tags/*")).unwrap();
    let refused = rig.notes().create("wide", &wide);
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    let batch = rig.store().batch().create(&rig.notes(), "b", &json!({}));
    let refused = batch.create(&rig.notes(), "wide", &wide).commit();
    assert!(matches!(refused, Err(crate::Error::Batch { index: 1, .. })), "{refused:?}");
    assert_eq!(rig.notes().len().unwrap(), 0);
}

#[test]
fn a_collection_has_64_indexes_at_most() {
    let rig = Rig::new(7, Durability::Immediate);
    for n in 0..64 {
        rig.notes().ensure_index(Index::on(&format!("/f{n}"))).unwrap();
    }
    rig.notes().ensure_index(Index::on("/f7")).unwrap();
    let refused = rig.notes().ensure_index(Index::on("/f64"));
    assert!(matches!(refused, Err(crate::Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(rig.notes().indexes().unwrap().len(), 64);
    rig.notes().drop_index("/f7").unwrap();
    rig.notes().ensure_index(Index::on("/f64")).unwrap();
}

#[test]
fn a_version_that_cannot_be_read_does_not_block_its_deletion() {
    for killed in [false, true] {
        let mut rig = Rig::new(8, Durability::Immediate);
        rig.notes().ensure_index(index("/n")).unwrap();
        for n in 0..5 {
            rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
        }
        let view = {
            let engine = rig.store().engine().unwrap();
            engine.index.drop_values();
            let key = ItemKey::new("notes", b"3").unwrap();
            let pin = engine.pin(std::iter::once(&key)).unwrap();
            let damage = |head: &crate::values::head::Head| crate::values::head::Head {
                checksum: !head.checksum,
                ..*head
            };
            engine.index.change_head(&key, &pin, |head| Some(damage(head)));
            drop(pin);
            engine.begin_snapshot().unwrap()
        };
        let index = rig.store().engine().unwrap().secondaries.named("notes", "/n").unwrap();
        let rows = found(&rig.store().engine().unwrap(), &view, &index, false, 10);
        rig.notes().delete("3", Precondition::Always).unwrap();
        rig.notes().create("new", &json!({"n": 3})).unwrap();
        assert!(!rig.notes().indexes().unwrap()[0].built, "it holds a row of an item that is gone");
        // As they were when the index was given up.
        assert_eq!(found(&rig.store().engine().unwrap(), &view, &index, false, 10), rows);
        drop(view);
        if killed {
            rig.kill();
        } else {
            rig.notes().ensure_index("/n".parse().unwrap()).unwrap();
        }
        assert!(rig.notes().indexes().unwrap()[0].built);
        rig.check();
    }
}

#[test]
fn an_index_whose_leaves_are_lost_is_given_up_and_built_anew() {
    let mut rig = Rig::new(9, Durability::Immediate);
    rig.notes().ensure_index(index("/n")).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    rig.sim.fail_index_after(0);
    let engine = rig.store().engine().unwrap();
    let index = engine.secondaries.named("notes", "/n").unwrap();
    let view = engine.begin_snapshot().unwrap();
    assert!(index.is_usable(&view));
    let all = (Bound::Unbounded, Bound::Unbounded);
    let read = engine.scan_secondary(&view, &index, all, false, 10, &mut Vec::new());
    assert!(matches!(read, Err(crate::Error::IndexUnavailable(_))), "{read:?}");
    assert!(!index.is_usable(&view));
    rig.notes().ensure_index("/n".parse().unwrap()).unwrap();
    assert_eq!(rig.notes().indexes().unwrap()[0].entries, 5);
    drop(engine);
    rig.check();
}

#[test]
fn a_clear_empties_indexes_for_later_views_and_a_drop_takes_them_along() {
    for dropped in [false, true] {
        let mut rig = with_five_rows(10);
        let engine = rig.store().engine().unwrap();
        let before = engine.secondaries.named("notes", "/n").unwrap();
        let view = engine.begin_snapshot().unwrap();
        let rows = found(&engine, &view, &before, false, 10);
        if dropped {
            assert!(rig.store().drop_collection("notes").unwrap());
            assert_eq!(rig.notes().indexes().unwrap(), []);
        } else {
            rig.notes().clear().unwrap();
            assert_eq!(rig.notes().indexes().unwrap()[0].entries, 0);
            assert!(!engine.secondaries.named("notes", "/n").unwrap().is_usable(&view));
        }
        rig.notes().create("1", &json!({"n": 1})).unwrap();
        assert_eq!(found(&engine, &view, &before, false, 10), rows);
        drop((engine, view));
        rig.check();
        rig.kill();
        assert_eq!(rig.notes().indexes().unwrap().len(), usize::from(!dropped));
        rig.check();
    }
}

fn email(text: &str) -> Value {
    json!({ "email": text })
}

fn unique_mail() -> Index {
    Index::on("/email").unique()
}

/// What `begin_build` and the steps do, up to where writers hold to the index.
fn built_but_unchecked(rig: &Rig) -> crate::engine::secondary::rivals::Rivals {
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &unique_mail()).unwrap();
    let mut build = engine.begin_build("notes", "/email").unwrap();
    while engine.build_step(&mut build).unwrap() {}
    engine.begin_check("notes", "/email").unwrap().unwrap()
}

#[test]
fn a_unique_index_binds_writers_once_it_is_built_and_the_check_goes_on_beside_them() {
    let mut rig = Rig::new(11, Durability::Immediate);
    for n in 0..3_000 {
        rig.notes().create(format!("{n:04}"), &email(&format!("{n}"))).unwrap();
    }
    let engine = rig.store().engine().unwrap();
    engine.declare_index("notes", &unique_mail()).unwrap();
    let mut build = engine.begin_build("notes", "/email").unwrap();
    assert!(engine.build_step(&mut build).unwrap());
    // Nobody holds to it yet; a writer may make and mend what would break it.
    rig.notes().create("early", &email("7")).unwrap();
    rig.notes().delete("early", Precondition::Always).unwrap();
    while engine.build_step(&mut build).unwrap() {}
    rig.notes().create("late", &email("8")).unwrap();
    let mut rivals = engine.begin_check("notes", "/email").unwrap().unwrap();
    let refused = rig.notes().create("later", &email("9"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    rig.notes().replace("late", &email("free"), Precondition::Always).unwrap();
    while engine.check_step(&mut rivals).unwrap() {}
    assert!(engine.begin_check("notes", "/email").unwrap().is_none(), "it binds");
    drop(engine);
    rig.kill();
    let index = rig.store().engine().unwrap().secondaries.named("notes", "/email").unwrap();
    assert!(index.is_bound());
    rig.check();
}

#[test]
fn a_check_that_is_cut_short_is_begun_again_by_the_next_open_and_may_refuse() {
    for (seed, breaks) in (0..6).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rig = Rig::new(20 + seed, Durability::Immediate);
        for n in 0..20 {
            rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
        }
        if breaks {
            rig.notes().create("twin", &email("7")).unwrap();
        }
        let rivals = built_but_unchecked(&rig);
        if seed % 2 == 0 {
            rig.store().engine().unwrap().checkpoint().unwrap();
        }
        drop(rivals);
        rig.kill();
        let made: Vec<Index> =
            rig.notes().indexes().unwrap().into_iter().map(|status| status.index).collect();
        assert_eq!(made, if breaks { Vec::new() } else { vec![unique_mail()] });
        let written = rig.notes().create("new", &email("3"));
        assert_eq!(written.is_ok(), breaks);
        rig.check();
    }
}

#[test]
fn a_clear_or_a_drop_beside_a_check_ends_it_well() {
    for dropped in [false, true] {
        let mut rig = Rig::new(31, Durability::Immediate);
        rig.notes().create("a", &email("x")).unwrap();
        rig.notes().create("b", &email("x")).unwrap();
        let mut rivals = built_but_unchecked(&rig);
        if dropped {
            rig.notes().drop_index("/email").unwrap();
        } else {
            rig.notes().clear().unwrap();
        }
        let engine = rig.store().engine().unwrap();
        loop {
            match engine.check_step(&mut rivals) {
                Ok(true) => {}
                Ok(false) => break,
                // Its rows are the old ones.
                Err(crate::Error::IndexUnavailable(_)) => panic!("they are not lost"),
                Err(crate::Error::NotUnique { .. }) => {
                    assert!(dropped, "the items are gone");
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        drop(engine);
        assert_eq!(rig.notes().indexes().unwrap().len(), usize::from(!dropped));
        if !dropped {
            rig.notes().create("a", &email("x")).unwrap();
            assert!(rig.notes().create("b", &email("x")).is_err());
        }
        rig.kill();
        rig.check();
    }
}

/// The rows of a unique index are lost in an open store: the next writer builds it, and is held to it.
#[test]
fn a_writer_builds_a_unique_index_that_was_lost() {
    let mut rig = Rig::new(12, Durability::Immediate);
    rig.notes().ensure_index(unique_mail()).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
    }
    rig.store.take().unwrap().close().unwrap();
    rig.store = Some(rig.sim.open(&rig.options).unwrap());
    rig.sim.fail_index_after(0);
    let refused = rig.notes().create("new", &email("3"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    assert!(rig.notes().indexes().unwrap()[0].built);
    rig.notes().create("new", &email("5")).unwrap();
    rig.check();
}

/// A version that cannot be read costs the index, not the write; the next writer builds it.
#[test]
fn damage_does_not_let_a_second_value_in() {
    let mut rig = Rig::new(13, Durability::Immediate);
    rig.notes().ensure_index(unique_mail()).unwrap();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &email(&format!("{n}"))).unwrap();
    }
    {
        let engine = rig.store().engine().unwrap();
        engine.index.drop_values();
        let key = ItemKey::new("notes", b"3").unwrap();
        let pin = engine.pin(std::iter::once(&key)).unwrap();
        let damage = |head: &crate::values::head::Head| crate::values::head::Head {
            checksum: !head.checksum,
            ..*head
        };
        engine.index.change_head(&key, &pin, |head| Some(damage(head)));
    }
    rig.notes().delete("3", Precondition::Always).unwrap();
    assert!(!rig.notes().indexes().unwrap()[0].built);
    let refused = rig.notes().create("new", &email("4"));
    assert!(matches!(refused, Err(crate::Error::NotUnique { .. })), "{refused:?}");
    rig.notes().create("new", &email("3")).unwrap();
    rig.check();
}
