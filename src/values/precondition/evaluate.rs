//! The one evaluation of a precondition.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Precondition;
use super::tags::{Comparison, Tags};
use crate::seams::clock::millis;
use crate::values::etag::ETag;
use crate::values::item::Meta;

/// The properties of the stored version that an evaluation uses; absent and expired items have
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) etag: ETag,
    pub(crate) modified_ms: u64,
    /// Whether its document meets the precondition's filter, if it has one.
    pub(crate) meets: bool,
}

impl From<&Meta> for Stored {
    fn from(meta: &Meta) -> Self {
        Self { etag: meta.etag(), modified_ms: meta.modified_ms, meets: false }
    }
}

/// The verbs that preconditions distinguish.
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

/// The result of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The precondition holds.
    Holds,
    /// It fails: 412, or 304 for a read with `IfNoneMatch` or `IfModifiedSince`.
    Fails,
    /// This verb does not accept this precondition.
    Refused(&'static str),
}

/// Decides a precondition: the only place where one is evaluated.
///
/// `stored` is the current version, `None` when absent or expired. Unless the pair is refused, the
/// verb decides what an absent item means: `replace` returns `NotFound`, whatever is decided here.
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

/// Whether a write is newer than an instant, at the instant's resolution: an HTTP date has whole
/// seconds, and a write within that second was shown with the same date.
fn is_newer(modified_ms: u64, since: SystemTime) -> bool {
    let since_ms = millis(since);
    let whole_seconds =
        since.duration_since(UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() == 0);
    if whole_seconds { modified_ms / 1_000 > since_ms / 1_000 } else { modified_ms > since_ms }
}
