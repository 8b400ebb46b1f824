//! Indexes against an oracle that reads every item: at rest, at snapshots, after closes, kills and
//! losses of power, during compaction, sweeps and lost leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod lifetime;
mod proof;
mod unique;
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

    /// An index whose rows have another directory than they get where all of the index is built
    /// anew.
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

    /// The backing store returns nothing any more.
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

fn with_five_rows(seed: u64) -> Rig {
    let rig = Rig::new(seed, Durability::Immediate);
    rig.ensure_second();
    for n in 0..5 {
        rig.notes().create(format!("{n}"), &json!({ "n": n })).unwrap();
    }
    rig
}
