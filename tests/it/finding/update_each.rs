//! Changing each item that is found.

use super::*;

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
