//! What a verb asks of the commit path, and the answers.

mod decision;

pub(crate) use self::decision::{Current, KeyState, Refusal};

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::engine::secondary::Secondary;
use crate::values::Few;
use crate::values::codec::{CodecId, decode_json};
use crate::values::error::{CodecStep, Error, Result};
use crate::values::etag::{ETag, value_hash};
use crate::values::head::Head;
use crate::values::item::Meta;
use crate::values::key::ItemKey;
use crate::values::patch::Patch;
use crate::values::precondition::Precondition;
use crate::values::query::filter::Filter;

/// One conditional change, or check, of one item.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) key: ItemKey,
    pub(crate) codec: CodecId,
    pub(crate) precondition: Precondition,
    pub(crate) action: Action,
    /// The result of the precondition's filter, if it has one.
    pub(crate) judged: Option<Box<Judged>>,
    /// The count of dropped collections at which its collection was found recorded with this codec.
    pub(crate) recorded_at: Option<u64>,
}

/// Whether one particular version meets the filter of a precondition.
///
/// Like a patch, a filter is applied outside of every lock; under the lock only the version that it
/// was applied to is compared.
#[derive(Debug)]
pub(crate) struct Judged {
    base: BaseId,
    meets: Result<bool>,
}

#[derive(Debug)]
pub(crate) enum Action {
    Create(NewValue),
    Replace(NewValue),
    Upsert(NewValue),
    #[cfg_attr(not(feature = "json-patch"), expect(dead_code, reason = "nothing makes a patch"))]
    Patch(Box<PatchPlan>),
    Delete,
    Check,
    /// Removes the item if it is expired, and leaves it alone if it is not: the sweep's.
    Expire,
}

/// A value on its way into the store, hashed before any lock is taken.
#[derive(Debug, Clone)]
pub(crate) struct NewValue {
    pub(crate) bytes: Bytes,
    pub(crate) hash: [u8; 32],
    pub(crate) expiry: Expiry,
}

/// When a written version expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    /// When the version before it would have expired; without one, as [`Default`](Self::Default).
    Keep,
    /// After the collection's default time to live, if it records one.
    Default,
    /// This number of milliseconds after the commit.
    After(u64),
    /// At this instant, in milliseconds since 1970.
    At(u64),
}

impl NewValue {
    /// # Errors
    /// [`Error::TooLarge`] above 64 MiB.
    pub(crate) fn new(bytes: Bytes, expiry: Expiry) -> Result<Self> {
        let limit = crate::values::limits::MAX_VALUE_BYTES;
        if bytes.len() > limit {
            let (actual, limit) = (bytes.len() as u64, limit as u64);
            return Err(Error::TooLarge { what: "value", unit: "bytes", actual, limit });
        }
        let hash = value_hash(&bytes);
        Ok(Self { bytes, hash, expiry })
    }
}

/// Decodes a patched document as its collection's type.
pub(crate) type Check<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A patch, and its result for one particular version.
///
/// Applying a patch reads and parses a document and runs the type's own decoding, so it is done
/// outside of every lock; under the lock only the version that it was applied to is compared.
#[derive(Debug)]
pub(crate) struct PatchPlan {
    pub(crate) patch: Arc<Patch>,
    /// Decodes the patched document as the collection's type.
    pub(crate) check: fn(&[u8]) -> Result<()>,
    pub(crate) expiry: Expiry,
    pub(crate) computed: Option<(BaseId, Result<NewValue>)>,
}

/// Names the version that a patch was applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseId {
    Stored(ETag),
    /// A value that an earlier operation of the same batch wrote.
    Pending([u8; 32]),
}

/// The version that a patch has to be applied to.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    Stored(Head),
    Pending(NewValue),
}

impl Base {
    pub(crate) fn id(&self) -> BaseId {
        match self {
            Self::Stored(head) => BaseId::Stored(head.etag),
            Self::Pending(value) => BaseId::Pending(value.hash),
        }
    }
}

impl Operation {
    pub(crate) fn new(
        key: ItemKey,
        codec: CodecId,
        precondition: Precondition,
        action: Action,
    ) -> Self {
        Self { key, codec, precondition, action, judged: None, recorded_at: None }
    }

    /// Whether its precondition has to be compared with a document.
    pub(crate) fn has_filter(&self) -> bool {
        matches!(self.precondition, Precondition::Matching(_))
    }

    /// Whether the filter was applied to this version.
    pub(crate) fn is_judged(&self, base: BaseId) -> bool {
        !self.has_filter() || self.judged.as_ref().is_some_and(|judged| judged.base == base)
    }

    /// Applies the precondition's filter to a version's bytes, and keeps the result.
    pub(crate) fn judge(&mut self, base: BaseId, bytes: &[u8]) {
        let Precondition::Matching(filter) = &self.precondition else { return };
        let meets = meets(filter, bytes);
        let (collection, key) = (self.key.collection(), self.key.key_bytes());
        let meets = meets.map_err(|error| error.with_item(collection, key));
        self.judged = Some(Box::new(Judged { base, meets }));
    }

    /// The value that it writes.
    pub(crate) fn value_mut(&mut self) -> Option<&mut NewValue> {
        match &mut self.action {
            Action::Create(value) | Action::Replace(value) | Action::Upsert(value) => Some(value),
            Action::Patch(_) | Action::Delete | Action::Check | Action::Expire => None,
        }
    }

    /// What the operation counts against a batch's limit: its key and, where it has one, value.
    pub(crate) fn len_bytes(&self) -> u64 {
        let value = match &self.action {
            Action::Create(value) | Action::Replace(value) | Action::Upsert(value) => {
                value.bytes.len()
            }
            Action::Patch(_) | Action::Delete | Action::Check | Action::Expire => 0,
        };
        (self.key.key_bytes().len() + value) as u64
    }
}

impl PatchPlan {
    /// Whether the patch could not be applied to the version it was last applied to.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.computed, Some((_, Err(_))))
    }

    /// Applies the patch to a version's bytes, and keeps the result. `check` decodes the patched
    /// document.
    pub(crate) fn compute(
        &mut self,
        key: &ItemKey,
        base: BaseId,
        bytes: &[u8],
        check: &mut Check<'_>,
    ) {
        // A type may refuse what a splice leaves as it was; a patch of the whole document may mend
        // it.
        let spliced = self.patch.spliced(bytes).filter(|patched| check(patched).is_ok());
        let patched = spliced.map_or_else(
            || {
                let patched = self.patch.apply_to_bytes(bytes)?;
                check(&patched)?;
                Ok(patched)
            },
            Ok,
        );
        let value = patched.and_then(|patched| NewValue::new(patched.into(), self.expiry));
        let named =
            value.map_err(|error: Error| error.with_item(key.collection(), key.key_bytes()));
        self.computed = Some((base, named));
    }
}

/// Whether a document, as it is stored, meets a filter.
pub(crate) fn meets(filter: &Filter, json: &[u8]) -> Result<bool> {
    let document = decode_json::<Value>(json, CodecStep::Decode)?;
    filter.matches(&document).map_err(Error::from)
}

/// The outcome of one attempt at a commit.
#[derive(Debug)]
pub(crate) enum Attempt {
    Done(Committed),
    /// A filter or patch has to be applied to this version, outside of the locks, and the attempt
    /// repeated.
    NeedsPatch {
        index: usize,
        base: Base,
    },
    /// More has to be locked, and perhaps swept, before it is known whether values are unique.
    NeedsLocks,
    /// A unique index has to be built first: without its rows that is not known.
    NeedsIndex(Arc<Secondary>),
}

/// What a commit wrote.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) revision: u64,
    /// The versions written, in the order in which the operations first touched their keys.
    pub(crate) metas: Few<Meta>,
    /// The keys of these versions, where there were several operations.
    pub(crate) keys: Vec<ItemKey>,
    /// Whether the journal should be synced soon, see
    /// [`Appended`](crate::journal::append::Appended).
    pub(crate) is_seal_near: bool,
}

/// Why a commit was refused or failed, and at which operation, where it was one.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) index: Option<usize>,
    pub(crate) error: Error,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { index: None, error }
    }
}
