//! A read returns one version whole: its tag with its value, and never an older one than before.

use std::sync::Arc;

use super::{A, Rig, item_key, read, replace, text, value_of};
use crate::seams::sync::{model, thread};
use crate::values::precondition::Precondition;

#[test]
fn an_uncached_read_gives_tag_and_value_of_one_version() {
    model(|| {
        let (rig, [first]) = Rig::eventual().with([(A, "first")]);
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            let second = replace(&engine, A, "second", Precondition::Always).unwrap();
            let third = replace(&engine, A, "third", Precondition::Always).unwrap();
            [second, third]
        });
        let (etag, value) = read(&rig.engine, A).unwrap();
        let [second, third] = writer.join().unwrap();
        let written = [(first, "first"), (second, "second"), (third, "third")];
        let named = written.iter().find(|(meta, _)| meta.etag == etag);
        assert_eq!(named.map(|(_, value)| *value), Some(&*value));
    });
}

#[test]
fn a_cached_read_gives_tag_and_value_of_one_version_and_never_an_older_one() {
    model(|| {
        let (rig, [first]) = Rig::cached().with([(A, "first")]);
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, A, "second", Precondition::Always).unwrap());
        let reads = [read(&rig.engine, A).unwrap(), read(&rig.engine, A).unwrap()];
        let second = writer.join().unwrap();
        let versions = [(first.etag, "first".to_owned()), (second.etag, "second".to_owned())];
        let [before, after] =
            reads.map(|read| versions.iter().position(|version| *version == read).unwrap());
        assert!(before <= after, "a read went back in time");
        assert_eq!(value_of(&rig.engine, A), "second");
    });
}

#[test]
fn filling_the_cache_never_puts_an_old_version_over_a_new_one() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "old")]);
        rig.engine.index.drop_values();
        let engine = Arc::clone(&rig.engine);
        let writer = thread::spawn(move || {
            replace(&engine, A, "new", Precondition::Always).unwrap();
        });
        let seen = value_of(&rig.engine, A);
        assert!(seen == "old" || seen == "new");
        writer.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "new", "the cache holds what was replaced");
    });
}

#[test]
fn a_copy_of_an_item_is_read_only_until_the_next_write_has_returned() {
    model(|| {
        let (rig, [first]) = Rig::cached().with([(A, "first")]);
        // The second read copies it.
        assert_eq!([value_of(&rig.engine, A), value_of(&rig.engine, A)], ["first"; 2]);
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, A, "second", Precondition::Always).unwrap());
        let (etag, value) = read(&rig.engine, A).unwrap();
        assert_eq!(etag == first.etag, value == "first", "a tag with another version's value");
        writer.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "second", "a copy outlived its item");
    });
}

#[test]
fn what_is_copied_while_it_is_replaced_is_not_taken_for_the_new_version() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "first")]);
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, A, "second", Precondition::Always).unwrap());
        // One of these reads copies what it finds: the first in a model, else the second.
        for seen in [value_of(&rig.engine, A), value_of(&rig.engine, A)] {
            assert!(seen == "first" || seen == "second");
        }
        writer.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "second", "an old version was copied as the new one");
    });
}

#[test]
fn what_a_find_copies_is_read_where_it_is_current_and_the_find_reads_no_newer_copy() {
    model(|| {
        let (rig, _) = Rig::cached().with([(A, "first")]);
        let view = rig.engine.begin_snapshot().unwrap();
        let engine = Arc::clone(&rig.engine);
        let writer =
            thread::spawn(move || replace(&engine, A, "second", Precondition::Always).unwrap());
        let found = |view| {
            let version = rig.engine.read_found(view, &item_key(A)).unwrap();
            text(&version.expect("the item is present").value)
        };
        assert_eq!([found(&view), found(&view)], ["first"; 2]);
        writer.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "second", "an old version was copied as the new one");
        assert_eq!(found(&view), "first", "a copy is newer than the view");
        let newer = rig.engine.begin_snapshot().unwrap();
        assert_eq!([found(&newer), found(&newer)], ["second"; 2]);
    });
}
