//! Copies of the items that are read most, found by a hash of their keys without a lock.
//!
//! A look into a leaf takes three locks and follows six references, and the processor waits at each.
//! Here it follows two, and locks nothing.
//!
//! **A copy is of a moment**: it holds the sequence number that its item's stripe had when the item
//! was read. Any commit under the stripe changes that number, so a reader who has just read the
//! number knows whether the copy is current. Writers do not know of the copies.
//!
//! Copies lie in a ring of words, each behind the one before it; the newest is written over the
//! oldest. Only one thread writes at a time. Readers do not keep it from writing: it moves `end`
//! before it writes, so a reader who has read a copy sees by `end` whether it may have been written
//! over meanwhile, and then has found nothing. (A seqlock; Boehm, "Can seqlocks get along with
//! programming language memory models?", 2012.)

use std::iter::zip;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::seams::sync::{AtomicU64, Mutex, Ordering, fence};
use crate::values::etag::ETag;
use crate::values::item::Meta;
use crate::values::limits::SHORT_VALUE_BYTES;
use crate::values::revision::Revision;
use crate::values::short_hash::mix;

/// Which part of the memory of the cache copies may take.
const SHARE: u64 = 8;
/// The most memory for copies. It is more than a processor has near it, and what has to come from
/// afar comes from a leaf almost as fast.
const MOST_BYTES: u64 = 64 << 20;
/// Which part of the ring there is without proof that it pays.
const FIRST_SHARE: usize = 32;
/// More copies are worth what they push out of memory if items are found in a kilobyte of copies this
/// many times as often as in one of all memory. A look at a copy takes half as long.
const TIMES_AS_DENSE: u128 = 4;
/// The ring grows by pieces of this many words, 64 KiB. No copy lies in two of them.
const PIECE_WORDS: usize = if cfg!(all(test, loom)) { 16 } else { 8 << 10 };
/// How many bytes of the ring there are for each bucket: the places of a bucket are then enough for
/// copies of 150 bytes.
const RING_BYTES_OF_BUCKET: usize = 1 << 10;
/// Whether an item has to be wanted twice to be copied. In models once is enough: what goes wrong
/// with one copy needs fewer steps then.
const AT_THE_SECOND_LOOK: bool = !cfg!(all(test, loom));
/// How many places a bucket has.
const PLACES: usize = 7;
/// A place is a position in the ring and, above that, a tag of the hash.
const POSITION_BITS: u32 = 48;
const POSITION: u64 = (1 << POSITION_BITS) - 1;
const HEADER_WORDS: usize = 9;
const WORD: usize = size_of::<u64>();

/// Copies of items; without memory for one piece of the ring there are none.
#[derive(Debug)]
pub(super) struct HotItems {
    buckets: OnceLock<Box<[Bucket]>>,
    ring: Box<[OnceLock<Box<[AtomicU64]>>]>,
    written: Written,
}

/// What every copy changes, apart from what every look reads.
#[derive(Debug)]
#[repr(align(128))]
struct Written {
    /// How many words were written or passed over, ever, the copy that is being written included.
    /// Beyond 2^48, after days of nothing but copying at full speed, no copy is found any more.
    end: AtomicU64,
    /// The looks up to the last question whether more copies pay. Locked by who writes a copy.
    writer: Mutex<Looks>,
}

/// How often items were found, and where, since the store was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Looks {
    pub(crate) in_copies: u64,
    pub(crate) in_leaves: u64,
}

impl Looks {
    /// Whether copies that take `copies_bytes` serve that much more than all of `used_bytes` that
    /// the room for more of them is well spent.
    pub(super) fn pay_since(&self, last: Self, copies_bytes: u64, used_bytes: u64) -> bool {
        let in_copies = u128::from(self.in_copies - last.in_copies);
        let in_leaves = u128::from(self.in_leaves - last.in_leaves);
        in_copies * u128::from(used_bytes) > TIMES_AS_DENSE * in_leaves * u128::from(copies_bytes)
    }
}

/// The places of the copies whose hashes begin alike: one line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    places: [AtomicU64; PLACES],
    /// The last item that was wanted and not there: the tag of its hash, and its stripe's sequence
    /// number. Wanted again, it is copied; so one long look at all items copies none.
    wanted: AtomicU64,
}

impl HotItems {
    pub(super) fn new(cache_bytes: u64) -> Self {
        let pieces = (cache_bytes / SHARE).min(MOST_BYTES) / (PIECE_WORDS * WORD) as u64;
        // Models have room for one copy, so that each is written over the one before it.
        let pieces = if cfg!(all(test, loom)) { pieces.min(1) } else { pieces };
        Self {
            buckets: OnceLock::new(),
            ring: (0..pieces).map(|_| OnceLock::new()).collect(),
            // No copy is at position 0.
            written: Written { end: AtomicU64::new(1), writer: Mutex::default() },
        }
    }

    /// The copy of an item that was made while its stripe had this sequence number.
    #[inline]
    pub(super) fn get(&self, hash: u64, key: &[u8], sequence: u64) -> Option<(Meta, Bytes)> {
        self.find(hash, key, sequence, copy_out)
    }

    /// As [`get`](Self::get), without the value.
    pub(super) fn meta(&self, hash: u64, key: &[u8], sequence: u64) -> Option<Meta> {
        self.find(hash, key, sequence, |_, _| ()).map(|(meta, ())| meta)
    }

    #[inline]
    fn find<T>(
        &self,
        hash: u64,
        key: &[u8],
        sequence: u64,
        take: impl Fn(&[AtomicU64], usize) -> T,
    ) -> Option<(Meta, T)> {
        let bucket = bucket_of(self.buckets.get()?, hash)?;
        let tag = tag_of(hash);
        let places = bucket.places.iter().map(|place| place.load(Ordering::Acquire));
        let mut positions = places.filter(|place| place & !POSITION == tag).map(|at| at & POSITION);
        positions.find_map(|position| self.read(position, key, sequence, &take))
    }

    /// Reads the copy at a position, if it is there still, is of this item and of this moment.
    #[inline]
    fn read<T>(
        &self,
        position: u64,
        key: &[u8],
        sequence: u64,
        take: impl Fn(&[AtomicU64], usize) -> T,
    ) -> Option<(Meta, T)> {
        if position == 0 {
            return None;
        }
        let (piece, first) = self.piece_and_word(position);
        let words = self.ring.get(piece)?.get()?.get(first..)?;
        let (header, words) = words.split_first_chunk::<HEADER_WORDS>()?;
        let header = header.each_ref().map(|word| word.load(Ordering::Relaxed));
        let Header { sequence: of, key_len, value_len, meta } = Header::of_words(header);
        if of != sequence || key_len != key.len() || value_len > SHORT_VALUE_BYTES {
            return None;
        }
        let (key_words, words) = words.split_at_checked(key_len.div_ceil(WORD))?;
        let same = |(word, at): (u64, &AtomicU64)| word == at.load(Ordering::Relaxed);
        if !zip(words_of(key), key_words).all(same) {
            return None;
        }
        let taken = take(words, value_len);
        // What was read is all of one copy if no word of it was written since.
        fence(Ordering::Acquire);
        let is_there = self.written.end.load(Ordering::Relaxed) <= position + self.ring_words();
        is_there.then_some((meta, taken))
    }

    /// Copies an item that was wanted twice, while its stripe had this sequence number: `meta` and
    /// `value` are what it was then. Returns how much memory the copies take in addition. Does nothing
    /// where another thread copies an item. `pays` is asked whether the ring may grow. It gets, and
    /// sets, the looks up to the last question, and gets the memory of the ring. If the ring may not
    /// grow, the oldest copies give way.
    pub(super) fn keep(
        &self,
        hash: u64,
        key: &[u8],
        sequence: u64,
        (meta, value): (&Meta, &[u8]),
        pays: impl FnOnce(&mut Looks, u64) -> bool,
    ) -> usize {
        if self.ring.is_empty() || value.len() > SHORT_VALUE_BYTES {
            return 0;
        }
        let mut more_bytes = 0;
        let buckets = self.buckets.get_or_init(|| {
            let buckets = (self.ring_words() as usize * WORD).div_ceil(RING_BYTES_OF_BUCKET);
            more_bytes += buckets * size_of::<Bucket>();
            (0..buckets).map(|_| Bucket::default()).collect()
        });
        let Some(bucket) = bucket_of(buckets, hash) else { return more_bytes };
        let wanted = tag_of(hash) | sequence & POSITION;
        if AT_THE_SECOND_LOOK && bucket.wanted.load(Ordering::Relaxed) != wanted {
            bucket.wanted.store(wanted, Ordering::Relaxed);
            return more_bytes;
        }
        let Some(mut looks) = self.written.writer.try_lock() else { return more_bytes };
        let header = Header { sequence, key_len: key.len(), value_len: value.len(), meta: *meta };
        let words = header.words().into_iter().chain(words_of(key)).chain(words_of(value));
        let len = HEADER_WORDS + key.len().div_ceil(WORD) + value.len().div_ceil(WORD);
        let position = self.make_room(len, |made_bytes| pays(&mut looks, made_bytes));
        let (piece, first) = self.piece_and_word(position);
        let Some(piece) = self.ring.get(piece) else { return more_bytes };
        let piece = piece.get_or_init(|| {
            more_bytes += PIECE_WORDS * WORD;
            (0..PIECE_WORDS).map(|_| AtomicU64::new(0)).collect()
        });
        for (to, word) in zip(piece.iter().skip(first), words) {
            to.store(word, Ordering::Relaxed);
        }
        if let Some(place) = bucket.place_for(tag_of(hash)) {
            place.store(tag_of(hash) | position, Ordering::Release);
        }
        more_bytes
    }

    /// Moves the end, so that readers know that the words before it are being written; returns where
    /// they begin. Where the next piece is not made yet, and `pays` says that it shall not be, they
    /// begin at the first one, and the rest of the round is passed over. The writer's lock is held.
    fn make_room(&self, words: usize, pays: impl FnOnce(u64) -> bool) -> u64 {
        let end = self.written.end.load(Ordering::Relaxed);
        let left = PIECE_WORDS - end as usize % PIECE_WORDS;
        let mut position = if words > left { end + left as u64 } else { end };
        let (piece, _) = self.piece_and_word(position);
        let is_made = self.ring.get(piece).is_none_or(|piece| piece.get().is_some());
        let first_pieces = (self.ring.len() / FIRST_SHARE).max(1);
        if !is_made && piece >= first_pieces && !pays((piece * PIECE_WORDS * WORD) as u64) {
            position = position.next_multiple_of(self.ring_words());
        }
        self.written.end.store(position + words as u64, Ordering::Relaxed);
        // Who sees one of the words that are written after this sees the end.
        fence(Ordering::Release);
        position
    }

    /// The memory of the whole ring.
    pub(super) fn most_bytes(&self) -> u64 {
        self.ring_words() * WORD as u64
    }

    fn ring_words(&self) -> u64 {
        (self.ring.len() * PIECE_WORDS) as u64
    }

    #[inline]
    fn piece_and_word(&self, position: u64) -> (usize, usize) {
        let word = (position % self.ring_words()) as usize;
        (word / PIECE_WORDS, word % PIECE_WORDS)
    }

    /// Lets go of all copies.
    #[cfg(test)]
    pub(super) fn clear(&self) {
        let _only = self.written.writer.lock();
        let end = self.written.end.load(Ordering::Relaxed);
        self.written.end.store(end + self.ring_words(), Ordering::Relaxed);
    }
}

impl Bucket {
    /// Where to note a copy: where one with this tag was noted, or else the oldest.
    fn place_for(&self, tag: u64) -> Option<&AtomicU64> {
        self.places.iter().min_by_key(|place| {
            let place = place.load(Ordering::Relaxed);
            if place & !POSITION == tag { 0 } else { place & POSITION }
        })
    }
}

/// What a copy begins with.
struct Header {
    sequence: u64,
    key_len: usize,
    value_len: usize,
    meta: Meta,
}

/// In the place of an instant: never.
const NEVER: u64 = u64::MAX;

impl Header {
    fn words(&self) -> [u64; HEADER_WORDS] {
        let Meta { etag, parent, revision, modified_ms, expires_ms } = self.meta;
        let [etag_low, etag_high] = halves(etag);
        let [parent_low, parent_high] = halves(ETag::of_parent(parent));
        let lengths = (self.key_len as u64) << 32 | self.value_len as u64;
        let expires_ms = expires_ms.unwrap_or(NEVER);
        let (sequence, revision) = (self.sequence, revision.0);
        [
            sequence,
            lengths,
            etag_low,
            etag_high,
            parent_low,
            parent_high,
            revision,
            modified_ms,
            expires_ms,
        ]
    }

    #[inline]
    fn of_words(words: [u64; HEADER_WORDS]) -> Self {
        let [sequence, lengths, etag_low, etag_high, parent_low, parent_high, rest @ ..] = words;
        let [revision, modified_ms, expires_ms] = rest;
        Self {
            sequence,
            key_len: (lengths >> 32) as usize,
            value_len: lengths as u32 as usize,
            meta: Meta {
                etag: of_halves(etag_low, etag_high),
                parent: of_halves(parent_low, parent_high).parent(),
                revision: Revision(revision),
                modified_ms,
                expires_ms: (expires_ms != NEVER).then_some(expires_ms),
            },
        }
    }
}

fn halves(tag: ETag) -> [u64; 2] {
    let tag = u128::from_le_bytes(tag.0);
    [tag as u64, (tag >> 64) as u64]
}

#[inline]
fn of_halves(low: u64, high: u64) -> ETag {
    ETag((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

/// The bucket of a hash, by its highest bits.
#[inline]
fn bucket_of(buckets: &[Bucket], hash: u64) -> Option<&Bucket> {
    buckets.get((((hash >> 32) * buckets.len() as u64) >> 32) as usize)
}

/// What a place holds above the position: bits of the hash that do not say which bucket it is.
#[inline]
fn tag_of(hash: u64) -> u64 {
    mix(hash) & !POSITION
}

/// Bytes as words, the last filled up with zeros.
#[inline]
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let last = (!rest.is_empty()).then_some(last);
    words.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

/// Copies this many bytes.
#[inline]
fn copy_out(words: &[AtomicU64], len: usize) -> Bytes {
    let words = words.get(..len.div_ceil(WORD)).unwrap_or_default().iter();
    let words: Vec<_> = words.map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
    let mut bytes = words.into_flattened();
    bytes.truncate(len);
    // Without spare memory they become `Bytes` without another allocation.
    bytes.shrink_to_fit();
    bytes.into()
}

#[cfg(test)]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
