//! Damaged and invented leaves.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{full, leaf_of};
use crate::index::leaf::{Leaf, MAX_ENCODED_BYTES};
use crate::values::head::Head;

fn encoded(leaf: &Leaf) -> Vec<u8> {
    let mut bytes = Vec::new();
    leaf.encode(&mut bytes);
    bytes
}

/// Gives bytes the checksum that they should have.
fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&body);
    body.extend(checksum.to_le_bytes());
    body
}

fn visit(bytes: &[u8]) -> Option<()> {
    Leaf::visit_encoded(bytes, &mut |_, _| ControlFlow::Continue(()))
}

/// What is decoded must be the only leaf with this encoding.
fn decodes_exactly_or_not_at_all(bytes: &[u8]) {
    let decoded = Leaf::decode(bytes);
    assert_eq!(visit(bytes).is_some(), decoded.is_some());
    if let Some(leaf) = decoded {
        assert_eq!(encoded(&leaf), bytes);
        assert!(leaf.bound_bytes() <= MAX_ENCODED_BYTES);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bytes = encoded(&full());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Leaf::decode(&bytes).is_none(), "bit {bit}");
        assert!(visit(&bytes).is_none(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(Leaf::decode(&bytes).is_some());
}

#[test]
fn every_flipped_bit_under_a_right_checksum_is_refused_or_another_leaf() {
    let mut bytes = encoded(&leaf_of(&["user-1", "user-12", "user-2/a", "user-2/b", "user-31"]));
    bytes.truncate(bytes.len() - 4);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        decodes_exactly_or_not_at_all(&seal(bytes.clone()));
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_cut_and_every_longer_leaf_is_refused() {
    for bytes in [encoded(&full()), encoded(&bare())] {
        for len in 0..bytes.len() {
            assert!(Leaf::decode(&bytes[..len]).is_none() && visit(&bytes[..len]).is_none());
        }
        let body = &bytes[..bytes.len() - 4];
        for len in 0..body.len() {
            let cut = seal(body[..len].to_vec());
            assert!(Leaf::decode(&cut).is_none() && visit(&cut).is_none());
        }
        let longer = seal([body, &[0]].concat());
        assert!(Leaf::decode(&longer).is_none() && visit(&longer).is_none());
    }
}

/// A leaf of a secondary index.
fn bare() -> Leaf {
    let mut leaf = Leaf::new();
    for n in 0..40_u64 {
        let head = Head::bare(n * 100);
        leaf.put(format!("{n:03}-key").as_bytes(), &head, None);
    }
    leaf
}

#[test]
fn bare_heads_have_one_encoding_and_take_few_bytes() {
    let bytes = encoded(&bare());
    assert!(bytes.len() < 40 * 12, "{} bytes", bytes.len());
    assert_eq!(encoded(&Leaf::decode(&bytes).unwrap()), bytes);
    // In the longer form.
    let (mut leaf, wide) = (bare(), Head { deleted: true, ..Head::bare(7) });
    leaf.put(b"other", &wide, None);
    let whole = encoded(&leaf);
    assert!(whole[0] == 1 && bytes[0] == 2);
    leaf.remove(leaf.find(b"other").unwrap());
    assert_eq!(encoded(&leaf), bytes, "what is bare again is written so");
    // No leaf of other heads, and none without cells, says that it is bare.
    for mut body in [whole, encoded(&Leaf::new())] {
        body.truncate(body.len() - 4);
        body[0] = 2;
        let bytes = seal(body);
        assert!(Leaf::decode(&bytes).is_none() && visit(&bytes).is_none());
    }
    // The mark of a tombstone is the lowest bit of the control word, which follows the tag.
    let mut leaf = Leaf::new();
    leaf.put(b"k", &wide, None);
    let mut longer = encoded(&leaf);
    longer.truncate(longer.len() - 4);
    let control = longer.len() - (2 + 4 + 5);
    assert_eq!(longer[control] & 1, 1);
    longer[control] &= !1;
    let longer = seal(longer);
    assert!(Leaf::decode(&longer).is_none() && visit(&longer).is_none());
}

#[test]
fn a_prefix_that_could_be_longer_is_refused() {
    let one = encoded(&leaf_of(&["a"]));
    let head = &one[17..one.len() - 4];
    let cell = |shared: u8, rest: &[u8]| [&[shared, rest.len() as u8], rest, head].concat();
    let leaf = |prefix: &[u8], cells: &[Vec<u8>], keys_bytes: u8| {
        let header = [1, cells.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, prefix.len() as u8, 0];
        seal([&header[..], &[keys_bytes, 0], prefix, &cells.concat()].concat())
    };
    let longest = leaf(b"a", &[cell(0, b"b"), cell(0, b"c")], 3);
    assert_eq!(longest, encoded(&zeroed(&["ab", "ac"])));
    assert!(Leaf::decode(&longest).is_some() && visit(&longest).is_some());
    for shorter in [
        leaf(b"", &[cell(0, b"ab"), cell(1, b"c")], 4),
        leaf(b"", &[cell(0, b"a")], 1),
        leaf(b"a", &[], 1),
        leaf(b"a", &[cell(0, b"b"), cell(0, b"c")], 4),
        leaf(b"a", &[cell(0, b"b"), cell(0, b"c")], 2),
    ] {
        assert!(Leaf::decode(&shorter).is_none() && visit(&shorter).is_none());
    }
}

/// A leaf of these keys, whose heads are all that of revision 0.
fn zeroed(keys: &[&str]) -> Leaf {
    let mut leaf = Leaf::new();
    for key in keys {
        super::put(&mut leaf, key.as_bytes(), 0);
    }
    leaf
}

#[test]
fn a_key_twice_is_refused_also_of_revision_zero() {
    let bytes = encoded(&leaf_of(&["a"]));
    let cell = &bytes[15..bytes.len() - 4];
    assert_eq!(cell[..2], [0, 0], "nothing shared, nothing behind the prefix");
    let mut body = bytes[..bytes.len() - 4].to_vec();
    body[1] = 2;
    body.extend(cell);
    let twice = seal(body);
    assert!(Leaf::decode(&twice).is_none() && visit(&twice).is_none());
}

#[test]
fn keys_out_of_order_are_refused() {
    let bytes = encoded(&leaf_of(&["a", "b"]));
    let mut body = bytes[..bytes.len() - 4].to_vec();
    let first = body.iter().position(|byte| *byte == b'a').unwrap();
    for (one, other) in [(b'b', b'b'), (b'c', b'b')] {
        let second = body.iter().rposition(|byte| *byte == b'b').unwrap();
        (body[first], body[second]) = (one, other);
        let bytes = seal(body.clone());
        assert!(Leaf::decode(&bytes).is_none() && visit(&bytes).is_none());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        version in prop::option::of(1..=2_u8),
    ) {
        decodes_exactly_or_not_at_all(&bytes);
        let mut body = bytes;
        if let (Some(version), Some(first)) = (version, body.first_mut()) {
            *first = version;
        }
        decodes_exactly_or_not_at_all(&seal(body));
    }

    #[test]
    fn changed_leaves_under_a_right_checksum_do_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = encoded(&full());
        body.truncate(body.len() - 4);
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        decodes_exactly_or_not_at_all(&seal(body));
    }
}
