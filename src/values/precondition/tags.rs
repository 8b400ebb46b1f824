//! The entity tags that a precondition names, and their form in HTTP headers.

use std::str::FromStr;

use crate::values::etag::ETag;

/// The tags of a precondition: any tag, or a list of tags.
///
/// [`FromStr`] reads the value of an HTTP `If-Match` or `If-None-Match` header. Tags of another
/// form than [`ETag`]'s are legal there but match nothing, so they are left out. If no other tag is
/// in the list, the result is an empty list, which matches nothing either.
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
    /// A list with weak tags in it, which a cache or proxy makes from strong ones. `IfNoneMatch`
    /// treats the weak ones like the strong ones, and `IfMatch` ignores them.
    Mixed {
        /// The tags that were given as they are.
        strong: Vec<ETag>,
        /// The tags that were given as `W/"…"`.
        weak: Vec<ETag>,
    },
}

/// How two entity tags are compared: RFC 9110 §8.8.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Strong,
    Weak,
}

impl Tags {
    /// Whether the stored tag, which is a strong one, is among these.
    pub(super) fn hold(&self, stored: ETag, comparison: Comparison) -> bool {
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
