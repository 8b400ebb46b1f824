//! Some lines, in order of key.
//!
//! Neighbours in the index follow each other then, so a batch changes few leaves, and each of them
//! many times while it is in the processor's cache. The more lines are sorted at once, the fewer
//! leaves a batch changes.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::transfer::line::Record;

/// A line's document, and which of the collections it goes to.
pub(super) struct Numbered {
    pub(super) line: u64,
    pub(super) len_bytes: u64,
    pub(super) target: usize,
    pub(super) record: Record,
}

impl Numbered {
    /// What tells whose document it is.
    pub(super) fn key(&self) -> (usize, Bytes) {
        (self.target, self.record.key.clone())
    }

    /// The same, with memory of its own.
    pub(super) fn owned(mut self) -> Self {
        for bytes in [&mut self.record.key, &mut self.record.value] {
            *bytes = Bytes::copy_from_slice(bytes);
        }
        self
    }

    fn is_of_same(&self, other: &Self) -> bool {
        self.target == other.target && self.record.key == other.record.key
    }

    fn key_order(&self, other: &Self) -> Ordering {
        self.target.cmp(&other.target).then_with(|| self.record.key.cmp(&other.record.key))
    }
}

/// Lines that are still to be sorted.
#[derive(Default)]
pub(super) struct Window {
    records: Vec<Numbered>,
    bytes: u64,
}

impl Window {
    pub(super) fn extend(&mut self, records: impl IntoIterator<Item = Numbered>) {
        for record in records {
            self.bytes += record.len_bytes;
            self.records.push(record);
        }
    }

    /// How many bytes its lines have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the lines out, in order of key; of one key, in their order.
    pub(super) fn take_sorted(&mut self) -> Sorted {
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        let shared = shared_prefix(&records);
        // Most are told apart by one word, without a look at their keys.
        let mut order: Vec<(u64, usize)> =
            records.iter().enumerate().map(|(at, it)| (word(it, shared), at)).collect();
        order.sort_unstable_by(|one, next| {
            let keys = || match (records.get(one.1), records.get(next.1)) {
                (Some(one), Some(next)) => one.key_order(next),
                _ => Ordering::Equal,
            };
            one.0.cmp(&next.0).then_with(keys).then(one.1.cmp(&next.1))
        });
        let mut records: Vec<Option<Numbered>> = records.into_iter().map(Some).collect();
        let take = |(_, at): (u64, usize)| records.get_mut(at).and_then(Option::take);
        let sorted: Vec<Numbered> = order.into_iter().filter_map(take).collect();
        Sorted { records: sorted.into_iter().peekable() }
    }
}

/// The first bytes that all keys of lines of one collection share; 0 where there are several.
fn shared_prefix(records: &[Numbered]) -> Option<usize> {
    let first = records.first()?;
    let mut shared = first.record.key.len();
    for other in records {
        if other.target != first.target {
            return None;
        }
        let (one, other) = (first.record.key.iter().take(shared), other.record.key.iter());
        shared = one.zip(other).take_while(|(one, other)| one == other).count();
    }
    Some(shared)
}

/// What tells lines apart before their keys do, and orders them alike.
fn word(numbered: &Numbered, shared: Option<usize>) -> u64 {
    let Some(shared) = shared else { return numbered.target as u64 };
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(numbered.record.key.iter().skip(shared)) {
        *to = *from;
    }
    u64::from_be_bytes(word)
}

/// Lines in order of key.
pub(super) struct Sorted {
    records: std::iter::Peekable<std::vec::IntoIter<Numbered>>,
}

impl Sorted {
    pub(super) fn is_empty(&mut self) -> bool {
        self.records.peek().is_none()
    }

    /// The next lines, up to so many lines and bytes, but at least one. If `last_counts`, of lines
    /// with one key only the last; with how many lines and bytes of lines were left out.
    pub(super) fn next_part(
        &mut self,
        max_lines: usize,
        max_bytes: u64,
        last_counts: bool,
    ) -> (Vec<Numbered>, u64, u64) {
        let (mut part, mut bytes) = (Vec::with_capacity(max_lines), 0);
        let (mut left_out, mut left_out_bytes) = (0, 0);
        while part.len() < max_lines
            && let Some(next) =
                self.records.next_if(|it| part.is_empty() || bytes + it.len_bytes <= max_bytes)
        {
            if last_counts && self.records.peek().is_some_and(|after| after.is_of_same(&next)) {
                left_out += 1;
                left_out_bytes += next.len_bytes;
                continue;
            }
            bytes += next.len_bytes;
            part.push(next);
        }
        (part, left_out, left_out_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn numbered(line: u64, target: usize, key: &str) -> Numbered {
        let text = Bytes::from(format!(r#"{{"key":"{key}","value":{line}}}"#));
        let record = Record::parse(&text).unwrap();
        Numbered { line, len_bytes: text.len() as u64, target, record }
    }

    fn sorted(keys: &[(usize, &str)]) -> Sorted {
        let mut window = Window::default();
        for (line, (target, key)) in (1..).zip(keys) {
            window.extend([numbered(line, *target, key)]);
        }
        window.take_sorted()
    }

    fn lines(part: &[Numbered]) -> Vec<u64> {
        part.iter().map(|it| it.line).collect()
    }

    #[test]
    fn lines_come_in_order_of_key_and_of_one_key_in_their_order() {
        let keys = ["prefix-b", "prefix-a", "prefix-abcdefgh2", "prefix-abcdefgh1", "prefix-a"];
        let (part, ..) = sorted(&keys.map(|key| (0, key))).next_part(9, 999, false);
        assert_eq!(lines(&part), [2, 5, 4, 3, 1]);
        let several = [(1, "a"), (0, "b"), (0, "a"), (1, "A"), (0, "b")];
        let (part, ..) = sorted(&several).next_part(9, 999, false);
        assert_eq!(lines(&part), [3, 2, 5, 4, 1]);
    }

    #[test]
    fn a_key_that_is_the_beginning_of_others_comes_before_them() {
        // One that ends where others go on with zeros has the same word.
        let keys = ["k\\u0000\\u0000", "k", "k\\u0000", "k\\u0000\\u0000a"];
        let (part, ..) = sorted(&keys.map(|key| (0, key))).next_part(9, 999, false);
        assert_eq!(lines(&part), [2, 3, 1, 4]);
    }

    #[test]
    fn of_lines_with_one_key_the_last_counts_across_parts() {
        let mut all = sorted(&[(0, "a"), (0, "b"), (0, "a"), (1, "b"), (0, "a")]);
        let (part, left_out, bytes) = all.next_part(1, 999, true);
        assert_eq!((lines(&part), left_out, bytes), (vec![5], 2, 2 * 21));
        let (part, left_out, _) = all.next_part(9, 1, true);
        assert_eq!((lines(&part), left_out), (vec![2], 0));
        assert!(!all.is_empty());
        assert_eq!(lines(&all.next_part(9, 1, true).0), [4]);
        assert!(all.is_empty());
    }
}
