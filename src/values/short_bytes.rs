//! Bytes that are mostly few: keys.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

/// The most bytes that need no memory of their own.
const IN_PLACE_BYTES: usize = 39;

/// Bytes that do not change: in place up to 39 of them, in shared memory above that.
///
/// Most keys fit. To make, clone and drop one then costs no allocation and no shared count. It is
/// copied in whole words: a processor waits where it reads a word soon after it was written in parts.
#[derive(Clone)]
pub(crate) struct ShortBytes {
    in_place: InPlace,
    /// All of the bytes, where they are too many.
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

    /// Sets empty bytes to these parts, one after the other, where they need no memory of their own;
    /// says whether they do not. Nothing is moved, unlike with [`of`](Self::of).
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
                place.copy_from_slice(part);
            }
            at += part.len();
        }
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

impl PartialEq for ShortBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}
impl Eq for ShortBytes {}

impl Ord for ShortBytes {
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
        for len in [0, 1, 38, 39, 40, 511] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let whole = ShortBytes::of([&bytes]);
            let (first, second) = bytes.split_at(len / 3);
            let shared = Bytes::from([b"before", &*bytes, b"after"].concat());
            let part = ShortBytes::part_of(&shared, 6..6 + len);
            for same in [ShortBytes::of([first, &[], second]), part, whole.clone()] {
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
