//! Keys as sled can walk them backwards.
//!
//! To step from a node to the one before it, sled 0.34.7 looks for the node's lower end with its
//! last byte lowered by one and four bytes `ff` appended, and takes that for the greatest key
//! below. With keys that go on after four `ff` it is not: the walk runs in a circle, and after a
//! million rounds it panics with the contents of the whole tree as its message.
//!
//! So no key in sled has four `ff` in a row: a stuffing byte follows every third one. As it comes
//! at once and whatever is next, equal beginnings stay equal, and the order of keys is kept.

use std::borrow::Cow;

const RUN: usize = 3;
const STUFFING: u8 = 0;

/// The key as it is given to sled; borrowed unless it holds three `ff` in a row.
pub(super) fn escape(key: &[u8]) -> Cow<'_, [u8]> {
    if !key.contains(&0xff) || !key.windows(RUN).any(|run| run == [0xff; RUN]) {
        return Cow::Borrowed(key);
    }
    let mut escaped = Vec::with_capacity(key.len() + key.len() / RUN);
    let mut run = 0;
    for byte in key {
        escaped.push(*byte);
        run = if *byte == 0xff { run + 1 } else { 0 };
        if run == RUN {
            escaped.push(STUFFING);
            run = 0;
        }
    }
    Cow::Owned(escaped)
}

/// The key that [`escape`] was given; `None` for bytes that it does not make.
pub(super) fn unescape(escaped: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !escaped.contains(&0xff) {
        return Some(Cow::Borrowed(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut run = 0;
    for byte in escaped {
        if run == RUN {
            if *byte != STUFFING {
                return None;
            }
            run = 0;
            continue;
        }
        key.push(*byte);
        run = if *byte == 0xff { run + 1 } else { 0 };
    }
    (run < RUN).then_some(Cow::Owned(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => Just(0xff), 1 => Just(0xfe), 1 => Just(0), 1 => any::<u8>()];
        prop::collection::vec(byte, 0..16)
    }

    #[test]
    fn ordinary_keys_are_not_copied() {
        assert!(matches!(escape(b"products\0\xff\xff\xfe"), Cow::Borrowed(_)));
        assert_eq!(*escape(b"\xff\xff\xff\xff"), *b"\xff\xff\xff\0\xff");
        assert_eq!(escape(&[0xff; 640]).len(), 640 + 640 / 3);
    }

    #[test]
    fn bytes_that_escape_does_not_make_are_refused() {
        assert_eq!(unescape(b"\xff\xff\xff"), None);
        assert_eq!(unescape(b"a\xff\xff\xff\xff"), None);
        assert_eq!(unescape(b"a\xff\xff\xff\x01"), None);
    }

    proptest! {
        #[test]
        fn unescape_gives_the_key_back(key in any_key()) {
            let escaped = escape(&key);
            prop_assert_eq!(&*unescape(&escaped).unwrap(), &*key);
        }

        #[test]
        fn escape_keeps_the_order(left in any_key(), right in any_key()) {
            prop_assert_eq!(escape(&left).cmp(&escape(&right)), left.cmp(&right));
        }

        #[test]
        fn no_escaped_key_has_four_ff_in_a_row(key in any_key()) {
            prop_assert!(!escape(&key).windows(4).any(|run| run == [0xff; 4]));
        }

        #[test]
        fn what_unescape_accepts_escape_makes(bytes in any_key()) {
            if let Some(key) = unescape(&bytes) {
                prop_assert_eq!(&*escape(&key), &*bytes);
            }
        }
    }
}
