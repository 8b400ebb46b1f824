//! Attempts at a commit that are refused: what the caller gets.

use crate::engine::change::Change;
use crate::engine::operation::{Attempt, Current, Failed, Operation, Refusal};
use crate::engine::secondary::unique::Hindrance;
use crate::engine::{Engine, Version};
use crate::journal::poison::CommitFailure;
use crate::values::error::{Conflict, Error, Result};
use crate::values::item::{Item, Meta};

impl Engine {
    /// The outcome of an attempt that cannot change the secondary indexes: more is needed first, or
    /// it is refused.
    pub(super) fn hindered(
        &self,
        operations: &[Operation],
        changes: &[Change<'_>],
        hindrance: Hindrance,
    ) -> Result<Attempt, Failed> {
        let (at, error) = match hindrance {
            Hindrance::Locks => return Ok(Attempt::NeedsLocks),
            Hindrance::Unbuilt(index) => return Ok(Attempt::NeedsIndex(index)),
            Hindrance::Failed(error) => return Err(error.into()),
            Hindrance::Refused(at, error) => (at, error),
        };
        if matches!(error, Error::NotUnique { .. }) {
            self.counters.count_conflict();
        }
        let key = changes.get(at).map(Change::key);
        let index = operations.iter().rposition(|operation| Some(&operation.key) == key);
        Err(Failed { index, error })
    }

    /// Turns a refusal into the verb's error, and reads the current version that the error carries.
    pub(super) fn refuse(
        &self,
        operations: &[Operation],
        index: usize,
        refusal: Refusal,
    ) -> Result<Attempt, Failed> {
        let at = |error| Failed { index: Some(index), error };
        if matches!(refusal, Refusal::AlreadyExists(_) | Refusal::PreconditionFailed(_)) {
            self.counters.count_conflict();
        }
        #[expect(clippy::expect_used, reason = "`decide` counts the operations themselves")]
        let operation = operations.get(index).expect("an operation that was decided");
        let conflict = |current, status| self.conflict(operation, current, status).map_err(at);
        Err(at(match refusal {
            Refusal::NeedsPatch(base) => return Ok(Attempt::NeedsPatch { index, base }),
            Refusal::NotFound => Error::absent(&operation.key),
            Refusal::AlreadyExists(current) => Error::AlreadyExists(conflict(current, 409)?),
            Refusal::PreconditionFailed(current) => {
                Error::PreconditionFailed(conflict(current, 412)?)
            }
            Refusal::Error(error) => error,
        }))
    }

    /// The conflict of a refused operation, with the current version.
    pub(crate) fn conflict(
        &self,
        operation: &Operation,
        current: Current,
        http_status: u16,
    ) -> Result<Box<Conflict>> {
        let key = &operation.key;
        let current = match current {
            Current::Absent => None,
            Current::Stored(head) => {
                // If it is superseded by now, the newest version is read.
                let version = match self.version_of(key, &head)? {
                    Some(version) => Some(version),
                    None => self.read(key)?,
                };
                version.map(|Version { meta, value }| Item::stored(key.item_key(), value, meta))
            }
            Current::Pending(value) => {
                Some(Item::stored(key.item_key(), value.bytes, Meta::UNSAVED))
            }
        };
        let (collection, codec) = (key.collection(), operation.codec);
        Ok(Box::new(Conflict::new(collection, key.key(), codec, current, http_status)))
    }
}

pub(super) fn unknown(metas: &[Meta], failure: CommitFailure) -> Failed {
    let CommitFailure { source, cause } = failure;
    let meta = Box::new(metas.first().copied().unwrap_or(Meta::UNSAVED));
    Error::CommitUnknown { meta, source, cause }.into()
}
