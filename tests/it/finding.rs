//! Finding items by what is in them: everything that a find gives is compared with a plain look at
//! every item.

mod indexes;
mod preconditions;
mod update_each;

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
    let second = std::time::Duration::from_secs(1);
    for (name, is_indexed) in [("scanned", false), ("indexed", true)] {
        let notes = store.collection::<u64>(name).unwrap();
        if is_indexed {
            notes.ensure_index(Index::on("")).unwrap();
        }
        notes.create("stays", &1).unwrap();
        notes.clone().with_ttl(second).create("goes", &2).unwrap();
        let find = || notes.find(Filter::ge("", 0)).sort("");
        assert_eq!(find().explain().unwrap().index().is_some(), is_indexed);
        let begun = find().iter().unwrap();
        // What was found often is found in a copy.
        assert_eq!([(); 3].map(|()| find().count().unwrap()), [2; 3]);
        clock.advance(second);
        assert_eq!([(); 3].map(|()| find().count().unwrap()), [1; 3]);
        assert_eq!(begun.count(), 1);
    }
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
