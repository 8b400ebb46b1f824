//! Is there an order? The search of Wing and Gong (*Testing and Verifying Concurrent Objects*,
//! 1993), with Lowe's memory of what was tried (*Testing for linearizability*, 2017).
//!
//! The specification is tiny: each key holds one write or none, and a write is named by a number,
//! as every value in a history is written once.

use std::collections::HashSet;

/// A write, named by its unique value.
pub(super) type Write = u32;
/// What each key holds.
pub(super) type State = Vec<Option<Write>>;

/// One call and what came of it, at two points of one logical clock.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) thread: usize,
    pub(super) invoked: u64,
    pub(super) returned: u64,
    pub(super) call: Call,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// Reads these keys as of one moment.
    Read(Vec<usize>),
    /// Makes these changes in this order, all or none.
    Change(Vec<Change>),
    /// The process or the system ended, and the store was opened on what was left.
    Crash,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub(super) key: usize,
    pub(super) demand: Demand,
    pub(super) leaves: Option<Write>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Demand {
    Nothing,
    Absent,
    Present,
    /// If-Match of the tag that this write got.
    Holds(Write),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Saw(Vec<Option<Write>>),
    Done,
    /// Which change was refused, and what was there instead.
    Refused(usize, Option<Write>),
    /// The caller never learnt it: it was done before the crash, or not at all.
    Unknown,
}

impl Change {
    fn holds(&self, current: Option<Write>) -> bool {
        match self.demand {
            Demand::Nothing => true,
            Demand::Absent => current.is_none(),
            Demand::Present => current.is_some(),
            Demand::Holds(write) => current == Some(write),
        }
    }
}

/// What a call does to a state and must answer.
fn step(state: &State, call: &Call) -> (State, Answer) {
    match call {
        Call::Read(keys) => (state.clone(), Answer::Saw(keys.iter().map(|k| state[*k]).collect())),
        Call::Change(changes) => {
            let mut next = state.clone();
            for (index, change) in changes.iter().enumerate() {
                if !change.holds(next[change.key]) {
                    return (state.clone(), Answer::Refused(index, next[change.key]));
                }
                next[change.key] = change.leaves;
            }
            (next, Answer::Done)
        }
        Call::Crash => (state.clone(), Answer::Done),
    }
}

/// Where the search stands: which events are in the order already, and what they lead to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    placed: u128,
    state: State,
    /// The states that a crash may go back to: reads see writes before these are safe, so all
    /// since the last write that was acknowledged.
    since: Vec<State>,
}

impl Node {
    /// The nodes that placing this event next leads to.
    fn after(&self, index: usize, event: &Event) -> Vec<Self> {
        let placed = self.placed | 1 << index;
        let dropped = Self { placed, ..self.clone() };
        if event.call == Call::Crash {
            let back =
                |state: &State| Self { placed, state: state.clone(), since: vec![state.clone()] };
            return self.since.iter().map(back).collect();
        }
        let (state, answer) = step(&self.state, &event.call);
        if event.answer == Answer::Unknown {
            let mut since = self.since.clone();
            since.push(state.clone());
            let done = Self { placed, state, since };
            return if answer == Answer::Done { vec![done, dropped] } else { vec![dropped] };
        }
        if answer != event.answer {
            return Vec::new();
        }
        let acknowledged = answer == Answer::Done;
        let since = if acknowledged { vec![state.clone()] } else { self.since.clone() };
        vec![Self { placed, state, since }]
    }
}

/// Whether the events, of which no more than 128, can be put in one order that keeps the order of
/// those that did not overlap and in which every answer is right.
pub(super) fn is_linearizable(keys: usize, events: &[Event]) -> bool {
    assert!(events.len() <= 128, "a history of {} events", events.len());
    let all = if events.len() == 128 { u128::MAX } else { (1 << events.len()) - 1 };
    let empty = vec![None; keys];
    let mut open = vec![Node { placed: 0, since: vec![empty.clone()], state: empty }];
    let mut tried: HashSet<Node> = HashSet::new();
    while let Some(node) = open.pop() {
        if node.placed == all {
            return true;
        }
        let waiting = |index: &usize| node.placed & 1 << index == 0;
        let left: Vec<usize> = (0..events.len()).filter(waiting).collect();
        // Whatever returned before another was invoked comes before it.
        let first_return = left.iter().map(|index| events[*index].returned).min();
        for index in left {
            if Some(events[index].invoked) > first_return {
                continue;
            }
            for next in node.after(index, &events[index]) {
                if tried.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(thread: usize, time: (u64, u64), call: Call, answer: Answer) -> Event {
        Event { thread, invoked: time.0, returned: time.1, call, answer }
    }

    fn write(time: (u64, u64), key: usize, demand: Demand, leaves: Write, answer: Answer) -> Event {
        event(0, time, Call::Change(vec![Change { key, demand, leaves: Some(leaves) }]), answer)
    }

    fn put(time: (u64, u64), key: usize, leaves: Write) -> Event {
        write(time, key, Demand::Nothing, leaves, Answer::Done)
    }

    fn both(time: (u64, u64), leaves: Write, answer: Answer) -> Event {
        let change =
            |key| Change { key, demand: Demand::Nothing, leaves: Some(leaves + key as u32) };
        event(0, time, Call::Change(vec![change(0), change(1)]), answer)
    }

    fn read(time: (u64, u64), keys: &[usize], saw: &[Option<Write>]) -> Event {
        event(1, time, Call::Read(keys.to_vec()), Answer::Saw(saw.to_vec()))
    }

    fn crash(time: (u64, u64)) -> Event {
        event(9, time, Call::Crash, Answer::Done)
    }

    #[track_caller]
    fn check(expected: bool, events: &[Event]) {
        assert_eq!(is_linearizable(2, events), expected, "{events:#?}");
    }

    #[test]
    fn overlapping_reads_may_see_a_write_or_not() {
        for saw in [None, Some(1)] {
            check(true, &[put((0, 3), 0, 1), read((1, 2), &[0], &[saw])]);
        }
    }

    #[test]
    fn a_read_after_an_acknowledged_write_must_see_it() {
        check(true, &[put((0, 1), 0, 1), read((2, 3), &[0], &[Some(1)])]);
        check(false, &[put((0, 1), 0, 1), read((2, 3), &[0], &[None])]);
        let two = [put((0, 1), 0, 1), put((2, 3), 0, 2), read((4, 5), &[0], &[Some(1)])];
        check(false, &two);
    }

    #[test]
    fn reads_do_not_go_back() {
        let reads = |first, second| {
            [
                put((0, 1), 0, 1),
                put((2, 9), 0, 2),
                read((3, 4), &[0], &[Some(first)]),
                read((5, 6), &[0], &[Some(second)]),
            ]
        };
        check(true, &reads(1, 2));
        check(false, &reads(2, 1));
    }

    #[test]
    fn a_lost_update_is_rejected() {
        let replace = |leaves, answer| write((2, 5), 0, Demand::Holds(1), leaves, answer);
        check(
            true,
            &[put((0, 1), 0, 1), replace(2, Answer::Done), replace(3, Answer::Refused(0, Some(2)))],
        );
        check(false, &[put((0, 1), 0, 1), replace(2, Answer::Done), replace(3, Answer::Done)]);
        // Refused, though nothing but what it demands was ever there.
        check(false, &[put((0, 1), 0, 1), replace(2, Answer::Refused(0, Some(1)))]);
    }

    #[test]
    fn only_one_of_two_creates_succeeds() {
        let create = |leaves, answer| write((0, 5), 0, Demand::Absent, leaves, answer);
        check(true, &[create(1, Answer::Done), create(2, Answer::Refused(0, Some(1)))]);
        check(false, &[create(1, Answer::Done), create(2, Answer::Done)]);
    }

    #[test]
    fn half_a_batch_is_rejected() {
        for (saw, legal) in
            [([None, None], true), ([Some(1), Some(2)], true), ([Some(1), None], false)]
        {
            check(legal, &[both((0, 5), 1, Answer::Done), read((1, 2), &[0, 1], &saw)]);
        }
        // Neither may two reads, one after the other, see the later half and not the earlier.
        let apart = [
            both((0, 9), 1, Answer::Done),
            read((1, 2), &[1], &[Some(2)]),
            read((3, 4), &[0], &[None]),
        ];
        check(false, &apart);
    }

    #[test]
    fn a_write_of_unknown_outcome_happened_before_the_crash_or_never() {
        let unknown = |leaves| write((0, 6), 0, Demand::Nothing, leaves, Answer::Unknown);
        for saw in [None, Some(1)] {
            check(true, &[unknown(1), crash((5, 6)), read((7, 8), &[0], &[saw])]);
        }
        let late = [
            unknown(1),
            crash((5, 6)),
            read((7, 8), &[0], &[None]),
            read((9, 10), &[0], &[Some(1)]),
        ];
        check(false, &late);
        let half = [
            both((0, 6), 1, Answer::Unknown),
            crash((5, 6)),
            read((7, 8), &[0, 1], &[Some(1), None]),
        ];
        check(false, &half);
    }

    #[test]
    fn a_crash_takes_no_acknowledged_write() {
        check(false, &[put((0, 1), 0, 1), crash((5, 6)), read((7, 8), &[0], &[None])]);
        // What a reader saw is gone, but its writer had no answer.
        let seen = |saw| {
            let unknown = write((0, 6), 0, Demand::Nothing, 1, Answer::Unknown);
            [unknown, read((1, 2), &[0], &[Some(1)]), crash((5, 6)), read((7, 8), &[0], &[saw])]
        };
        check(true, &seen(None));
        check(true, &seen(Some(1)));
        // An acknowledged write holds what was before it.
        let held = [
            write((0, 6), 0, Demand::Nothing, 1, Answer::Unknown),
            read((1, 2), &[0], &[Some(1)]),
            put((3, 4), 1, 2),
            crash((5, 6)),
            read((7, 8), &[0, 1], &[None, Some(2)]),
        ];
        check(false, &held);
    }
}
