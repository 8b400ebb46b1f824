//! `update` and its kin: what is retried, what is not, and what a closure may do.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::Duration;

use ifmatch::{
    Collection, Durability, Error, Options, Precondition, RetryPolicy, Store, UpdateError,
};

use crate::backends::{not_found, on_every_backend};
use crate::thinned;

/// Many threads increment one counter; every increment must count and none may give up.
fn count_together(counters: &Collection<u64>, threads: u64, increments: u64) {
    counters.create("k", &0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..increments {
                    counters.update("k", |count| *count += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(counters.get("k").unwrap().unwrap().value, threads * increments);
}

#[test]
fn sixty_four_threads_lose_no_increment_in_memory() {
    count_together(&Store::in_memory().collection("counters").unwrap(), 64, thinned(25, 500));
}

#[test]
fn sixty_four_threads_lose_no_increment_in_an_eventual_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Eventual);
    let store = options.open(folder.path().join("store")).unwrap();
    count_together(&store.collection("counters").unwrap(), 64, thinned(25, 500));
}

#[test]
fn eight_threads_lose_no_increment_in_an_immediate_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("store")).unwrap();
    count_together(&store.collection("counters").unwrap(), 8, 25);
}

/// Regression: it ran ten thousand times, since each run lost to its own write.
#[test]
fn d7_an_update_whose_closure_writes_its_own_key_gives_up_soon() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &0).unwrap();
        let runs = Cell::new(0);
        let updated = numbers.update("k", |n| {
            runs.set(runs.get() + 1);
            *n += 1;
            numbers.upsert("k", n, Precondition::Always).unwrap();
        });
        assert!(matches!(updated, Err(Error::Contended { .. })), "{updated:?}");
        assert!(runs.get() <= 16, "the closure ran {} times", runs.get());
        // In a batch, and in an update of another key, it is its own write too.
        runs.set(0);
        numbers.create("other", &0).unwrap();
        let updated = numbers.update("k", |n| {
            runs.set(runs.get() + 1);
            *n += 1;
            numbers.update("other", |other| *other += 1).unwrap();
            bench.store().batch().upsert(&numbers, "k", n, Precondition::Always).commit().unwrap();
        });
        assert!(matches!(updated, Err(Error::Contended { .. })), "{updated:?}");
        assert!(runs.get() <= 16, "the closure ran {} times", runs.get());
    });
}

#[test]
fn d7_an_update_whose_closure_writes_its_own_key_once_goes_through() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &0).unwrap();
        let mut first = true;
        let item = numbers.update("k", |n| {
            if std::mem::take(&mut first) {
                numbers.upsert("k", &10, Precondition::Always).unwrap();
            }
            *n += 1;
        });
        assert_eq!(item.unwrap().value, 11);
    });
}

#[test]
fn update_of_absent_item_is_not_found_and_runs_no_closure() {
    on_every_backend(|bench| {
        not_found(bench.numbers().update("k", |_| panic!("there is nothing to update")));
        let tried = bench.numbers().try_update("k", |_| Err::<(), _>("refused"));
        assert!(matches!(tried, Err(UpdateError::Store(Error::NotFound { .. }))), "{tried:?}");
        bench.step();
        assert!(bench.numbers().is_empty().unwrap());
    });
}

#[test]
fn update_gives_the_item_as_written() {
    on_every_backend(|bench| {
        let before = bench.numbers().create("k", &1).unwrap();
        bench.step();
        let item = bench.numbers().update("k", |n| *n += 1).unwrap();
        assert_eq!((item.value, item.parent(), item.key()), (2, Some(before.etag()), &b"k"[..]));
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), Some(item));
    });
}

#[test]
fn update_or_insert_with_creates_what_is_absent_and_updates_what_is_there() {
    on_every_backend(|bench| {
        for value in 11..14 {
            let item = bench.numbers().update_or_insert_with("k", || 10, |n| *n += 1).unwrap();
            assert_eq!(item.value, value);
            bench.step();
            assert_eq!(bench.numbers().get("k").unwrap(), Some(item));
        }
    });
}

#[test]
fn concurrent_update_or_insert_with_loses_nothing() {
    let numbers = Store::in_memory().collection::<u64>("numbers").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for key in 0..100_u64 {
                    let key = key.to_be_bytes();
                    numbers.update_or_insert_with(key, || 0, |n| *n += 1).unwrap();
                }
            });
        }
    });
    assert!(numbers.iter().unwrap().all(|item| item.unwrap().value == 8));
    assert_eq!(numbers.len().unwrap(), 100);
}

#[test]
fn an_error_of_the_closure_ends_the_update_with_nothing_written() {
    on_every_backend(|bench| {
        let before = bench.numbers().create("k", &1).unwrap();
        let runs = Cell::new(0);
        let tried = bench.numbers().try_update("k", |n| {
            runs.set(runs.get() + 1);
            *n = 99;
            Err::<(), _>("sold out")
        });
        assert!(matches!(tried, Err(UpdateError::Aborted("sold out"))), "{tried:?}");
        assert_eq!(runs.get(), 1);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap().unwrap().meta(), &before);
    });
}

#[test]
fn try_update_writes_when_the_closure_agrees() {
    on_every_backend(|bench| {
        bench.numbers().create("k", &1).unwrap();
        let tried = bench.numbers().try_update("k", |n| {
            *n += 1;
            Ok::<_, String>(())
        });
        assert_eq!(tried.unwrap().value, 2);
    });
}

#[test]
fn the_closure_runs_once_for_each_attempt_on_the_fresh_value() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &0).unwrap();
        let mut seen = Vec::new();
        let item = numbers.update("k", |n| {
            seen.push(*n);
            if seen.len() < 4 {
                let other = 10 * seen.len() as u64;
                numbers.replace("k", &other, Precondition::Always).unwrap();
            }
            *n += 1;
        });
        assert_eq!(item.unwrap().value, 31);
        assert_eq!(seen, [0, 10, 20, 30]);
    });
}

#[test]
fn an_exhausted_policy_is_contended_with_the_current_item() {
    on_every_backend(|bench| {
        let policy = RetryPolicy::new().max_attempts(3).base_delay(Duration::from_micros(1));
        let numbers = bench.numbers().with_retry(policy);
        numbers.create("k", &0).unwrap();
        let runs = Cell::new(0);
        let updated = numbers.update("k", |_| {
            runs.set(runs.get() + 1);
            numbers.replace("k", &runs.get(), Precondition::Always).unwrap();
        });
        let error = updated.unwrap_err();
        assert_eq!(error.http_status(), 409);
        let Error::Contended { attempts, elapsed, current } = error else { panic!("{error:?}") };
        assert_eq!((attempts, runs.get()), (3, 3));
        assert!(elapsed > Duration::ZERO);
        assert_eq!(current.http_status(), 409, "the update gave up: no precondition was stated");
        assert_eq!(current.current::<u64>().unwrap(), numbers.get("k").unwrap());
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap().unwrap().value, 3);
    });
}

#[test]
fn a_deadline_ends_the_retries() {
    let policy = RetryPolicy::new().max_attempts(u32::MAX).deadline(Duration::from_millis(20));
    let numbers = Store::in_memory().collection::<u64>("numbers").unwrap().with_retry(policy);
    numbers.create("k", &0).unwrap();
    let updated =
        numbers.update("k", |n| drop(numbers.replace("k", &(*n + 1), Precondition::Always)));
    assert!(matches!(updated, Err(Error::Contended { .. })), "{updated:?}");
}

#[test]
fn an_item_deleted_meanwhile_is_not_found() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &0).unwrap();
        let runs = Cell::new(0);
        not_found(numbers.update("k", |_| {
            runs.set(runs.get() + 1);
            numbers.delete("k", Precondition::Always).unwrap();
        }));
        assert_eq!(runs.get(), 1);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap(), None);
    });
}

#[test]
fn an_item_deleted_meanwhile_is_inserted_again_where_that_was_asked_for() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &7).unwrap();
        let mut seen = Vec::new();
        let insert = || 100;
        let item = numbers.update_or_insert_with("k", insert, |n| {
            seen.push(*n);
            drop(numbers.delete("k", Precondition::Always));
        });
        assert_eq!(item.unwrap().value, 100);
        assert_eq!(seen, [7, 100]);
    });
}

#[test]
fn an_item_created_meanwhile_is_updated_instead_of_inserted() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let item = numbers.update_or_insert_with(
            "k",
            || 0,
            |n| {
                drop(numbers.create("k", &5));
                *n += 1;
            },
        );
        assert_eq!(item.unwrap().value, 6);
    });
}

#[test]
fn a_closure_may_use_the_store() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &1).unwrap();
        numbers.create("other", &1).unwrap();
        let item = numbers.update("k", |n| {
            assert_eq!(numbers.get("k").unwrap().unwrap().value, *n);
            numbers.replace("other", &7, Precondition::Always).unwrap();
            numbers.update("other", |other| *other += 1).unwrap();
            let log = bench.collection::<String>("log");
            bench.store().batch().create(&log, "entry", &"seen".to_owned()).commit().unwrap();
            *n = numbers.iter().unwrap().map(|item| item.unwrap().value).sum();
        });
        assert_eq!(item.unwrap().value, 9);
    });
}

#[test]
fn a_closure_may_update_its_own_item() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        numbers.create("k", &0).unwrap();
        let mut inner = 3;
        let item = numbers.update("k", |n| {
            if inner > 0 {
                inner -= 1;
                numbers.update("k", |n| *n += 10).unwrap();
            }
            *n += 1;
        });
        assert_eq!(item.unwrap().value, 31);
    });
}

#[test]
fn a_panic_of_the_closure_leaves_the_store_usable() {
    on_every_backend(|bench| {
        let numbers = bench.numbers();
        let before = numbers.create("k", &1).unwrap();
        let update = || {
            let panics = |n: &mut u64| {
                *n = 99;
                std::panic::resume_unwind(Box::new("on purpose"));
            };
            numbers.update("k", panics)
        };
        assert!(std::panic::catch_unwind(AssertUnwindSafe(update)).is_err());
        assert_eq!(numbers.get("k").unwrap().unwrap().meta(), &before);
        assert_eq!(numbers.update("k", |n| *n += 1).unwrap().value, 2);
        bench.step();
        assert_eq!(bench.numbers().get("k").unwrap().unwrap().value, 2);
    });
}

#[test]
fn a_replace_with_a_stale_tag_is_never_retried() {
    let patient =
        RetryPolicy::new().base_delay(Duration::from_secs(3_600)).max_delay(Duration::MAX);
    let numbers = Store::in_memory().collection::<u64>("numbers").unwrap().with_retry(patient);
    let stale = numbers.create("k", &0).unwrap().etag();
    numbers.replace("k", &1, stale).unwrap();
    // With a retry this would wait for half an hour.
    assert!(matches!(numbers.replace("k", &2, stale), Err(Error::PreconditionFailed(_))));
}

/// A regression: the second attempt read the bytes of another form, and the closure saw them.
#[test]
fn an_update_that_lost_sees_no_document_of_another_form() {
    let store = Store::in_memory();
    let delay = Duration::from_millis(300);
    let policy = RetryPolicy::new().base_delay(delay).max_delay(delay);
    let counters = store.collection::<u64>("counters").unwrap().with_retry(policy);
    counters.create("a", &1).unwrap();
    let mut seen = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while store.stats().unwrap().conflicts == 0 {
                thread::yield_now();
            }
            store.drop_collection("counters").unwrap();
            store.raw("counters").unwrap().create("a", &b"777".to_vec().into()).unwrap();
        });
        let updated = counters.update("a", |count| {
            seen.push(*count);
            if seen.len() == 1 {
                counters.upsert("a", &2, Precondition::Always).unwrap();
            }
        });
        // Seldom the second attempt comes before the other form.
        assert!(matches!(updated, Ok(_) | Err(Error::CodecMismatch { .. })), "{updated:?}");
    });
    assert!(!seen.contains(&777), "{seen:?}");
}
