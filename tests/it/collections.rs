//! Collections and their codecs: round trips, the recorded codec, and what opening one costs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use ifmatch::{Bincode, Codec, Error, Json, Patch, Precondition, Raw, Revision, Store, Tags};
use serde::{Deserialize, Serialize};

use crate::backends::{already_exists, failed_at, on_every_backend, precondition_failed};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Doc {
    text: String,
    float: f64,
    list: Vec<Option<i64>>,
    map: BTreeMap<String, u64>,
}

fn doc() -> Doc {
    Doc {
        text: "é \" \u{1} \u{10ffff}".to_owned(),
        float: 0.1 + 0.2,
        list: vec![Some(i64::MIN), None, Some(i64::MAX)],
        map: BTreeMap::from([("".to_owned(), u64::MAX), ("k".to_owned(), 0)]),
    }
}

#[track_caller]
fn codec_mismatch<R: Debug>(result: Result<R, Error>, stored: &str, opened: &str) {
    match result {
        Err(error @ Error::CodecMismatch { .. }) => {
            assert_eq!(error.http_status(), 400);
            let Error::CodecMismatch { collection, stored: s, opened: o } = error else { return };
            assert_eq!((&*collection, s, o), ("docs", stored, opened));
        }
        other => panic!("expected CodecMismatch, got {other:?}"),
    }
}

fn round_trips<T: Debug + Clone + PartialEq, C: Codec<T>>(values: &[T]) {
    on_every_backend(|bench| {
        let handle = || bench.collection_with::<T, C>("docs");
        for (n, value) in (0_u8..).zip(values) {
            handle().create([n], value).unwrap();
        }
        bench.step();
        for (n, value) in (0_u8..).zip(values) {
            assert_eq!(&handle().get([n]).unwrap().unwrap().value, value);
        }
        let all: Vec<T> = handle().iter().unwrap().map(|item| item.unwrap().value).collect();
        assert_eq!(all, values);
    });
}

#[test]
fn json_documents_come_back_as_written() {
    round_trips::<Doc, Json>(&[doc(), Doc { float: -0.0, ..doc() }]);
    round_trips::<f64, Json>(&[5e-324, f64::MAX, 0.1, 1e23]);
}

#[test]
fn bincode_documents_come_back_as_written() {
    round_trips::<Doc, Bincode>(&[doc(), Doc { float: f64::INFINITY, ..doc() }]);
}

#[test]
fn raw_bytes_come_back_as_written() {
    let all: Vec<u8> = (0..=255).collect();
    round_trips::<Bytes, Raw>(&[Bytes::new(), Bytes::from(all), Bytes::from(vec![0; 100_000])]);
}

/// Bytes that tell when the last handle to them is dropped.
struct Told(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

/// Neither is more memory kept than the cache counts, nor the owner's code run by the store.
#[test]
fn raw_bytes_are_the_callers_again_when_they_are_written() {
    on_every_backend(|bench| {
        let blobs = bench.store().raw("blobs").unwrap();
        let dropped = Arc::new(AtomicBool::new(false));
        let owned = Bytes::from_owner(Told(vec![7; 1_000], Arc::clone(&dropped)));
        blobs.create("whole", &owned).unwrap();
        let batch = bench.store().batch().create(&blobs, "part", &owned.slice(..10));
        batch.commit().unwrap();
        drop(owned);
        assert!(dropped.load(Ordering::SeqCst), "the store keeps the caller's buffer");
        assert_eq!(blobs.get("part").unwrap().unwrap().value, [7; 10][..]);
    });
}

/// A conflict must carry what was stored, decoded by the collection's own codec.
fn conflicts_carry<T, C: Codec<T>>(stored: T, other: T)
where
    T: Debug + Clone + PartialEq + serde::de::DeserializeOwned,
{
    on_every_backend(|bench| {
        let handle = || bench.collection_with::<T, C>("docs");
        let meta = handle().create("k", &stored).unwrap();
        bench.step();
        let current = already_exists::<T, _>(handle().create("k", &other));
        assert_eq!((&current.value, current.meta(), current.key()), (&stored, &meta, &b"k"[..]));
        let unless_there = Precondition::if_none_match(Tags::Any);
        let failed = handle().upsert("k", &other, unless_there);
        assert_eq!(precondition_failed(failed), Some(current));
        let Err(Error::AlreadyExists(conflict)) = handle().create("k", &other) else { panic!() };
        assert_eq!((conflict.collection(), conflict.key()), ("docs", &b"k"[..]));
        assert_eq!(conflict.meta(), Some(&meta));
        let bytes = conflict.current_bytes().unwrap();
        assert_eq!(bytes.value, C::encode(&stored).unwrap());
    });
}

#[test]
fn a_conflict_carries_the_current_json_document() {
    conflicts_carry::<Doc, Json>(doc(), Doc { float: 1.0, ..doc() });
}

#[test]
fn a_conflict_carries_the_current_bincode_document() {
    conflicts_carry::<Doc, Bincode>(doc(), Doc { float: 1.0, ..doc() });
}

#[test]
fn a_conflict_carries_the_current_raw_bytes() {
    conflicts_carry::<Bytes, Raw>(Bytes::from_static(b"\0\xff\x01"), Bytes::new());
}

#[test]
fn a_conflict_read_as_another_type_is_a_codec_error() {
    let numbers = Store::in_memory().collection::<u64>("docs").unwrap();
    numbers.create("k", &1).unwrap();
    let Err(Error::AlreadyExists(conflict)) = numbers.create("k", &2) else { panic!() };
    assert!(matches!(conflict.current::<String>(), Err(Error::Codec { .. })));
}

#[test]
fn a_collection_written_in_one_form_does_not_open_in_another() {
    on_every_backend(|bench| {
        bench.collection::<u64>("docs").create("k", &1).unwrap();
        bench.step();
        let store = bench.store();
        codec_mismatch(store.raw("docs"), "json", "raw");
        codec_mismatch(store.collection_with::<u64, Bincode>("docs"), "json", "bincode");
        assert_eq!(bench.collection::<u64>("docs").get("k").unwrap().unwrap().value, 1);
    });
}

#[test]
fn a_handle_opened_before_the_first_write_is_refused_after_it() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = bench.collection::<u64>("docs");
        let raw = store.raw("docs").unwrap();
        assert_eq!(raw.get("k").unwrap(), None);
        numbers.create("k", &1).unwrap();
        let bytes = Bytes::new();
        let always = || Precondition::Always;
        macro_rules! refused {
            ($($call:expr),* $(,)?) => { $(codec_mismatch($call, "json", "raw");)* };
        }
        refused!(
            raw.get("k"),
            raw.get_if("k", always()),
            raw.get_many(["k"]),
            raw.create("k", &bytes),
            raw.create("other", &bytes),
            raw.replace("k", &bytes, always()),
            raw.upsert("k", &bytes, always()),
            raw.delete("k", always()),
            raw.save(&mut ifmatch::Item::new("k", bytes.clone())),
            raw.update("k", |_| {}),
            raw.iter().map(|_| ()),
            raw.prefix("").map(|_| ()),
            raw.range(..).map(|_| ()),
            raw.keys().map(|_| ()),
            raw.len(),
            raw.is_empty(),
            failed_at(
                1,
                store.batch().create(&numbers, "x", &1).create(&raw, "y", &bytes).commit()
            ),
            failed_at(0, store.batch().delete(&raw, "k", always()).commit()),
        );
        bench.step();
        assert_eq!(bench.collection::<u64>("docs").len().unwrap(), 1);
    });
}

#[test]
fn two_forms_of_one_collection_in_one_batch_are_refused() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = bench.collection::<u64>("docs");
        let raw = store.raw("docs").unwrap();
        let batch = store.batch().create(&numbers, "a", &1).create(&raw, "b", &Bytes::new());
        codec_mismatch(failed_at(1, batch.commit()), "json", "raw");
        bench.step();
        assert_eq!(bench.store().revision(), Revision::ZERO);
        assert!(bench.store().raw("docs").unwrap().is_empty().unwrap());
    });
}

#[test]
fn two_forms_cannot_both_make_a_collections_first_write() {
    for round in 0..300 {
        let store = Store::in_memory();
        let numbers = store.collection::<u64>("docs").unwrap();
        let raw = store.raw("docs").unwrap();
        let together = Barrier::new(2);
        let (json, raw) = std::thread::scope(|scope| {
            let json = scope.spawn(|| {
                together.wait();
                numbers.create("json", &1)
            });
            together.wait();
            let raw = raw.create("raw", &Bytes::new());
            (json.join().unwrap(), raw)
        });
        assert_ne!(json.is_ok(), raw.is_ok(), "round {round}: {json:?}, {raw:?}");
        let lost = json.err().or(raw.err()).unwrap();
        assert!(matches!(lost, Error::CodecMismatch { .. }), "{lost:?}");
    }
}

#[test]
fn a_refused_first_write_records_no_codec() {
    on_every_backend(|bench| {
        let numbers = bench.collection::<u64>("docs");
        assert!(numbers.replace("k", &1, Precondition::Always).is_err());
        assert!(numbers.delete("k", Precondition::Always).is_err());
        assert!(numbers.patch("k", &Patch::new(), Precondition::Always).is_err());
        bench.step();
        let bytes = Bytes::from_static(b"x");
        bench.store().raw("docs").unwrap().create("k", &bytes).unwrap();
        bench.step();
        assert_eq!(bench.store().raw("docs").unwrap().get("k").unwrap().unwrap().value, bytes);
    });
}

#[test]
fn a_failed_batch_records_no_codec() {
    on_every_backend(|bench| {
        let store = bench.store();
        let numbers = bench.collection::<u64>("docs");
        let batch = store.batch().create(&numbers, "a", &1);
        let batch = batch.replace(&numbers, "b", &1, Precondition::Always);
        assert!(matches!(failed_at(1, batch.commit()), Err(Error::NotFound { .. })));
        store.raw("docs").unwrap().create("k", &Bytes::new()).unwrap();
        bench.step();
        assert_eq!(bench.store().raw("docs").unwrap().len().unwrap(), 1);
    });
}

#[test]
fn a_batch_that_leaves_nothing_in_a_collection_does_not_stand_for_its_first_write() {
    // The codec counted as recorded from then on although the batch had not written it, so that
    // the collection's first item came without a record.
    on_every_backend(|bench| {
        let docs = bench.collection::<u64>("docs");
        let batch = bench.store().batch().create(&bench.numbers(), "k", &1);
        let batch = batch.check(&docs, "a", Precondition::if_none_match(Tags::Any));
        let batch = batch.create(&docs, "b", &1).delete(&docs, "b", Precondition::Always);
        batch.commit().unwrap();
        docs.create("k", &1).unwrap();
        bench.step();
        codec_mismatch(bench.store().raw("docs"), "json", "raw");
        assert_eq!(bench.collection::<u64>("docs").get("k").unwrap().unwrap().value, 1);
    });
}

#[test]
fn a_collection_stays_what_it_was_when_its_last_item_goes() {
    on_every_backend(|bench| {
        bench.collection::<u64>("docs").create("k", &1).unwrap();
        bench.collection::<u64>("docs").delete("k", Precondition::Always).unwrap();
        bench.step();
        codec_mismatch(bench.store().raw("docs"), "json", "raw");
    });
}

#[test]
fn opening_collections_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    for n in 0..100 {
        let docs = store.collection::<u64>(&format!("docs-{n}")).unwrap();
        assert_eq!(docs.get("k").unwrap(), None);
        assert!(docs.is_empty().unwrap());
    }
    assert_eq!(store.revision(), Revision::ZERO);
    let segments = || std::fs::read_dir(path.join("journal")).unwrap().count();
    assert_eq!(segments(), 0);
    store.collection::<u64>("docs").unwrap().create("k", &1).unwrap();
    assert_eq!(segments(), 1);
}

#[test]
fn a_json_document_may_gain_fields_that_an_older_type_does_not_know() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Older {
        text: String,
    }
    on_every_backend(|bench| {
        bench.collection::<Doc>("docs").create("k", &doc()).unwrap();
        bench.step();
        let older = bench.collection::<Older>("docs").get("k").unwrap().unwrap();
        assert_eq!(older.value.text, doc().text);
    });
}

#[test]
fn d5_the_collections_are_listed_by_name_with_their_forms() {
    on_every_backend(|bench| {
        assert_eq!(bench.store().collections().unwrap(), []);
        let listed = || -> Vec<(String, Option<&'static str>)> {
            let all = bench.store().collections().unwrap();
            all.iter().map(|info| (info.name().to_owned(), info.codec())).collect()
        };
        bench.collection::<u64>("only opened");
        bench.collection::<u64>("b").create("k", &1).unwrap();
        bench.store().raw("a").unwrap().create("k", &Bytes::from_static(b"x")).unwrap();
        let points = bench.collection_with::<u64, Bincode>("c");
        points.create("k", &1).unwrap();
        points.delete("k", Precondition::Always).unwrap();
        bench.step();
        let expected = [("a", "raw"), ("b", "json"), ("c", "bincode")];
        assert_eq!(listed(), expected.map(|(name, codec)| (name.to_owned(), Some(codec))));
    });
    let store = Store::in_memory();
    store.clone().close().unwrap();
    assert!(matches!(store.collections(), Err(Error::Closed)));
}

#[test]
fn a_store_on_disk_tells_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    let told = store.path().unwrap();
    assert_eq!(told.canonicalize().unwrap(), path.canonicalize().unwrap());
    assert!(!told.to_str().unwrap().contains('?'), "no one writes paths so: {told:?}");
    store.clone().close().unwrap();
    assert!(store.path().is_some(), "it is forgotten by a close");
}
