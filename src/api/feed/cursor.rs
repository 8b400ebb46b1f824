//! Places in the feed, which followers keep.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::journal::state::Purged;
use crate::values::revision::Revision;

/// A place in the change feed of one store: a reader has seen every change before it, and none
/// after it. Small and `Copy`. A reader of the feed stores it together with its copy of the data.
///
/// A cursor is opaque. With serde, and with `Display` and [`FromStr`], it is a short text of
/// letters, digits, `-`, `.` and `~` in human-readable formats, and some numbers in others.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ifmatch::{Cursor, Store};
///
/// let store = Store::in_memory();
/// store.collection::<f64>("prices")?.create("apple", &0.5)?;
/// let place: Cursor = store.cursor()?;
/// let kept = serde_json::to_string(&place)?;
/// assert_eq!(serde_json::from_str::<Cursor>(&kept)?, place);
/// assert_eq!(place.to_string().parse::<Cursor>()?, place);
/// assert_eq!(Cursor::default(), Cursor::START);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    incarnation: [u8; 16],
    revision: u64,
    /// How many entries of `revision` are known, by their ordinal; [`WHOLE`] when all are.
    ordinal: u16,
    /// How often tombstones had been dropped when the reader began at the start, 0 once it knows
    /// everything up to the newest of them: it never knew of the items that those removed.
    since: u64,
}

/// A commit has fewer entries than this.
const WHOLE: u16 = u16::MAX;
const START_TEXT: &str = "start";

impl Cursor {
    /// The beginning: before the first change, in whichever store.
    pub const START: Self = Self { incarnation: [0; 16], revision: 0, ordinal: WHOLE, since: 0 };

    /// The place after all entries of a revision, for a reader that began when tombstones had been
    /// dropped `since` times.
    pub(crate) fn after(incarnation: [u8; 16], revision: u64, since: u64) -> Self {
        Self { incarnation, revision, ordinal: WHOLE, since }
    }

    /// Whether all of a revision comes after the place.
    pub(crate) fn is_before(&self, revision: Revision) -> bool {
        self.revision < revision.0
    }

    /// The place before the entry of this ordinal.
    pub(super) fn before_entry(self, revision: u64, ordinal: u16) -> Self {
        Self { revision, ordinal, ..self }
    }

    /// The place after all entries of a revision, in the same pass.
    pub(super) fn after_commit(self, revision: u64) -> Self {
        Self { revision, ordinal: WHOLE, ..self }
    }

    /// The same place, which need not remember when the reader began if that knows everything up
    /// to the newest dropped tombstone by now.
    pub(super) fn settled(self, newest_purged: u64) -> Self {
        if self.done() >= newest_purged { Self { since: 0, ..self } } else { self }
    }

    pub(super) fn is_start(self) -> bool {
        self == Self::START
    }

    pub(super) fn incarnation(&self) -> &[u8; 16] {
        &self.incarnation
    }

    pub(super) fn revision(self) -> u64 {
        self.revision
    }

    pub(super) fn since(self) -> u64 {
        self.since
    }

    /// The newest revision of which everything is known.
    pub(super) fn done(self) -> u64 {
        if self.ordinal == WHOLE { self.revision } else { self.revision.saturating_sub(1) }
    }

    /// Whether an entry lies before this place.
    pub(super) fn is_behind(self, revision: u64, ordinal: u16) -> bool {
        revision <= self.done() || (revision == self.revision && ordinal < self.ordinal)
    }

    /// Whether the reader misses no removal, though these tombstones were dropped. If it began at
    /// the start and not one was dropped since, it does not, however old its place is.
    pub(super) fn bears(self, purged: Purged) -> bool {
        self.done() >= purged.newest || (self.since != 0 && self.since == purged.count)
    }

    /// Whether a store can have given it: every place has one form.
    fn is_well_formed(&self) -> bool {
        let start = *self == Self::START;
        let part = self.ordinal != WHOLE;
        let place = start || self.incarnation != [0; 16];
        place && (!part || self.revision > 0)
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::START
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_start() {
            return f.write_str(START_TEXT);
        }
        write!(f, "{:032x}-{}", u128::from_be_bytes(self.incarnation), self.revision)?;
        if self.ordinal != WHOLE {
            write!(f, ".{}", self.ordinal)?;
        }
        if self.since != 0 {
            write!(f, "~{}", self.since)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        parse(text).ok_or(ParseCursorError(()))
    }
}

fn parse(text: &str) -> Option<Cursor> {
    if text == START_TEXT {
        return Some(Cursor::START);
    }
    let (incarnation, rest) = text.split_once('-')?;
    let (rest, since) = match rest.split_once('~') {
        Some((rest, since)) => (rest, since.parse().ok()?),
        None => (rest, 0),
    };
    let (revision, ordinal) = match rest.split_once('.') {
        Some((revision, ordinal)) => (revision, ordinal.parse().ok()?),
        None => (rest, WHOLE),
    };
    let incarnation = u128::from_str_radix(incarnation, 16).ok()?.to_be_bytes();
    let cursor = Cursor { incarnation, revision: revision.parse().ok()?, ordinal, since };
    // The numbers' parsers also accept other forms: only the text that is written is accepted.
    (cursor.is_well_formed() && cursor.to_string() == text).then_some(cursor)
}

/// The error of reading a [`Cursor`] from text that no cursor was written as.
///
/// ```
/// let error = "somewhere".parse::<ifmatch::Cursor>().unwrap_err();
/// assert_eq!(error.to_string(), "the value is not a cursor of a change feed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a cursor of a change feed")]
pub struct ParseCursorError(());

/// The form in formats that are not for people.
type Wire = ([u8; 16], u64, u16, u64);

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let wire: Wire = (self.incarnation, self.revision, self.ordinal, self.since);
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        let (incarnation, revision, ordinal, since) = Wire::deserialize(deserializer)?;
        let cursor = Self { incarnation, revision, ordinal, since };
        let known = cursor.is_well_formed().then_some(cursor);
        known.ok_or_else(|| D::Error::custom(ParseCursorError(())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const STORE: [u8; 16] = [0xa5; 16];

    #[test]
    fn text_names_every_part_that_matters() {
        let after = Cursor::after(STORE, 7, 0);
        assert_eq!(Cursor::START.to_string(), "start");
        assert_eq!(after.to_string(), format!("{}-7", "a5".repeat(16)));
        assert_eq!(after.before_entry(8, 2).to_string(), format!("{}-8.2", "a5".repeat(16)));
        let begun = Cursor::after(STORE, 7, 2);
        assert_eq!(begun.to_string(), format!("{}-7~2", "a5".repeat(16)));
        assert_eq!(begun.before_entry(9, 1).to_string(), format!("{}-9.1~2", "a5".repeat(16)));
        assert_eq!(begun.after_commit(8).settled(9), Cursor::after(STORE, 8, 2));
        assert_eq!(begun.after_commit(9).settled(9), Cursor::after(STORE, 9, 0));
    }

    #[test]
    fn a_place_inside_a_commit_knows_what_is_before_it() {
        let place = Cursor::after(STORE, 7, 0).before_entry(8, 2);
        assert!(place.is_behind(7, 100) && place.is_behind(8, 1));
        assert!(!place.is_behind(8, 2) && !place.is_behind(9, 0));
        // A tombstone of the commit itself may be among what is still to come.
        let bears = |place: Cursor, newest| place.bears(Purged { newest, count: 1 });
        assert!(bears(place, 7) && !bears(place, 8));
        let whole = place.after_commit(8);
        assert!(whole.is_behind(8, u16::MAX) && !whole.is_behind(9, 0));
        assert!(bears(whole, 8) && !bears(whole, 9));
        let begun = Cursor::after(STORE, 7, 2);
        assert!(begun.bears(Purged { newest: 9, count: 2 }));
        assert!(!begun.bears(Purged { newest: 9, count: 3 }));
        assert!(!Cursor::after(STORE, 7, 0).bears(Purged { newest: 9, count: 0 }));
        assert!(!Cursor::START.is_behind(1, 0));
    }

    #[test]
    fn text_that_is_no_cursor_is_refused() {
        let a5 = "a5".repeat(16);
        for bad in [
            String::new(),
            "Start".to_owned(),
            a5.clone(),
            format!("{a5}-"),
            format!("{a5}-07"),
            format!("{a5}-+7"),
            format!("{a5}-7.65535"),
            format!("{a5}-7.65536"),
            format!("{a5}-0.1"),
            format!("{a5}-7~0"),
            format!("{a5}-7~9~9"),
            format!("{a5}-7 "),
            format!("{a5}-18446744073709551616"),
            format!("{}-7", a5.to_uppercase()),
            format!("{}-7", "0".repeat(32)),
            format!("{}-0", "0".repeat(32)),
            "a5-7".to_owned(),
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(ParseCursorError(())), "{bad:?}");
        }
    }

    fn any_cursor() -> impl Strategy<Value = Cursor> {
        let part = prop_oneof![Just(WHOLE), any::<u16>(), 0..3_u16];
        let number = || prop_oneof![0..4_u64, any::<u64>()];
        (any::<[u8; 16]>(), number(), part, number()).prop_map(|(store, revision, part, since)| {
            if store == [0; 16] {
                return Cursor::START;
            }
            let part = if revision == 0 { WHOLE } else { part };
            Cursor { incarnation: store, revision, ordinal: part, since }
        })
    }

    proptest! {
        #[test]
        fn text_and_bytes_read_back(cursor in any_cursor()) {
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let json = serde_json::to_string(&cursor).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
            let config = bincode::config::standard();
            let bytes = bincode::serde::encode_to_vec(cursor, config).unwrap();
            prop_assert!(bytes.len() <= 16 + 9 + 3 + 9);
            let (read, used): (Cursor, usize) =
                bincode::serde::decode_from_slice(&bytes, config).unwrap();
            prop_assert_eq!((read, used), (cursor, bytes.len()));
        }

        #[test]
        fn text_is_read_in_one_form_only(text in "[0-9a-f.~-]{0,60}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
