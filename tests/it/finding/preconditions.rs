//! A filter as the precondition of a write.

use super::*;

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
