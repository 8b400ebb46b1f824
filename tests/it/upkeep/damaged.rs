//! Damage to stores that were compacted: it is refused or harmless, and what a repair keeps was
//! written.
//!
//! `IFMATCH_DAMAGES=n` tries so many places, `IFMATCH_SEED=n` repeats one.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Simulation};
use ifmatch::{ETag, Error, HistoryPolicy, OnDamage, Options, Precondition, Store};

use super::value;
use crate::store_files::Place;
use crate::{Case, Repeat, from_environment, thinned};

const KEYS: u8 = 20;

/// Every version ever written: key, tag and value.
type Written = HashSet<(u8, ETag, Bytes)>;
type Contents = BTreeMap<u8, (ETag, Bytes)>;

/// A store that was compacted, and perhaps is so only in part.
struct Template {
    sim: Simulation,
    written: Written,
    last: Contents,
}

fn options() -> Options {
    let history = HistoryPolicy::new().tombstones(std::time::Duration::ZERO);
    Options::new().history(history)
}

fn write(store: &Store, template: &mut Template, count: u64, rng: &mut fastrand::Rng) {
    let items = store.raw("items").unwrap();
    for number in 0..count {
        let key = rng.u8(0..KEYS);
        if template.last.contains_key(&key) && rng.u8(0..6) == 0 {
            items.delete([key], Precondition::Always).unwrap();
            template.last.remove(&key);
            continue;
        }
        let new = value(number, rng.usize(0..4_000));
        let meta = items.upsert([key], &new, Precondition::Always).unwrap();
        template.written.insert((key, meta.etag(), new.clone()));
        template.last.insert(key, (meta.etag(), new));
    }
}

/// `ends`: 0 closed in order, 1 killed, more: compaction fails at some call, then killed.
fn template(seed: u64, ends: u64) -> Template {
    let mut rng = fastrand::Rng::with_seed(seed);
    let sim = Simulation::new(seed);
    let (written, last) = (Written::new(), Contents::new());
    let mut template = Template { sim: sim.clone(), written, last };
    let store = sim.open(&options()).unwrap();
    for round in 1..4 {
        write(&store, &mut template, 150, &mut rng);
        sim.set_now_ms(1_700_000_000_000 + round * 5_000);
        store.compact().unwrap();
    }
    write(&store, &mut template, 150, &mut rng);
    match ends {
        0 => {
            store.close().unwrap();
            template.sim = sim.kill(&mut rng);
        }
        1 => template.sim = sim.kill(&mut rng),
        calls => {
            sim.disk().inject(FaultPlan::after(calls, Fault::Eio).persistent());
            assert!(store.compact().is_err());
            // Not after a loss of power: with WATERMARK older, damage looks like a torn tail.
            template.sim = sim.kill(&mut rng);
        }
    }
    template
}

fn contents(store: &Store) -> Result<Contents, Error> {
    let items = store.raw("items")?;
    let entry = |item: ifmatch::Item<Bytes>| (item.key()[0], (item.etag(), item.value));
    items.iter()?.map(|item| item.map(entry)).collect()
}

/// Flips a bit of some file, or cuts it, or removes it.
fn damage(sim: &Simulation, rng: &mut fastrand::Rng) -> (PathBuf, usize) {
    loop {
        let (path, mut bytes) = rng.choice(Place::files(sim)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            continue;
        }
        let at = if rng.u8(0..4) == 0 { rng.usize(0..used.min(5_000)) } else { rng.usize(0..used) };
        match rng.u8(0..12) {
            0 => Place::remove(sim, &path),
            1 => Place::write(sim, &path, &bytes[..at]),
            _ => {
                bytes[at] ^= 1 << rng.u8(0..8);
                Place::write(sim, &path, &bytes);
            }
        }
        return (path, at);
    }
}

#[test]
fn damage_to_a_compacted_store_is_refused_or_harmless_and_repaired_to_what_was_written() {
    let cases = from_environment("IFMATCH_DAMAGES").unwrap_or(thinned(12, 250));
    let templates: Vec<Template> = [0, 1, 2, 4, 6, 9, 12, 16, 20, 24]
        .into_iter()
        .zip(0..)
        .map(|(ends, seed)| template(seed, ends))
        .collect();
    let first = from_environment("IFMATCH_SEED");
    let mut refused = 0;
    for seed in first.unwrap_or(0)..first.map_or(cases, |first| first + 1) {
        let _repeat = Repeat::new("upkeep::damaged", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let template = rng.choice(&templates).unwrap();
        let mut sim = template.sim.kill(&mut rng);
        if rng.bool() {
            sim.remove_index();
        }
        let damaged = damage(&sim, &mut rng);
        let _case = Case(format!("{damaged:?}"));
        let repairable = sim.kill(&mut rng);
        match sim.open(&options()).and_then(|store| contents(&store)) {
            Ok(found) => assert!(found == template.last, "something is missing or wrong"),
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("neither whole nor Corrupt: {error:?}"),
        }
        skip(&repairable.kill(&mut rng), template);
        repair(&repairable, template, &mut rng);
    }
    println!("{cases} places, {refused} refused");
    assert!(first.is_some() || refused * 16 > cases, "{refused} of {cases}");
}

/// What a repair keeps that skips damage was written, too, and nothing damaged is left.
fn skip(sim: &Simulation, template: &Template) {
    let store = sim.open(&options().on_damage(OnDamage::SkipDamaged)).expect("SkipDamaged opens");
    let found = contents(&store).expect("what is kept can be read");
    for (key, (tag, value)) in &found {
        let version = (*key, *tag, value.clone());
        assert!(template.written.contains(&version), "key {key} was never written like this");
    }
    if store.damage().is_none_or(|damage| damage.gone().is_empty()) {
        assert!(found == template.last, "nothing is gone, and something is missing");
    }
    store.verify().unwrap();
    assert_eq!(store.stats().unwrap().damaged_segments, 0);
    store.compact().unwrap();
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    store.close().unwrap();
    let store = sim.open(&options()).expect("a repaired store opens");
    assert!(contents(&store).unwrap() == found);
}

fn repair(sim: &Simulation, template: &Template, rng: &mut fastrand::Rng) {
    let store = sim.open(&options().on_damage(OnDamage::KeepPrefix)).expect("KeepPrefix opens");
    let found = contents(&store).expect("what is kept can be read");
    for (key, (tag, value)) in &found {
        let version = (*key, *tag, value.clone());
        assert!(template.written.contains(&version), "key {key} was never written like this");
    }
    let is_whole = store.damage().is_none();
    if is_whole {
        assert!(found == template.last, "not damaged, and not whole");
    }
    let (written, last) = (template.written.clone(), found);
    let mut repaired = Template { sim: sim.clone(), written, last };
    write(&store, &mut repaired, 20, rng);
    store.compact().unwrap();
    assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
    assert!(contents(&store).unwrap() == repaired.last);
    store.close().unwrap();
    let store = sim.open(&options()).expect("a repaired store opens");
    assert!(contents(&store).unwrap() == repaired.last);
    // What is damaged and needed by nobody stays where a repair had nothing to cut.
    assert!(store.verify().is_ok() || is_whole);
}
