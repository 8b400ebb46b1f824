//! Of writers of one item at most one gets what it asked for, and nobody's write is lost.

use std::sync::Arc;

use super::{
    A, B, C, Rig, create, creating, current_of, delete, is_poisoned, item_key, one, read, replace,
    replacing, value_of,
};
use crate::codec::CodecId;
use crate::commit::Core;
use crate::error::Error;
use crate::item::Meta;
use crate::precondition::Precondition;
use crate::sync::{model, thread};

#[test]
fn of_two_replaces_with_one_tag_exactly_one_wins() {
    model(|| {
        let (rig, [before]) = Rig::eventual().with([(A, "before")]);
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || replace(&core, A, "other", before.etag));
        let mine = replace(&rig.core, A, "mine", before.etag);
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
        assert_eq!(read(&rig.core, A).as_ref(), Some(&winner));
        assert_eq!(current_of(&conflict), Some(winner), "the loser is told what won");
    });
}

#[test]
fn of_two_creates_one_wins_and_the_other_gets_its_item() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(B, "there")]);
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || create(&core, A, "other"));
        let mine = create(&rig.core, A, "mine");
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
        assert_eq!(read(&rig.core, A), Some(winner));
    });
}

#[test]
fn a_delete_and_a_replace_with_one_tag_exclude_each_other() {
    model(|| {
        let (rig, [before]) = Rig::eventual().with([(A, "before")]);
        let core = Arc::clone(&rig.core);
        let replaced = thread::spawn(move || replace(&core, A, "after", before.etag));
        let deleted = delete(&rig.core, A, before.etag);
        let replaced = replaced.join().unwrap();

        match (deleted, replaced) {
            (Ok(_), Err(Error::NotFound)) => assert_eq!(read(&rig.core, A), None),
            (Err(Error::PreconditionFailed(conflict)), Ok(meta)) => {
                let after = Some((meta.etag, "after".to_owned()));
                assert_eq!(read(&rig.core, A), after);
                assert_eq!(current_of(&conflict), after);
            }
            both => panic!("one wins and one is refused, not {both:?}"),
        }
    });
}

/// As `update` does: read, change, write back if unchanged, until that succeeds.
fn increment(core: &Core) -> Meta {
    loop {
        let (etag, value) = read(core, A).unwrap();
        let next = value.parse::<u32>().unwrap() + 1;
        match replace(core, A, &next.to_string(), etag) {
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
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || increment(&core));
        let mine = increment(&rig.core);
        let other = other.join().unwrap();
        assert_eq!(value_of(&rig.core, A), "2");
        let chained = mine.parent == Some(other.etag) || other.parent == Some(mine.etag);
        assert!(chained, "each update names the one that it replaced");
    });
}

/// Writes are decided on the head in the cache, if there is one.
#[test]
fn a_write_is_not_decided_on_a_version_that_a_read_put_back_into_the_cache() {
    model(|| {
        let (rig, [first]) = Rig::cached().with([(A, "first")]);
        rig.core.cache.remove(item_key(A).as_bytes());
        let core = Arc::clone(&rig.core);
        let reader = thread::spawn(move || read(&core, A));
        let second = replace(&rig.core, A, "second", first.etag).unwrap();
        reader.join().unwrap();
        let stale = replace(&rig.core, A, "stale", first.etag);
        assert!(matches!(stale, Err(Error::PreconditionFailed(_))), "{stale:?}");
        replace(&rig.core, A, "third", second.etag).unwrap();
    });
}

#[test]
fn writers_of_two_keys_on_one_stripe_both_win() {
    model(|| {
        let (rig, [a, c]) = Rig::eventual().with([(A, "0"), (C, "0")]);
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || replace(&core, C, "1", c.etag).unwrap());
        replace(&rig.core, A, "1", a.etag).unwrap();
        other.join().unwrap();
        assert_eq!(value_of(&rig.core, A), "1");
        assert_eq!(value_of(&rig.core, C), "1");
    });
}

#[test]
fn of_two_first_writes_with_two_codecs_one_is_refused() {
    model(|| {
        let rig = Rig::eventual();
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || create(&core, A, "raw"));
        let mine = one(
            &rig.core,
            crate::commit::operation::Operation { codec: CodecId::Json, ..creating(B, "1") },
        );
        let other = other.join().unwrap();
        let codec = match (mine, other) {
            (Ok(_), Err(Error::CodecMismatch { stored: "json", .. })) => CodecId::Json,
            (Err(Error::CodecMismatch { stored: "raw", .. }), Ok(_)) => CodecId::Raw,
            both => panic!("one is written and one is refused, not {both:?}"),
        };
        assert!(rig.core.check_codec(super::COLLECTION, codec).unwrap());
    });
}

#[test]
fn a_write_after_poisoning_is_refused_and_changes_nothing() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "before")]);
        let core = Arc::clone(&rig.core);
        let poisoner = thread::spawn(move || core.journal.poison());
        let written = one(&rig.core, replacing(A, "after", Precondition::Always));
        poisoner.join().unwrap();
        match &written {
            Ok(_) | Err(Error::CommitUnknown { .. }) => {
                assert_eq!(value_of(&rig.core, A), "after");
            }
            Err(_) => {
                assert!(is_poisoned(&written));
                assert_eq!(value_of(&rig.core, A), "before");
            }
        }
        let later = replace(&rig.core, A, "later", Precondition::Always);
        assert!(matches!(later, Err(Error::Poisoned)), "{later:?}");
    });
}
