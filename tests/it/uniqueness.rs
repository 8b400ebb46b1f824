//! Unique indexes: at most one item has a value, whoever writes and however it ends.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{
    ChangeKind, Collection, Cursor, Durability, Error, ErrorKind, Filter, Index, Item, OnDamage,
    Options, Patch, Precondition, RetryPolicy, Store, UpdateError,
};
use serde_json::{Value, json};

use crate::backends::{failed_at, on_every_backend};
use crate::{Repeat, from_environment, seeds};

const ALWAYS: Precondition = Precondition::Always;

fn by_mail() -> Index {
    Index::on("/email").unique()
}

fn mail(email: &str) -> Value {
    json!({ "email": email })
}

fn users(store: &Store) -> Collection<Value> {
    store.collection("users").unwrap()
}

/// Users with unique e-mail addresses.
fn with_unique_mail() -> (Store, Collection<Value>) {
    let store = Store::in_memory();
    let users = users(&store);
    users.ensure_index(by_mail()).unwrap();
    (store, users)
}

/// The item that was not written, and the one that holds the value.
#[track_caller]
fn not_unique<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::NotUnique { key, of, .. }) => {
            let text = |key: Box<[u8]>| String::from_utf8(key.into()).unwrap();
            (text(key), text(of))
        }
        other => panic!("expected NotUnique, got {other:?}"),
    }
}

fn pair(key: &str, of: &str) -> (String, String) {
    (key.to_owned(), of.to_owned())
}

#[test]
fn every_writer_is_held_to_a_unique_index_and_told_whose_the_value_is() {
    on_every_backend(|bench| {
        let users: Collection<Value> = bench.collection("users");
        users.ensure_index(by_mail()).unwrap();
        users.create("ann", &mail("a@x")).unwrap();
        users.create("bob", &mail("b@x")).unwrap();
        bench.step();
        let users: Collection<Value> = bench.collection("users");
        let ann = || pair("bob", "ann");
        assert_eq!(not_unique(users.create("cid", &mail("a@x"))), pair("cid", "ann"));
        assert_eq!(not_unique(users.replace("bob", &mail("a@x"), ALWAYS)), ann());
        assert_eq!(not_unique(users.upsert("bob", &mail("a@x"), ALWAYS)), ann());
        let patch = Patch::new().set("/email", "a@x");
        assert_eq!(not_unique(users.patch("bob", &patch, ALWAYS)), ann());
        assert_eq!(not_unique(users.update("bob", |user| user["email"] = json!("a@x"))), ann());
        let updated = users.try_update("bob", |user| {
            user["email"] = json!("a@x");
            Ok::<_, ()>(())
        });
        let Err(UpdateError::Store(error)) = updated else { panic!("{updated:?}") };
        assert_eq!(not_unique::<()>(Err(error)), ann());
        let inserted = users.update_or_insert_with("cid", || mail("a@x"), |_| {});
        assert_eq!(not_unique(inserted), pair("cid", "ann"));
        let mut item = users.get("bob").unwrap().unwrap();
        item.value = mail("a@x");
        assert_eq!(not_unique(users.save(&mut item)), ann());
        assert_eq!(not_unique(users.save(&mut Item::new("cid", mail("a@x")))), pair("cid", "ann"));
        let each = users.find(Filter::eq("/email", "b@x")).update_each(|user| *user = mail("a@x"));
        assert_eq!(not_unique(each), ann());
        let batch =
            bench.store().batch().check(&users, "ann", Precondition::if_match(ifmatch::Tags::Any));
        let refused = failed_at(1, batch.create(&users, "cid", &mail("a@x")).commit());
        assert_eq!(not_unique(refused), pair("cid", "ann"));
        bench.step();
        // Nothing was changed, and what is free can be had.
        let users: Collection<Value> = bench.collection("users");
        assert_eq!(users.len().unwrap(), 2);
        assert_eq!(users.get("bob").unwrap().unwrap().value, mail("b@x"));
        users.create("cid", &mail("c@x")).unwrap();
        users.replace("bob", &json!({"email": "b@x", "age": 3}), ALWAYS).unwrap();
        users.delete("ann", ALWAYS).unwrap();
        users.replace("bob", &mail("a@x"), ALWAYS).unwrap();
        users.create("ann", &mail("b@x")).unwrap();
        bench.store().verify().unwrap();
    });
}

#[test]
fn the_error_says_what_a_program_and_its_user_need() {
    let (store, users) = with_unique_mail();
    users.create("ann", &mail("a@x")).unwrap();
    let error = users.create("bob", &mail("a@x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "item \"bob\" of collection \"users\" has the value that item \"ann\" has in the unique \
         index /email, where one item may have it; give one of them another value"
    );
    assert_eq!((error.http_status(), error.kind()), (409, ErrorKind::NotUnique));
    assert_eq!(serde_json::to_string(&error.kind()).unwrap(), "\"not_unique\"");
    assert_eq!((error.collection(), error.key()), (Some("users"), Some(&b"bob"[..])));
    assert!(std::error::Error::source(&error).is_none());
    let Error::NotUnique { index, .. } = &error else { panic!("{error:?}") };
    assert_eq!(&**index, "/email");
    let batch = store.batch().create(&users, "bob", &mail("a@x")).commit().unwrap_err();
    assert_eq!((batch.http_status(), batch.kind()), (409, ErrorKind::NotUnique));
    assert_eq!(batch.key(), Some(&b"bob"[..]));
    // A precondition is decided first.
    let stale = users.replace("bob", &mail("a@x"), ALWAYS).unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::NotFound);
}

#[test]
fn the_definition_is_kept_and_another_uniqueness_is_refused() {
    on_every_backend(|bench| {
        let users = || bench.collection::<Value>("users");
        assert_eq!(users().ensure_index(by_mail()).unwrap(), "/email");
        users().ensure_index(Index::on("/age")).unwrap();
        bench.step();
        let listed = || users().indexes().unwrap().into_iter().map(|status| status.index);
        assert!(listed().eq([by_mail(), Index::on("/age")]));
        users().ensure_index(by_mail()).unwrap();
        for (asked, text) in [(Index::on("/email"), ""), (Index::on("/age").unique(), "not ")] {
            let refused = users().ensure_index(asked.clone()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Index);
            let expected = format!(
                "the index cannot be made: the collection has an index on {}, and that one is \
                 {text}unique; drop it first, or ask for it as it is",
                asked.name()
            );
            assert_eq!(refused.to_string(), expected);
        }
        assert!(users().drop_index("/email").unwrap());
        users().ensure_index(Index::on("/email")).unwrap();
        bench.step();
        assert!(listed().eq([Index::on("/age"), Index::on("/email")]) || listed().count() == 2);
        users().create("a", &mail("x")).unwrap();
        users().create("b", &mail("x")).unwrap();
    });
}

#[test]
fn a_batch_is_judged_by_its_final_state() {
    on_every_backend(|bench| {
        let users: Collection<Value> = bench.collection("users");
        users.ensure_index(by_mail()).unwrap();
        users.create("ann", &mail("a")).unwrap();
        users.create("bob", &mail("b")).unwrap();
        let batch = || bench.store().batch();
        // Swapped.
        batch()
            .replace(&users, "ann", &mail("b"), ALWAYS)
            .replace(&users, "bob", &mail("a"), ALWAYS)
            .commit()
            .unwrap();
        // Taken over from an item that goes, in either order.
        batch().create(&users, "cid", &mail("a")).delete(&users, "bob", ALWAYS).commit().unwrap();
        batch().delete(&users, "cid", ALWAYS).create(&users, "bob", &mail("a")).commit().unwrap();
        // Not at the end what it was in between.
        batch()
            .replace(&users, "bob", &mail("b"), ALWAYS)
            .replace(&users, "bob", &mail("c"), ALWAYS)
            .commit()
            .unwrap();
        bench.step();
        let users: Collection<Value> = bench.collection("users");
        let values = users.iter().unwrap().map(|item| item.unwrap().value);
        assert!(values.eq([mail("b"), mail("c")]));
        // Two that end with one value: the one that is written later is refused.
        let two = bench.store().batch().create(&users, "x", &mail("z"));
        let two = two.create(&users, "y", &mail("z")).commit();
        assert_eq!(not_unique(failed_at(1, two)), pair("y", "x"));
        let back = bench.store().batch().replace(&users, "bob", &mail("d"), ALWAYS);
        let back = back.create(&users, "x", &mail("c")).replace(&users, "bob", &mail("c"), ALWAYS);
        // `bob` keeps what it has.
        assert_eq!(not_unique(failed_at(1, back.commit())), pair("x", "bob"));
        assert_eq!(users.len().unwrap(), 2);
        bench.store().verify().unwrap();
    });
}

#[test]
fn what_counts_as_one_value() {
    let store = Store::in_memory();
    let items = |name: &str, index: &str| {
        let items = store.collection::<Value>(name).unwrap();
        items.ensure_index(index.parse().unwrap()).unwrap();
        items
    };
    // Without the first field an item does not count; null is a value.
    let one = items("one", "unique /a");
    for key in ["x", "y"] {
        one.create(key, &json!({})).unwrap();
    }
    one.create("null", &json!({"a": null})).unwrap();
    assert_eq!(not_unique(one.create("n", &json!({"a": null}))), pair("n", "null"));
    one.create("one", &json!({"a": 1})).unwrap();
    assert_eq!(not_unique(one.create("n", &json!({"a": 1.0}))), pair("n", "one"));
    one.create("text", &json!({"a": "1"})).unwrap();
    // All fields together, in whatever direction; a later one that is missing counts.
    let two = items("two", "unique -/a,/b");
    two.create("x", &json!({"a": 1, "b": 1})).unwrap();
    two.create("y", &json!({"a": 1, "b": 2})).unwrap();
    two.create("z", &json!({"a": 1})).unwrap();
    assert_eq!(not_unique(two.create("n", &json!({"a": 1, "b": 2}))), pair("n", "y"));
    assert_eq!(not_unique(two.create("n", &json!({"a": 1}))), pair("n", "z"));
    two.create("n", &json!({"b": 1})).unwrap();
    // Each element.
    let each = items("each", "unique /tags/*");
    each.create("x", &json!({"tags": ["a", "b", "a"]})).unwrap();
    assert_eq!(not_unique(each.create("n", &json!({"tags": ["c", "b"]}))), pair("n", "x"));
    each.create("y", &json!({"tags": []})).unwrap();
    each.patch("x", &Patch::new().set("/tags", json!(["a"])), ALWAYS).unwrap();
    each.create("n", &json!({"tags": ["c", "b"]})).unwrap();
    store.verify().unwrap();
}

#[test]
fn values_that_are_cut_in_the_index_are_compared_whole() {
    on_every_backend(|bench| {
        let users: Collection<Value> = bench.collection("users");
        let long = |end: &str| mail(&("x".repeat(400) + end));
        users.create("0", &long("0")).unwrap();
        users.ensure_index(by_mail()).unwrap();
        for n in 1..40 {
            users.create(format!("{n}"), &long(&format!("{n}"))).unwrap();
        }
        bench.step();
        let users: Collection<Value> = bench.collection("users");
        assert_eq!(not_unique(users.create("n", &long("17"))), pair("n", "17"));
        users.replace("17", &long("17"), ALWAYS).unwrap();
        assert_eq!(not_unique(users.replace("18", &long("17"), ALWAYS)), pair("18", "17"));
        let swap = bench.store().batch().replace(&users, "17", &long("18"), ALWAYS);
        swap.replace(&users, "18", &long("17"), ALWAYS).commit().unwrap();
        let two = bench.store().batch().create(&users, "n", &long("n"));
        let two = two.create(&users, "m", &long("n")).commit();
        assert_eq!(not_unique(failed_at(1, two)), pair("m", "n"));
        bench.store().verify().unwrap();
        users.drop_index("/email").unwrap();
        users.create("n", &long("18")).unwrap();
        assert_eq!(not_unique(users.ensure_index(by_mail())), pair("n", "17"));
    });
}

#[test]
fn an_index_that_items_break_is_refused_and_leaves_nothing_behind() {
    on_every_backend(|bench| {
        let users = || bench.collection::<Value>("users");
        for n in 0..2_000 {
            users().create(format!("{n:04}"), &mail(&format!("{n}"))).unwrap();
        }
        users().create("twin", &mail("1234")).unwrap();
        assert_eq!(not_unique(users().ensure_index(by_mail())), pair("twin", "1234"));
        assert_eq!(users().indexes().unwrap(), []);
        users().create("third", &mail("7")).unwrap();
        bench.step();
        assert_eq!(users().indexes().unwrap(), []);
        users().delete("third", ALWAYS).unwrap();
        users().delete("twin", ALWAYS).unwrap();
        users().ensure_index(by_mail()).unwrap();
        assert_eq!(users().indexes().unwrap()[0].entries, 2_000);
        bench.step();
        assert_eq!(not_unique(users().create("twin", &mail("1234"))), pair("twin", "1234"));
    });
}

#[test]
fn a_clear_a_drop_of_the_collection_and_a_drop_of_the_index_free_every_value() {
    let (store, users) = with_unique_mail();
    users.create("ann", &mail("a")).unwrap();
    let snapshot = store.snapshot();
    users.clear().unwrap();
    users.create("bob", &mail("a")).unwrap();
    assert_eq!(not_unique(users.create("ann", &mail("a"))), pair("ann", "bob"));
    // The older view has what it had.
    let past = snapshot.collection(&users);
    assert_eq!(past.find(Filter::eq("/email", "a")).count().unwrap(), 1);
    assert_eq!(past.get("ann").unwrap().unwrap().value, mail("a"));
    users.drop_index("/email").unwrap();
    users.create("ann", &mail("a")).unwrap();
    assert!(store.drop_collection("users").unwrap());
    users.create("cid", &mail("a")).unwrap();
    users.create("dan", &mail("a")).unwrap();
    assert_eq!(users.indexes().unwrap(), []);
    store.verify().unwrap();
}

#[test]
fn a_value_of_an_expired_item_is_free_and_the_commit_that_takes_it_sweeps_that_item() {
    let sim = Simulation::new(3);
    sim.set_now_ms(1_700_000_000_000);
    let store = sim.open(&Options::new()).unwrap();
    let users = users(&store);
    users.ensure_index(Index::on("/tags/*").unique()).unwrap();
    let tags = |tags: &[&str]| json!({ "tags": tags });
    let brief = users.clone().with_ttl(Duration::from_secs(1));
    brief.create("old", &tags(&["a", "b"])).unwrap();
    brief.create("older", &tags(&["c"])).unwrap();
    let (cursor, snapshot) = (store.cursor().unwrap(), store.snapshot());
    assert_eq!(not_unique(users.create("new", &tags(&["a"]))), pair("new", "old"));
    sim.set_now_ms(1_700_000_002_000);
    let before = store.revision();
    let meta = users.create("new", &tags(&["a", "b", "c"])).unwrap();
    assert!(before < store.revision() && meta.revision() == store.revision(), "in one commit");
    let changes = |cursor: Cursor| {
        let changes = store.changes(cursor).unwrap().map(|change| change.unwrap());
        let seen = |change: ifmatch::Change| {
            (change.kind(), String::from_utf8(change.key().to_vec()).unwrap(), change.revision())
        };
        changes.map(seen).collect::<Vec<_>>()
    };
    let change = |kind, key: &str| (kind, key.to_owned(), store.revision());
    assert_eq!(
        changes(cursor),
        [
            change(ChangeKind::Created, "new"),
            change(ChangeKind::Expired, "old"),
            change(ChangeKind::Expired, "older")
        ]
    );
    assert_eq!(store.stats().unwrap().items, 1);
    assert_eq!(Simulation::sweep(&store).unwrap(), 0);
    assert_eq!(snapshot.collection(&users).len().unwrap(), 0, "expired there as well");
    // One that comes back needs its value, as everybody does.
    assert_eq!(not_unique(users.create("old", &tags(&["b"]))), pair("old", "new"));
    // A batch may name the item that it sweeps, and has no version of it.
    let brief = users.clone().with_ttl(Duration::from_secs(1));
    brief.replace("new", &tags(&["x"]), ALWAYS).unwrap();
    sim.set_now_ms(1_700_000_004_000);
    let absent = Precondition::if_none_match(ifmatch::Tags::Any);
    let batch = store.batch().check(&users, "new", absent).create(&users, "next", &tags(&["x"]));
    let done = batch.create(&users, "other", &tags(&["y"])).commit().unwrap();
    assert_eq!(done.metas().len(), 3);
    assert!(done.meta(0).is_none() && done.meta(1).is_some() && done.meta(2).is_some());
    // One that is written over in the same batch is not swept.
    let brief = users.clone().with_ttl(Duration::from_secs(1));
    brief.replace("next", &tags(&["z"]), ALWAYS).unwrap();
    sim.set_now_ms(1_700_000_006_000);
    let batch = store.batch().create(&users, "last", &tags(&["z"]));
    batch.create(&users, "next", &tags(&["x"])).commit().unwrap();
    assert_eq!(users.len().unwrap(), 3);
    store.verify().unwrap();
    let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
    let store = killed.open(&Options::new()).unwrap();
    store.verify().unwrap();
    assert_eq!(self::users(&store).len().unwrap(), 3);
}

#[test]
fn a_new_index_sweeps_an_expired_item_that_shares_a_value() {
    let sim = Simulation::new(4);
    sim.set_now_ms(1_700_000_000_000);
    let store = sim.open(&Options::new()).unwrap();
    let users = users(&store);
    let brief = users.clone().with_ttl(Duration::from_secs(1));
    for (key, email) in [("a", "x"), ("c", "x"), ("d", "x"), ("p", "y"), ("q", "y")] {
        brief.create(key, &mail(email)).unwrap();
    }
    users.create("b", &mail("x")).unwrap();
    assert_eq!(not_unique(users.ensure_index(by_mail())), pair("b", "a"));
    sim.set_now_ms(1_700_000_002_000);
    users.ensure_index(by_mail()).unwrap();
    assert_eq!(store.stats().unwrap().items, 1, "what is expired and in the way is swept");
    assert_eq!(not_unique(users.create("a", &mail("x"))), pair("a", "b"));
    users.create("c", &mail("y")).unwrap();
    store.verify().unwrap();
}

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
    for round in 0..6_u64 {
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

/// Writes under a unique index, and the making of one, are cut by kills and losses of power. What is
/// left holds no value twice, and an acknowledged write is there.
#[test]
fn cuts_of_commits_and_of_making_leave_no_value_twice() {
    for seed in seeds(0..from_environment("IFMATCH_UNIQUE_CUTS").unwrap_or(120)) {
        let _repeat = Repeat::new("uniqueness", seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let sim = Simulation::new(seed);
        let store = sim.open(&Options::new()).unwrap();
        let users = users(&store);
        let breaks = rng.u8(0..4) == 0;
        if rng.bool() {
            users.ensure_index(by_mail()).unwrap();
        }
        for n in 0..rng.u64(0..40) {
            users.create(format!("{n:02}"), &mail(&format!("{n}"))).unwrap();
        }
        let unique = !users.indexes().unwrap().is_empty();
        if breaks && !unique {
            users.upsert("twin", &mail("3"), ALWAYS).unwrap();
        }
        let begun = sim.disk().calls();
        let mut acknowledged = Vec::new();
        let cut = begun + rng.u64(0..60);
        sim.disk().inject(
            ifmatch::simulation::FaultPlan::after(cut - begun, ifmatch::simulation::Fault::Eio)
                .persistent(),
        );
        let made = users.ensure_index(by_mail());
        for n in 0..8 {
            let (a, b) = (format!("{n:02}"), format!("{:02}", n + 1));
            let swap = store.batch().upsert(&users, &a, &mail(&format!("{}", n + 1)), ALWAYS);
            let swap = swap.upsert(&users, &b, &mail(&format!("{n}")), ALWAYS).commit();
            if swap.is_ok() {
                acknowledged.push((a, b));
            }
        }
        sim.disk().clear_faults();
        let left = if rng.bool() { sim.kill(&mut rng) } else { sim.crash(&mut rng) };
        drop(store);
        let store = left.open(&Options::new()).unwrap();
        let users = self::users(&store);
        store.verify().unwrap();
        let indexes = users.indexes().unwrap();
        if unique || made.is_ok() {
            assert!(indexes.len() == 1 && indexes[0].index.is_unique(), "{indexes:?}");
        }
        let mut values: Vec<String> =
            users.iter().unwrap().map(|item| item.unwrap().value["email"].to_string()).collect();
        values.sort_unstable();
        let shared = values.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(indexes.is_empty() || !shared, "{values:?}");
        if let Some((a, b)) = acknowledged.last() {
            assert!(users.contains(a).unwrap() && users.contains(b).unwrap());
        }
        // It goes on.
        match users.ensure_index(by_mail()) {
            Ok(_) => assert!(!shared),
            Err(Error::NotUnique { .. }) => assert!(shared && users.indexes().unwrap().is_empty()),
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn flip(sim: &Simulation, marker: &[u8]) {
    let names = sim.disk().file_names();
    let path = names.into_iter().find(|name| name.to_string_lossy().ends_with(".seg")).unwrap();
    let mut bytes = sim.disk().read_file(&path).unwrap();
    let at = bytes.windows(marker.len()).position(|window| window == marker).unwrap();
    bytes[at] ^= 1;
    sim.disk().write_file(&path, &bytes).unwrap();
}

#[test]
fn a_repair_refuses_nothing_and_verify_names_two_items_with_one_value() {
    let sim = Simulation::new(5);
    let store = sim.open(&Options::new()).unwrap();
    let users = users(&store);
    users.ensure_index(by_mail()).unwrap();
    users.create("ann", &mail("a@x")).unwrap();
    users.replace("ann", &mail("moved away"), ALWAYS).unwrap();
    users.create("bob", &mail("a@x")).unwrap();
    users.create("cid", &mail("c@x")).unwrap();
    let damaged = sim.kill(&mut fastrand::Rng::with_seed(1));
    drop(store);
    flip(&damaged, b"moved away");
    let store = damaged.open(&Options::new().on_damage(OnDamage::SkipDamaged)).unwrap();
    let users = self::users(&store);
    assert_eq!(users.get("ann").unwrap().unwrap().value, mail("a@x"), "the newest that is whole");
    assert_eq!(users.get("bob").unwrap().unwrap().value, mail("a@x"));
    assert!(users.indexes().unwrap()[0].built);
    assert_eq!(not_unique(store.verify()), pair("bob", "ann"));
    // Both are found, and can be changed.
    assert_eq!(users.find(Filter::eq("/email", "a@x")).count().unwrap(), 2);
    users.patch("ann", &Patch::new().set("/age", 3), ALWAYS).unwrap();
    assert_eq!(not_unique(users.create("new", &mail("a@x"))), pair("new", "ann"));
    let reopened = || -> Store {
        store.clone().close().unwrap();
        damaged.open(&Options::new()).unwrap()
    };
    let store = reopened();
    let users = self::users(&store);
    assert_eq!(not_unique(store.verify()), pair("bob", "ann"));
    // A copy is as the store is.
    store.backup(Path::new(STORE).with_extension("copy")).unwrap();
    let restored = damaged.at("again");
    let restored =
        restored.restore(Path::new(STORE).with_extension("copy"), &Options::new()).unwrap();
    assert_eq!(not_unique(restored.verify()), pair("bob", "ann"));
    assert_eq!(not_unique(self::users(&restored).create("new", &mail("c@x"))), pair("new", "cid"));
    users.patch("ann", &Patch::new().set("/email", "another"), ALWAYS).unwrap();
    store.verify().unwrap();
}

#[test]
fn a_find_by_all_fields_of_a_unique_index_gives_one_item_at_most() {
    let (store, users) = with_unique_mail();
    users.ensure_index(Index::on("/age").then("/name")).unwrap();
    for n in 0..50 {
        let user = json!({"email": format!("{n}@x"), "age": 3, "name": "x"});
        users.create(format!("{n}"), &user).unwrap();
    }
    let both =
        Filter::all([Filter::eq("/age", 3), Filter::eq("/name", "x"), Filter::eq("/email", "7@x")]);
    let cost = users.find(both).explain().unwrap();
    assert_eq!((cost.index(), cost.looked_at(), cost.at_most_one()), (Some("/email"), 1, true));
    assert_eq!(
        cost.to_string(),
        "index /email of collection \"users\", 1 range, one item at most: 1 entry looked at, 1 found"
    );
    let range = users.find(Filter::prefix("/email", "7")).explain().unwrap();
    assert!(!range.at_most_one() && range.index() == Some("/email"));
    let several = users.find(Filter::is_in("/email", ["1@x", "2@x"])).explain().unwrap();
    assert!(!several.at_most_one() && several.ranges() == 2);
    assert!(several.to_string().contains("2 ranges: 2 entries looked at"), "{several}");
    drop(store);
}
