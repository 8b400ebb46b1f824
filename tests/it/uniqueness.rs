//! Unique indexes: at most one item has a value, whoever writes and however it ends.

mod cuts;
mod threads;

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
use crate::{Repeat, from_environment, seeds, thinned};

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
        "item \"bob\" of collection \"users\" has the same value as item \"ann\" in the unique index \
         /email; give one of them another value"
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
        let create = |batch: ifmatch::Batch, n: u64| {
            batch.create(&users(), format!("{n:04}"), &mail(&format!("{n}")))
        };
        (0..2_000).fold(bench.store().batch(), create).commit().unwrap();
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
