//! What the table knows of an item: where its newest version lies and what decides preconditions.

use std::ops::Deref;

use bincode::config::{self, Configuration};

use crate::etag::ETag;

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
    pub(crate) value_len_bytes: u32,
    pub(crate) modified_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    /// Whether the version is a tombstone.
    pub(crate) deleted: bool,
}

impl Head {
    /// The head as the table stores it; some 44 bytes, at most [`MAX_BYTES`].
    pub(crate) fn encode(&self) -> HeadBytes {
        let wire = Wire {
            etag: self.etag.0,
            revision: self.revision,
            segment: self.segment,
            offset: self.offset,
            len_bytes: self.len_bytes,
            value_len_bytes: self.value_len_bytes,
            modified_ms: self.modified_ms,
            expires_ms: self.expires_ms,
            flags: if self.deleted { DELETED } else { 0 },
        };
        let mut bytes = [0; MAX_BYTES];
        #[expect(clippy::expect_used, reason = "MAX_BYTES is the sum of the fields' maxima")]
        let len = bincode::encode_into_slice(wire, &mut bytes, CONFIG).expect("a head fits");
        HeadBytes { bytes, len }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything that is not one whole head.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (wire, len) = bincode::decode_from_slice::<Wire, _>(bytes, CONFIG).ok()?;
        if len != bytes.len() || wire.flags & !DELETED != 0 {
            return None;
        }
        Some(Self {
            etag: ETag(wire.etag),
            revision: wire.revision,
            segment: wire.segment,
            offset: wire.offset,
            len_bytes: wire.len_bytes,
            value_len_bytes: wire.value_len_bytes,
            modified_ms: wire.modified_ms,
            expires_ms: wire.expires_ms,
            deleted: wire.flags & DELETED != 0,
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

/// The longest head: the tag, then every number at its widest.
const MAX_BYTES: usize = 16 + 9 + 4 * 5 + 9 + (1 + 9) + 1;

const CONFIG: Configuration = config::standard();

const DELETED: u8 = 1;

/// The stored form; kept apart from [`Head`] so that the public [`ETag`] needs no codec's traits.
#[derive(bincode::Encode, bincode::Decode)]
struct Wire {
    etag: [u8; 16],
    revision: u64,
    segment: u32,
    offset: u32,
    len_bytes: u32,
    value_len_bytes: u32,
    modified_ms: u64,
    expires_ms: Option<u64>,
    flags: u8,
}

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
        value_len_bytes: 256,
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
        value_len_bytes: u32::MAX,
        modified_ms: u64::MAX,
        expires_ms: Some(u64::MAX),
        deleted: true,
    };

    fn any_head() -> impl Strategy<Value = Head> {
        let place = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
        let times = (any::<u64>(), any::<Option<u64>>(), any::<bool>());
        (any::<[u8; 16]>(), place, times).prop_map(|(etag, place, times)| Head {
            etag: ETag(etag),
            revision: place.0,
            segment: place.1,
            offset: place.2,
            len_bytes: place.3,
            value_len_bytes: place.4,
            modified_ms: times.0,
            expires_ms: times.1,
            deleted: times.2,
        })
    }

    #[test]
    fn a_typical_head_is_at_most_48_bytes_and_the_largest_fits() {
        assert_eq!(TYPICAL.encode().len(), 46);
        assert_eq!(LARGEST.encode().len(), MAX_BYTES);
    }

    #[test]
    fn trailing_bytes_and_unknown_flags_are_refused() {
        let mut longer = TYPICAL.encode().to_vec();
        longer.push(0);
        assert_eq!(Head::decode(&longer), None);
        let mut flagged = TYPICAL.encode().to_vec();
        *flagged.last_mut().unwrap() |= 2;
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
