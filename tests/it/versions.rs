//! What is known of an item without its document, and what became of a write.

use bytes::Bytes;
use ifmatch::simulation::{Fault, FaultPlan, Operation, Simulation};
use ifmatch::{ETag, Error, HistoryPolicy, Options, Precondition, Store};
use serde::{Deserialize, Serialize};

use crate::backends::on_every_backend;

const ALWAYS: Precondition = Precondition::Always;

#[test]
fn e6_head_and_contains_agree_with_get() {
    on_every_backend(|bench| {
        let numbers = || bench.numbers();
        let agree = |key: &str| {
            let item = numbers().get(key).unwrap();
            assert_eq!(numbers().head(key).unwrap(), item.as_ref().map(|item| *item.meta()));
            assert_eq!(numbers().contains(key).unwrap(), item.is_some(), "{key}");
        };
        agree("k");
        let first = numbers().create("k", &1).unwrap();
        numbers().create("other", &1).unwrap();
        bench.step();
        assert_eq!(numbers().head("k").unwrap(), Some(first));
        for key in ["k", "other", "missing"] {
            // From the index, and from the cache.
            (0..2).for_each(|_| agree(key));
        }
        let second = numbers().replace("k", &2, first).unwrap();
        assert_eq!(numbers().head("k").unwrap().unwrap().parent(), Some(first.etag()));
        numbers().delete("k", second).unwrap();
        bench.step();
        agree("k");
        for read in [numbers().head("").err(), numbers().contains("").err()] {
            assert!(matches!(read, Some(Error::InvalidKey { .. })), "{read:?}");
        }
    });
}

#[test]
fn the_version_of_a_document_that_does_not_decode_can_be_asked_for() {
    on_every_backend(|bench| {
        let meta = bench.numbers().create("k", &1).unwrap();
        bench.step();
        let texts = bench.collection::<String>("numbers");
        assert!(texts.get("k").is_err());
        assert_eq!(texts.head("k").unwrap(), Some(meta));
        assert!(texts.contains("k").unwrap());
    });
}

#[test]
fn d2_every_write_of_an_item_was_written_and_nothing_else() {
    on_every_backend(|bench| {
        let numbers = || bench.numbers();
        let mut tags: Vec<ETag> = Vec::new();
        tags.push(numbers().create("k", &0).unwrap().etag());
        bench.step();
        for n in 1..6 {
            tags.push(numbers().upsert("k", &n, ALWAYS).unwrap().etag());
        }
        tags.push(numbers().delete("k", ALWAYS).unwrap().etag());
        bench.step();
        tags.push(numbers().create("k", &7).unwrap().etag());
        let other = numbers().create("other", &0).unwrap();
        for tag in &tags {
            assert!(numbers().was_written("k", tag).unwrap(), "{tag}");
            assert!(!numbers().was_written("other", tag).unwrap());
            assert!(!numbers().was_written("missing", tag).unwrap());
        }
        for tag in [other.etag(), ETag([7; 16]), ETag::UNSAVED] {
            assert!(!numbers().was_written("k", &tag).unwrap(), "{tag}");
        }
    });
}

/// Regression: told to look through the chain of parents, a program found one step of it, since by
/// default no version is kept.
#[test]
fn d2_a_write_whose_sync_failed_is_found_behind_later_ones() {
    for seed in 0..8 {
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new()).unwrap();
        let blobs = store.raw("blobs").unwrap();
        blobs.create("k", &Bytes::from_static(b"before")).unwrap();
        sim.disk().inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
        let unknown = blobs.upsert("k", &Bytes::from_static(b"unknown"), ALWAYS);
        let Err(Error::CommitUnknown { meta, .. }) = unknown else { panic!("{unknown:?}") };
        drop((blobs, store));
        let sim = sim.crash(&mut fastrand::Rng::with_seed(seed));
        let store = sim.open(&Options::new()).unwrap();
        let blobs = store.raw("blobs").unwrap();
        let survived = blobs.get("k").unwrap().unwrap().value == b"unknown"[..];
        assert_eq!(blobs.was_written("k", &meta.etag()).unwrap(), survived);
        for _ in 0..5 {
            blobs.upsert("k", &Bytes::from_static(b"later"), ALWAYS).unwrap();
        }
        assert_eq!(blobs.was_written("k", &meta.etag()).unwrap(), survived);
    }
}

/// The limit that the documentation names.
#[test]
fn a_write_is_forgotten_when_compaction_has_dropped_what_leads_back_to_it() {
    let sim = Simulation::new(1);
    let store = sim.open(&Options::new()).unwrap();
    let blobs = store.raw("blobs").unwrap();
    let value = Bytes::from(vec![7; 1_000]);
    let tags: Vec<ETag> =
        (0..2_000).map(|_| blobs.upsert("k", &value, ALWAYS).unwrap().etag()).collect();
    assert!(blobs.was_written("k", &tags[1_900]).unwrap());
    store.compact().unwrap();
    assert!(blobs.was_written("k", &tags[1_999]).unwrap());
    assert!(blobs.was_written("k", &tags[1_998]).unwrap(), "the current version names its parent");
    assert!(!blobs.was_written("k", &tags[0]).unwrap());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    title: String,
}

/// Regression: one version that no longer decodes made the whole history an error, just when it is
/// needed.
#[test]
fn e3_a_version_that_no_longer_decodes_is_an_error_in_its_place() {
    let store = Options::new().history(HistoryPolicy::new().versions(9)).in_memory();
    let (old, new) = (store.collection::<Old>("n").unwrap(), store.collection::<New>("n").unwrap());
    old.create("k", &Old { name: "a".to_owned() }).unwrap();
    new.upsert("k", &New { title: "b".to_owned() }, ALWAYS).unwrap();
    old.upsert("k", &Old { name: "c".to_owned() }, ALWAYS).unwrap();
    let history = new.history("k").unwrap();
    let titles = history.iter().map(|item| item.as_ref().ok().map(|item| &*item.value.title));
    assert_eq!(titles.collect::<Vec<_>>(), [None, Some("b"), None]);
    assert!(matches!(history[0], Err(Error::Codec { .. })));
    assert_eq!(Store::in_memory().collection::<u64>("n").unwrap().history("k").unwrap().len(), 0);
}
