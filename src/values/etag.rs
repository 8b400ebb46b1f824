//! The entity tag of a version: how it is made, written and read.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names one write of one item: a strong entity tag as of [RFC 9110 §8.8.3].
///
/// The tag is a 128-bit BLAKE3 hash over the store's incarnation, the revision, the tag that the
/// write replaced, its times, the collection, the key and the value. So every successful write
/// makes a new tag, even if it writes the same bytes. A return to an earlier value makes a third
/// tag. Two copies of a store that both make the same change get different tags. Compare tags for
/// equality only: their order and bytes mean nothing.
///
/// `Display` and [`FromStr`] use the quoted strong form with 32 lower-case hexadecimal digits, as
/// in an HTTP `ETag` header. With serde a tag is that string in human-readable formats
/// and 16 bytes in others.
///
/// ```
/// use ifmatch::ETag;
///
/// let tag: ETag = "\"00112233445566778899aabbccddeeff\"".parse()?;
/// assert_eq!(tag.to_string(), "\"00112233445566778899aabbccddeeff\"");
/// assert!("W/\"00112233445566778899aabbccddeeff\"".parse::<ETag>().is_err());
/// # Ok::<(), ifmatch::ParseETagError>(())
/// ```
///
/// [RFC 9110 §8.8.3]: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ETag(pub [u8; 16]);

impl ETag {
    /// The tag of an item that was made with [`Item::new`](crate::Item::new) and not yet saved.
    /// It names no write: no stored version has it, and as a precondition it matches nothing.
    pub const UNSAVED: Self = Self([0; 16]);

    /// A parent's tag as 16 bytes: zeros for none, which no stored version has.
    #[inline]
    pub(crate) fn of_parent(parent: Option<Self>) -> Self {
        parent.unwrap_or(Self::UNSAVED)
    }

    /// What [`of_parent`](Self::of_parent) was made of.
    #[inline]
    pub(crate) fn parent(self) -> Option<Self> {
        (self != Self::UNSAVED).then_some(self)
    }

    /// The 16 bytes of the tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:032x}\"", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({:032x})", u128::from_be_bytes(self.0))
    }
}

impl FromStr for ETag {
    type Err = ParseETagError;

    fn from_str(text: &str) -> Result<Self, ParseETagError> {
        let digits = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|digits| digits.len() == 32)
            .filter(|digits| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
            .ok_or(ParseETagError(()))?;
        let value = u128::from_str_radix(digits, 16).map_err(|_| ParseETagError(()))?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// The error of reading an [`ETag`] from text that is not its quoted strong form.
///
/// ```
/// let error = "not quoted".parse::<ifmatch::ETag>().unwrap_err();
/// assert_eq!(error.to_string(), "the text is not an etag, which is 32 lower-case hexadecimal digits in double quotes");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not an etag, which is 32 lower-case hexadecimal digits in double quotes")]
pub struct ParseETagError(());

impl Serialize for ETag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ETag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

/// What a tag is computed from; the byte layout of the hash input is in `docs/format.md`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagInput<'a> {
    pub(crate) incarnation: &'a [u8; 16],
    pub(crate) parent: Option<ETag>,
    pub(crate) kind: u8,
    pub(crate) modified_ms: u64,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) collection: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value_hash: &'a [u8; 32],
}

/// A tag that waits for its revision: everything else is laid out, so that only a short hash is
/// left to do under the journal's lock.
///
/// The bytes of all tags of a commit are in one buffer: memory for each would cost a batch more than
/// its hash.
#[derive(Debug)]
pub(crate) struct PendingTag(Range<usize>);

const DOMAIN: &[u8; 16] = b"ifmatch etag v1\0";
const REVISION_AT: Range<usize> = 32..40;

impl PendingTag {
    /// A buffer for this number of tags of items with names and keys of the usual lengths.
    pub(crate) fn buffer(tags: usize) -> Vec<u8> {
        Vec::with_capacity(192 * tags)
    }

    /// Lays the tag out at the end of a buffer.
    pub(crate) fn new(input: &TagInput<'_>, bytes: &mut Vec<u8>) -> Self {
        let start = bytes.len();
        bytes.extend_from_slice(DOMAIN);
        bytes.extend_from_slice(input.incarnation);
        bytes.extend_from_slice(&[0; 8]);
        push_option(bytes, input.parent.as_ref().map(|tag| &tag.0[..]), 16);
        bytes.push(input.kind);
        bytes.extend_from_slice(&input.modified_ms.to_le_bytes());
        let expires = input.expires_ms.map(u64::to_le_bytes);
        push_option(bytes, expires.as_ref().map(|ms| &ms[..]), 8);
        bytes.extend_from_slice(&(input.collection.len() as u32).to_le_bytes());
        bytes.extend_from_slice(input.collection.as_bytes());
        bytes.extend_from_slice(&(input.key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(input.key);
        bytes.extend_from_slice(input.value_hash);
        Self(start..bytes.len())
    }

    /// The tag at this revision; `bytes` is the buffer that it was laid out in.
    pub(crate) fn at(&self, revision: u64, bytes: &mut [u8]) -> ETag {
        let bytes = bytes.get_mut(self.0.clone()).unwrap_or_default();
        if let Some(slot) = bytes.get_mut(REVISION_AT) {
            slot.copy_from_slice(&revision.to_le_bytes());
        }
        let mut tag = [0; 16];
        let hash = blake3::hash(bytes);
        tag.copy_from_slice(hash.as_bytes().split_at(16).0);
        // The all-zero tag means "not saved"; the one hash in 2^128 that is zero is replaced.
        if tag == ETag::UNSAVED.0 {
            tag = [0xff; 16];
        }
        ETag(tag)
    }
}

fn push_option(bytes: &mut Vec<u8>, field: Option<&[u8]>, width: usize) {
    bytes.push(u8::from(field.is_some()));
    match field {
        Some(field) => bytes.extend_from_slice(field),
        None => bytes.resize(bytes.len() + width, 0),
    }
}

/// The hash of a value's stored bytes, taken before any lock.
pub(crate) fn value_hash(value: &[u8]) -> [u8; 32] {
    *blake3::hash(value).as_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn input() -> TagInput<'static> {
        TagInput {
            incarnation: &[7; 16],
            parent: Some(ETag([1; 16])),
            kind: 1,
            modified_ms: 5,
            expires_ms: None,
            collection: "products",
            key: b"k",
            value_hash: &[9; 32],
        }
    }

    fn tag(input: &TagInput<'_>, revision: u64) -> ETag {
        // Another tag comes before it in the buffer.
        let mut bytes = vec![1; 100];
        PendingTag::new(input, &mut bytes).at(revision, &mut bytes)
    }

    #[test]
    fn display_and_parse_are_inverse() {
        let tag = ETag(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(tag.to_string().parse(), Ok(tag));
        assert_eq!(tag.to_string(), "\"00112233445566778899aabbccddeeff\"");
    }

    #[test]
    fn anything_but_the_quoted_strong_form_is_refused() {
        let hex = "00112233445566778899aabbccddeeff";
        for text in [
            "".to_owned(),
            "\"\"".to_owned(),
            "\"".to_owned(),
            "*".to_owned(),
            hex.to_owned(),
            format!("W/\"{hex}\""),
            format!("\"{}\"", hex.to_uppercase()),
            format!("\"{hex}0\""),
            format!("\"+{}\"", &hex[1..]),
            format!(" \"{hex}\""),
            format!("\"{}é\"", &hex[2..]),
        ] {
            assert!(text.parse::<ETag>().is_err(), "{text} was read as a tag");
        }
    }

    #[test]
    fn serde_uses_text_in_json_and_bytes_elsewhere() {
        let tag = ETag([0xab; 16]);
        let json = serde_json::to_string(&tag).unwrap();
        assert_eq!(json, format!("\"\\\"{}\\\"\"", "ab".repeat(16)));
        assert_eq!(serde_json::from_str::<ETag>(&json).unwrap(), tag);
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(tag, config).unwrap();
        assert_eq!(bytes, [0xab; 16]);
        let (back, _) = bincode::serde::decode_from_slice::<ETag, _>(&bytes, config).unwrap();
        assert_eq!(back, tag);
    }

    #[test]
    fn every_field_and_the_revision_change_the_tag() {
        let base = tag(&input(), 3);
        let others = [
            tag(&input(), 4),
            tag(&TagInput { incarnation: &[8; 16], ..input() }, 3),
            tag(&TagInput { parent: None, ..input() }, 3),
            tag(&TagInput { parent: Some(ETag([0; 16])), ..input() }, 3),
            tag(&TagInput { kind: 2, ..input() }, 3),
            tag(&TagInput { modified_ms: 6, ..input() }, 3),
            tag(&TagInput { expires_ms: Some(0), ..input() }, 3),
            tag(&TagInput { collection: "product", key: b"sk", ..input() }, 3),
            tag(&TagInput { key: b"l", ..input() }, 3),
            tag(&TagInput { value_hash: &[8; 32], ..input() }, 3),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, base, "field {index} is not in the tag");
        }
        assert_eq!(tag(&input(), 3), base);
    }

    #[test]
    fn a_known_input_gives_the_documented_tag() {
        // Pins the hash input of docs/format.md: a change here is a change of format.
        let tag = tag(&input(), 3);
        assert_eq!(tag.to_string(), include_str!("../../tests/golden/etag.txt").trim_end());
    }
}
