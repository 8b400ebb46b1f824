//! The verb `patch`: its order of decisions, and what it leaves alone. What each operation does to
//! a document is tested beside the patches themselves.

use std::collections::BTreeMap;

use ifmatch::{Collection, Error, Patch, PatchError, Precondition, RetryPolicy, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backends::{
    Bench, failed_at, invalid_precondition, not_found, on_every_backend, precondition_failed,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Product {
    name: String,
    stock: i64,
}

fn product() -> Product {
    Product { name: "bolt".to_owned(), stock: 3 }
}

fn products(bench: &Bench) -> Collection<Product> {
    bench.collection("products")
}

/// A patch that no document takes, and one that is none.
fn hopeless() -> [Patch; 2] {
    [Patch::new().remove("/missing"), Patch::new().set("no pointer", 1)]
}

#[track_caller]
fn patch_error<R: std::fmt::Debug>(result: Result<R, Error>) -> PatchError {
    match result {
        Err(Error::Patch(error)) => error,
        other => panic!("expected a patch error, got {other:?}"),
    }
}

/// Runs the body on a stored product, which it must leave as it was.
fn leaves_the_product(body: impl Fn(&Bench, &Collection<Product>)) {
    on_every_backend(|bench| {
        products(bench).create("k", &product()).unwrap();
        bench.step();
        let before = products(bench).get("k").unwrap();
        body(bench, &products(bench));
        bench.step();
        assert_eq!(products(bench).get("k").unwrap(), before);
        assert_eq!(bench.store().revision(), before.unwrap().revision());
    });
}

#[test]
fn a_patch_writes_what_it_returns() {
    on_every_backend(|bench| {
        let before = products(bench).create("k", &product()).unwrap();
        bench.step();
        let patch = Patch::new().incr("/stock", -1).set("/name", "nut").test("/stock", 2);
        let item = products(bench).patch("k", &patch, before.etag()).unwrap();
        assert_eq!(item.value, Product { name: "nut".to_owned(), stock: 2 });
        assert_eq!((item.key(), item.parent()), (&b"k"[..], Some(before.etag())));
        bench.step();
        assert_eq!(products(bench).get("k").unwrap(), Some(item));
    });
}

#[test]
fn a_patch_read_from_json_and_a_merge_patch_are_applied() {
    on_every_backend(|bench| {
        products(bench).create("k", &product()).unwrap();
        let text = r#"[{"op": "replace", "path": "/stock", "value": 8}]"#;
        let patch = Patch::from_json(text).unwrap();
        products(bench).patch("k", &patch, Precondition::Always).unwrap();
        bench.step();
        let merge = Patch::merge(json!({"name": "nut"}));
        let item = products(bench).patch("k", &merge, Precondition::Always).unwrap();
        assert_eq!(item.value, Product { name: "nut".to_owned(), stock: 8 });
    });
}

#[test]
fn a_patch_without_operations_is_still_a_write() {
    on_every_backend(|bench| {
        let before = products(bench).create("k", &product()).unwrap();
        bench.step();
        let item = products(bench).patch("k", &Patch::new(), Precondition::Always).unwrap();
        assert_eq!((&item.value, item.parent()), (&product(), Some(before.etag())));
    });
}

#[test]
fn absence_is_decided_before_the_patch_is_looked_at() {
    on_every_backend(|bench| {
        for patch in hopeless() {
            not_found(products(bench).patch("k", &patch, Precondition::Always));
        }
    });
}

#[test]
fn the_precondition_is_decided_before_the_patch_is_looked_at() {
    leaves_the_product(|bench, products| {
        for patch in hopeless() {
            let stale = ifmatch::ETag([1; 16]);
            let current = precondition_failed(products.patch("k", &patch, stale));
            assert_eq!(current, products.get("k").unwrap());
            let unless_there = Precondition::if_unchanged(None);
            invalid_precondition(products.patch("k", &patch, unless_there.clone()));
            let batch = bench.store().batch().patch(products, "k", &patch, stale);
            assert!(precondition_failed::<Product, _>(failed_at(0, batch.commit())).is_some());
            let batch = bench.store().batch().patch(products, "k", &patch, unless_there);
            invalid_precondition(failed_at(0, batch.commit()));
        }
    });
}

#[test]
fn the_error_names_the_operation_and_its_path() {
    leaves_the_product(|_, products| {
        let patch = Patch::new().set("/name", "nut").incr("/stock", 1).remove("/a~1b/c");
        let error = patch_error(products.patch("k", &patch, Precondition::Always));
        assert_eq!((error.index(), error.path()), (Some(2), Some("/a~1b/c")));
        assert!(matches!(error, PatchError::PathNotFound { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("operation 2") && text.contains("/a~1b/c"), "{text}");
    });
}

#[test]
fn a_failed_test_is_a_patch_error_and_no_precondition_failure() {
    leaves_the_product(|_, products| {
        let patch = Patch::new().set("/stock", 0).test("/name", "nut");
        let result = products.patch("k", &patch, Precondition::Always);
        assert_eq!(result.as_ref().unwrap_err().http_status(), 409);
        let error = patch_error(result);
        assert!(matches!(error, PatchError::TestFailed { index: 1, .. }), "{error:?}");
    });
}

#[test]
fn a_patch_that_is_none_is_a_bad_request() {
    leaves_the_product(|_, products| {
        let patch = Patch::new().set("/stock", 0).set("no pointer", 1);
        let result = products.patch("k", &patch, Precondition::Always);
        assert_eq!(result.as_ref().unwrap_err().http_status(), 400);
        assert_eq!(patch_error(result).index(), Some(1));
        let non_finite = Patch::new().set("/stock", f64::NAN);
        let error = patch_error(products.patch("k", &non_finite, Precondition::Always));
        assert!(matches!(error, PatchError::InvalidValue { index: 0, .. }), "{error:?}");
    });
}

#[test]
fn a_patch_after_which_the_document_is_no_longer_of_its_type_is_refused() {
    leaves_the_product(|bench, products| {
        for patch in [
            Patch::new().set("/stock", "three"),
            Patch::new().remove("/name"),
            Patch::new().set("/stock", 0.5),
            Patch::merge(json!({"name": null})),
            Patch::merge(json!([])),
        ] {
            let result = products.patch("k", &patch, Precondition::Always);
            assert!(matches!(result, Err(Error::Codec { .. })), "{result:?}");
            let batch = bench.store().batch().create(products, "other", &product());
            let batch = batch.patch(products, "k", &patch, Precondition::Always);
            let result = failed_at(1, batch.commit());
            assert!(matches!(result, Err(Error::Codec { .. })), "{result:?}");
        }
    });
}

#[test]
fn fields_that_the_type_does_not_know_survive_a_patch() {
    on_every_backend(|bench| {
        let newer = json!({
            "name": "bolt", "stock": 3, "since": 2024, "float": 0.1, "minus": -0.0,
            "big": u64::MAX, "least": i64::MIN, "nested": {"a": [1, null, {"b": "é"}]},
        });
        bench.collection::<Value>("products").create("k", &newer).unwrap();
        bench.step();
        let patch = Patch::new().incr("/stock", 1);
        products(bench).patch("k", &patch, Precondition::Always).unwrap();
        bench.step();
        let stored = bench.collection::<Value>("products").get("k").unwrap().unwrap().value;
        let mut expected = newer;
        expected["stock"] = json!(4);
        assert_eq!(stored, expected);
        assert!(stored["minus"].as_f64().unwrap().is_sign_negative());
    });
}

#[test]
fn update_keeps_unknown_fields_only_where_the_type_flattens_them() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Keeping {
        stock: i64,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    on_every_backend(|bench| {
        let values = || bench.collection::<Value>("products");
        let newer = json!({"name": "bolt", "stock": 3, "since": 2024});
        values().create("k", &newer).unwrap();
        let keeping = bench.collection::<Keeping>("products");
        keeping.update("k", |product| product.stock += 1).unwrap();
        bench.step();
        let expected = json!({"name": "bolt", "stock": 4, "since": 2024});
        assert_eq!(values().get("k").unwrap().unwrap().value, expected);
        products(bench).update("k", |product| product.stock += 1).unwrap();
        let dropped = json!({"name": "bolt", "stock": 5});
        assert_eq!(values().get("k").unwrap().unwrap().value, dropped);
    });
}

#[test]
fn concurrent_patches_lose_no_increment() {
    let folder = tempfile::tempdir().unwrap();
    let options = ifmatch::Options::new().durability(ifmatch::Durability::Eventual);
    let on_disk = options.open(folder.path().join("store")).unwrap();
    for store in [Store::in_memory(), on_disk] {
        let products = store.collection::<Product>("products").unwrap();
        products.create("k", &Product { stock: 0, ..product() }).unwrap();
        let patch = Patch::new().incr("/stock", 1);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        products.patch("k", &patch, Precondition::Always).unwrap();
                    }
                });
            }
        });
        assert_eq!(products.get("k").unwrap().unwrap().value.stock, 800);
    }
}

#[test]
fn of_concurrent_patches_with_one_tag_one_goes_through() {
    let products = Store::in_memory().collection::<Product>("products").unwrap();
    let tag = products.create("k", &product()).unwrap().etag();
    let patch = Patch::new().incr("/stock", 1);
    let patched = || products.patch("k", &patch, tag);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(patched)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for result in results.into_iter().filter(Result::is_err) {
        let current = precondition_failed::<Product, _>(result).unwrap();
        assert_eq!(current.parent(), Some(tag));
    }
    assert_eq!(products.get("k").unwrap().unwrap().value.stock, 4);
}

/// A type whose decoding makes every patch lose its race.
#[derive(Debug, Serialize)]
struct Meddling(u64);

thread_local! {
    static MEDDLE: std::cell::RefCell<Option<Collection<u64>>> = const { std::cell::RefCell::new(None) };
}

impl<'de> Deserialize<'de> for Meddling {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        MEDDLE.with_borrow(|numbers| {
            if let Some(numbers) = numbers {
                assert!(number < 100, "no policy ends these retries");
                numbers.replace("k", &(number + 1), Precondition::Always).unwrap();
            }
        });
        Ok(Self(number))
    }
}

#[test]
fn a_patch_that_always_loses_its_race_is_contended() {
    // That a race was lost was forgotten, so that a patch was tried again for ever, without waits.
    on_every_backend(|bench| {
        bench.numbers().create("k", &0).unwrap();
        let policy = RetryPolicy::new().max_attempts(4).base_delay(std::time::Duration::ZERO);
        let meddling = bench.collection::<Meddling>("numbers").with_retry(policy);
        MEDDLE.set(Some(bench.numbers()));
        let patched = meddling.patch("k", &Patch::new().incr("", 1), Precondition::Always);
        MEDDLE.set(None);
        let Err(Error::Contended { attempts, current, .. }) = patched else {
            panic!("{patched:?}")
        };
        assert_eq!(attempts, 4);
        assert_eq!(current.current::<u64>().unwrap(), bench.numbers().get("k").unwrap());
    });
}

#[test]
fn the_number_of_operations_is_not_limited() {
    on_every_backend(|bench| {
        products(bench).create("k", &product()).unwrap();
        let mut patch = Patch::new();
        for _ in 0..5_000 {
            patch = patch.incr("/stock", 1);
        }
        let item = products(bench).patch("k", &patch, Precondition::Always).unwrap();
        assert_eq!(item.value.stock, 5_003);
    });
}
