//! What a request demands of the stored version: [`Precondition`], and its one evaluation.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::seams::clock::millis;
use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::item::{Item, Meta};
use crate::values::query::filter::Filter;

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
    /// The stored version is newer than this instant. An instant of whole seconds, as an HTTP date
    /// is, is compared with the whole second of the write, as a `Last-Modified` header shows it; any
    /// other instant is compared to the millisecond. Only reads take it: two writes within one
    /// second, or within the clock's error, cannot be distinguished by time.
    IfModifiedSince(SystemTime),
    /// The item is present, and its document meets this filter. The document is the one that is
    /// stored, whichever fields the collection's type knows. Only collections of
    /// [`Json`](crate::Json) take it.
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

    /// Demands on a read that the item was modified after this instant; whole seconds are compared
    /// in whole seconds, see [`IfModifiedSince`](Self::IfModifiedSince).
    #[must_use]
    pub fn if_modified_since(instant: SystemTime) -> Self {
        Self::IfModifiedSince(instant)
    }

    /// Demands that the item is present and its document meets a filter: a rule that must hold for
    /// whichever version is stored, where [`IfMatch`](Self::IfMatch) names one version.
    ///
    /// It is decided for the version that the write replaces. The document is read and compared
    /// before the item is locked; when another writer comes in between, it is compared again, as
    /// often as the [`RetryPolicy`](crate::RetryPolicy) allows, and then the write is
    /// [`Error::Contended`](crate::Error::Contended). In a batch it is decided on what the operations
    /// before it leave. Costs a read of the document, and parsing it.
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

    /// Demands that the item is as it was seen: `Some(tag)` is `IfMatch(tag)`, and `None`, "I saw
    /// nothing", is `IfNoneMatch(Any)`.
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

/// The tags of a precondition: any, or a list of which one must equal the stored tag.
///
/// [`FromStr`] reads the value of an HTTP `If-Match` or `If-None-Match` header. Tags of another
/// form than [`ETag`]'s are legal there and match nothing, so they are left out; a list of nothing
/// else is an empty list, which matches nothing either.
///
/// ```
/// use ifmatch::{ETag, Tags};
///
/// assert_eq!("*".parse(), Ok(Tags::Any));
/// let list: Tags = "\"00000000000000000000000000000007\", W/\"x\", \"a,b\"".parse()?;
/// assert_eq!(list, Tags::List(vec![ETag(7u128.to_be_bytes())]));
/// let weak: Tags = "W/\"00000000000000000000000000000007\"".parse()?;
/// assert_eq!(weak, Tags::Mixed { strong: vec![], weak: vec![ETag(7u128.to_be_bytes())] });
/// assert!("no quotes".parse::<Tags>().is_err());
/// # Ok::<(), ifmatch::ParseTagsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any stored version.
    Any,
    /// This one.
    One(ETag),
    /// One of these; an empty list matches nothing.
    List(Vec<ETag>),
    /// A list with weak tags in it, as a cache or proxy makes of strong ones. `IfNoneMatch` takes
    /// the weak ones like the strong ones, `IfMatch` leaves them out.
    Mixed {
        /// The tags that were given as they are.
        strong: Vec<ETag>,
        /// The tags that were given as `W/"…"`.
        weak: Vec<ETag>,
    },
}

/// How two entity tags are compared: RFC 9110 §8.8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Tags {
    /// Whether the stored tag, which is a strong one, is among these.
    fn hold(&self, stored: ETag, comparison: Comparison) -> bool {
        let named = match self {
            Self::Any => return true,
            Self::One(tag) => *tag == stored,
            Self::List(tags) => tags.contains(&stored),
            Self::Mixed { strong, weak } => {
                strong.contains(&stored)
                    || (comparison == Comparison::Weak && weak.contains(&stored))
            }
        };
        named && stored != ETag::UNSAVED
    }
}

impl From<ETag> for Tags {
    fn from(tag: ETag) -> Self {
        Self::One(tag)
    }
}

impl From<Vec<ETag>> for Tags {
    fn from(tags: Vec<ETag>) -> Self {
        Self::List(tags)
    }
}

impl From<&[ETag]> for Tags {
    fn from(tags: &[ETag]) -> Self {
        Self::List(tags.to_vec())
    }
}

impl<const N: usize> From<[ETag; N]> for Tags {
    fn from(tags: [ETag; N]) -> Self {
        Self::List(tags.into())
    }
}

impl FromIterator<ETag> for Tags {
    fn from_iter<I: IntoIterator<Item = ETag>>(tags: I) -> Self {
        Self::List(tags.into_iter().collect())
    }
}

/// The error of reading [`Tags`] from text that is neither `*` nor a list of entity tags.
///
/// ```
/// let error = "\"a\" \"b\"".parse::<ifmatch::Tags>().unwrap_err();
/// assert_eq!(error.to_string(), "the text is not a tag list, which is * or entity tags separated by commas");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not a tag list, which is * or entity tags separated by commas")]
pub struct ParseTagsError(());

impl FromStr for Tags {
    type Err = ParseTagsError;

    fn from_str(text: &str) -> Result<Self, ParseTagsError> {
        const BLANK: [char; 2] = [' ', '\t'];
        let mut rest = text.trim_matches(BLANK);
        if rest == "*" {
            return Ok(Self::Any);
        }
        let (mut strong, mut weak) = (Vec::new(), Vec::new());
        let mut elements = 0;
        // RFC 9110 §5.6.1.2: a recipient accepts empty list elements, but not a list of none.
        loop {
            rest = rest.trim_start_matches(BLANK);
            if let Some(after) = rest.strip_prefix(',') {
                rest = after;
                continue;
            }
            if rest.is_empty() {
                break;
            }
            let (tag, after) = entity_tag(rest).ok_or(ParseTagsError(()))?;
            elements += 1;
            match tag.strip_prefix("W/") {
                Some(tag) => weak.extend(tag.parse::<ETag>()),
                None => strong.extend(tag.parse::<ETag>()),
            }
            rest = after.trim_start_matches(BLANK);
            if !rest.is_empty() && !rest.starts_with(',') {
                return Err(ParseTagsError(()));
            }
        }
        match (elements, weak.is_empty()) {
            (0, _) => Err(ParseTagsError(())),
            (_, true) => Ok(Self::List(strong)),
            (_, false) => Ok(Self::Mixed { strong, weak }),
        }
    }
}

/// Splits the entity tag (RFC 9110 §8.8.3) that `text` begins with from what follows it.
fn entity_tag(text: &str) -> Option<(&str, &str)> {
    let prefix = if text.starts_with("W/") { 2 } else { 0 };
    let opaque = text.get(prefix..)?.strip_prefix('"')?;
    let end = opaque.find('"')?;
    let legal = |c: char| c == '\x21' || ('\x23'..='\x7e').contains(&c) || c >= '\u{80}';
    if !opaque.get(..end)?.chars().all(legal) {
        return None;
    }
    text.split_at_checked(prefix + 1 + end + 1)
}

/// What an evaluation needs to know of the stored version; absent and expired items have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) etag: ETag,
    pub(crate) modified_ms: u64,
    /// Whether its document meets the filter of the precondition, if that is one.
    pub(crate) meets: bool,
}

impl From<&Meta> for Stored {
    fn from(meta: &Meta) -> Self {
        Self { etag: meta.etag(), modified_ms: meta.modified_ms, meets: false }
    }
}

/// The verbs as far as preconditions differ between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Upsert,
    Replace,
    Patch,
    Delete,
    Check,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get_if",
            Self::Upsert => "upsert",
            Self::Replace => "replace",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Check => "check",
        })
    }
}

/// How an evaluation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The precondition holds.
    Holds,
    /// It fails: 412, or on a read 304 where it was an `IfNoneMatch` or `IfModifiedSince`.
    Fails,
    /// This verb does not take this precondition.
    Refused(&'static str),
}

/// Decides a precondition: the only place where one is evaluated.
///
/// `stored` is the current version, `None` when absent or expired. Whether a verb then finds
/// its item is the verb's own affair: `replace` of an absent item is `NotFound` whatever is
/// decided here, once the pair is not refused.
pub(crate) fn evaluate(verb: Verb, precondition: &Precondition, stored: Option<Stored>) -> Verdict {
    use Verb::{Check, Delete, Get, Patch, Replace};

    let holds = match (precondition, verb) {
        (Precondition::Always, Check) => {
            return Verdict::Refused(
                "a check demands nothing with Always; give it IfMatch or IfNoneMatch",
            );
        }
        (Precondition::Always, _) => true,
        (Precondition::IfMatch(tags), _) => {
            stored.is_some_and(|s| tags.hold(s.etag, Comparison::Strong))
        }
        (Precondition::IfNoneMatch(Tags::Any), Replace | Patch | Delete) => {
            return Verdict::Refused(
                "replace, patch and delete need a stored item, and IfNoneMatch(Any) demands that there \
                 is none; use create or upsert",
            );
        }
        (Precondition::IfNoneMatch(tags), _) => {
            !stored.is_some_and(|s| tags.hold(s.etag, Comparison::Weak))
        }
        (Precondition::IfModifiedSince(since), Get) => {
            stored.is_none_or(|s| is_newer(s.modified_ms, *since))
        }
        (Precondition::Matching(_), _) => stored.is_some_and(|s| s.meets),
        (Precondition::IfModifiedSince(_), _) => {
            return Verdict::Refused(
                "IfModifiedSince is for reads only, since time cannot order writes; use IfMatch",
            );
        }
    };
    if holds { Verdict::Holds } else { Verdict::Fails }
}

/// Whether a write is newer than an instant, at the resolution at which the instant was given: an
/// HTTP date has whole seconds, and a write within that second was shown with the same date.
fn is_newer(modified_ms: u64, since: SystemTime) -> bool {
    let since_ms = millis(since);
    let whole_seconds =
        since.duration_since(UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() == 0);
    if whole_seconds { modified_ms / 1_000 > since_ms / 1_000 } else { modified_ms > since_ms }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    const TAG: ETag = ETag([1; 16]);
    const OTHER: ETag = ETag([2; 16]);

    fn verdict(verb: Verb, precondition: impl Into<Precondition>, present: bool) -> Verdict {
        let stored = present.then_some(Stored { etag: TAG, modified_ms: 1_000, meets: false });
        evaluate(verb, &precondition.into(), stored)
    }

    #[test]
    fn the_matrix_of_verbs_and_preconditions_is_as_written() {
        use Verb::{Check, Delete, Get, Patch, Replace, Upsert};
        use Verdict::{Fails, Holds};
        let refused = |v: Verdict| matches!(v, Verdict::Refused(_));
        for verb in [Get, Upsert, Replace, Patch, Delete, Check] {
            let p = |precondition: Precondition, present| verdict(verb, precondition, present);
            for present in [false, true] {
                let always = p(Precondition::Always, present);
                assert!(if verb == Check { refused(always) } else { always == Holds });
                assert_eq!(p(Precondition::if_match(OTHER), present), Fails);
                assert_eq!(p(Precondition::if_none_match(OTHER), present), Holds);
                let any = p(Precondition::if_none_match(Tags::Any), present);
                match verb {
                    Replace | Patch | Delete => assert!(refused(any)),
                    _ => assert_eq!(any, if present { Fails } else { Holds }),
                }
                let since = p(Precondition::if_modified_since(UNIX_EPOCH), present);
                assert!(if verb == Get { since == Holds } else { refused(since) });
            }
            assert_eq!(p(TAG.into(), true), Holds);
            assert_eq!(p(TAG.into(), false), Fails);
            assert_eq!(p(Precondition::if_match([OTHER, TAG]), true), Holds);
            assert_eq!(p(Precondition::if_match(Tags::List(vec![])), true), Fails);
            assert_eq!(p(Precondition::if_match(Tags::Any), true), Holds);
            assert_eq!(p(Precondition::if_match(Tags::Any), false), Fails);
            assert_eq!(p(Precondition::if_none_match([OTHER, TAG]), true), Fails);
            assert_eq!(p(Precondition::if_none_match(Tags::List(vec![])), true), Holds);
        }
    }

    #[test]
    fn a_filter_holds_for_a_present_item_whose_document_meets_it() {
        let matching = Precondition::matching(Filter::exists("/a"));
        let stored = |meets| Some(Stored { etag: TAG, modified_ms: 1, meets });
        for verb in [Verb::Get, Verb::Upsert, Verb::Replace, Verb::Patch, Verb::Delete, Verb::Check]
        {
            assert_eq!(evaluate(verb, &matching, stored(true)), Verdict::Holds);
            assert_eq!(evaluate(verb, &matching, stored(false)), Verdict::Fails);
            assert_eq!(evaluate(verb, &matching, None), Verdict::Fails);
        }
    }

    #[test]
    fn if_modified_since_is_not_met_by_the_same_millisecond() {
        let at = |ms| Precondition::if_modified_since(UNIX_EPOCH + Duration::from_millis(ms));
        assert_eq!(verdict(Verb::Get, at(999), true), Verdict::Holds);
        assert_eq!(verdict(Verb::Get, at(1_000), true), Verdict::Fails);
        assert_eq!(verdict(Verb::Get, at(1_001), true), Verdict::Fails);
    }

    /// Regression: compared by the millisecond, a date of whole seconds, which is all that HTTP can
    /// say, was older than nearly every write of its own second.
    #[test]
    fn if_modified_since_in_whole_seconds_is_met_by_the_next_second_only() {
        let verdict = |modified_ms, since_ms| {
            let stored = Some(Stored { etag: TAG, modified_ms, meets: false });
            let since = UNIX_EPOCH + Duration::from_millis(since_ms);
            evaluate(Verb::Get, &Precondition::if_modified_since(since), stored)
        };
        assert_eq!(verdict(5_999, 5_000), Verdict::Fails);
        assert_eq!(verdict(6_000, 5_000), Verdict::Holds);
        assert_eq!(verdict(5_999, 5_998), Verdict::Holds);
        assert_eq!(verdict(0, 0), Verdict::Fails);
        let before_1970 = Precondition::if_modified_since(UNIX_EPOCH - Duration::from_secs(1));
        let stored = Some(Stored { etag: TAG, modified_ms: 1, meets: false });
        assert_eq!(evaluate(Verb::Get, &before_1970, stored), Verdict::Holds);
    }

    /// Regression: a weak tag was left out of the list, so If-None-Match, which RFC 9110 §13.1.2
    /// compares weakly, held for the version that the tag names.
    #[test]
    fn weak_tags_match_for_if_none_match_and_never_for_if_match() {
        let weak: Tags = format!("W/{TAG}").parse().unwrap();
        let both: Tags = format!("W/{OTHER}, {TAG}").parse().unwrap();
        let unsaved: Tags = format!("W/{}", ETag::UNSAVED).parse().unwrap();
        for verb in [Verb::Get, Verb::Upsert, Verb::Replace, Verb::Patch, Verb::Delete, Verb::Check]
        {
            let none_match = |tags: &Tags| Precondition::if_none_match(tags.clone());
            assert_eq!(verdict(verb, none_match(&weak), true), Verdict::Fails);
            assert_eq!(verdict(verb, none_match(&both), true), Verdict::Fails);
            assert_eq!(verdict(verb, none_match(&unsaved), true), Verdict::Holds);
            assert_eq!(verdict(verb, Precondition::if_match(weak.clone()), true), Verdict::Fails);
            assert_eq!(verdict(verb, Precondition::if_match(both.clone()), true), Verdict::Holds);
        }
    }

    #[test]
    fn the_headers_of_a_request_are_one_precondition_or_refused() {
        let since = UNIX_EPOCH + Duration::from_secs(5);
        let (tag, other) = (TAG.to_string(), OTHER.to_string());
        let read = |m: Option<&str>, n: Option<&str>, s| Precondition::from_headers(m, n, s).ok();
        assert_eq!(read(None, None, None), Some(Precondition::Always));
        assert_eq!(read(Some("*"), None, None), Some(Precondition::if_match(Tags::Any)));
        assert_eq!(read(Some(&tag), None, None), Some(Precondition::if_match([TAG])));
        let none_match = Some(Precondition::if_none_match([OTHER]));
        assert_eq!(read(None, Some(&other), None), none_match);
        assert_eq!(read(None, Some(&other), Some(since)), none_match);
        let modified = Some(Precondition::if_modified_since(since));
        assert_eq!(read(None, None, Some(since)), modified);
        for (if_match, if_none_match, since) in [
            (Some("x"), None, None),
            (None, Some(""), None),
            (Some(&*tag), Some(&*other), None),
            (Some(&*tag), None, Some(since)),
        ] {
            assert_eq!(read(if_match, if_none_match, since), None);
        }
    }

    #[test]
    fn the_unsaved_tag_matches_nothing() {
        let stored = Some(Stored { etag: ETag::UNSAVED, modified_ms: 0, meets: false });
        let precondition = Precondition::if_match(ETag::UNSAVED);
        assert_eq!(evaluate(Verb::Replace, &precondition, stored), Verdict::Fails);
        let precondition = Precondition::if_match([ETag::UNSAVED]);
        assert_eq!(evaluate(Verb::Replace, &precondition, stored), Verdict::Fails);
    }

    #[test]
    fn header_lists_are_read_as_rfc_9110_says() {
        let tag = ETag([0xab; 16]);
        for (text, expected) in [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            (&*format!("{tag}"), Some([tag].into())),
            (&*format!(" {tag} ,\t{tag},"), Some([tag, tag].into())),
            (&*format!(",, {tag}"), Some([tag].into())),
            (&*format!("W/{tag}"), Some(Tags::Mixed { strong: vec![], weak: vec![tag] })),
            ("W/\"x\"", Some(Tags::List(vec![]))),
            ("\"a,b\", \"\"", Some(Tags::List(vec![]))),
            ("\"é\"", Some(Tags::List(vec![]))),
            ("", None),
            (" , ", None),
            ("*, \"a\"", None),
            ("\"a\" \"b\"", None),
            ("\"a", None),
            ("\"a b\"", None),
            ("w/\"a\"", None),
            ("W/", None),
            ("a", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }
}
