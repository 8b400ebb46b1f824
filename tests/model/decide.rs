//! The one place of the model where a verb and its precondition meet an item.

use ifmatch::ETag;

use super::{Action, Failure, New, Seen, Value, Want, patch};

/// Semantics, "Preconditions" and "Verb × state": `None` where nothing is written, otherwise the
/// value that the verb leaves, or that it leaves none.
pub(super) fn decide(
    action: &Action,
    want: &Want,
    current: Option<Seen>,
) -> Result<Option<Option<New>>, Failure> {
    let needs_item = matches!(action, Action::Replace(_) | Action::Patch(..) | Action::Delete);
    let takes = match want {
        _ if matches!(action, Action::Create(_)) => true,
        Want::Always => !matches!(action, Action::Check),
        Want::NoneMatchAny => !needs_item,
        Want::ModifiedSince(_) => false,
        Want::Match(_) | Want::MatchAny | Want::NoneMatch(_) => true,
    };
    match (action, current) {
        _ if !takes => Err(Failure::InvalidPrecondition),
        (Action::Create(new), None) => Ok(Some(Some(new.clone()))),
        (Action::Create(_), Some(current)) => Err(Failure::AlreadyExists(current)),
        (_, None) if needs_item => Err(Failure::NotFound),
        (_, None) if matches!(want, Want::Match(_) | Want::MatchAny) => {
            Err(Failure::PreconditionFailed(None))
        }
        (_, Some(current)) if !holds(want, &current) => {
            Err(Failure::PreconditionFailed(Some(current)))
        }
        (Action::Upsert(new) | Action::Replace(new), _) => Ok(Some(Some(new.clone()))),
        (Action::Delete, _) => Ok(Some(None)),
        (Action::Patch(steps, expires), Some(Seen { value: Value::Document(document), .. })) => {
            let patched = patch::apply(steps, &document).map_err(Failure::Patch)?;
            let fits = patch::is_document(&patched);
            let new = New { value: Value::Document(patched), expires: *expires };
            if fits { Ok(Some(Some(new))) } else { Err(Failure::Codec) }
        }
        (Action::Patch(..), _) => unreachable!("only documents are patched"),
        (Action::Check, _) => Ok(None),
    }
}

/// Whether a precondition holds for an item that is there.
fn holds(want: &Want, current: &Seen) -> bool {
    let is_one_of = |tags: &[ETag]| current.meta.is_some_and(|meta| tags.contains(&meta.etag()));
    match want {
        Want::Always | Want::MatchAny => true,
        Want::Match(tags) => is_one_of(tags),
        Want::NoneMatch(tags) => !is_one_of(tags),
        Want::NoneMatchAny => false,
        Want::ModifiedSince(_) => unreachable!("no verb that writes takes it"),
    }
}
