//! What the table knows of an item: where its newest version lies and what decides preconditions.

use std::ops::Deref;

use crate::values::etag::ETag;

/// The newest version of an item, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) etag: ETag,
    pub(crate) revision: u64,
    /// Number of the journal segment that holds the version.
    pub(crate) segment: u32,
    /// Where in the segment the version's entry begins, in bytes.
    pub(crate) offset: u32,
    /// Length of the whole entry in the journal.
    pub(crate) len_bytes: u32,
    pub(crate) modified_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    /// Whether the version is a tombstone.
    pub(crate) deleted: bool,
}

impl Head {
    /// The head as the table stores it; some 35 bytes, at most [`MAX_BYTES`].
    pub(crate) fn encode(&self) -> HeadBytes {
        let mut bytes = HeadBytes { bytes: [0; MAX_BYTES], len: 0 };
        bytes.push(&self.etag.0);
        let flags = if self.deleted { DELETED } else { 0 };
        bytes.push(&[flags | if self.expires_ms.is_some() { EXPIRES } else { 0 }]);
        for number in [self.revision, self.modified_ms] {
            bytes.push_number(number);
        }
        for number in [self.segment, self.offset, self.len_bytes] {
            bytes.push_number(u64::from(number));
        }
        if let Some(expires_ms) = self.expires_ms {
            bytes.push_number(expires_ms);
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything that is not one whole head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (etag, rest) = bytes.split_first_chunk::<16>()?;
        let (flags, mut rest) = rest.split_first()?;
        if flags & !(DELETED | EXPIRES) != 0 {
            return None;
        }
        let revision = take_number(&mut rest)?;
        let modified_ms = take_number(&mut rest)?;
        let mut small = || u32::try_from(take_number(&mut rest)?).ok();
        let (segment, offset, len_bytes) = (small()?, small()?, small()?);
        let expires = flags & EXPIRES != 0;
        let expires_ms = if expires { Some(take_number(&mut rest)?) } else { None };
        rest.is_empty().then_some(Self {
            etag: ETag(*etag),
            revision,
            segment,
            offset,
            len_bytes,
            modified_ms,
            expires_ms,
            deleted: flags & DELETED != 0,
        })
    }

    /// Where in the segment the entry ends, in bytes.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len_bytes)
    }

    /// What the version takes in the journal, in a frame of its own.
    pub(crate) fn footprint_bytes(&self) -> u64 {
        const FRAME_BYTES: u64 = 22;
        u64::from(self.len_bytes) + FRAME_BYTES
    }

    /// Whether a reader at this time sees the item: neither deleted nor expired.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        !self.deleted && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

/// An encoded [`Head`], on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadBytes {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Deref for HeadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl HeadBytes {
    fn push(&mut self, more: &[u8]) {
        let end = self.len + more.len();
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(more);
            self.len = end;
        }
    }

    /// Adds a number, seven bits a byte, the lowest first (LEB128): a table holds one head per
    /// item, so each byte counts.
    fn push_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.push(&[number as u8]);
    }
}

/// Takes a number from the front; `None` where there is none, or one in a longer form than need be.
fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for index in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if (index == 9 && bits > 1) || (index > 0 && *byte == 0) {
            return None;
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The longest head: tag and flags, then every number at its widest.
const MAX_BYTES: usize = 16 + 1 + 10 + 10 + 5 * 3 + 10;

const DELETED: u8 = 1;
const EXPIRES: u8 = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    const TYPICAL: Head = Head {
        etag: ETag([7; 16]),
        revision: 3_000_000_000,
        segment: 1_000,
        offset: 60_000_000,
        len_bytes: 400,
        modified_ms: 1_800_000_000_000,
        expires_ms: None,
        deleted: false,
    };

    const LARGEST: Head = Head {
        etag: ETag([0xff; 16]),
        revision: u64::MAX,
        segment: u32::MAX,
        offset: u32::MAX,
        len_bytes: u32::MAX,
        modified_ms: u64::MAX,
        expires_ms: Some(u64::MAX),
        deleted: true,
    };

    fn any_head() -> impl Strategy<Value = Head> {
        let place = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>());
        let times = (any::<u64>(), any::<Option<u64>>(), any::<bool>());
        (any::<[u8; 16]>(), place, times).prop_map(|(etag, place, times)| Head {
            etag: ETag(etag),
            revision: place.0,
            segment: place.1,
            offset: place.2,
            len_bytes: place.3,
            modified_ms: times.0,
            expires_ms: times.1,
            deleted: times.2,
        })
    }

    #[test]
    fn a_typical_head_is_at_most_40_bytes_and_the_largest_fits() {
        assert_eq!(TYPICAL.encode().len(), 36);
        assert_eq!(LARGEST.encode().len(), MAX_BYTES);
    }

    #[test]
    fn trailing_bytes_and_unknown_flags_are_refused() {
        let mut longer = TYPICAL.encode().to_vec();
        longer.push(0);
        assert_eq!(Head::decode(&longer), None);
        let mut flagged = TYPICAL.encode().to_vec();
        flagged[16] |= 4;
        assert_eq!(Head::decode(&flagged), None);
    }

    #[test]
    fn a_head_is_dead_from_the_instant_of_its_expiry() {
        let head = Head { expires_ms: Some(10), ..TYPICAL };
        assert!(head.is_live(9));
        assert!(!head.is_live(10));
        assert!(TYPICAL.is_live(u64::MAX));
        assert!(!Head { deleted: true, ..TYPICAL }.is_live(0));
    }

    proptest! {
        #[test]
        fn decode_reads_what_encode_wrote(head in any_head()) {
            prop_assert_eq!(Head::decode(&head.encode()), Some(head));
        }

        #[test]
        fn a_cut_head_is_refused(head in any_head(), cut in any::<prop::sample::Index>()) {
            let bytes = head.encode();
            prop_assert_eq!(Head::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Head::decode(&bytes);
        }
    }
}
