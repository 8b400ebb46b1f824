//! What an entry of the journal says of its collection's secondary indexes.
//!
//! The rows that an entry adds follow from its value. Those that it removes do not, so they are
//! listed, and with them which rows of the new value's are added:
//!
//! - An index that is not listed: an entry without a parent adds all rows of its value; one with a
//!   parent changes nothing.
//! - An index that is listed: the codes of the removed rows, and the places of the added ones in
//!   the ordered set of the new value's codes.
//! - An index marked as lost: the rows of the version before are not known, because that could
//!   not be read. The index has to be built anew.

use bincode::{BorrowDecode, Encode, config};

/// The most bytes of all lists of a commit. An index whose lists have no room is marked as lost.
pub(crate) const MAX_INDEX_CHANGES_BYTES: u32 = 16 << 20;

/// What an entry changes in one index.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) struct IndexChange<'a> {
    /// Which index of the collection: the number in its definition's record.
    pub(crate) slot: u8,
    pub(crate) what: RowChanges<'a>,
}

/// Rows that came and went.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(crate) enum RowChanges<'a> {
    /// The removed codes, and the places of the added ones among the new value's.
    Rows { removed: Vec<&'a [u8]>, added: Vec<u16> },
    /// Not known.
    Lost,
}

/// The bytes of an entry's list; none for an empty one.
pub(crate) fn encode(changes: &[IndexChange<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        // Writing to a vector has no way to fail: every field type is encodable.
        let written = bincode::encode_into_std_write(change, &mut bytes, config::standard());
        debug_assert!(written.is_ok());
    }
    bytes
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<IndexChange<'_>>> {
    // A list takes no more memory than an item's rows in an index do, whatever length it says.
    let config = config::standard().with_limit::<{ 1 << 20 }>();
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let (change, used) = bincode::borrow_decode_from_slice(bytes, config).ok()?;
        changes.push(change);
        bytes = bytes.get(used..)?;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn some() -> Vec<IndexChange<'static>> {
        let rows = RowChanges::Rows { removed: vec![b"old", b""], added: vec![0, 300] };
        vec![IndexChange { slot: 3, what: rows }, IndexChange { slot: 63, what: RowChanges::Lost }]
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        assert_eq!(decode(&encode(&some())).unwrap(), some());
        assert!(encode(&[]).is_empty());
        assert_eq!(decode(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_cut_or_longer_is_refused() {
        let bytes = encode(&some());
        let first = encode(some().get(..1).unwrap()).len();
        for len in (1..bytes.len()).filter(|len| *len != first) {
            assert_eq!(decode(bytes.get(..len).unwrap()), None, "{len} bytes");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None);
    }
}
