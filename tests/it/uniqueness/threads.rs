//! Writers with one value beside each other and beside the making of an index.

use super::*;

#[test]
fn of_many_writers_with_one_value_one_wins_and_the_others_are_told_its_key() {
    const WRITERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Eventual).open(folder.path().join("s"));
    let store = store.unwrap();
    let users = users(&store);
    users.ensure_index(by_mail()).unwrap();
    for round in 0..60 {
        let barrier = Barrier::new(WRITERS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let writer = |n: usize| {
                let (users, barrier, store) = (&users, &barrier, &store);
                move || {
                    let key = format!("{round}-{n}");
                    let value = mail(&format!("{round}"));
                    barrier.wait();
                    let written = match n % 3 {
                        0 => users.create(&key, &value).map(drop),
                        1 => users.upsert(&key, &value, ALWAYS).map(drop),
                        _ => store.batch().create(users, &key, &value).commit().map(drop),
                    };
                    (key, written)
                }
            };
            let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(writer(n))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let won = outcomes.iter().filter(|(_, written)| written.is_ok());
        let won: Vec<&String> = won.map(|(key, _)| key).collect();
        let [winner] = won[..] else { panic!("round {round}: {won:?} have won") };
        for (key, written) in &outcomes {
            let error = match written {
                Ok(()) => continue,
                Err(Error::Batch { source, .. }) => source,
                Err(error) => error,
            };
            let Error::NotUnique { key: refused, of, .. } = error else { panic!("{error:?}") };
            assert_eq!((&**refused, &**of), (key.as_bytes(), winner.as_bytes()));
        }
    }
    assert_eq!(users.len().unwrap(), 60);
    store.verify().unwrap();
}

/// Values go round among the items, in batches and by single writes, and none is ever there twice.
#[test]
fn values_that_move_between_items_are_never_shared() {
    let store = Store::in_memory();
    let users = users(&store).with_retry(RetryPolicy::new().max_attempts(1_000));
    users.ensure_index(Index::on("/n").unique()).unwrap();
    for n in 0..6_u64 {
        users.create(format!("{n}"), &json!({ "n": n })).unwrap();
    }
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (users, store) = (&users, &store);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for _ in 0..400 {
                    let (a, b) = (format!("{}", rng.u64(0..6)), format!("{}", rng.u64(0..6)));
                    if a == b {
                        let to = rng.u64(0..9);
                        let moved = users.update(&a, |item| item["n"] = json!(to));
                        let known = matches!(&moved, Ok(_) | Err(Error::NotUnique { .. }));
                        assert!(known, "{moved:?}");
                        continue;
                    }
                    let [one, other] = [&a, &b].map(|key| users.get(key).unwrap().unwrap());
                    let batch = store.batch().replace(users, &a, &other.value, one.etag());
                    let swapped = batch.replace(users, &b, &one.value, other.etag()).commit();
                    let lost = |error: &Error| error.kind() == ErrorKind::PreconditionFailed;
                    assert!(swapped.as_ref().err().is_none_or(lost), "{swapped:?}");
                }
            });
        }
        for _ in 0..200 {
            let snapshot = store.snapshot();
            let past = snapshot.collection(&users);
            let mut seen: Vec<u64> = past
                .iter()
                .unwrap()
                .map(|item| item.unwrap().value["n"].as_u64().unwrap())
                .collect();
            seen.sort_unstable();
            assert!(seen.len() == 6 && seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        }
    });
    store.verify().unwrap();
}

#[test]
fn writers_beside_the_making_of_an_index_cannot_slip_a_second_one_in() {
    for round in 0..thinned(2, 6) {
        let store = Store::in_memory();
        let users = users(&store);
        for n in 0..1_500 {
            users.create(format!("{n:04}"), &mail(&format!("{n}"))).unwrap();
        }
        let made = thread::scope(|scope| {
            let (users, store) = (&users, &store);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(round);
                for _ in 0..600 {
                    // Mostly what is free, seldom what somebody has.
                    let most = if rng.u8(0..40) == 0 { 1_500 } else { 1_000_000 };
                    let n = rng.u64(0..most);
                    let written = if rng.bool() {
                        let key = format!("{:04}", rng.u64(0..1_500));
                        users.replace(key, &mail(&format!("{n}")), ALWAYS).map(drop)
                    } else {
                        let batch = store.batch();
                        batch
                            .create(users, format!("b{n}"), &mail(&format!("{n}")))
                            .commit()
                            .map(drop)
                    };
                    let known = |error: &Error| {
                        matches!(error.kind(), ErrorKind::NotUnique | ErrorKind::AlreadyExists)
                    };
                    assert!(written.as_ref().err().is_none_or(known), "{written:?}");
                }
            });
            users.ensure_index(by_mail())
        });
        let mut all: Vec<String> =
            users.iter().unwrap().map(|item| item.unwrap().value["email"].to_string()).collect();
        all.sort_unstable();
        let shared = all.windows(2).any(|pair| pair[0] == pair[1]);
        match made {
            Ok(_) => assert!(!shared, "round {round}: two items have one value"),
            Err(Error::NotUnique { .. }) => assert_eq!(users.indexes().unwrap(), []),
            Err(other) => panic!("{other:?}"),
        }
        store.verify().unwrap();
    }
}
