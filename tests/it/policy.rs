//! The history policy is a part of the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ifmatch::simulation::Simulation;
use ifmatch::{Collection, Error, HistoryPolicy, OnDamage, Options, Precondition, Progress, Store};

const VERSIONS: u64 = 12;

fn policy() -> HistoryPolicy {
    HistoryPolicy::new().versions(100).tombstones(Duration::from_secs(60))
}

/// Writes versions of an item, and what lets compaction rewrite them.
fn fill(store: &Store) {
    let notes = notes(store);
    for number in 0..VERSIONS {
        notes.upsert("a", &number, Precondition::Always).unwrap();
        notes.upsert("b", &number, Precondition::Always).unwrap();
    }
}

fn notes(store: &Store) -> Collection<u64> {
    store.collection("notes").unwrap()
}

fn kept(store: &Store) -> u64 {
    store.compact().unwrap();
    notes(store).history("a").unwrap().len() as u64
}

/// A regression: an open with the defaults, and a restore, dropped what was kept: of 200 versions
/// one was left.
#[test]
fn a6_an_open_that_names_no_policy_keeps_the_stores() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = Options::new().history(policy()).open(place("store")).unwrap();
    fill(&store);
    store.close().unwrap();
    let store = Store::open(place("store")).unwrap();
    assert_eq!(kept(&store), VERSIONS);
    store.backup(place("copy")).unwrap();
    store.close().unwrap();
    assert_eq!(kept(&Store::open(place("store")).unwrap()), VERSIONS);
    assert_eq!(kept(&Store::restore(place("copy"), place("restored")).unwrap()), VERSIONS);
    assert_eq!(kept(&Store::open(place("restored")).unwrap()), VERSIONS);
    assert_eq!(kept(&Store::open(place("copy")).unwrap()), VERSIONS);

    let narrow = HistoryPolicy::new().versions(2);
    let restored = Options::new().history(narrow).restore(place("copy"), place("narrow")).unwrap();
    assert_eq!(kept(&restored), 3);
    let store = Options::new().history(narrow).open(place("store")).unwrap();
    assert_eq!(kept(&store), 3);
    store.close().unwrap();
    // Wider again: what is gone does not come back, and more is kept from now on.
    drop(Options::new().history(policy()).open(place("store")).unwrap());
    let store = Store::open(place("store")).unwrap();
    fill(&store);
    assert_eq!(kept(&store), VERSIONS + 3);
}

#[test]
fn a6_a_policy_that_was_named_is_durable_when_the_open_returns() {
    for seed in crate::seeds(0..40) {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new().history(policy())).unwrap();
        fill(&store);
        let image = sim.crash(rng);
        let on_damage = if rng.bool() { OnDamage::Refuse } else { OnDamage::KeepPrefix };
        let store = image.open(&Options::new().on_damage(on_damage)).unwrap();
        assert_eq!(kept(&store), VERSIONS);
    }
}

#[test]
fn a6_a_repair_keeps_the_policy() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new().history(policy())).unwrap();
    fill(&store);
    notes(&store).upsert("last", &1, Precondition::Always).unwrap();
    store.close().unwrap();
    let path = sim.disk().file_names().into_iter().rfind(|path| path.extension().is_some());
    let mut bytes = sim.disk().read_file(path.as_ref().unwrap()).unwrap();
    // The last frame with anything in it.
    let at = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(path.unwrap(), &bytes).unwrap();
    let store = sim.open(&Options::new().on_damage(OnDamage::KeepPrefix)).unwrap();
    assert!(store.damage().is_some());
    assert_eq!(kept(&store), VERSIONS);
    store.close().unwrap();
    assert_eq!(kept(&sim.open(&Options::new()).unwrap()), VERSIONS);
}

#[test]
fn e7_a_restore_tells_how_far_it_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = Store::in_memory();
    let blobs = store.raw("blobs").unwrap();
    for number in 0..12_u8 {
        blobs.create([number], &vec![number; 1 << 20].into()).unwrap();
    }
    blobs.create("small", &"the last".into()).unwrap();
    store.backup(place("copy")).unwrap();
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let note = Arc::clone(&told);
    let options = Options::new().on_progress(move |progress| note.lock().unwrap().push(progress));
    let store = options.restore(place("copy"), place("restored")).unwrap();
    assert_eq!(store.raw("blobs").unwrap().len().unwrap(), 13);
    let told = told.lock().unwrap();
    let total = told[0].total_bytes;
    assert!(total > 12 << 20);
    let copied = told.iter().position(|progress| progress.done_bytes == total).unwrap();
    assert!((2..6).contains(&copied), "{told:?}");
    assert!(told[..copied].windows(2).all(|pair| pair[0].done_bytes < pair[1].done_bytes));
    assert!(told.len() > copied + 3, "nothing was told of the open: {told:?}");
    // An open once ended up to a MiB before its total.
    let last = told.last().unwrap();
    assert_eq!(last.done_bytes, last.total_bytes);
    let missing = options.restore(place("none"), place("x"));
    assert!(matches!(missing, Err(Error::Io { .. })), "{missing:?}");
}
