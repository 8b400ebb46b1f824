//! Of writers of one item at most one gets what it asked for, and nobody's write is lost.

use std::sync::Arc;

use super::{
    A, B, C, Rig, create, creating, current_of, delete, is_poisoned, one, read, replace, replacing,
    value_of,
};
use crate::engine::Engine;
use crate::engine::operation::{Attempt, Base};
use crate::seams::sync::{model, thread};
use crate::values::codec::CodecId;
use crate::values::error::Error;
use crate::values::item::Meta;
use crate::values::precondition::Precondition;
use crate::values::query::filter::Filter;

#[test]
fn of_two_replaces_with_one_tag_exactly_one_wins() {
    model(|| {
        let (rig, [before]) = Rig::eventual().with([(A, "before")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || replace(&engine, A, "other", before.etag));
        let mine = replace(&rig.engine, A, "mine", before.etag);
        let other = other.join().unwrap();

        let (winner, conflict) = match (mine, other) {
            (Ok(meta), Err(Error::PreconditionFailed(conflict))) => {
                ((meta.etag, "mine".to_owned()), conflict)
            }
            (Err(Error::PreconditionFailed(conflict)), Ok(meta)) => {
                ((meta.etag, "other".to_owned()), conflict)
            }
            both => panic!("one wins and one is refused, not {both:?}"),
        };
        assert_eq!(read(&rig.engine, A).as_ref(), Some(&winner));
        assert_eq!(current_of(&conflict), Some(winner), "the loser gets the winner's version");
    });
}

#[test]
fn of_two_creates_one_wins_and_the_other_gets_its_item() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(B, "there")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || create(&engine, A, "other"));
        let mine = create(&rig.engine, A, "mine");
        let other = other.join().unwrap();

        let (winner, conflict) = match (mine, other) {
            (Ok(meta), Err(Error::AlreadyExists(conflict))) => {
                ((meta.etag, "mine".to_owned()), conflict)
            }
            (Err(Error::AlreadyExists(conflict)), Ok(meta)) => {
                ((meta.etag, "other".to_owned()), conflict)
            }
            both => panic!("one creates and one is refused, not {both:?}"),
        };
        assert_eq!(current_of(&conflict).as_ref(), Some(&winner));
        assert_eq!(read(&rig.engine, A), Some(winner));
    });
}

#[test]
fn a_delete_and_a_replace_with_one_tag_exclude_each_other() {
    model(|| {
        let (rig, [before]) = Rig::eventual().with([(A, "before")]);
        let engine = Arc::clone(&rig.engine);
        let replaced = thread::spawn(move || replace(&engine, A, "after", before.etag));
        let deleted = delete(&rig.engine, A, before.etag);
        let replaced = replaced.join().unwrap();

        match (deleted, replaced) {
            (Ok(_), Err(Error::NotFound { .. })) => assert_eq!(read(&rig.engine, A), None),
            (Err(Error::PreconditionFailed(conflict)), Ok(meta)) => {
                let after = Some((meta.etag, "after".to_owned()));
                assert_eq!(read(&rig.engine, A), after);
                assert_eq!(current_of(&conflict), after);
            }
            both => panic!("one wins and one is refused, not {both:?}"),
        }
    });
}

/// As `update` does: read, change, write back if unchanged, until that succeeds.
fn increment(engine: &Engine) -> Meta {
    loop {
        let (etag, value) = read(engine, A).unwrap();
        let next = value.parse::<u32>().unwrap() + 1;
        match replace(engine, A, &next.to_string(), etag) {
            Ok(meta) => return meta,
            Err(Error::PreconditionFailed(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn retried_updates_lose_no_increment() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "0")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || increment(&engine));
        let mine = increment(&rig.engine);
        let other = other.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "2");
        let chained = mine.parent == Some(other.etag) || other.parent == Some(mine.etag);
        assert!(chained, "each update names the one that it replaced");
    });
}

/// Writes are decided on the head in the cache, if there is one.
#[test]
fn a_write_is_not_decided_on_a_version_that_a_read_put_back_into_the_cache() {
    model(|| {
        let (rig, [first]) = Rig::cached().with([(A, "first")]);
        rig.engine.index.drop_values();
        let engine = Arc::clone(&rig.engine);
        let reader = thread::spawn(move || read(&engine, A));
        let second = replace(&rig.engine, A, "second", first.etag).unwrap();
        reader.join().unwrap();
        let stale = replace(&rig.engine, A, "stale", first.etag);
        assert!(matches!(stale, Err(Error::PreconditionFailed(_))), "{stale:?}");
        replace(&rig.engine, A, "third", second.etag).unwrap();
    });
}

#[test]
fn writers_of_two_keys_on_one_stripe_both_win() {
    model(|| {
        let (rig, [a, c]) = Rig::eventual().with([(A, "0"), (C, "0")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || replace(&engine, C, "1", c.etag).unwrap());
        replace(&rig.engine, A, "1", a.etag).unwrap();
        other.join().unwrap();
        assert_eq!(value_of(&rig.engine, A), "1");
        assert_eq!(value_of(&rig.engine, C), "1");
    });
}

/// Writes over an item of value 1, applying the filter to the version that the commit asks for.
fn replace_one(engine: &Engine, value: &str) -> crate::values::error::Result<()> {
    let is_one = Precondition::matching(Filter::eq("", 1));
    let mut operations = [replacing(A, value, is_one)];
    for _ in 0..4 {
        let base = match engine.commit(&mut operations).map_err(|failed| failed.error)? {
            Attempt::Done(_) => return Ok(()),
            Attempt::NeedsPatch { base, .. } => base,
            other => panic!("there is no index: {other:?}"),
        };
        let Base::Stored(head) = &base else { panic!("nothing is pending") };
        if let Some(version) = engine.version_of(&operations[0].key, head)? {
            operations[0].judge(base.id(), &version.value);
        }
    }
    panic!("one of two writers asks at most three times")
}

#[test]
fn of_two_writers_with_one_filter_one_gets_through() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "1")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || replace_one(&engine, "2"));
        let mine = replace_one(&rig.engine, "3");
        let expected = match (mine, other.join().unwrap()) {
            (Ok(()), Err(Error::PreconditionFailed(_))) => "3",
            (Err(Error::PreconditionFailed(_)), Ok(())) => "2",
            both => panic!("one is written and one is refused, not {both:?}"),
        };
        assert_eq!(value_of(&rig.engine, A), expected);
    });
}

#[test]
fn of_two_first_writes_with_two_codecs_one_is_refused() {
    model(|| {
        let rig = Rig::eventual();
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || create(&engine, A, "raw"));
        let mine = one(
            &rig.engine,
            crate::engine::operation::Operation { codec: CodecId::Json, ..creating(B, "1") },
        );
        let other = other.join().unwrap();
        let codec = match (mine, other) {
            (Ok(_), Err(Error::CodecMismatch { stored: "json", .. })) => CodecId::Json,
            (Err(Error::CodecMismatch { stored: "raw", .. }), Ok(_)) => CodecId::Raw,
            both => panic!("one is written and one is refused, not {both:?}"),
        };
        assert!(rig.engine.check_codec(super::COLLECTION, codec).unwrap());
    });
}

#[test]
fn a_write_after_poisoning_is_refused_and_changes_nothing() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "before")]);
        let engine = Arc::clone(&rig.engine);
        let poisoner = thread::spawn(move || engine.journal.poison("the test says so"));
        let written = one(&rig.engine, replacing(A, "after", Precondition::Always));
        poisoner.join().unwrap();
        match &written {
            Ok(_) | Err(Error::CommitUnknown { .. }) => {
                assert_eq!(value_of(&rig.engine, A), "after");
            }
            Err(_) => {
                assert!(is_poisoned(&written));
                assert_eq!(value_of(&rig.engine, A), "before");
            }
        }
        let later = replace(&rig.engine, A, "later", Precondition::Always);
        assert!(matches!(later, Err(Error::Poisoned { .. })), "{later:?}");
    });
}
