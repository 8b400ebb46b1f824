//! One byte of hash per cell, looked at before any key.

use std::iter::zip;

use super::{MAX_CELLS, Slot};
use crate::values::short_hash::short_hash;

/// Cells whose bytes are compared in one go.
const LANES: usize = 64;

/// A byte of hash per slot. Slots beyond the cells hold anything.
#[derive(Debug)]
pub(super) struct Prints([u8; MAX_CELLS]);

impl Default for Prints {
    fn default() -> Self {
        Self([0; MAX_CELLS])
    }
}

impl Prints {
    /// A slot below `cells` that has this byte and for which `is_it` answers yes.
    #[inline]
    pub(super) fn find(
        &self,
        print: u8,
        cells: usize,
        is_it: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        let chunks = self.0.as_chunks::<LANES>().0;
        for (chunk, first) in chunks.iter().zip((0..cells).step_by(LANES)) {
            let mut hits = equal_lanes(chunk, print);
            while hits != 0 {
                let index = first + lane_of(hits.trailing_zeros() as usize);
                if index < cells && is_it(Slot::new(index)) {
                    return Some(Slot::new(index));
                }
                hits &= hits - 1;
            }
        }
        None
    }

    #[expect(clippy::indexing_slicing, reason = "a slot is below MAX_CELLS")]
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, print: u8) {
        self.0[slot.index()] = print;
    }

    #[expect(clippy::indexing_slicing, reason = "a slot is below MAX_CELLS")]
    pub(super) fn swap_remove(&mut self, slot: Slot, last: Slot) {
        self.0[slot.index()] = self.0[last.index()];
    }
}

/// Which bytes equal `print`: one bit each, at the place that [`lane_of`] turns back.
///
/// Every byte of the result gathers one bit of each of the eight words of the chunk. So it takes
/// two vector instructions for 16 cells, which the compiler finds.
#[inline]
fn equal_lanes(chunk: &[u8; LANES], print: u8) -> u64 {
    let mut bits = [0_u8; LANES];
    for (lane, (bit, byte)) in zip(&mut bits, chunk).enumerate() {
        *bit = if *byte == print { 1 << (lane / 8) } else { 0 };
    }
    let words = bits.as_chunks::<8>().0.iter();
    words.fold(0, |hits, word| hits | u64::from_le_bytes(*word))
}

/// The cell in a chunk that a bit of [`equal_lanes`] represents.
#[inline]
fn lane_of(bit: usize) -> usize {
    bit % 8 * 8 + bit / 8
}

/// The byte of hash of a key's suffix. It is kept in memory only, so it may change.
#[inline]
pub(super) fn of(suffix: &[u8]) -> u8 {
    (short_hash(0, suffix) >> 56) as u8
}
