//! Byte strings that are mostly short: keys.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

/// The longest byte string that needs no allocation.
const IN_PLACE_BYTES: usize = 39;

/// An immutable byte string: in place up to 39 bytes, in shared memory above that.
///
/// Most keys fit. Making, cloning and dropping one then costs no allocation and no shared count. It
/// is copied in whole words: a processor stalls when it reads a word soon after it was written in
/// parts.
#[derive(Clone)]
pub(crate) struct ShortBytes {
    in_place: InPlace,
    /// All of the bytes, if they do not fit in place.
    shared: Option<Box<Bytes>>,
}

#[derive(Clone, Copy)]
#[repr(align(8))]
struct InPlace {
    bytes: [u8; IN_PLACE_BYTES],
    len: u8,
}

impl ShortBytes {
    pub(crate) const EMPTY: Self =
        Self { in_place: InPlace { bytes: [0; IN_PLACE_BYTES], len: 0 }, shared: None };

    /// Sets an empty string to these parts, one after the other, if they fit in place; returns
    /// whether they do. Moves nothing, unlike [`of`](Self::of).
    #[inline]
    pub(crate) fn set_in_place<const N: usize>(&mut self, parts: [&[u8]; N]) -> bool {
        let sum: usize = parts.iter().map(|part| part.len()).sum();
        if sum > IN_PLACE_BYTES {
            return false;
        }
        self.in_place.len = sum as u8;
        let mut at = 0;
        for part in parts {
            if let Some(place) = self.in_place.bytes.get_mut(at..at + part.len()) {
                copy_few(place, part);
            }
            at += part.len();
        }
        true
    }

    /// Sets this string to another one; both are in place.
    #[inline]
    pub(crate) fn set_in_place_like(&mut self, other: &Self) {
        debug_assert!(other.shared.is_none() && self.shared.is_none());
        self.in_place = other.in_place;
    }

    /// Appends bytes if all fit in place; returns whether they do.
    #[inline]
    pub(crate) fn push_in_place(&mut self, more: &[u8]) -> bool {
        let at = usize::from(self.in_place.len);
        let place = self.in_place.bytes.get_mut(at..at + more.len());
        let Some(place) = place.filter(|_| self.shared.is_none()) else { return false };
        copy_few(place, more);
        self.in_place.len += more.len() as u8;
        true
    }

    /// Copies these parts, one after the other.
    #[inline]
    pub(crate) fn of<const N: usize>(parts: [&[u8]; N]) -> Self {
        let mut short = Self::EMPTY;
        if !short.set_in_place(parts) {
            short.shared = Some(Box::new(parts.concat().into()));
        }
        short
    }

    /// A part of shared bytes. A short one is copied, so that it does not keep the others.
    #[inline]
    pub(crate) fn part_of(shared: &Bytes, part: std::ops::Range<usize>) -> Self {
        if part.len() > IN_PLACE_BYTES {
            return Self { shared: Some(Box::new(shared.slice(part))), ..Self::EMPTY };
        }
        Self::of([shared.get(part).unwrap_or_default()])
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.shared {
            None => self.in_place.bytes.get(..usize::from(self.in_place.len)).unwrap_or_default(),
            Some(bytes) => bytes,
        }
    }
}

/// Copies between slices of one length, in words that overlap: for a short slice a call of `memcpy`
/// costs more.
#[inline]
fn copy_few(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(to, from),
        4..=7 => copy_ends::<4>(to, from),
        2..=3 => copy_ends::<2>(to, from),
        1 => copy_ends::<1>(to, from),
        17..=32 => copy_ends::<16>(to, from),
        0 => {}
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

impl PartialEq for ShortBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}
impl Eq for ShortBytes {}

impl Ord for ShortBytes {
    /// Not inlined, as a sort has it at dozens of places, and no read or write goes by it.
    #[inline(never)]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}
impl PartialOrd for ShortBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for ShortBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for ShortBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_in_place_and_shared() {
        for len in (0..60).chain([511]) {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let whole = ShortBytes::of([&bytes]);
            let (first, second) = bytes.split_at(len / 3);
            let shared = Bytes::from([b"before", &*bytes, b"after"].concat());
            let part = ShortBytes::part_of(&shared, 6..6 + len);
            let mut pushed = ShortBytes::of([first]);
            assert_eq!(pushed.push_in_place(second), len <= IN_PLACE_BYTES, "{len}");
            let pushed = if len <= IN_PLACE_BYTES { pushed } else { whole.clone() };
            for same in [ShortBytes::of([first, &[], second]), part, pushed, whole.clone()] {
                assert_eq!(same.as_slice(), bytes);
                assert_eq!((&same, same.cmp(&whole)), (&whole, Ordering::Equal));
            }
            let above = ShortBytes::of([&bytes, b"\0"]);
            assert!(whole < above && whole != above, "{len}");
        }
    }

    #[test]
    fn they_show_as_byte_strings() {
        assert_eq!(format!("{:?}", ShortBytes::of([b"a\"\0\xff"])), r#"b"a\"\x00\xff""#);
    }
}
