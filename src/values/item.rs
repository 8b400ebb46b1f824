//! An item as a reader holds it: its value and what names this version of it.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::seams::clock::instant;
use crate::values::etag::ETag;
use crate::values::revision::Revision;
use crate::values::short_bytes::ShortBytes;

/// A document together with the version it was read at.
///
/// The value is a public field, to be read and changed in place. Accessors return the version,
/// which travels with the value. So [`save`](crate::Collection::save) can write the document back
/// only if nobody else has written it. The tag is never part of the value: a stale tag cannot be
/// stored with a document.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Item;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let mut item = Item::new("a", "draft".to_owned());
/// notes.save(&mut item)?;
/// item.value.push_str(", revised");
/// notes.save(&mut item)?;
///
/// let stored = notes.get("a")?.expect("the item was saved");
/// assert_eq!(stored, item);
/// assert_eq!((stored.key(), stored.key_str()), (&b"a"[..], Some("a")));
/// assert_eq!((stored.etag(), stored.revision()), (item.meta().etag(), item.meta().revision()));
/// assert!(stored.parent().is_some() && stored.expires().is_none());
/// assert_eq!(stored.map(|text| text.len()).value, 14);
/// # Ok(()) }
/// ```
///
/// An item can be serialized, not deserialized: as a map of its key, its value and the fields of
/// [`Meta`]. The key is text if it is UTF-8, and otherwise the hexadecimal digits of its bytes.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let meta = notes.create("a", &"one".to_owned())?;
/// let json = serde_json::to_value(notes.get("a")?)?;
/// assert_eq!((&json["key"], &json["value"]), (&"a".into(), &"one".into()));
/// assert_eq!(json["etag"], meta.etag().to_string());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    key: ShortBytes,
    /// The document.
    pub value: T,
    meta: Meta,
}

impl<T> Item<T> {
    /// Makes an item that is in no store yet: its tag is [`ETag::UNSAVED`], and
    /// [`save`](crate::Collection::save) creates it. The key is checked when it is saved.
    #[must_use]
    pub fn new(key: impl AsRef<[u8]>, value: T) -> Self {
        Self { key: ShortBytes::of([key.as_ref()]), value, meta: Meta::UNSAVED }
    }

    pub(crate) fn stored(key: ShortBytes, value: T, meta: Meta) -> Self {
        Self { key, value, meta }
    }

    /// The key, 1 to 511 bytes.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(self.key()).ok()
    }

    /// The tag of this version; [`ETag::UNSAVED`] for an item that was never saved.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.meta.etag
    }

    /// The tag that this version replaced, if there was one.
    #[must_use]
    pub fn parent(&self) -> Option<ETag> {
        self.meta.parent
    }

    /// The commit that wrote this version; [`Revision::ZERO`] for an item that was never saved.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// When this version was written; see [`Meta::modified`].
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        self.meta.modified()
    }

    /// When this version expires, if ever; see [`Meta::expires`].
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.meta.expires()
    }

    /// Everything that names this version.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Puts another value into the item, keeping its key and version.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Item<U> {
        Item { key: self.key, value: f(self.value), meta: self.meta }
    }

    pub(crate) fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Item<U>, E> {
        Ok(Item { key: self.key, value: f(self.value)?, meta: self.meta })
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.meta.etag != ETag::UNSAVED
    }

    pub(crate) fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }
}

/// What names one version of an item: tag, parent tag, revision and times. Small and `Copy`.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let first = notes.create("a", &"one".to_owned())?;
/// let second = notes.replace("a", &"two".to_owned(), first.etag())?;
/// assert_eq!(second.parent(), Some(first.etag()));
/// assert!(second.modified() > first.modified());
/// # Ok(()) }
/// ```
///
/// It can be serialized, not deserialized, as a map:
///
/// | field | what it is |
/// |---|---|
/// | `etag` | the tag as its quoted text, as in an HTTP `ETag` header |
/// | `parent` | the tag that it replaced, or null |
/// | `revision` | a number |
/// | `modified_ms` | milliseconds since 1970, a number |
/// | `expires_ms` | milliseconds since 1970, a number, or null |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub(crate) etag: ETag,
    pub(crate) parent: Option<ETag>,
    pub(crate) revision: Revision,
    pub(crate) modified_ms: u64,
    pub(crate) expires_ms: Option<u64>,
}

impl Meta {
    pub(crate) const UNSAVED: Self = Self {
        etag: ETag::UNSAVED,
        parent: None,
        revision: Revision::ZERO,
        modified_ms: 0,
        expires_ms: None,
    };

    /// Whether this version is not expired.
    #[inline]
    pub(crate) fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }

    /// The tag of this version.
    #[must_use]
    pub fn etag(&self) -> ETag {
        self.etag
    }

    /// The tag that this write replaced, if there was one. A write whose result is unknown has
    /// survived if its tag is in the chain of parents of the current version; see
    /// [`was_written`](crate::Collection::was_written).
    #[must_use]
    pub fn parent(&self) -> Option<ETag> {
        self.parent
    }

    /// The commit that wrote this version.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The wall-clock time of the write, to the millisecond, at least 1 ms after the version before
    /// it. It is for people to read: use the revision to order writes.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        instant(self.modified_ms)
    }

    /// The instant at which the item expires, if any. From then on it is absent to every read and
    /// precondition.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires_ms.map(instant)
    }
}

/// How many fields [`Meta`] has for serde.
const META_FIELDS: usize = 5;

impl Meta {
    fn serialize_fields<S: SerializeStruct>(&self, to: &mut S) -> Result<(), S::Error> {
        to.serialize_field("etag", &format_args!("{}", self.etag))?;
        to.serialize_field("parent", &self.parent.map(|tag| tag.to_string()))?;
        to.serialize_field("revision", &self.revision.0)?;
        to.serialize_field("modified_ms", &self.modified_ms)?;
        to.serialize_field("expires_ms", &self.expires_ms)
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Meta", META_FIELDS)?;
        self.serialize_fields(&mut fields)?;
        fields.end()
    }
}

impl<T: Serialize> Serialize for Item<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Item", 2 + META_FIELDS)?;
        fields.serialize_field("key", &key_text(self.key()))?;
        fields.serialize_field("value", &self.value)?;
        self.meta.serialize_fields(&mut fields)?;
        fields.end()
    }
}

/// A key as text: itself where it is UTF-8, and else the hexadecimal digits of its bytes.
fn key_text(key: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => key.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}
