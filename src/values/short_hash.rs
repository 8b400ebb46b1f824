//! A quick hash of short keys, for what is in memory only: it may change.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map by short keys, with a seed of its own.
pub(crate) type ShortMap<K, V> = HashMap<K, V, ShortHashing>;

/// Hashes the keys of a [`ShortMap`].
#[derive(Debug, Clone)]
pub(crate) struct ShortHashing {
    seed: u64,
}

impl Default for ShortHashing {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for ShortHashing {
    type Hasher = ShortHasher;

    #[inline]
    fn build_hasher(&self) -> ShortHasher {
        ShortHasher(self.seed)
    }
}

/// The [`Hasher`] of [`ShortHashing`].
#[derive(Debug)]
pub(crate) struct ShortHasher(u64);

impl Hasher for ShortHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = short_hash(self.0, bytes);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes bytes. The highest bits of the result are the best mixed. Without the seed, keys with
/// the same hash are found only by trial; it is not a cryptographic hash.
#[inline]
pub(crate) fn short_hash(seed: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut hash = seed.wrapping_add(bytes.len() as u64);
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    if !tail.is_empty() {
        hash = mix(hash ^ last_word(bytes));
    }
    hash
}

/// Mixes the bits of a word. Once more on a hash, it gives highest bits that tell other keys apart.
#[inline]
pub(crate) fn mix(word: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = word.wrapping_mul(ODD);
    product ^ (product >> 32)
}

/// The last eight bytes, or all of fewer. No two strings of one length have the same.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.last_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32;
    }
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Joined keys as programs make them, which a hash has to tell apart.
#[cfg(all(test, not(loom)))]
pub(crate) const KEY_FORMS: [fn(u64) -> Vec<u8>; 4] = [
    |n| format!("items\0item-{n:016}").into_bytes(),
    |n| format!("a\0{n}").into_bytes(),
    |n| [b"a\0", &n.to_be_bytes()[..]].concat(),
    |n| [b"a\0", &n.to_le_bytes()[..]].concat(),
];
