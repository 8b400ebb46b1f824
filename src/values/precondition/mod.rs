//! What a request demands of the stored version: [`Precondition`], and its one evaluation.

mod evaluate;
mod tags;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::item::{Item, Meta};
use crate::values::query::filter::Filter;

pub(crate) use self::evaluate::{Stored, Verb, Verdict, evaluate};
pub use self::tags::{ParseTagsError, Tags};

/// A demand on the stored version of an item, decided before anything is written.
///
/// The words are those of [RFC 9110 §13.1]. `IfMatch` compares strongly: a weak tag (`W/"…"`) never
/// matches there. `IfNoneMatch` compares weakly: a weak tag matches the version that it names. A
/// precondition is honoured or refused with
/// [`Error::InvalidPrecondition`](crate::Error::InvalidPrecondition), never ignored:
///
/// | verb | `Always` | `IfMatch` | `IfNoneMatch(tags)` | `IfNoneMatch(Any)` | `IfModifiedSince` | `Matching` |
/// |---|---|---|---|---|---|---|
/// | `get_if` | yes | yes | yes | yes | yes | yes |
/// | `upsert` | yes | yes; absent fails | yes | create only | refused | yes; absent fails |
/// | `replace`, `patch`, `delete` | yes | yes | yes | refused | refused | yes |
/// | `check` in a batch | refused | yes | yes | must be absent | refused | yes; absent fails |
///
/// `Matching` is for collections of [`Json`](crate::Json); the others refuse it.
///
/// An [`ETag`] converts to `IfMatch` of that tag; a [`Meta`] and a `&Item` to `IfMatch` of their
/// tag. There is no conversion from `Option<ETag>`: [`if_unchanged`](Self::if_unchanged) says what
/// `None` means. The headers of an HTTP request are read by [`from_headers`](Self::from_headers).
///
/// ```
/// use ifmatch::{ETag, Precondition, Tags};
///
/// let tag = ETag([7; 16]);
/// assert_eq!(Precondition::from(tag), Precondition::IfMatch(Tags::from(tag)));
/// assert_eq!(Precondition::if_unchanged(None), Precondition::IfNoneMatch(Tags::Any));
/// ```
///
/// [RFC 9110 §13.1]: https://www.rfc-editor.org/rfc/rfc9110#section-13.1
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// No demand: the last write wins.
    Always,
    /// The stored version has one of these tags, or with [`Tags::Any`] the item is present.
    IfMatch(Tags),
    /// The stored version has none of these tags, or with [`Tags::Any`] the item is absent.
    IfNoneMatch(Tags),
    /// The stored version is newer than this instant. An instant of whole seconds, such as an HTTP
    /// date, is compared with the whole second of the write, which a `Last-Modified` header shows.
    /// Any other instant is compared to the millisecond. Only reads accept it: time cannot
    /// distinguish two writes within one second, or within the error of the clock.
    IfModifiedSince(SystemTime),
    /// The item is present, and its document meets this filter. The filter is applied to the stored
    /// document, with all of its fields, even those that the collection's type does not know. Only
    /// collections of [`Json`](crate::Json) accept it.
    Matching(Filter),
}

impl Precondition {
    /// Demands one of these tags, or with [`Tags::Any`] that the item is present.
    #[must_use]
    pub fn if_match(tags: impl Into<Tags>) -> Self {
        Self::IfMatch(tags.into())
    }

    /// Demands none of these tags, or with [`Tags::Any`] that the item is absent.
    #[must_use]
    pub fn if_none_match(tags: impl Into<Tags>) -> Self {
        Self::IfNoneMatch(tags.into())
    }

    /// Demands on a read that the item was modified after this instant. An instant of whole seconds
    /// is compared in whole seconds; see [`IfModifiedSince`](Self::IfModifiedSince).
    #[must_use]
    pub fn if_modified_since(instant: SystemTime) -> Self {
        Self::IfModifiedSince(instant)
    }

    /// Demands that the item is present and its document meets a filter. While
    /// [`IfMatch`](Self::IfMatch) names one version, this holds for any version that meets the
    /// filter.
    ///
    /// It is decided for the version that the write replaces. The document is read and compared
    /// before the item is locked. If another writer comes in between, it is compared again, as
    /// often as the [`RetryPolicy`](crate::RetryPolicy) allows; after that the write returns
    /// [`Error::Contended`](crate::Error::Contended). In a batch it is decided on the item as
    /// earlier operations leave it. Costs a read and a parse of the document.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{Error, Filter, Patch, Precondition};
    /// use serde_json::json;
    ///
    /// let stock = ifmatch::Store::in_memory().collection::<serde_json::Value>("stock")?;
    /// stock.create("lamp", &json!({"count": 1}))?;
    /// let in_stock = Precondition::matching(Filter::gt("/count", 0));
    /// let sell = Patch::new().incr("/count", -1);
    /// stock.patch("lamp", &sell, in_stock.clone())?;
    /// let refused = stock.patch("lamp", &sell, in_stock);
    /// assert!(matches!(refused, Err(Error::PreconditionFailed(_))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn matching(filter: Filter) -> Self {
        Self::Matching(filter)
    }

    /// Demands that the item has not changed since it was seen: `Some(tag)` is `IfMatch(tag)`, and
    /// `None`, for an item that was absent, is `IfNoneMatch(Any)`.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Precondition;
    ///
    /// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
    /// let seen = notes.get("a")?.map(|item| item.etag());
    /// notes.upsert("a", &"first".to_owned(), Precondition::if_unchanged(seen))?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn if_unchanged(seen: Option<ETag>) -> Self {
        match seen {
            Some(tag) => Self::IfMatch(tag.into()),
            None => Self::IfNoneMatch(Tags::Any),
        }
    }

    /// Reads the precondition of an HTTP request from the values of its `If-Match`,
    /// `If-None-Match` and `If-Modified-Since` headers; none of them is [`Always`](Self::Always).
    ///
    /// As [RFC 9110 §13.2.2] says, `If-Modified-Since` is ignored in the presence of
    /// `If-None-Match`. It is for reads: pass `None` for any other method, and for a date that
    /// cannot be read (the crate `httpdate` reads the three forms of HTTP dates). Join the values
    /// of a header that occurs several times with commas.
    ///
    /// # Errors
    /// [`Error::InvalidPrecondition`](crate::Error::InvalidPrecondition), HTTP status 400:
    /// - for a value that is neither `*` nor a list of entity tags;
    /// - for `If-Match` together with one of the others: a request that means both is rare, and no
    ///   verb of this crate takes two preconditions.
    ///
    /// ```
    /// use ifmatch::{Precondition, Tags};
    ///
    /// let tag = "\"00112233445566778899aabbccddeeff\"";
    /// let put = Precondition::from_headers(Some(tag), None, None)?;
    /// assert_eq!(put, Precondition::if_match([tag.parse().unwrap()]));
    /// let create = Precondition::from_headers(None, Some("*"), None)?;
    /// assert_eq!(create, Precondition::IfNoneMatch(Tags::Any));
    /// assert_eq!(Precondition::from_headers(None, None, None)?, Precondition::Always);
    ///
    /// let refused = Precondition::from_headers(Some("no quotes"), None, None);
    /// assert_eq!(refused.map_err(|error| error.http_status()), Err(400));
    /// # Ok::<(), ifmatch::Error>(())
    /// ```
    ///
    /// [RFC 9110 §13.2.2]: https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
    pub fn from_headers(
        if_match: Option<&str>,
        if_none_match: Option<&str>,
        if_modified_since: Option<SystemTime>,
    ) -> Result<Self> {
        let refused = |reason| Error::InvalidPrecondition { reason };
        let tags = |text: &str, reason| text.parse::<Tags>().map_err(|_| refused(reason));
        match (if_match, if_none_match, if_modified_since) {
            (None, None, None) => Ok(Self::Always),
            (Some(text), None, None) => {
                tags(text, "If-Match is neither * nor a list of entity tags").map(Self::IfMatch)
            }
            (Some(_), _, _) => {
                Err(refused("a request has If-Match and another condition; send one of them"))
            }
            (None, Some(text), _) => {
                let reason = "If-None-Match is neither * nor a list of entity tags";
                tags(text, reason).map(Self::IfNoneMatch)
            }
            (None, None, Some(since)) => Ok(Self::IfModifiedSince(since)),
        }
    }
}

impl From<ETag> for Precondition {
    fn from(tag: ETag) -> Self {
        Self::IfMatch(tag.into())
    }
}

impl From<&ETag> for Precondition {
    fn from(tag: &ETag) -> Self {
        Self::from(*tag)
    }
}

impl From<Meta> for Precondition {
    fn from(meta: Meta) -> Self {
        Self::from(meta.etag())
    }
}

impl From<&Meta> for Precondition {
    fn from(meta: &Meta) -> Self {
        Self::from(meta.etag())
    }
}

impl<T> From<&Item<T>> for Precondition {
    fn from(item: &Item<T>) -> Self {
        Self::IfMatch(item.etag().into())
    }
}
