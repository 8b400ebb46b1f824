//! Reads encoded leaves: whole ones, or cell by cell.
//!
//! Opening a store reads millions of cells, so a cell costs no call into `memcpy`: short pieces are
//! copied in whole [blocks](BLOCK_BYTES), which may read into the head after the key. Only bare heads
//! may be shorter than a block.

use std::ops::ControlFlow;

use super::cells::Cells;
use super::encoding::{BARE, CHECKSUM_BYTES, HEADS, revision_width};
use super::keys::{KeySpan, MAX_KEY_BYTES};
use super::{Leaf, MAX_CELLS, MAX_ENCODED_BYTES, Slot, bound_bytes, prints};
use crate::values::head::Head;

/// How many bytes of a key are copied at once. It is less than the shortest head that is not bare.
const BLOCK_BYTES: usize = 16;

impl Leaf {
    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, prefix, mut rest) = Header::take_from(bytes)?;
        let (mut key, mut place) = place_at(prefix)?;
        let mut leaf = Self::new();
        leaf.cells = Cells::with_capacity(header.cells, header.is_bare);
        leaf.keys.reserve_exact(header.keys_bytes + BLOCK_BYTES);
        leaf.set_prefix(prefix);
        let mut newest_revision = 0;
        for index in 0..header.cells {
            place = place.take_key(&mut rest, &mut key, index == 0)?;
            let head = header.take_head(&mut rest)?;
            newest_revision = newest_revision.max(head.revision);
            let (start, suffix) = (leaf.keys.len(), key.get(place.prefix..place.end)?);
            if start + suffix.len() > header.keys_bytes {
                return None;
            }
            leaf.cells.push(&head, KeySpan::new(start, suffix.len()));
            leaf.prints.set(Slot::new(index), prints::of(suffix));
            push_short(&mut leaf.keys, key.get(place.prefix..)?, suffix.len());
        }
        leaf.set_order_of_slots();
        let whole = rest.is_empty()
            && newest_revision == header.newest_revision
            && leaf.keys.len() == header.keys_bytes
            && leaf.cells.are_bare() == header.is_bare
            && leaf.has_longest_prefix();
        whole.then_some(leaf)
    }

    /// Shows the key and the head of each cell of an encoded leaf, in order, until the visitor
    /// breaks off.
    ///
    /// `None` means damage. The checksum is looked at before the first cell; what it does not find
    /// may come out after some cells.
    pub(crate) fn visit_encoded(
        bytes: &[u8],
        visitor: &mut dyn FnMut(&[u8], &Head) -> ControlFlow<()>,
    ) -> Option<()> {
        let (header, prefix, mut rest) = Header::take_from(bytes)?;
        let (mut key, mut place) = place_at(prefix)?;
        let (mut newest_revision, mut keys_bytes) = (0, prefix.len());
        let (mut first_byte, mut are_bare) = (None, header.cells > 0);
        for index in 0..header.cells {
            place = place.take_key(&mut rest, &mut key, index == 0)?;
            let head = header.take_head(&mut rest)?;
            newest_revision = newest_revision.max(head.revision);
            are_bare = are_bare && head.is_bare();
            keys_bytes += place.end - place.prefix;
            if index == 0 {
                first_byte = place.first_byte(&key);
            }
            if visitor(key.get(..place.end)?, &head).is_break() {
                return Some(());
            }
        }
        let whole = rest.is_empty()
            && newest_revision == header.newest_revision
            && keys_bytes == header.keys_bytes
            && are_bare == header.is_bare
            && if header.cells == 0 {
                prefix.is_empty()
            } else {
                first_byte.is_none() || first_byte != place.first_byte(&key)
            };
        whole.then_some(())
    }

    /// Whether the prefix is all that the keys share.
    fn has_longest_prefix(&self) -> bool {
        if self.is_empty() { self.keys.is_empty() } else { self.unused_prefix() == 0 }
    }
}

/// What precedes the cells, in addition to the prefix.
struct Header {
    cells: usize,
    /// Whether of the heads only the revisions are there.
    is_bare: bool,
    newest_revision: u64,
    /// Length of the prefix and of all suffixes.
    keys_bytes: usize,
}

impl Header {
    /// Looks at the length, the checksum and the header. Gives the prefix and the cells too.
    fn take_from(bytes: &[u8]) -> Option<(Self, &[u8], &[u8])> {
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if bytes.len() > MAX_ENCODED_BYTES || crc32fast::hash(body) != u32::from_le_bytes(*checksum)
        {
            return None;
        }
        let (version, rest) = body.split_first()?;
        let (cells, rest) = rest.split_first()?;
        let (newest_revision, rest) = rest.split_first_chunk()?;
        let (prefix_len, rest) = rest.split_first_chunk()?;
        let (keys_bytes, rest) = rest.split_first_chunk()?;
        let (prefix, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*prefix_len)))?;
        let header = Self {
            cells: usize::from(*cells),
            is_bare: *version == BARE,
            newest_revision: u64::from_le_bytes(*newest_revision),
            keys_bytes: usize::from(u16::from_le_bytes(*keys_bytes)),
        };
        let known = matches!(*version, HEADS | BARE) && header.cells <= MAX_CELLS;
        let fits = bound_bytes(header.cells, header.keys_bytes) <= MAX_ENCODED_BYTES;
        (known && fits && prefix.len() <= MAX_KEY_BYTES).then_some((header, prefix, rest))
    }

    /// Takes the head of the next cell from the front of `bytes`.
    #[inline(always)]
    fn take_head(&self, bytes: &mut &[u8]) -> Option<Head> {
        if !self.is_bare {
            return Head::decode_from(bytes);
        }
        let (written, rest) = bytes.split_at_checked(revision_width(self.newest_revision))?;
        *bytes = rest;
        let mut revision = [0; 8];
        revision.get_mut(..written.len())?.copy_from_slice(written);
        Some(Head::bare(u64::from_le_bytes(revision)))
    }
}

/// The key that was taken last, and room for a block after it.
type KeyBuffer = [u8; MAX_KEY_BYTES + BLOCK_BYTES];

/// Where the prefix and the key end that stand in a [`KeyBuffer`]. It is apart from the buffer, so
/// that it stays in registers.
#[derive(Clone, Copy)]
struct Place {
    prefix: usize,
    end: usize,
}

/// A buffer that holds the prefix.
fn place_at(prefix: &[u8]) -> Option<(KeyBuffer, Place)> {
    let mut key = [0; MAX_KEY_BYTES + BLOCK_BYTES];
    key.get_mut(..prefix.len())?.copy_from_slice(prefix);
    Some((key, Place { prefix: prefix.len(), end: prefix.len() }))
}

impl Place {
    /// The first byte after the prefix.
    #[inline]
    fn first_byte(self, key: &KeyBuffer) -> Option<u8> {
        key.get(self.prefix..self.end)?.first().copied()
    }

    /// Takes the key of the next cell from the front of `bytes`; it must be above the one before it.
    #[inline(always)]
    fn take_key(self, bytes: &mut &[u8], key: &mut KeyBuffer, is_first: bool) -> Option<Self> {
        let shared = take_length(bytes)?;
        let len = take_length(bytes)?;
        let (at, end) = (self.prefix + shared, self.prefix + shared + len);
        // What two keys share is all that they can: the order shows in the first byte after it.
        let ascends = if at < self.end {
            len > 0 && bytes.first() > key.get(at)
        } else {
            at == self.end && (len > 0 || is_first)
        };
        if !ascends || end > MAX_KEY_BYTES {
            return None;
        }
        let mut done = 0;
        while done < len {
            let left = bytes.get(done..)?;
            let Some(block) = left.first_chunk::<BLOCK_BYTES>() else {
                key.get_mut(at + done..end)?.copy_from_slice(left.get(..len - done)?);
                break;
            };
            *key.get_mut(at + done..)?.first_chunk_mut()? = *block;
            done += BLOCK_BYTES;
        }
        *bytes = bytes.get(len..)?;
        Some(Self { prefix: self.prefix, end })
    }
}

/// Appends the first `len` of `bytes`. There should be room for a block more.
#[inline]
fn push_short(out: &mut Vec<u8>, bytes: &[u8], len: usize) {
    let end = out.len() + len;
    match bytes.first_chunk::<BLOCK_BYTES>() {
        Some(block) if len <= BLOCK_BYTES => {
            out.extend_from_slice(block);
            out.truncate(end);
        }
        _ => out.extend_from_slice(bytes.get(..len).unwrap_or_default()),
    }
}

/// Takes a length from the front; `None` where there is none, or one in a longer form than need be.
#[inline]
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let (low, rest) = bytes.split_first()?;
    *bytes = rest;
    if *low < 0x80 {
        return Some(usize::from(*low));
    }
    let (high, rest) = bytes.split_first()?;
    *bytes = rest;
    (1..0x80).contains(high).then_some(usize::from(low & 0x7f) | usize::from(*high) << 7)
}
