//! A quick hash of short keys, for what is in memory only: it may change.

/// Hashes bytes. The highest bits of the result are the best mixed. Who does not know the seed
/// finds no two keys with the same hash, but by trying; it is not a cryptographic hash.
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

#[inline]
fn mix(word: u64) -> u64 {
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
