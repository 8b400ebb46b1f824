//! A document that could not be turned into bytes, or back.

use std::fmt;

use bytes::Bytes;

use crate::values::error::BoxError;
use crate::values::error::display::ItemName;

/// A document that its collection's codec could not encode or decode; inside of
/// [`Error::Codec`](crate::Error::Codec).
///
/// | the document | [`is_stored`](Self::is_stored) | HTTP status |
/// |---|---|---|
/// | given to a write, and the codec cannot encode it | no | 422 |
/// | the result of a patch, and not a valid document of the collection's type | no | 422 |
/// | stored, and not a valid document of the collection's type | yes | 500 |
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Error, Store};
///
/// let store = Store::in_memory();
/// store.collection::<String>("notes")?.create("a", &"text".to_owned())?;
/// let Err(Error::Codec(error)) = store.collection::<u64>("notes")?.get("a") else {
///     panic!("a text was read as a number")
/// };
/// assert!(error.is_stored());
/// assert_eq!((error.collection(), error.key()), (Some("notes"), Some(&b"a"[..])));
/// assert_eq!(error.http_status(), 500);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct CodecError {
    step: CodecStep,
    item: Option<(String, Bytes)>,
    source: BoxError,
}

/// What was done with the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodecStep {
    Encode,
    Decode,
    /// The result of a patch was decoded, to check it.
    #[cfg_attr(not(feature = "json-patch"), expect(dead_code, reason = "nothing makes a patch"))]
    CheckPatched,
}

impl CodecError {
    pub(crate) fn new(step: CodecStep, source: impl Into<BoxError>) -> Self {
        Self { step, item: None, source: source.into() }
    }

    /// Names the item, unless it is named already.
    pub(crate) fn with_item(mut self, collection: &str, key: &[u8]) -> Self {
        self.item.get_or_insert_with(|| (collection.to_owned(), Bytes::copy_from_slice(key)));
        self
    }

    /// The collection; `None` only for an error of a [`Codec`](crate::Codec) that was called by
    /// itself.
    #[must_use]
    pub fn collection(&self) -> Option<&str> {
        self.item.as_ref().map(|(collection, _)| collection.as_str())
    }

    /// The key; `None` only for an error of a [`Codec`](crate::Codec) that was called by itself.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.item.as_ref().map(|(_, key)| &**key)
    }

    /// Whether it is the stored document that cannot be read, and not one that the caller gave.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.step == CodecStep::Decode
    }

    /// 500 for a stored document that cannot be read, 422 for one that the caller gave.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        if self.is_stored() { 500 } else { 422 }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.item.as_ref().map(|(collection, key)| ItemName(collection, key));
        let cause = &self.source;
        match (self.step, name) {
            (CodecStep::Encode, Some(name)) => {
                write!(f, "the document for {name} cannot be encoded: {cause}")
            }
            (CodecStep::Encode, None) => write!(f, "the document cannot be encoded: {cause}"),
            (CodecStep::Decode, Some(name)) => write!(
                f,
                "the stored document of {name} cannot be decoded as the type that the collection \
                 was opened with: {cause}"
            ),
            (CodecStep::Decode, None) => write!(f, "the document cannot be decoded: {cause}"),
            (CodecStep::CheckPatched, Some(name)) => write!(
                f,
                "the patch would make of {name} a document that cannot be decoded as the \
                 collection's type: {cause}"
            ),
            (CodecStep::CheckPatched, None) => {
                write!(f, "the patched document cannot be decoded: {cause}")
            }
        }
    }
}

impl std::error::Error for CodecError {
    /// The cause of the codec's own error, whose text is part of this one's.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}
