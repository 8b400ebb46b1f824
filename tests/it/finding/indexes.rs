//! Finding with the help of indexes: the same items, in the same order.

use super::*;
use crate::thinned;

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
fn the_progress_of_a_new_index_ascends_to_its_end() {
    let (_store, notes) = with_notes(600);
    for n in 0..20 {
        notes.delete(key(n), Precondition::Always).unwrap();
    }
    let mut told = Vec::new();
    let note = |told: &mut Vec<(u64, u64)>| {
        let name = notes.ensure_index_with_progress(Index::on("/price"), |progress| {
            // Others read and write meanwhile.
            assert!(notes.get(key(100)).unwrap().is_some());
            told.push((progress.done_items, progress.total_items));
        });
        assert_eq!(name.unwrap(), "/price");
    };
    note(&mut told);
    // Some 256 items are passed at a time; the deleted ones among them do not count.
    assert!(told.len() >= 3, "{told:?}");
    assert!(told.is_sorted() && told.iter().all(|(done, total)| done <= total && *total == 580));
    assert_eq!(told.last(), Some(&(580, 580)));
    // One that is there is not made.
    let before = told.len();
    note(&mut told);
    assert_eq!(told.len(), before);
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
    #![proptest_config(ProptestConfig::with_cases(thinned(64, 256) as u32))]

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
