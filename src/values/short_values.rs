//! Short values side by side.

use bytes::{Bytes, BytesMut};

use crate::values::limits::SHORT_VALUE_BYTES;

/// The memory for them comes in pieces, each of twice the length of the one before.
const FIRST_PIECE_BYTES: usize = 4 << 10;
const LAST_PIECE_BYTES: usize = 256 << 10;

/// Memory that short values share.
///
/// A commit of many values then frees a few pieces, and not each value, which another thread may have
/// allocated. The index copies short values, so a piece lives about as long as its commit.
#[derive(Debug, Default)]
pub(crate) struct ShortValues {
    piece: BytesMut,
    piece_bytes: usize,
}

impl ShortValues {
    /// Moves a value here if it is short.
    pub(crate) fn take_in(&mut self, value: &mut Bytes) {
        if value.len() > SHORT_VALUE_BYTES {
            return;
        }
        if self.piece.capacity() < value.len() {
            self.piece_bytes = (self.piece_bytes * 2).clamp(FIRST_PIECE_BYTES, LAST_PIECE_BYTES);
            self.piece = BytesMut::with_capacity(self.piece_bytes);
        }
        self.piece.extend_from_slice(value);
        *value = self.piece.split().freeze();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_keep_their_bytes_and_long_ones_their_memory() {
        let mut values = ShortValues::default();
        let lengths = [0, 1, SHORT_VALUE_BYTES, SHORT_VALUE_BYTES + 1, 100];
        for (number, len) in (0..200).flat_map(|round| lengths.map(|len| (round, len))) {
            let before = Bytes::from(vec![number as u8; len]);
            let mut value = before.clone();
            values.take_in(&mut value);
            assert_eq!(value, before);
            let is_long = len > SHORT_VALUE_BYTES;
            assert!(len == 0 || is_long == (value.as_ptr() == before.as_ptr()), "{len}");
        }
    }
}
