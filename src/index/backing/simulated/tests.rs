#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;

use super::super::Backings;
use super::*;

const ROUNDS: usize = 300;

/// The keys and values of a generation, opened; so that one that is gone is empty.
fn contents(backings: &MemoryBackings, generation: u64) -> Vec<(u8, u8)> {
    let mut pairs = Vec::new();
    let backing = backings.open(generation).unwrap();
    let mut visit = |key: &[u8], value: &[u8]| pairs.push((key[0], value[0]));
    backing.scan(None, usize::MAX, &mut visit).unwrap();
    pairs
}

fn outcomes(of: impl Fn(&mut fastrand::Rng) -> MemoryBackings) -> HashSet<Vec<(u8, u8)>> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..ROUNDS).map(|_| contents(&of(&mut rng), 1)).collect()
}

/// Flushed as {1: 1}, then as {1: 1, 2: 2}, then written to {1: 3, 4: 4}.
fn written() -> MemoryBackings {
    let backings = MemoryBackings::simulated();
    let backing = backings.open(1).unwrap();
    backing.insert(&[1], &[1]).unwrap();
    backing.flush().unwrap();
    backing.insert(&[2], &[2]).unwrap();
    backing.flush().unwrap();
    backing.insert(&[1], &[3]).unwrap();
    backing.remove(&[2]).unwrap();
    backing.insert(&[4], &[4]).unwrap();
    backings
}

#[test]
fn a_crash_leaves_every_mix_and_every_flushed_version() {
    let backings = written();
    let found = outcomes(|rng| backings.crash(rng));
    let older_or_gone = [vec![], vec![(1, 1)]];
    let mut expected: HashSet<_> = older_or_gone.into();
    for one in [1, 3] {
        for two in [false, true] {
            for four in [false, true] {
                let pairs = [Some((1, one)), two.then_some((2, 2)), four.then_some((4, 4))];
                expected.insert(pairs.into_iter().flatten().collect());
            }
        }
    }
    assert_eq!(found, expected);
    assert_eq!(contents(&backings, 1), [(1, 3), (4, 4)], "the original is unchanged");
}

#[test]
fn a_kill_loses_only_the_last_writes() {
    let backings = written();
    let found = outcomes(|rng| backings.kill(rng));
    let expected = [vec![(1, 1), (2, 2)], vec![(1, 3), (2, 2)], vec![(1, 3)], vec![(1, 3), (4, 4)]];
    assert_eq!(found, expected.into());
}

#[test]
fn a_kill_loses_nothing_that_was_flushed() {
    let backings = MemoryBackings::simulated();
    let backing = backings.open(1).unwrap();
    backing.insert(&[1], &[1]).unwrap();
    backing.insert(&[1], &[2]).unwrap();
    backing.flush().unwrap();
    assert_eq!(outcomes(|rng| backings.kill(rng)), [vec![(1, 2)]].into());
}

#[test]
fn what_a_crash_left_counts_as_flushed() {
    let mut rng = fastrand::Rng::with_seed(2);
    let backings = written().kill(&mut rng);
    let before = contents(&backings, 1);
    assert_eq!(contents(&backings.kill(&mut rng), 1), before);
}

#[test]
fn a_removed_backing_store_may_be_back_after_a_crash_and_not_after_a_kill() {
    let backings = written();
    backings.open(2).unwrap();
    backings.remove_all_but(2).unwrap();
    assert_eq!(contents(&backings.kill(&mut fastrand::Rng::with_seed(3)), 1), []);
    let found = outcomes(|rng| backings.crash(rng));
    assert_eq!(found, [vec![], vec![(1, 3), (4, 4)]].into());
}

#[test]
fn calls_fail_from_the_given_one_on() {
    let backings = written();
    let backing = backings.open(1).unwrap();
    backings.fail_after(2);
    assert!(backing.get(&[1]).is_ok());
    assert!(backing.get(&[1]).is_ok());
    assert!(matches!(backing.get(&[1]), Err(Error::IndexUnavailable(_))));
    assert!(matches!(backing.flush(), Err(Error::IndexUnavailable(_))));
    assert!(matches!(backings.open(1), Err(Error::IndexUnavailable(_))));
    let next = backings.kill(&mut fastrand::Rng::with_seed(4));
    assert!(next.open(1).unwrap().get(&[1]).is_ok(), "the next run has no faults");
}

#[test]
fn plain_backings_remember_nothing() {
    let backings = MemoryBackings::new();
    let backing = backings.open(1).unwrap();
    backing.insert(&[1], &[1]).unwrap();
    backing.flush().unwrap();
    assert!(backings.generations.lock()[&1].state.lock().recording.is_none());
}
