//! Finding items by what is in them: everything that a find gives is compared with a plain look at
//! every item.

use std::collections::BTreeMap;

use ifmatch::{
    Bincode, Collection, Error, Filter, FilterError, FindCursor, Index, ManualClock, Options,
    Patch, Precondition, RetryPolicy, Store,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backends::{Bench, on_every_backend};

fn documents(bench: &Bench) -> Collection<Value> {
    bench.collection("documents")
}

fn everything() -> Filter {
    Filter::all([])
}

/// Notes with tags, half of them dated; every seventh is of another shape.
fn note(n: u64) -> Value {
    let tags: Vec<&str> = ["home", "work", "urgent"]
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| n >> bit & 1 == 1)
        .map(|(_, tag)| tag)
        .collect();
    match n % 7 {
        3 => json!({"tags": "work", "modified": null}),
        5 => json!({"tags": tags, "price": n as f64 / 2.0}),
        _ => json!({"tags": tags, "modified": n % 10, "price": n}),
    }
}

fn key(n: u64) -> String {
    format!("n{n:03}")
}

fn with_notes(count: u64) -> (Store, Collection<Value>) {
    let store = Store::in_memory();
    let notes = store.collection("notes").unwrap();
    (0..count).for_each(|n| {
        notes.create(key(n), &note(n)).unwrap();
    });
    (store, notes)
}

fn keys(found: ifmatch::Found<Value>) -> Vec<String> {
    found.map(|item| item.unwrap().key_str().unwrap().to_owned()).collect()
}

/// All items that meet a filter, by a plain look at each.
fn plain(notes: &Collection<Value>, filter: &Filter) -> Vec<(String, Value)> {
    let items = notes.iter().unwrap().map(Result::unwrap);
    items
        .filter(|item| filter.matches(&item.value).unwrap())
        .map(|item| (item.key_str().unwrap().to_owned(), item.value))
        .collect()
}

#[test]
fn a_find_gives_what_meets_the_filter_in_order_of_key() {
    on_every_backend(|bench| {
        (0..40).for_each(|n| {
            documents(bench).create(key(n), &note(n)).unwrap();
        });
        bench.collection::<Value>("others").create("x", &note(2)).unwrap();
        bench.step();
        for filter in [
            everything(),
            Filter::any([]),
            Filter::eq("/tags/*", "work"),
            Filter::lt("/price", 10),
            Filter::not(Filter::exists("/modified")),
            Filter::all([Filter::eq("/tags/*", "home"), Filter::gt("/modified", 3)]),
        ] {
            let documents = documents(bench);
            let expected: Vec<String> =
                plain(&documents, &filter).into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys(documents.find(filter.clone()).iter().unwrap()), expected, "{filter}");
            assert_eq!(documents.find(filter.clone()).count().unwrap(), expected.len() as u64);
            let cost = documents.find(filter).explain().unwrap();
            assert_eq!((cost.looked_at(), cost.found()), (40, expected.len() as u64));
        }
    });
}

#[test]
fn a_sort_orders_by_value_then_key_and_leaves_out_what_has_none() {
    let (_store, notes) = with_notes(40);
    for descending in [false, true] {
        let mut expected: Vec<(i64, String)> = plain(&notes, &everything())
            .into_iter()
            .filter_map(|(key, note)| {
                let modified = note.get("modified")?;
                let rank = modified.as_i64().unwrap_or(-1); // null is the least
                Some((if descending { -rank } else { rank }, key))
            })
            .collect();
        expected.sort();
        let expected: Vec<String> = expected.into_iter().map(|(_, key)| key).collect();
        let find = || {
            let find = notes.find(everything());
            if descending { find.sort_desc("/modified") } else { find.sort("/modified") }
        };
        assert_eq!(keys(find().iter().unwrap()), expected);
        assert_eq!(find().count().unwrap(), expected.len() as u64);
        for limit in [0, 1, 7, 1_000] {
            let part = &expected[..expected.len().min(limit)];
            assert_eq!(keys(find().limit(limit as u64).iter().unwrap()), part);
            assert_eq!(find().limit(limit as u64).count().unwrap(), part.len() as u64);
        }
    }
}

#[test]
fn of_several_values_the_first_in_the_order_counts() {
    let notes = Store::in_memory().collection::<Value>("notes").unwrap();
    notes.create("a", &json!([1, 9])).unwrap();
    notes.create("b", &json!([5])).unwrap();
    notes.create("c", &json!([])).unwrap();
    assert_eq!(keys(notes.find(everything()).sort("/*").iter().unwrap()), ["a", "b"]);
    assert_eq!(keys(notes.find(everything()).sort_desc("/*").iter().unwrap()), ["a", "b"]);
    notes.create("d", &json!([7])).unwrap();
    assert_eq!(keys(notes.find(everything()).sort("/*").iter().unwrap()), ["a", "b", "d"]);
    assert_eq!(keys(notes.find(everything()).sort_desc("/*").iter().unwrap()), ["a", "d", "b"]);
}

#[test]
fn a_further_sort_orders_what_is_equal_so_far() {
    let (_store, notes) =
        (Store::in_memory(), Store::in_memory().collection::<Value>("n").unwrap());
    let values = [
        ("a", 2, Some(1)),
        ("b", 1, Some(1)),
        ("c", 2, None),
        ("d", 1, Some(3)),
        ("e", 2, Some(3)),
    ];
    for (key, group, rank) in values {
        let note = match rank {
            Some(rank) => json!({"group": group, "rank": rank}),
            None => json!({"group": group}),
        };
        notes.create(key, &note).unwrap();
    }
    notes.create("f", &json!({"rank": 9})).unwrap();
    let found = |first: bool, second: bool| {
        let by = |find: ifmatch::Find<Value>, path, descending| {
            if descending { find.sort_desc(path) } else { find.sort(path) }
        };
        let find = || by(by(notes.find(everything()), "/group", first), "/rank", second);
        let (whole, mut paged) = (keys(find().iter().unwrap()), Vec::new());
        let mut place: Option<FindCursor> = None;
        while paged.len() < whole.len() {
            let page = find().limit(2);
            let page = if let Some(place) = place { page.after(place) } else { page };
            let mut page = page.iter().unwrap();
            paged.extend(keys_of(&mut page));
            place = page.cursor();
        }
        assert_eq!(paged, whole);
        whole
    };
    // With no index, with one of the first field, and with those of both in each direction.
    for index in ["", "/group", "/group,/rank", "/group,-/rank", "-/group,/rank", "-/group"] {
        if !index.is_empty() {
            notes.ensure_index(index.parse::<Index>().unwrap()).unwrap();
        }
        assert_eq!(found(false, false), ["b", "d", "c", "a", "e"], "{index}");
        assert_eq!(found(false, true), ["d", "b", "e", "a", "c"], "{index}");
        assert_eq!(found(true, false), ["c", "a", "e", "b", "d"], "{index}");
        assert_eq!(found(true, true), ["e", "a", "c", "d", "b"], "{index}");
        for status in notes.indexes().unwrap() {
            notes.drop_index(&status.index.name()).unwrap();
        }
    }
    let many = (0..9).fold(notes.find(everything()), |find, at| find.sort(&format!("/{at}")));
    let refused = many.iter().unwrap_err().to_string();
    assert!(refused.contains("at most 8 paths"), "{refused}");
}

#[test]
fn pages_are_the_whole_whatever_is_removed_between_them() {
    let (_store, notes) = with_notes(60);
    for sort in [None, Some((false, "/modified")), Some((true, "/modified"))] {
        let find = || {
            let find = notes.find(Filter::ge("/price", 3));
            match sort {
                None => find,
                Some((false, path)) => find.sort(path),
                Some((true, path)) => find.sort_desc(path),
            }
        };
        let whole = keys(find().iter().unwrap());
        let mut paged = Vec::new();
        let mut place: Option<FindCursor> = None;
        loop {
            let page = find().limit(7);
            let page = if let Some(place) = place { page.after(place) } else { page };
            let mut page = page.iter().unwrap();
            let before = paged.len();
            paged.extend(keys_of(&mut page));
            if paged.len() == before {
                break;
            }
            assert!(paged.len() <= whole.len(), "{paged:?} of {whole:?}");
            // Kept over a restart, as text; and the item that it was taken at is gone.
            let text = serde_json::to_string(&page.cursor().unwrap()).unwrap();
            place = Some(serde_json::from_str(&text).unwrap());
            if sort == Some((true, "/modified")) {
                notes.delete(paged.last().unwrap(), Precondition::Always).unwrap();
            }
        }
        assert_eq!(paged, whole);
    }
}

fn keys_of(found: &mut ifmatch::Found<Value>) -> Vec<String> {
    found.map(|item| item.unwrap().key_str().unwrap().to_owned()).collect()
}

#[test]
fn a_place_in_another_order_is_refused() {
    let (_store, notes) = with_notes(9);
    let place = |find: ifmatch::Find<Value>| {
        let mut found = find.iter().unwrap();
        found.next().unwrap().unwrap();
        found.cursor().unwrap()
    };
    let unsorted = place(notes.find(everything()));
    let sorted = place(notes.find(everything()).sort("/modified"));
    for find in [
        notes.find(everything()).sort("/modified").after(unsorted.clone()),
        notes.find(everything()).sort_desc("/modified").after(sorted.clone()),
        notes.find(everything()).sort("/price").after(sorted.clone()),
        notes.find(everything()).after(sorted.clone()),
    ] {
        let refused = find.iter().unwrap_err();
        assert!(matches!(refused, Error::Filter(FilterError::OtherOrder)), "{refused}");
    }
    assert!(notes.find(everything()).after(unsorted).iter().is_ok());
    for wrong in ["", "0.0.0", "00000000..", "00000000.00.61", "00000001..61", "0000000g..61"] {
        assert!(wrong.parse::<FindCursor>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_no_filter_or_path_is_an_error_before_anything_is_read() {
    let (_store, notes) = with_notes(3);
    let told = |result: Result<u64, Error>| match result {
        Err(error @ Error::Filter(FilterError::InvalidPath { .. })) => error.http_status(),
        other => panic!("expected an invalid path, got {other:?}"),
    };
    assert_eq!(told(notes.find(Filter::exists("a")).count()), 400);
    assert_eq!(told(notes.find(everything()).sort("a").count()), 400);
    assert_eq!(told(notes.find(Filter::exists("a")).update_each(|_| panic!("run"))), 400);
}

#[test]
fn a_find_is_of_one_moment() {
    let (store, notes) = with_notes(500);
    let before = store.snapshot();
    let mut found = notes.find(Filter::exists("/price")).iter().unwrap();
    let mut sorted = notes.find(Filter::exists("/price")).sort("/price").iter().unwrap();
    let expected: Vec<Value> = (0..500).map(note).filter(|n| n.get("price").is_some()).collect();
    let mut seen = vec![found.next().unwrap().unwrap().value];
    for n in 0..500 {
        notes.upsert(key(n), &json!({"price": -1}), Precondition::Always).unwrap();
        notes.create(format!("later{n}"), &json!({"price": 1})).unwrap();
    }
    seen.extend(found.map(|item| item.unwrap().value));
    assert_eq!(seen, expected);
    assert_eq!(sorted.by_ref().count(), expected.len());
    let at_snapshot = before.collection(&notes);
    assert_eq!(at_snapshot.find(Filter::eq("/price", -1)).count().unwrap(), 0);
    assert_eq!(notes.find(Filter::eq("/price", -1)).count().unwrap(), 500);
    let elsewhere = Store::in_memory().snapshot();
    let refused = elsewhere.collection(&notes).find(everything()).count();
    assert!(matches!(refused, Err(Error::InvalidKey { .. })));
}

#[test]
fn an_expired_item_is_not_found() {
    let clock = ManualClock::new(std::time::SystemTime::UNIX_EPOCH);
    let store = Options::new().clock(&clock).in_memory();
    let notes = store.collection::<u64>("notes").unwrap();
    notes.create("stays", &1).unwrap();
    let second = std::time::Duration::from_secs(1);
    notes.clone().with_ttl(second).create("goes", &2).unwrap();
    let sorted = notes.find(everything()).sort("").iter().unwrap();
    assert_eq!(notes.find(everything()).count().unwrap(), 2);
    clock.advance(second);
    assert_eq!(notes.find(everything()).count().unwrap(), 1);
    assert_eq!(sorted.count(), 1);
}

#[test]
fn a_document_that_is_no_t_is_an_error_in_its_place_and_the_filter_sees_all_fields() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Named {
        name: String,
    }
    let store = Store::in_memory();
    let raw = store.collection::<Value>("people").unwrap();
    raw.create("a", &json!({"name": "Ada", "born": 1815})).unwrap();
    raw.create("b", &json!({"born": 1906})).unwrap();
    raw.create("c", &json!({"name": "Kay", "born": 1940})).unwrap();
    let people = store.collection::<Named>("people").unwrap();
    let mut found = people.find(Filter::lt("/born", 1950)).iter().unwrap();
    assert_eq!(found.next().unwrap().unwrap().value.name, "Ada");
    assert!(matches!(found.next(), Some(Err(Error::Codec(_)))));
    assert_eq!(found.next().unwrap().unwrap().value.name, "Kay");
    assert!(found.next().is_none() && found.next().is_none());
}

#[test]
fn a_find_that_looks_at_too_many_items_is_given_up() {
    let store = Options::new().max_scanned_items(5).in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    (0..5).for_each(|n| {
        numbers.create(key(n), &n).unwrap();
    });
    assert_eq!(numbers.find(everything()).sort("").count().unwrap(), 5);
    numbers.create(key(5), &5).unwrap();
    let refused = numbers.find(everything()).count().unwrap_err();
    assert!(matches!(refused, Error::ScanTooLong { limit: 5, index: None, .. }), "{refused}");
    let helps = |find: ifmatch::Find<u64>| match find.count() {
        Err(Error::ScanTooLong { index: Some(index), .. }) => index,
        other => panic!("expected an index that helps, got {other:?}"),
    };
    let several = Filter::all([
        Filter::gt("/c", 1),
        Filter::eq("/b/*", 1),
        Filter::eq("/d/*", 1),
        Filter::is_in("/a", [1, 2]),
    ]);
    assert_eq!(helps(numbers.find(several.clone())), "/b/*,/a,/c");
    assert_eq!(helps(numbers.find(several).sort_desc("/m")), "/b/*,/a,-/m");
    assert_eq!(helps(numbers.find(everything()).sort_desc("")), "-");
    let index = helps(numbers.find(Filter::ge("", 5)));
    numbers.ensure_index(index.parse().unwrap()).unwrap();
    assert_eq!(numbers.find(Filter::ge("", 5)).count().unwrap(), 1);
    numbers.drop_index(&index).unwrap();
    assert_eq!((refused.http_status(), refused.collection()), (413, Some("numbers")));
    assert!(numbers.find(everything()).sort("").iter().is_err());
    // What comes before is given, and a limit that is reached in time is enough.
    let mut found = numbers.find(everything()).iter().unwrap();
    assert_eq!(found.by_ref().take(5).filter(Result::is_ok).count(), 5);
    assert!(matches!(found.next(), Some(Err(Error::ScanTooLong { .. }))));
    assert!(found.next().is_none());
    assert_eq!(numbers.find(everything()).limit(5).count().unwrap(), 5);
}

#[test]
fn each_item_that_is_found_is_changed_once_though_it_moves() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        (0..50).for_each(|n| {
            numbers.create(key(n), &n).unwrap();
        });
        bench.step();
        let numbers = bench.numbers();
        // Each meets the filter again after the change, and moves behind all others in the order.
        let changed = numbers.find(Filter::lt("", 1_000)).sort("").update_each(|n| *n += 100);
        assert_eq!(changed.unwrap(), 50);
        bench.step();
        let values = bench.numbers().iter().unwrap().map(|item| item.unwrap().value);
        assert!(values.eq(100..150));
    });
}

#[test]
fn an_item_that_no_longer_meets_the_filter_is_left_alone() {
    let numbers = Store::in_memory().collection::<u64>("numbers").unwrap();
    ["a", "b", "c", "d"].iter().for_each(|key| {
        numbers.create(key, &1).unwrap();
    });
    let mut runs = 0;
    let changed = numbers.find(Filter::eq("", 1)).update_each(|n| {
        if runs == 0 {
            // Others come in between, after all were found.
            numbers.replace("b", &7, Precondition::Always).unwrap();
            numbers.delete("c", Precondition::Always).unwrap();
            numbers.replace("d", &1, Precondition::Always).unwrap();
        }
        runs += 1;
        *n += 10;
    });
    assert_eq!(changed.unwrap(), 2);
    let now: Vec<_> = numbers.iter().unwrap().map(|item| item.unwrap()).collect();
    let now: Vec<_> = now.iter().map(|item| (item.key_str().unwrap(), item.value)).collect();
    assert_eq!(now, [("a", 11), ("b", 7), ("d", 11)]);
    assert_eq!(runs, 2);
}

#[test]
fn a_closure_that_writes_the_item_itself_is_given_up() {
    let numbers = Store::in_memory().collection::<u64>("numbers").unwrap();
    numbers.create("a", &1).unwrap();
    let writing = numbers.clone();
    let changed = numbers.find(Filter::ge("", 1)).update_each(|_| {
        writing.update("a", |n| *n += 1).unwrap();
    });
    assert!(matches!(changed, Err(Error::Contended { attempts: 16, .. })), "{changed:?}");
    let once = numbers.with_retry(RetryPolicy::new().max_attempts(1));
    let changed = once.find(Filter::ge("", 1)).update_each(|_| {
        writing.update("a", |n| *n += 1).unwrap();
    });
    assert!(matches!(changed, Err(Error::Contended { attempts: 1, .. })), "{changed:?}");
}

#[test]
fn writers_beside_an_update_of_each_lose_nothing() {
    let store = Store::in_memory();
    let counters = store.collection::<BTreeMap<String, u64>>("counters").unwrap();
    for n in 0..20 {
        counters.create(key(n), &BTreeMap::from([("x".to_owned(), 0)])).unwrap();
    }
    std::thread::scope(|threads| {
        for name in ["a", "b"] {
            let counters = counters.clone();
            threads.spawn(move || {
                for _ in 0..10 {
                    let add = |counter: &mut BTreeMap<String, u64>| {
                        *counter.entry(name.to_owned()).or_default() += 1;
                    };
                    assert_eq!(counters.find(Filter::exists("/x")).update_each(add).unwrap(), 20);
                }
            });
        }
    });
    for item in counters.iter().unwrap() {
        let item = item.unwrap();
        assert_eq!((item.value["a"], item.value["b"]), (10, 10));
    }
}

#[test]
fn a_filter_is_a_precondition_of_every_verb_that_takes_one() {
    on_every_backend(|bench| {
        let documents = || documents(bench);
        let open = || Precondition::matching(Filter::eq("/state", "open"));
        let state = |state: &str| json!({"state": state});
        documents().create("k", &state("open")).unwrap();
        bench.step();
        documents().replace("k", &json!({"state": "open", "n": 1}), open()).unwrap();
        bench.step();
        documents().patch("k", &Patch::new().incr("/n", 1), open()).unwrap();
        bench.step();
        assert!(documents().get_if("k", open()).unwrap().found().is_some());
        documents().upsert("k", &state("done"), open()).unwrap();
        bench.step();

        let refused = |result: Result<(), Error>| {
            let Err(Error::PreconditionFailed(conflict)) = result else {
                panic!("expected a failed precondition, got {result:?}")
            };
            assert_eq!(conflict.current::<Value>().unwrap().unwrap().value, state("done"));
        };
        let hopeless = Patch::new().remove("/missing");
        refused(documents().replace("k", &state("x"), open()).map(drop));
        refused(documents().patch("k", &hopeless, open()).map(drop));
        refused(documents().upsert("k", &state("x"), open()).map(drop));
        refused(documents().delete("k", open()).map(drop));
        refused(documents().get_if("k", open()).map(drop));
        bench.step();
        assert_eq!(documents().get("k").unwrap().unwrap().value, state("done"));

        let done = || Precondition::matching(Filter::eq("/state", "done"));
        let missing = documents().replace("none", &state("x"), done());
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        match documents().upsert("none", &state("x"), done()) {
            Err(Error::PreconditionFailed(conflict)) => assert!(conflict.meta().is_none()),
            other => panic!("expected a failed precondition, got {other:?}"),
        }
        documents().delete("k", done()).unwrap();
    });
}

#[test]
fn in_a_batch_a_filter_is_decided_on_what_the_operations_before_leave() {
    let store = Store::in_memory();
    let numbers = store.collection::<u64>("numbers").unwrap();
    let is = |n: u64| Precondition::matching(Filter::eq("", n));
    let patch = Patch::new().incr("", 1);
    store
        .batch()
        .create(&numbers, "a", &1)
        .check(&numbers, "a", is(1))
        .patch(&numbers, "a", &patch, is(1))
        .patch(&numbers, "a", &patch, is(2))
        .commit()
        .unwrap();
    assert_eq!(numbers.get("a").unwrap().unwrap().value, 3);
    let failed = store.batch().create(&numbers, "b", &1).check(&numbers, "a", is(4)).commit();
    let Err(Error::Batch { index: 1, source }) = failed else { panic!("{failed:?}") };
    assert_eq!(source.http_status(), 412);
    let failed = store.batch().patch(&numbers, "a", &patch, is(3)).delete(&numbers, "a", is(3));
    assert!(matches!(failed.commit(), Err(Error::Batch { index: 1, .. })));
    let failed = store.batch().check(&numbers, "none", is(1)).commit();
    assert!(matches!(failed, Err(Error::Batch { index: 0, .. })));
    assert_eq!(numbers.get("a").unwrap().unwrap().value, 3);
    assert_eq!(numbers.len().unwrap(), 1);
}

#[test]
fn a_filter_that_cannot_be_used_is_refused() {
    let store = Store::in_memory();
    let points = store.collection_with::<u64, Bincode>("points").unwrap();
    let blobs = store.raw("blobs").unwrap();
    points.create("a", &1).unwrap();
    blobs.create("a", &vec![1].into()).unwrap();
    let any = || Precondition::matching(everything());
    let invalid = |result: Result<(), Error>| {
        assert!(matches!(result, Err(Error::InvalidPrecondition { .. })), "{result:?}");
    };
    invalid(points.replace("a", &2, any()).map(drop));
    invalid(points.get_if("a", any()).map(drop));
    invalid(blobs.delete("a", any()).map(drop));
    match store.batch().check(&points, "a", any()).commit() {
        Err(Error::Batch { index: 0, source }) => invalid(Err(*source)),
        other => panic!("expected a refusal, got {other:?}"),
    }
    let numbers = store.collection::<u64>("numbers").unwrap();
    let refused = numbers.delete("a", Precondition::matching(Filter::exists("a")));
    assert!(matches!(refused, Err(Error::Filter(_))));
}

/// A bank that never goes below zero, though every writer only names the rule.
#[test]
fn a_rule_holds_beside_many_writers() {
    let numbers = Store::in_memory().collection::<i64>("numbers").unwrap();
    numbers.create("stock", &100).unwrap();
    let sold = std::thread::scope(|threads| {
        let sell = || {
            let rule = Precondition::matching(Filter::ge("", 7));
            let patch = Patch::new().incr("", -7);
            (0..20)
                .filter(|_| match numbers.patch("stock", &patch, rule.clone()) {
                    Ok(_) => true,
                    Err(Error::PreconditionFailed(_)) => false,
                    Err(error) => panic!("{error}"),
                })
                .count()
        };
        let threads: Vec<_> = (0..4).map(|_| threads.spawn(sell)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(sold, 14);
    assert_eq!(numbers.get("stock").unwrap().unwrap().value, 2);
}

#[test]
fn a_find_reads_the_part_of_an_index_that_fits_and_says_so() {
    on_every_backend(|bench| {
        (0..200).for_each(|n| {
            documents(bench).create(key(n), &note(n)).unwrap();
        });
        bench.step();
        let name = documents(bench).ensure_index(Index::on("/tags/*").then_desc("/modified"));
        assert_eq!(name.unwrap(), "/tags/*,-/modified");
        bench.step();
        let documents = documents(bench);
        let work = || documents.find(Filter::eq("/tags/*", "work"));
        let expected: Vec<String> = plain(&documents, &Filter::eq("/tags/*", "work"))
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys(work().iter().unwrap()), expected);
        let cost = work().explain().unwrap();
        assert_eq!((cost.index(), cost.ranges()), (Some("/tags/*,-/modified"), 1));
        assert_eq!(
            (cost.looked_at(), cost.found()),
            (expected.len() as u64, expected.len() as u64)
        );
        assert!(cost.sorted(), "by key");
        // In the order of the index no more is read than is given, except for one group.
        let newest = || work().sort_desc("/modified").limit(3);
        let cost = newest().explain().unwrap();
        assert!(!cost.sorted() && cost.looked_at() == 3, "{cost}");
        let mut first = work().sort_desc("/modified").limit(60).iter().unwrap();
        let last = first.by_ref().last().unwrap().unwrap().value["modified"].clone();
        let next = || work().sort_desc("/modified").limit(3).after(first.cursor().unwrap());
        let same = Filter::all([Filter::eq("/tags/*", "work"), Filter::eq("/modified", last)]);
        let cost = next().explain().unwrap();
        assert!(cost.looked_at() <= 3 + documents.find(same).count().unwrap(), "{cost}");
        let scanned: Vec<String> = {
            let snapshot = bench.store().snapshot();
            documents.drop_index("/tags/*,-/modified").unwrap();
            let fresh = keys(newest().iter().unwrap());
            assert_eq!(newest().explain().unwrap().index(), None);
            let seen = snapshot.collection(&documents).find(Filter::eq("/tags/*", "work"));
            assert_eq!(keys(seen.iter().unwrap()), expected);
            fresh
        };
        documents.ensure_index(Index::on("/tags/*").then_desc("/modified")).unwrap();
        assert_eq!(keys(newest().iter().unwrap()), scanned);
    });
}

#[test]
fn an_index_is_read_at_the_moment_of_the_find_whatever_moves_in_it() {
    let (_store, notes) = with_notes(500);
    notes.ensure_index(Index::on("/price")).unwrap();
    for descending in [false, true] {
        let find = || notes.find(Filter::ge("/price", 0));
        let find = || if descending { find().sort_desc("/price") } else { find().sort("/price") };
        let expected = keys(find().iter().unwrap());
        assert!(!find().explain().unwrap().sorted());
        let mut found = find().iter().unwrap();
        let mut seen: Vec<String> = keys_of_some(&mut found, 3);
        for n in 0..500 {
            notes.patch(key(n), &Patch::new().incr("/price", 1_000), Precondition::Always).unwrap();
        }
        seen.extend(keys(found));
        assert_eq!(seen, expected);
    }
    // Each item moves behind all that are still to come, and is changed once.
    let changed = notes.find(Filter::ge("/price", 0)).sort("/price").update_each(|note| {
        let price = note["price"].as_f64().unwrap();
        note["price"] = json!(price + 1e6);
    });
    assert_eq!(changed.unwrap(), 500);
    assert_eq!(notes.find(Filter::lt("/price", 1e6)).count().unwrap(), 0);
}

fn keys_of_some(found: &mut ifmatch::Found<Value>, n: usize) -> Vec<String> {
    found.take(n).map(|item| item.unwrap().key_str().unwrap().to_owned()).collect()
}

#[test]
fn values_that_the_index_cuts_are_compared_in_the_item() {
    let notes = Store::in_memory().collection::<Value>("notes").unwrap();
    notes.ensure_index(Index::on("/text").then("/n")).unwrap();
    let text = |last: &str| format!("{}{last}", "x".repeat(300));
    for (n, last) in ["b", "a", "c", "b"].iter().enumerate() {
        let note = json!({"text": text(last), "n": 9 - n});
        notes.create(key(n as u64), &note).unwrap();
    }
    let find = |filter| notes.find(filter);
    assert_eq!(keys(find(Filter::eq("/text", text("b"))).iter().unwrap()), ["n000", "n003"]);
    assert_eq!(
        keys(find(Filter::gt("/text", text("a"))).iter().unwrap()),
        ["n000", "n002", "n003"]
    );
    assert_eq!(keys(find(Filter::lt("/text", text("b"))).iter().unwrap()), ["n001"]);
    let by_n = find(Filter::eq("/text", text("b"))).sort("/n");
    assert_eq!(keys(by_n.iter().unwrap()), ["n003", "n000"]);
    assert_eq!(find(Filter::eq("/text", text("b"))).explain().unwrap().index(), Some("/text,/n"));
}

fn small_documents() -> impl Strategy<Value = Value> {
    let scalar = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..4).prop_map(Value::from),
            (-3_i64..4).prop_map(|n| Value::from(n as f64 / 2.0)),
            "[ab]{0,2}".prop_map(Value::from),
        ]
    };
    let value = prop_oneof![scalar(), prop::collection::vec(scalar(), 0..3).prop_map(Value::from)];
    prop::collection::btree_map("[ab]", value, 0..3).prop_map(|members| json!(members))
}

fn small_filters() -> impl Strategy<Value = Filter> {
    let path = || prop::sample::select(vec!["/a", "/b", "/a/*", "/b/*"]);
    let leaf = prop_oneof![
        (path(), -3_i64..4).prop_map(|(path, n)| Filter::eq(path, n)),
        (path(), -3_i64..4).prop_map(|(path, n)| Filter::lt(path, n)),
        (path(), "[ab]{0,1}").prop_map(|(path, text)| Filter::ge(path, text)),
        path().prop_map(Filter::exists),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::all),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::any),
            inner.prop_map(Filter::not),
        ]
    })
}

/// The order of the page, written anew.
fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    };
    let within = || match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap().partial_cmp(&b.as_f64().unwrap()).unwrap()
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differ = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|order| order.is_ne());
            differ.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => std::cmp::Ordering::Equal,
    };
    rank(a).cmp(&rank(b)).then_with(within)
}

proptest! {
    #[test]
    fn any_find_gives_what_a_plain_look_at_every_item_does(
        documents in prop::collection::vec(small_documents(), 0..30),
        filter in small_filters(),
        sort in prop::option::of((prop::sample::select(vec!["/a", "/b"]), any::<bool>())),
        limit in prop::option::of(0_u64..10),
        skip in prop::option::of(0_usize..6),
        indexes in prop::sample::subsequence(
            vec!["/a", "-/b", "/a/*", "/b/*,-/a", "/a,/b", "-/a,/b/*", "/b,-/a"],
            0..4,
        ),
    ) {
        let notes = Store::in_memory().collection::<Value>("notes").unwrap();
        for (n, document) in documents.iter().enumerate() {
            notes.create(key(n as u64), document).unwrap();
        }
        for index in &indexes {
            notes.ensure_index(index.parse().unwrap()).unwrap();
        }
        // What comes after the indexes, and what they displace.
        for (n, document) in documents.iter().enumerate().skip(1).step_by(3) {
            notes.upsert(key(n as u64 - 1), document, Precondition::Always).unwrap();
        }
        let mut expected = plain(&notes, &filter);
        if let Some((path, descending)) = sort {
            expected.retain(|(_, document)| document.pointer(path).is_some());
            expected.sort_by(|(key_a, a), (key_b, b)| {
                let order = order(a.pointer(path).unwrap(), b.pointer(path).unwrap());
                let order = if descending { order.reverse() } else { order };
                order.then_with(|| key_a.cmp(key_b))
            });
        }
        let find = || match sort {
            None => notes.find(filter.clone()),
            Some((path, false)) => notes.find(filter.clone()).sort(path),
            Some((path, true)) => notes.find(filter.clone()).sort_desc(path),
        };
        let mut find_part = find();
        let mut expected: Vec<String> = expected.into_iter().map(|(key, _)| key).collect();
        if let Some(skip) = skip.filter(|skip| *skip < expected.len()) {
            let mut before = find().iter().unwrap();
            before.nth(skip).unwrap().unwrap();
            find_part = find_part.after(before.cursor().unwrap());
            expected.drain(..=skip);
        }
        if let Some(limit) = limit {
            find_part = find_part.limit(limit);
            expected.truncate(limit as usize);
        }
        prop_assert_eq!(keys(find_part.iter().unwrap()), expected);
    }
}
