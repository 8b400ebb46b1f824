//! The leaf as bytes.
//!
//! | what | bytes |
//! |---|---|
//! | version | 1 |
//! | number of cells | 1 |
//! | newest revision of the cells | 8, little endian |
//! | length of the keys' common prefix | 2, little endian |
//! | length of the prefix and of all suffixes, whole | 2, little endian |
//! | the prefix | |
//! | for each cell, in order: how much of the suffix before it shares, how much follows | 1 or 2 each |
//! | the rest of the suffix | |
//! | the [head](crate::values::head::Head), or of a bare one the revision | at most 58 |
//! | CRC-32 of all before | 4, little endian |
//!
//! The version says whether all heads are [bare](crate::values::head::Head::is_bare): those of a
//! leaf of a secondary index. Then each revision has as many bytes as the newest needs, little
//! endian. Each leaf has one encoding: prefixes are as long as they can be, and numbers as short.

use super::keys::{MAX_KEY_BYTES, common_prefix};
use super::{Leaf, MAX_ENCODED_BYTES};

/// The version of a leaf of heads, and of one without cells.
pub(super) const HEADS: u8 = 1;
/// The version of a leaf of bare heads.
pub(super) const BARE: u8 = 2;
const HEADER_BYTES: usize = 1 + 1 + 8 + 2 + 2;
pub(super) const CHECKSUM_BYTES: usize = 4;

/// What an encoded leaf takes in addition to its prefix and its cells.
pub(super) const FRAME_BYTES: usize = HEADER_BYTES + CHECKSUM_BYTES;

/// What is known of a leaf that was encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Encoded {
    /// The newest revision of all cells; 0 where there is none.
    pub(crate) newest_revision: u64,
    /// The last four bytes.
    pub(crate) checksum: u32,
}

/// The checksum at the end of an encoded leaf. Whether it is right is not looked at.
pub(crate) fn encoded_checksum(bytes: &[u8]) -> Option<u32> {
    bytes.last_chunk().map(|checksum| u32::from_le_bytes(*checksum))
}

impl Leaf {
    /// Appends the leaf's bytes to `out`. Values are not part of them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Encoded {
        let begin = out.len();
        out.reserve(self.bound_bytes());
        let newest_revision = self.cells.newest_revision();
        let cut = self.unused_prefix();
        let first = self.at(0).map_or(&[][..], |slot| self.suffix(slot));
        let more = first.get(..cut).unwrap_or_default();
        let keys_bytes = self.keys.len() - cut * self.len().saturating_sub(1);
        let is_bare = self.cells.are_bare();
        let version = if is_bare { BARE } else { HEADS };
        let width = revision_width(newest_revision);
        out.extend_from_slice(&[version, self.len() as u8]);
        out.extend_from_slice(&newest_revision.to_le_bytes());
        out.extend_from_slice(&(self.prefix_len + cut as u16).to_le_bytes());
        out.extend_from_slice(&(keys_bytes as u16).to_le_bytes());
        out.extend_from_slice(self.prefix());
        out.extend_from_slice(more);
        let mut before: &[u8] = &[];
        for entry in self.iter() {
            let suffix = entry.key().suffix.get(cut..).unwrap_or_default();
            let (shared, rest) = suffix.split_at(common_prefix(before, suffix));
            push_length(out, shared.len());
            push_length(out, rest.len());
            out.extend_from_slice(rest);
            let head = entry.head();
            if is_bare {
                let revision = head.revision.to_le_bytes();
                out.extend_from_slice(revision.get(..width).unwrap_or_default());
            } else {
                head.encode_to(out);
            }
            before = suffix;
        }
        let checksum = crc32fast::hash(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(&checksum.to_le_bytes());
        debug_assert!(out.len() - begin <= MAX_ENCODED_BYTES, "an encoded leaf is too long");
        Encoded { newest_revision, checksum }
    }

    /// By how much the prefix could be longer.
    pub(super) fn unused_prefix(&self) -> usize {
        let ends = self.key_at(0).zip(self.len().checked_sub(1).and_then(|last| self.key_at(last)));
        ends.map_or(0, |(first, last)| common_prefix(first.suffix, last.suffix))
    }
}

/// How many bytes the revisions of bare heads have, of which this is the newest.
pub(super) fn revision_width(newest: u64) -> usize {
    (8 - newest.leading_zeros() as usize / 8).max(1)
}

/// Appends a length of at most [`MAX_KEY_BYTES`], seven bits a byte, the lowest first.
#[inline]
fn push_length(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len <= MAX_KEY_BYTES, "a key is too long");
    if len < 0x80 {
        out.push(len as u8);
    } else {
        out.extend_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]);
    }
}
