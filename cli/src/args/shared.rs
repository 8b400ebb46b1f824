//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueHint};
use ifmatch::{HistoryPolicy, Options, Precondition};
use jiff::{SignedDuration, Timestamp};

use crate::documents::{Expiry, Form, Span};
use crate::failure::{Failure, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Whole {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
}

/// Which document.
#[derive(Debug, Args)]
pub(crate) struct Document {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// The document's key
    key: String,
    /// KEY is hexadecimal
    #[arg(long)]
    hex_key: bool,
}

impl Document {
    pub(crate) fn key(&self) -> Outcome<Vec<u8>> {
        key_bytes(&self.key, self.hex_key)
    }
}

fn key_bytes(key: &str, is_hex: bool) -> Outcome<Vec<u8>> {
    if !is_hex {
        return Ok(key.into());
    }
    hex::decode(key).map_err(|error| Failure::Usage(format!("{key:?} is not hexadecimal: {error}")))
}

/// What must hold of the stored version.
#[derive(Debug, Args)]
pub(crate) struct Condition {
    /// Only if the stored version has one of these tags; with * only if there is one
    #[arg(long, value_name = "TAGS", conflicts_with = "if_none_match")]
    if_match: Option<String>,
    /// Only if the stored version has none of these tags; with * only if there is none
    #[arg(long, value_name = "TAGS")]
    if_none_match: Option<String>,
}

impl Condition {
    pub(crate) fn precondition(&self) -> Outcome<Precondition> {
        let (is, is_not) = (self.if_match.as_deref(), self.if_none_match.as_deref());
        Precondition::from_headers(is, is_not, None).map_err(|error| {
            let hint = "a tag is written with its quotes, as '\"0123…\"'";
            Failure::Usage(format!("{error}; {hint}"))
        })
    }
}

/// When a write expires.
#[derive(Debug, Args)]
pub(crate) struct Expires {
    /// Let the document expire after this time, such as 90s or "1h 30m"
    #[arg(long, value_name = "TIME", conflicts_with_all = ["expires", "keep"])]
    ttl: Option<SignedDuration>,
    /// Let the document expire at this instant, such as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "INSTANT", conflicts_with = "keep")]
    expires: Option<Timestamp>,
    /// Let the document never expire
    #[arg(long)]
    keep: bool,
}

impl Expires {
    pub(crate) fn expiry(&self) -> Outcome<Expiry> {
        let instant = match (self.ttl, self.expires) {
            (Some(ttl), _) => Some(Timestamp::now().checked_add(ttl).map_err(|error| {
                Failure::Usage(format!("the time to live cannot be counted: {error}"))
            })?),
            (None, expires) => expires,
        };
        Ok(match instant {
            Some(instant) => Expiry::At(SystemTime::try_from(instant).map_err(|error| {
                Failure::Usage(format!("the instant is out of range: {error}"))
            })?),
            None if self.keep => Expiry::Never,
            None => Expiry::AsItIs,
        })
    }
}

/// A value, and the form of a collection that is not there yet.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// The document, or - to read it from standard input
    pub(crate) value: String,
    /// The value is hexadecimal
    #[arg(long)]
    pub(crate) hex: bool,
    /// The codec of the collection, if this write creates it
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub(crate) codec: Form,
}

/// What the store keeps of the past.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// From now on, keep this many superseded versions of each document
    #[arg(long, value_name = "COUNT")]
    versions: Option<u32>,
    /// Remember removals for this time, 30 days by default
    #[arg(long, value_name = "TIME", requires = "versions")]
    removals: Option<SignedDuration>,
}

impl Policy {
    /// The defaults with this policy; a store that has one keeps it where none is named.
    pub(crate) fn options(&self) -> Outcome<Options> {
        let Some(versions) = self.versions else { return Ok(Options::new()) };
        let policy = HistoryPolicy::new().versions(versions);
        let policy = match self.removals {
            None => policy,
            Some(time) => policy.tombstones(time.try_into().map_err(|_| {
                Failure::Usage("removals cannot be remembered for less than no time".to_owned())
            })?),
        };
        Ok(Options::new().history(policy))
    }
}

/// Which keys.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// Only this key and those after it
    #[arg(long)]
    from: Option<String>,
    /// Only keys before this one
    #[arg(long)]
    to: Option<String>,
    /// The keys above are hexadecimal
    #[arg(long)]
    hex_key: bool,
    /// Begin with the last key
    #[arg(long)]
    pub(crate) reverse: bool,
    /// At most this many documents
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
}

impl Keys {
    /// Whether no key is left out but for the limit.
    pub(crate) fn is_all(&self) -> bool {
        self.prefix.is_none() && self.from.is_none() && self.to.is_none()
    }

    pub(crate) fn span(&self) -> Outcome<Span> {
        use std::ops::Bound::{Excluded, Included, Unbounded};

        let bytes =
            |key: &Option<String>| key.as_ref().map(|key| key_bytes(key, self.hex_key)).transpose();
        if let Some(prefix) = bytes(&self.prefix)? {
            return Ok(Span::Prefix(prefix));
        }
        let from = bytes(&self.from)?.map_or(Unbounded, Included);
        Ok(Span::Range(from, bytes(&self.to)?.map_or(Unbounded, Excluded)))
    }
}
