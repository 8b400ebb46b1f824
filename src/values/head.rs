//! What the index knows of an item: where its newest version lies and what decides preconditions.

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
    /// CRC of the entry's record.
    pub(crate) checksum: u32,
    pub(crate) modified_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    /// Whether the version is a tombstone.
    pub(crate) deleted: bool,
}

/// # Encoding
///
/// The tag (16 bytes), a control word (2) and the checksum (4) come first, then the numbers, each
/// in as few bytes as hold it, little endian: revision, modification, segment, offset, length and,
/// where there is one, expiry. The control word says how many bytes each has. So no number waits
/// for the one before it, as those of LEB128 do, and a head takes as much room.
impl Head {
    /// Appends the head as the index stores it: some 40 bytes, at most [`MAX_BYTES`].
    #[inline]
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; WINDOW_BYTES]);
        let window = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        let len = window.map_or(0, |window| self.encode_window(window));
        out.truncate(at + len);
    }

    /// Writes the head to the front of a window; says how many bytes it takes.
    #[inline]
    fn encode_window(&self, window: &mut [u8; WINDOW_BYTES]) -> usize {
        let control = Control::of(self);
        let (etag, rest) = window.split_at_mut(ETAG_BYTES);
        etag.copy_from_slice(&self.etag.0);
        let (control_bytes, rest) = rest.split_at_mut(size_of::<Control>());
        control_bytes.copy_from_slice(&control.0.to_le_bytes());
        rest.split_at_mut(size_of::<u32>()).0.copy_from_slice(&self.checksum.to_le_bytes());
        let mut at = FIXED_BYTES;
        let mut push = |number: u64, width: usize| {
            if let Some(word) = window.get_mut(at..at + 8) {
                word.copy_from_slice(&number.to_le_bytes());
                at += width;
            }
        };
        push(self.revision, control.width(REVISION));
        push(self.modified_ms, control.width(MODIFIED));
        push(u64::from(self.segment), control.width(SEGMENT));
        push(u64::from(self.offset), control.width(OFFSET));
        push(u64::from(self.len_bytes), control.width(LEN));
        push(self.expires_ms.unwrap_or(0), control.expiry_width());
        at
    }

    /// The encoded head.
    #[cfg(test)]
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Reads what [`encode_to`](Self::encode_to) wrote; `None` for anything that is not one whole
    /// head.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        Self::decode_from(&mut bytes).filter(|_| bytes.is_empty())
    }

    /// Takes one head from the front of `bytes`.
    ///
    /// Returns `None` and leaves `bytes` as it is where the front is not a head.
    #[inline(always)]
    pub(crate) fn decode_from(bytes: &mut &[u8]) -> Option<Self> {
        let (head, len) = match bytes.first_chunk::<WINDOW_BYTES>() {
            Some(window) => Self::decode_window(window)?,
            None => Self::decode_near_the_end(bytes)?,
        };
        *bytes = bytes.get(len..)?;
        Some(head)
    }

    /// As [`decode_from`](Self::decode_from), where fewer bytes are left than a window has.
    #[cold]
    fn decode_near_the_end(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut window = [0; WINDOW_BYTES];
        window.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Self::decode_window(&window).filter(|(_, len)| *len <= bytes.len())
    }

    /// The head at the front of a window, and how many bytes it takes.
    #[inline(always)]
    fn decode_window(window: &[u8; WINDOW_BYTES]) -> Option<(Self, usize)> {
        let (etag, rest) = window.split_first_chunk::<ETAG_BYTES>()?;
        let (control, rest) = rest.split_first_chunk::<2>()?;
        let control = Control(u16::from_le_bytes(*control));
        let (mut at, mut shortest) = (FIXED_BYTES, control.expires() || control.0 >> EXPIRY.0 == 0);
        let mut number = |width: usize, least: usize| {
            let word = window.get(at..)?.first_chunk()?;
            at += width;
            shortest &= width == least || *window.get(at - 1)? != 0;
            Some(u64::from_le_bytes(*word) & low_bytes(width))
        };
        let head = Self {
            etag: ETag(*etag),
            checksum: u32::from_le_bytes(*rest.first_chunk()?),
            revision: number(control.width(REVISION), 1)?,
            modified_ms: number(control.width(MODIFIED), 1)?,
            segment: number(control.width(SEGMENT), 1)? as u32,
            offset: number(control.width(OFFSET), 1)? as u32,
            len_bytes: number(control.width(LEN), 1)? as u32,
            expires_ms: match control.expiry_width() {
                0 => None,
                width => Some(number(width, LEAST_EXPIRY)?),
            },
            deleted: control.deleted(),
        };
        debug_assert!(!shortest || Control::of(&head) == control, "two encodings of one head");
        shortest.then_some((head, at))
    }

    /// What an entry of a secondary index has in the place of a head: nothing but the revision that
    /// added it.
    pub(crate) fn bare(revision: u64) -> Self {
        Self {
            etag: ETag([0; 16]),
            revision,
            segment: 0,
            offset: 0,
            len_bytes: 0,
            checksum: 0,
            modified_ms: 0,
            expires_ms: None,
            deleted: false,
        }
    }

    /// Whether it says nothing but a revision.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        self.len_bytes == 0 && *self == Self::bare(self.revision)
    }

    /// Where in the segment the entry ends, in bytes.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len_bytes)
    }

    /// What the version takes in the journal, in a frame of its own.
    pub(crate) fn footprint_bytes(&self) -> u64 {
        const FRAME_BYTES: u64 = 26;
        u64::from(self.len_bytes) + FRAME_BYTES
    }

    /// Whether a reader at this time sees the item: neither deleted nor expired.
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        !self.deleted && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

/// Flags, and the widths of the numbers.
///
/// | bits | what |
/// |---|---|
/// | 0 | the version is a tombstone |
/// | 1 | it expires |
/// | 2–4, 5–7 | width of the revision and of the modification, less 1 |
/// | 8–9, 10–11, 12–13 | width of the segment, the offset and the length, less 1 |
/// | 14–15 | width of the expiry, less 5; 0 where there is none |
#[derive(Clone, Copy, PartialEq, Eq)]
struct Control(u16);

/// Where the control word holds the width of a number: the lowest bit, and how many bits.
type Field = (u32, u32);

const REVISION: Field = (2, 3);
const MODIFIED: Field = (5, 3);
const SEGMENT: Field = (8, 2);
const OFFSET: Field = (10, 2);
const LEN: Field = (12, 2);
const EXPIRY: Field = (14, 2);

/// The fewest bytes of an expiry.
const LEAST_EXPIRY: usize = 5;

const DELETED: u16 = 1;
const EXPIRES: u16 = 2;

impl Control {
    /// The only control word of this head: every number has as few bytes as can be.
    #[inline]
    fn of(head: &Head) -> Self {
        let field = |number: u64, (bit, _): Field| (width(number) - 1) << bit;
        let mut bits = u16::from(head.deleted)
            | field(head.revision, REVISION)
            | field(head.modified_ms, MODIFIED)
            | field(u64::from(head.segment), SEGMENT)
            | field(u64::from(head.offset), OFFSET)
            | field(u64::from(head.len_bytes), LEN);
        if let Some(expires_ms) = head.expires_ms {
            bits |= EXPIRES
                | (width(expires_ms).max(LEAST_EXPIRY as u16) - LEAST_EXPIRY as u16) << EXPIRY.0;
        }
        Self(bits)
    }

    #[inline]
    fn width(self, (bit, bits): Field) -> usize {
        usize::from(self.0 >> bit & ((1 << bits) - 1)) + 1
    }

    #[inline]
    fn expiry_width(self) -> usize {
        if self.expires() { self.width(EXPIRY) - 1 + LEAST_EXPIRY } else { 0 }
    }

    #[inline]
    fn expires(self) -> bool {
        self.0 & EXPIRES != 0
    }

    #[inline]
    fn deleted(self) -> bool {
        self.0 & DELETED != 0
    }
}

/// How many bytes hold a number; 1 at least.
#[inline]
fn width(number: u64) -> u16 {
    8 - ((number | 1).leading_zeros() / 8) as u16
}

/// A mask of the lowest bytes of a word, of which it must be 1 to 8.
#[inline]
fn low_bytes(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width)
}

const ETAG_BYTES: usize = 16;

/// Tag, control word and checksum.
const FIXED_BYTES: usize = ETAG_BYTES + 2 + 4;

/// The longest head: the fixed part, then every number at its widest.
pub(crate) const MAX_BYTES: usize = FIXED_BYTES + 8 + 8 + 4 * 3 + 8;

/// What is read or written at once: the longest head, and a word that begins where it ends.
const WINDOW_BYTES: usize = MAX_BYTES + 8;

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    const TYPICAL: Head = Head {
        etag: ETag([7; 16]),
        revision: 3_000_000_000,
        segment: 1_000,
        offset: 60_000_000,
        len_bytes: 400,
        checksum: 0xdead_beef,
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
        checksum: u32::MAX,
        modified_ms: u64::MAX,
        expires_ms: Some(u64::MAX),
        deleted: true,
    };

    /// A number of any width, each width as likely as the others.
    fn any_number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
    }

    pub(crate) fn any_head() -> impl Strategy<Value = Head> {
        let place = (any_number(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
        let times = (any_number(), prop::option::of(any_number()), any::<bool>());
        (any::<[u8; 16]>(), place, times).prop_map(|(etag, place, times)| Head {
            etag: ETag(etag),
            revision: place.0,
            segment: place.1 >> (place.3 % 32),
            offset: place.2,
            len_bytes: place.3,
            checksum: place.4,
            modified_ms: times.0,
            expires_ms: times.1,
            deleted: times.2,
        })
    }

    #[test]
    fn a_typical_head_is_at_most_40_bytes_and_the_largest_fits() {
        assert_eq!(TYPICAL.encode().len(), 40);
        assert_eq!(LARGEST.encode().len(), MAX_BYTES);
        assert_eq!(Head::decode(&LARGEST.encode()), Some(LARGEST));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut longer = TYPICAL.encode().to_vec();
        longer.push(0);
        assert_eq!(Head::decode(&longer), None);
    }

    #[test]
    fn every_other_control_word_is_refused_or_another_head() {
        let bytes = TYPICAL.encode();
        for control in 0..=u16::MAX {
            let mut changed = bytes.to_vec();
            changed[16..18].copy_from_slice(&control.to_le_bytes());
            if let Some(head) = Head::decode(&changed) {
                assert_eq!(head == TYPICAL, changed == bytes);
                assert_eq!(head.encode(), changed);
            }
        }
    }

    #[test]
    fn numbers_in_a_longer_form_are_refused() {
        let head = Head { revision: 1, ..TYPICAL };
        let mut bytes = head.encode().to_vec();
        bytes[16] |= 1 << 2;
        bytes.insert(23, 0);
        assert_eq!(Head::decode(&bytes), None);
        bytes[23] = 1;
        assert_eq!(Head::decode(&bytes), Some(Head { revision: 257, ..head }));
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
        fn decode_from_leaves_what_follows(
            head in any_head(),
            more in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = head.encode().to_vec();
            bytes.extend(&more);
            let mut rest = &bytes[..];
            prop_assert_eq!(Head::decode_from(&mut rest), Some(head));
            prop_assert_eq!(rest, &more[..]);
        }

        #[test]
        fn a_cut_head_is_refused(head in any_head(), cut in any::<prop::sample::Index>()) {
            let bytes = head.encode();
            prop_assert_eq!(Head::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn what_is_decoded_of_arbitrary_bytes_encodes_to_them(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut rest = &bytes[..];
            if let Some(head) = Head::decode_from(&mut rest) {
                prop_assert_eq!(&head.encode()[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
