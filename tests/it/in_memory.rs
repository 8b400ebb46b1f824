//! A store in memory takes the same options as one on disk, and a clock that a test rules over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ifmatch::{ChangeKind, Cursor, Durability, Error, HistoryPolicy, ManualClock, Options};
use ifmatch::{Precondition, Store};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn d6_the_options_of_a_store_in_memory_have_their_effect() {
    let options = Options::new().history(HistoryPolicy::new().versions(2)).snapshot_bytes(0);
    let store = options.in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    for n in 0..5 {
        numbers.upsert("k", &n, Precondition::Always).unwrap();
    }
    let values: Vec<u64> =
        numbers.history("k").unwrap().into_iter().map(|version| version.unwrap().value).collect();
    assert_eq!(values, [4, 3, 2]);
    let snapshot = store.snapshot();
    numbers.upsert("k", &5, Precondition::Always).unwrap();
    let seen = snapshot.collection(&numbers).get("k");
    assert!(matches!(seen, Err(Error::SnapshotTooOld)), "{seen:?}");
    // The defaults are those of the other constructor.
    let default = Store::in_memory().collection::<u64>("numbers").unwrap();
    default.create("k", &1).unwrap();
    default.upsert("k", &2, Precondition::Always).unwrap();
    assert_eq!(default.history("k").unwrap().len(), 1);
}

#[test]
fn two_stores_of_the_same_options_are_two() {
    let options = Options::new().create(false).durability(Durability::Eventual);
    let (one, other) = (options.in_memory(), options.in_memory());
    one.collection::<u64>("numbers").unwrap().create("k", &1).unwrap();
    assert!(other.collection::<u64>("numbers").unwrap().is_empty().unwrap());
    assert_eq!((one.path(), other.path()), (None, None));
}

#[test]
fn e6_a_manual_clock_stands_still_and_goes_where_it_is_told_to() {
    let clock = ManualClock::new(UNIX_EPOCH + HOUR);
    let store = Options::new().clock(&clock).in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    let first = numbers.create("k", &1).unwrap();
    assert_eq!(first.modified(), UNIX_EPOCH + HOUR);
    clock.advance(HOUR);
    assert_eq!(clock.now(), UNIX_EPOCH + 2 * HOUR);
    assert_eq!(numbers.replace("k", &2, first).unwrap().modified(), UNIX_EPOCH + 2 * HOUR);

    let fleeting = numbers.clone().with_ttl(HOUR);
    let meta = fleeting.replace("k", &3, Precondition::Always).unwrap();
    clock.advance(HOUR + Duration::from_nanos(1));
    assert!(!numbers.contains("k").unwrap());
    let last = store.changes(Cursor::START).unwrap().last().unwrap().unwrap();
    assert_eq!((last.kind(), last.etag()), (ChangeKind::Expired, meta.etag()));
    // Set back, it is the store's clock that does not follow.
    clock.set(SystemTime::UNIX_EPOCH);
    assert_eq!(numbers.get("k").unwrap(), None);
}

#[test]
fn a_manual_clock_serves_a_store_on_disk_and_several_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(UNIX_EPOCH + HOUR);
    let options = Options::new().clock(&clock);
    let (one, other) = (options.open(folder.path().join("s")).unwrap(), options.in_memory());
    clock.set(UNIX_EPOCH + 3 * HOUR);
    for store in [one, other] {
        let written = store.collection::<u64>("numbers").unwrap().create("k", &1).unwrap();
        assert_eq!(written.modified(), UNIX_EPOCH + 3 * HOUR);
    }
}
