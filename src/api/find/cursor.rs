//! Places in the order of a find.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::values::key::check_key;
use crate::values::query::encoding::CUT_BYTES;
use crate::values::query::sort::Sort;
use crate::values::short_bytes::ShortBytes;

/// The place of an item in the order of a find: the code of its value, and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Empty without a sort.
    code: ShortBytes,
    key: ShortBytes,
}

impl Rank {
    pub(super) fn new(code: ShortBytes, key: ShortBytes) -> Self {
        Self { code, key }
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    pub(super) fn code(&self) -> &[u8] {
        self.code.as_slice()
    }

    pub(super) fn into_key(self) -> ShortBytes {
        self.key
    }
}

/// A place in the order of a find, to continue from later. [`Found::cursor`](crate::Found::cursor)
/// returns it, and [`Find::after`](crate::Find::after) takes it.
///
/// It holds the sort, the key of the last item, and the first bytes of the values that the item is
/// sorted by. A find with another sort refuses it. It names no version and no store, so it stays
/// valid after a restart or a restore, and after the item is removed.
///
/// A cursor is opaque. With serde, and with `Display` and [`FromStr`], it is a text of hexadecimal
/// digits and two dots, at most 1 543 characters, and mostly less than a hundred.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ifmatch::{Filter, FindCursor};
///
/// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
/// prices.create("apple", &0.5)?;
/// let mut found = prices.find(Filter::all([])).sort_desc("").iter()?;
/// assert_eq!(found.cursor(), None);
/// found.next();
/// let place = found.cursor().expect("something was given");
/// let kept = serde_json::to_string(&place)?;
/// assert_eq!(serde_json::from_str::<FindCursor>(&kept)?, place);
/// assert_eq!(place.to_string().parse::<FindCursor>()?, place);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindCursor {
    /// A checksum of the sort, so that a find with another sort is refused.
    sort: u32,
    rank: Rank,
}

impl FindCursor {
    pub(super) fn new(sort: Option<&Sort>, rank: Rank) -> Self {
        Self { sort: checksum(sort), rank }
    }

    pub(super) fn is_of(&self, sort: Option<&Sort>) -> bool {
        self.sort == checksum(sort)
    }

    pub(super) fn rank(&self) -> &Rank {
        &self.rank
    }
}

/// 0 without a sort.
fn checksum(sort: Option<&Sort>) -> u32 {
    sort.map_or(0, |sort| crc32fast::hash(sort.to_string().as_bytes()).max(1))
}

/// The error of reading a [`FindCursor`] from text.
///
/// ```
/// let error = "elsewhere".parse::<ifmatch::FindCursor>().unwrap_err();
/// assert_eq!(error.to_string(), "the text is not the cursor of a find");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not the cursor of a find")]
pub struct ParseFindCursorError(());

impl fmt::Display for FindCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, key) = (Digits(self.rank.code()), Digits(self.rank.key()));
        write!(f, "{:08x}.{code}.{key}", self.sort)
    }
}

/// Bytes as hexadecimal digits.
struct Digits<'a>(&'a [u8]);

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for FindCursor {
    type Err = ParseFindCursorError;

    fn from_str(text: &str) -> Result<Self, ParseFindCursorError> {
        let read = || {
            let mut parts = text.split('.');
            let (sort, code, key) = (parts.next()?, parts.next()?, parts.next()?);
            let sort: [u8; 4] = bytes(sort)?.try_into().ok()?;
            let (sort, code, key) = (u32::from_be_bytes(sort), bytes(code)?, bytes(key)?);
            let whole = parts.next().is_none() && check_key(&key).is_ok();
            let sorted = code.len() <= CUT_BYTES && (sort == 0) == code.is_empty();
            (whole && sorted).then(|| Self {
                sort,
                rank: Rank::new(ShortBytes::of([&code]), ShortBytes::of([&key])),
            })
        };
        read().ok_or(ParseFindCursorError(()))
    }
}

/// The bytes that lower-case hexadecimal digits represent.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

impl Serialize for FindCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FindCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
