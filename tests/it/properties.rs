//! Random sequences of operations: the store does what the model of the whole store says.
//!
//! `IFMATCH_PROPERTY_OPERATIONS=n` runs about n operations instead of the usual number, and
//! `IFMATCH_SEED=n` repeats the run that printed this seed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ifmatch::Durability;
use ifmatch::simulation::Simulation;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::model::ops::{Choices, Op};
use crate::model::{Home, World};
use crate::{Repeat, from_environment, thinned};

/// Operations of a thorough run: what the goals demand for one change.
const OPERATIONS: u64 = 104_000;

fn wanted_operations() -> u64 {
    from_environment("IFMATCH_PROPERTY_OPERATIONS").unwrap_or(thinned(12_000, OPERATIONS))
}

type Outcomes = BTreeMap<(&'static str, &'static str), u64>;

/// An operation is a few bytes, so that it shrinks to a simpler one and a sequence to a shorter.
fn operation() -> impl Strategy<Value = Op> {
    vec(any::<u8>(), 4..64).prop_map(|bytes| Choices(&bytes).op())
}

/// Runs sequences of up to `longest` operations until the share of all operations is reached.
fn run(
    name: &str,
    (share, of): (u64, u64),
    longest: usize,
    home: impl Fn(u64) -> (Home, Option<tempfile::TempDir>),
    durability: Durability,
) -> Outcomes {
    let target = wanted_operations() * share / of;
    let seed = from_environment("IFMATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let _repeat = Repeat::new("properties", seed);
    let mut seeds = fastrand::Rng::with_seed(seed);
    let done = Mutex::new((0, Outcomes::new()));
    while done.lock().unwrap().0 < target {
        let mut runner = runner(&mut seeds);
        let sequences = (vec(operation(), 1..longest), any::<u64>());
        let result = runner.run(&sequences, |(operations, seed)| {
            let (home, _folder) = home(seed);
            let mut world = World::new(home, durability, seed);
            for operation in &operations {
                world.run(operation);
            }
            world.compare_all();
            let mut done = done.lock().unwrap();
            done.0 += world.operations;
            for (outcome, count) in world.outcomes {
                *done.1.entry(outcome).or_default() += count;
            }
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(reason, (operations, _))) => {
                let operations: Vec<String> =
                    operations.iter().map(|op| format!("{op:?}")).collect();
                let operations = operations.join("\n");
                panic!("{reason}, after\n{operations}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let (operations, outcomes) = done.into_inner().unwrap();
    println!("{name}: {operations} operations");
    for ((verb, outcome), count) in &outcomes {
        println!("{count:8} {verb}: {outcome}");
    }
    outcomes
}

/// A runner that has run nothing: one that has run its cases runs no more.
fn runner(seeds: &mut fastrand::Rng) -> TestRunner {
    let config = Config {
        cases: 2,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        max_shrink_time: 30_000,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seeds.fill(&mut seed);
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

fn simulated(seed: u64) -> (Home, Option<tempfile::TempDir>) {
    (Home::Simulated(Box::new(Simulation::new(seed))), None)
}

fn on_disk(_: u64) -> (Home, Option<tempfile::TempDir>) {
    let folder = tempfile::tempdir().unwrap();
    (Home::Disk(folder.path().join("store")), Some(folder))
}

/// A test that never comes to an outcome is blind to it. A short run may miss those that are rare, so
/// only one of the thorough length is asked; CI makes it. Sequences differ much in what they come to,
/// so one time is all that can be asked of every run.
fn assert_reached(outcomes: &Outcomes, expected: &[(&str, &[&str])]) {
    if wanted_operations() < OPERATIONS {
        return;
    }
    for (verb, results) in expected {
        for result in *results {
            let reached = outcomes.keys().any(|key| *key == (*verb, *result));
            assert!(reached, "{verb}: {result} never came up");
        }
    }
}

const CONDITIONAL: [&str; 4] =
    ["ok", "NotFound", "PreconditionFailed, present", "InvalidPrecondition"];

/// What every place of a store must have come to.
const EVERYWHERE: &[(&str, &[&str])] = &[
    ("get", &["found", "missing", "expired"]),
    ("sweep", &["nothing", "items"]),
    ("get_if", &["found", "not modified", "missing"]),
    ("get_if", &["PreconditionFailed, present", "PreconditionFailed, absent"]),
    ("get_many", &["ok"]),
    ("create", &["ok", "AlreadyExists"]),
    ("replace", &CONDITIONAL),
    ("delete", &CONDITIONAL),
    ("patch", &CONDITIONAL),
    ("patch", &["TestFailed", "PathNotFound", "NotANumber", "Codec"]),
    ("upsert", &["ok", "PreconditionFailed, present", "PreconditionFailed, absent"]),
    ("upsert", &["InvalidPrecondition"]),
    ("save of a new item", &["ok", "AlreadyExists"]),
    ("save of a read item", &["ok", "PreconditionFailed, present", "PreconditionFailed, absent"]),
    ("update", &["ok", "NotFound"]),
    ("try_update", &["aborted", "NotFound"]),
    ("update_or_insert_with", &["ok"]),
    ("batch", &["ok", "changes nothing", "changes several items", "conflict with itself"]),
    ("batch", &["NotFound", "AlreadyExists", "InvalidPrecondition", "PathNotFound"]),
    ("batch", &["PreconditionFailed, present", "PreconditionFailed, absent"]),
    ("create", &["NotUnique"]),
    ("upsert", &["NotUnique"]),
    ("batch", &["NotUnique"]),
    ("clear", &["ok", "nothing"]),
    ("drop of a collection", &["ok", "nothing"]),
    ("scan", &["items", "nothing", "keys", "len"]),
    ("snapshot", &["taken", "dropped", "read"]),
    ("scan of a snapshot", &["items", "nothing"]),
    ("feed", &["from the start", "from a cursor"]),
    ("watch", &["a change", "has seen everything"]),
    ("garbled cursor", &["refused", "of no place"]),
    ("open as another form", &["refused", "ok"]),
    ("bad key", &["refused"]),
    ("foreign collection", &["refused"]),
];

#[test]
fn a_store_in_memory_does_what_the_model_says() {
    let outcomes =
        run("in memory", (44, 104), 250, |_| (Home::Memory, None), Durability::Immediate);
    assert_reached(&outcomes, EVERYWHERE);
    assert_reached(&outcomes, &[("patch", &["Overflow", "RemovesDocument"])]);
    assert_reached(&outcomes, &[("snapshot", &["read while current"])]);
    // The weights do what they are for.
    let all: u64 = outcomes.values().sum();
    for (verb, outcome, least_of_a_thousand) in
        [("batch", "changes several items", 8), ("a write with a precondition", "ok", 60)]
    {
        let count = outcomes[&(verb, outcome)];
        let is_short = wanted_operations() < OPERATIONS;
        let is_enough = count * 1_000 > all * least_of_a_thousand;
        assert!(is_short || is_enough, "{verb}: {outcome}: only {count} of {all}");
    }
}

#[test]
fn a_simulated_store_does_what_the_model_says_through_kills_and_power_loss() {
    for (name, durability) in [
        ("simulated, immediate", Durability::Immediate),
        ("simulated, eventual", Durability::Eventual),
    ] {
        let outcomes = run(name, (28, 104), 250, simulated, durability);
        assert_reached(&outcomes, EVERYWHERE);
        let reopened: &[_] = &["closed", "killed", "power lost, nothing gone"];
        assert_reached(&outcomes, &[("reopen", reopened), ("sync", &["ok"])]);
        assert_reached(&outcomes, &[("checkpoint", &["ok"]), ("snapshot", &["closed"])]);
        let gone = outcomes.contains_key(&("reopen", "power lost, a suffix gone"));
        let may_miss = wanted_operations() < OPERATIONS && !gone;
        assert!(may_miss || gone == (durability == Durability::Eventual), "{name}");
    }
}

#[test]
fn a_store_on_disk_does_what_the_model_says() {
    for (name, share, durability) in [
        ("on disk, immediate", 1, Durability::Immediate),
        ("on disk, eventual", 3, Durability::Eventual),
    ] {
        let outcomes = run(name, (share, 104), 300, on_disk, durability);
        assert_reached(&outcomes, &[("reopen", &["closed"]), ("sync", &["ok"])]);
    }
}
