//! The store's upkeep, compaction before all, while everything else goes on.

mod copies;
mod damaged;
mod faults;
mod follower;
mod full_disk;
mod idle;
mod past;
mod places;
mod reserve;
mod short;
mod soak;
mod threads;
mod unclosed;

use bytes::Bytes;

/// A value of this length, or of eight bytes if that is less, that tells its number throughout.
pub(crate) fn value(number: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len.max(8)];
    for chunk in bytes.chunks_mut(100) {
        let count = chunk.len().min(8);
        chunk[..count].copy_from_slice(&number.to_le_bytes()[..count]);
    }
    bytes.into()
}

/// The number that a value tells.
pub(crate) fn number_in(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(value(number, bytes.len()) == bytes, "a value is mixed");
    number
}
