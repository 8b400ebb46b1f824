//! Whether an operation is allowed, and how it changes its item.

use crate::engine::operation::{Action, Base, Expiry, NewValue, Operation, PatchPlan};
use crate::values::error::{Error, Result};
use crate::values::etag::ETag;
use crate::values::head::Head;
use crate::values::key::ItemKey;
use crate::values::precondition::{Precondition, Stored, Tags, Verb, Verdict, evaluate};

/// An item as the operations of one commit see it, one after another.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) key: ItemKey,
    /// The index's head before the commit, tombstones and expired items included.
    pub(crate) before: Option<Head>,
    pub(crate) current: Current,
    /// Whether an earlier operation of the commit has changed it.
    pub(crate) touched: bool,
    /// Whether the commit removes it because it is expired.
    pub(crate) swept: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Current {
    Absent,
    Stored(Head),
    Pending(NewValue),
}

impl Current {
    /// The version as preconditions see it. A pending one has no tag yet: it matches none.
    fn stored(&self, meets: bool) -> Option<Stored> {
        let (etag, modified_ms) = match self {
            Self::Absent => return None,
            Self::Stored(head) => (head.etag, head.modified_ms),
            Self::Pending(_) => (ETag::UNSAVED, 0),
        };
        Some(Stored { etag, modified_ms, meets })
    }

    fn base(&self) -> Option<Base> {
        match self {
            Self::Absent => None,
            Self::Stored(head) => Some(Base::Stored(*head)),
            Self::Pending(value) => Some(Base::Pending(value.clone())),
        }
    }
}

impl From<Base> for Current {
    fn from(base: Base) -> Self {
        match base {
            Base::Stored(head) => Self::Stored(head),
            Base::Pending(value) => Self::Pending(value),
        }
    }
}

/// Why an operation is refused; the current version is read after the locks are released.
#[derive(Debug)]
pub(crate) enum Refusal {
    NotFound,
    AlreadyExists(Current),
    PreconditionFailed(Current),
    /// The precondition's filter, or the patch, has to be applied to this version first.
    NeedsPatch(Base),
    Error(Error),
}

impl KeyState {
    /// An item of this head before any operation has changed it.
    pub(crate) fn new(key: &ItemKey, before: Option<Head>, now_ms: u64) -> Self {
        let live = before.filter(|head| head.is_live(now_ms));
        let current = live.map_or(Current::Absent, Current::Stored);
        Self { key: key.clone(), before, current, touched: false, swept: false }
    }

    /// Decides one operation against this item and, if it is allowed, changes the item.
    pub(crate) fn decide(&mut self, operation: &mut Operation) -> Result<(), Refusal> {
        let verb = match &operation.action {
            Action::Create(_) | Action::Upsert(_) => Verb::Upsert,
            Action::Replace(_) => Verb::Replace,
            Action::Patch(_) => Verb::Patch,
            Action::Delete => Verb::Delete,
            Action::Check => Verb::Check,
            Action::Expire => {
                self.sweep();
                return Ok(());
            }
        };
        let invalid = |reason| Refusal::Error(Error::InvalidPrecondition { reason });
        if self.touched && names_tags(&operation.precondition) {
            return Err(invalid(
                "an earlier operation of the batch writes this item, so its tag is not known before the \
                 commit; demand Tags::Any, or put the precondition on the earlier operation",
            ));
        }
        let stored = self.current.stored(self.meets(operation)?);
        let verdict = evaluate(verb, &operation.precondition, stored);
        if let Verdict::Refused(reason) = verdict {
            return Err(invalid(reason));
        }
        let needs_item = matches!(verb, Verb::Replace | Verb::Patch | Verb::Delete);
        if needs_item && stored.is_none() {
            return Err(Refusal::NotFound);
        }
        if verdict == Verdict::Fails {
            let current = self.current.clone();
            return Err(match &operation.action {
                Action::Create(_) => Refusal::AlreadyExists(current),
                _ => Refusal::PreconditionFailed(current),
            });
        }
        let next = match &mut operation.action {
            Action::Create(value) | Action::Replace(value) | Action::Upsert(value) => {
                self.pending(value.clone())
            }
            Action::Patch(plan) => self.pending(self.patched(plan)?),
            Action::Delete => Current::Absent,
            Action::Check | Action::Expire => return Ok(()),
        };
        self.current = next;
        self.touched = true;
        Ok(())
    }

    /// Whether the item's document meets the operation's filter; false where there is none.
    fn meets(&self, operation: &mut Operation) -> Result<bool, Refusal> {
        let Some(base) = self.current.base().filter(|_| operation.has_filter()) else {
            return Ok(false);
        };
        let judged = operation.judged.take().filter(|judged| judged.base == base.id());
        let Some(judged) = judged else { return Err(Refusal::NeedsPatch(base)) };
        if let Ok(meets) = judged.meets {
            operation.judged = Some(judged);
            return Ok(meets);
        }
        judged.meets.map_err(Refusal::Error)
    }

    /// The item as removed, whatever it was.
    pub(in crate::engine) fn removed(self) -> Self {
        Self { current: Current::Absent, touched: true, ..self }
    }

    /// Removes the item if it is expired: its head is not a tombstone, and yet it is absent. A
    /// sweep does nothing else to its items in the same commit.
    pub(in crate::engine) fn sweep(&mut self) {
        let stored = self.before.is_some_and(|head| !head.deleted);
        self.swept = stored && matches!(self.current, Current::Absent);
        self.touched |= self.swept;
    }

    /// The item with this value. `Expiry::Keep` takes over the expiry of a value that the same
    /// commit wrote, and becomes the default after a removal in the same commit; otherwise it keeps
    /// the stored version's.
    fn pending(&self, value: NewValue) -> Current {
        let expiry = match (&self.current, value.expiry) {
            (Current::Pending(before), Expiry::Keep) => before.expiry,
            (Current::Absent, Expiry::Keep) => Expiry::Default,
            (_, expiry) => expiry,
        };
        Current::Pending(NewValue { expiry, ..value })
    }

    fn patched(&self, plan: &mut PatchPlan) -> Result<NewValue, Refusal> {
        let Some(base) = self.current.base() else { return Err(Refusal::NotFound) };
        match plan.computed.take() {
            Some((id, Ok(value))) if id == base.id() => {
                plan.computed = Some((id, Ok(value.clone())));
                Ok(value)
            }
            Some((id, Err(error))) if id == base.id() => Err(Refusal::Error(error)),
            _ => Err(Refusal::NeedsPatch(base)),
        }
    }
}

fn names_tags(precondition: &Precondition) -> bool {
    match precondition {
        Precondition::IfMatch(tags) | Precondition::IfNoneMatch(tags) => *tags != Tags::Any,
        Precondition::Always | Precondition::IfModifiedSince(_) | Precondition::Matching(_) => {
            false
        }
    }
}
