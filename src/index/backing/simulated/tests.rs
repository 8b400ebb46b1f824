#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashSet;

use super::super::Backings;
use super::*;

const ROUNDS: usize = 300;

/// The keys and values of a generation, opened; so that one that is gone is empty.
fn contents(tables: &MemoryBackings, generation: u64) -> Vec<(u8, u8)> {
    let mut rows = Vec::new();
    let table = tables.open(generation).unwrap();
    let mut visit = |key: &[u8], value: &[u8]| rows.push((key[0], value[0]));
    table.scan(None, usize::MAX, &mut visit).unwrap();
    rows
}

fn outcomes(of: impl Fn(&mut fastrand::Rng) -> MemoryBackings) -> HashSet<Vec<(u8, u8)>> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..ROUNDS).map(|_| contents(&of(&mut rng), 1)).collect()
}

/// Flushed as {1: 1}, then as {1: 1, 2: 2}, then written to {1: 3, 4: 4}.
fn written() -> MemoryBackings {
    let tables = MemoryBackings::simulated();
    let table = tables.open(1).unwrap();
    table.insert(&[1], &[1]).unwrap();
    table.flush().unwrap();
    table.insert(&[2], &[2]).unwrap();
    table.flush().unwrap();
    table.insert(&[1], &[3]).unwrap();
    table.remove(&[2]).unwrap();
    table.insert(&[4], &[4]).unwrap();
    tables
}

#[test]
fn a_crash_leaves_every_mix_and_every_flushed_version() {
    let tables = written();
    let found = outcomes(|rng| tables.crash(rng));
    let older_or_gone = [vec![], vec![(1, 1)]];
    let mut expected: HashSet<_> = older_or_gone.into();
    for one in [1, 3] {
        for two in [false, true] {
            for four in [false, true] {
                let rows = [Some((1, one)), two.then_some((2, 2)), four.then_some((4, 4))];
                expected.insert(rows.into_iter().flatten().collect());
            }
        }
    }
    assert_eq!(found, expected);
    assert_eq!(contents(&tables, 1), [(1, 3), (4, 4)], "the original goes on");
}

#[test]
fn a_kill_loses_only_the_last_writes() {
    let tables = written();
    let found = outcomes(|rng| tables.kill(rng));
    let expected = [vec![(1, 1), (2, 2)], vec![(1, 3), (2, 2)], vec![(1, 3)], vec![(1, 3), (4, 4)]];
    assert_eq!(found, expected.into());
}

#[test]
fn a_kill_loses_nothing_that_was_flushed() {
    let tables = MemoryBackings::simulated();
    let table = tables.open(1).unwrap();
    table.insert(&[1], &[1]).unwrap();
    table.insert(&[1], &[2]).unwrap();
    table.flush().unwrap();
    assert_eq!(outcomes(|rng| tables.kill(rng)), [vec![(1, 2)]].into());
}

#[test]
fn what_a_crash_left_counts_as_flushed() {
    let mut rng = fastrand::Rng::with_seed(2);
    let tables = written().kill(&mut rng);
    let before = contents(&tables, 1);
    assert_eq!(contents(&tables.kill(&mut rng), 1), before);
}

#[test]
fn a_removed_table_may_be_back_after_a_crash_and_not_after_a_kill() {
    let tables = written();
    tables.open(2).unwrap();
    tables.remove_all_but(2).unwrap();
    assert_eq!(contents(&tables.kill(&mut fastrand::Rng::with_seed(3)), 1), []);
    let found = outcomes(|rng| tables.crash(rng));
    assert_eq!(found, [vec![], vec![(1, 3), (4, 4)]].into());
}

#[test]
fn calls_fail_from_the_given_one_on() {
    let tables = written();
    let table = tables.open(1).unwrap();
    tables.fail_after(2);
    assert!(table.get(&[1]).is_ok());
    assert!(table.get(&[1]).is_ok());
    assert!(matches!(table.get(&[1]), Err(Error::Table(_))));
    assert!(matches!(table.flush(), Err(Error::Table(_))));
    assert!(matches!(tables.open(1), Err(Error::Table(_))));
    let next = tables.kill(&mut fastrand::Rng::with_seed(4));
    assert!(next.open(1).unwrap().get(&[1]).is_ok(), "the next run has no faults");
}

#[test]
fn plain_tables_remember_nothing() {
    let tables = MemoryBackings::new();
    let table = tables.open(1).unwrap();
    table.insert(&[1], &[1]).unwrap();
    table.flush().unwrap();
    assert!(tables.tables.lock()[&1].state.lock().recording.is_none());
}
