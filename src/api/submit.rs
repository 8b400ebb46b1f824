//! From a verb to its commit: patches, and the filters of preconditions, are applied first, outside
//! of every lock, and again if another writer has changed the document since.

use std::collections::HashMap;
use std::time::Duration;

use crate::api::building::build_lost;
use crate::api::own_writes;
use crate::api::store::Store;
use crate::engine::compaction::{work_off_backlog, write_delay_us};
use crate::engine::operation::{
    Action, Attempt, Base, BaseId, Check, Committed, Failed, KeyState, Operation, Refusal,
};
use crate::engine::{ClearedItems, Clearing, Engine};
use crate::values::Few;
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::key::ItemKey;
use crate::values::retry::RetryPolicy;

/// How often one commit builds unique indexes that were lost.
const MAX_BUILDS: u32 = 8;
/// How long a write that finds the disk full waits for a compaction.
const LONGEST_WAIT_FOR_SPACE: Duration = Duration::from_secs(5);
/// How often a write tries again when the index was freed, and how long it waits between two tries.
const CLOSING_LOOKS: u32 = 10;
const CLOSING_LOOK: Duration = Duration::from_millis(10);

/// Decides the operations in order and applies all of them, or none. Only a patch or filter whose
/// document was changed in the meantime is tried again, as often as the policy allows.
///
/// `check` decodes patched documents in the place of the operations' own check. Its last call was
/// with the document that was committed.
pub(crate) fn commit(
    store: &Store,
    operations: &mut [Operation],
    retry: &RetryPolicy,
    mut check: Option<&mut Check<'_>>,
) -> Result<Committed, Failed> {
    let patches = operations.iter().any(|o| matches!(o.action, Action::Patch(_)) || o.has_filter());
    // What is neither patched nor filtered loses no race, and needs no clock.
    let (mut attempts, mut builds) = (patches.then(|| retry.start()), 0);
    loop {
        if patches {
            apply_patches(store, operations, check.as_deref_mut())?;
        }
        let attempt = with_space(store, |engine| engine.commit(operations))?;
        let (index, base) = match attempt {
            Attempt::NeedsLocks => continue,
            Attempt::NeedsIndex(index) => {
                builds += 1;
                if builds > MAX_BUILDS {
                    let reason = "a unique index is lost as often as it is built; try again";
                    return Err(Error::IndexUnavailable(IndexFailure::new(reason)).into());
                }
                build_lost(store, &index)?;
                continue;
            }
            Attempt::Done(committed) => {
                if !committed.metas.is_empty() {
                    own_writes::note(&committed.metas);
                    help_upkeep(store, committed.is_seal_near);
                }
                return Ok(committed);
            }
            Attempt::NeedsPatch { index, base } => (index, base),
        };
        let attempts = attempts.get_or_insert_with(|| retry.start());
        let Err(exhausted) = attempts.lost() else { continue };
        let at = |error| Failed { index: Some(index), error };
        let unknown =
            Error::Internal { what: "a commit refused an operation that it does not have" };
        let operation = operations.get(index).ok_or(unknown)?;
        let current = store.engine()?.conflict(operation, base.into(), 409).map_err(at)?;
        let (attempts, elapsed) = (exhausted.attempts, exhausted.elapsed);
        return Err(at(Error::Contended { attempts, elapsed, current }));
    }
}

/// Removes every item of a collection.
pub(crate) fn clear(store: &Store, collection: &str, clearing: Clearing) -> Result<ClearedItems> {
    let cleared = write(store, |engine| engine.clear(collection, clearing))?;
    if cleared.written {
        help_upkeep(store, false);
    }
    Ok(cleared)
}

/// Writes something other than operations on items, and waits for space as [`commit`] does.
pub(crate) fn write<T>(store: &Store, mut write: impl FnMut(&Engine) -> Result<T>) -> Result<T> {
    with_space(store, |engine| Ok(write(engine)?)).map_err(|failed| failed.error)
}

/// Writes. If that finds the disk full, waits for a compaction that is under way, and writes again
/// while nobody compacts: during a compaction the old segments and their copy take space, or
/// compaction uses all that is set aside. If that is not enough, gives up a bloated index on disk,
/// and writes again. No part of the store is held during the wait.
fn with_space<T>(
    store: &Store,
    mut write: impl FnMut(&Engine) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let written = write(&*store.engine()?);
    if !found_no_space(&written) {
        return written;
    }
    match store.shared().maintenance_within(LONGEST_WAIT_FOR_SPACE) {
        Some(maintenance) => {
            let engine = maintenance.engine()?;
            // A checkpoint may replace it before it is looked at again.
            let was_bloated = engine.index.is_bloated();
            engine.journal.remove_dropped();
            let mut written = write(&engine);
            if found_no_space(&written) && (engine.frees_bloated_index() || was_bloated) {
                drop(engine);
                // The index's space is free once the last thread that uses it is done.
                for _ in 0..CLOSING_LOOKS {
                    written = write(&*maintenance.engine()?);
                    if !found_no_space(&written) {
                        break;
                    }
                    std::thread::sleep(CLOSING_LOOK);
                }
            }
            written
        }
        None => written,
    }
}

fn found_no_space<T>(written: &Result<T, Failed>) -> bool {
    matches!(written, Err(failed) if failed.error.is_full_disk())
}

/// What a writer does for upkeep after its commit: reports the commit, works off the backlog of
/// earlier sessions, and waits for compaction to keep up. A failure in here does not fail the
/// commit.
fn help_upkeep(store: &Store, is_seal_near: bool) {
    let background = store.background();
    background.note_commit();
    if is_seal_near
        && !background.prepare_seal()
        && let Ok(engine) = store.engine()
    {
        engine.journal.prepare_segment();
    }
    if background.take_backlog()
        && let Err(error) = work_off_backlog(store.shared())
    {
        log::warn!(
            "the maintenance backlog of earlier sessions could not be worked off and is left to \
             the store's upkeep: {error}"
        );
    }
    let delay_us = || store.engine().map_or(0, |engine| write_delay_us(&engine));
    background.wait_for_compaction(delay_us);
}

/// Applies each filter and patch to what its document probably is when the commit decides: the
/// stored version, as the operations before it leave it. Each is applied once, unless its document
/// has changed since. Stops at an operation that would be refused; the commit decides again.
///
/// The document's type decodes itself in here, which is user code: the store is held only for the
/// reads.
fn apply_patches(
    store: &Store,
    operations: &mut [Operation],
    mut check: Option<&mut Check<'_>>,
) -> Result<(), Failed> {
    let mut states: Few<KeyState> = Few::new();
    let mut index_of: HashMap<ItemKey, usize> = HashMap::new();
    let several = operations.len() > 1;
    for (index, operation) in operations.iter_mut().enumerate() {
        let at = |error| Failed { index: Some(index), error };
        let known = if several { index_of.get(&operation.key).copied() } else { None };
        let place = known.unwrap_or(states.len());
        if known.is_none() {
            let engine = store.engine()?;
            let now_ms = engine.clock.now_ms();
            states.push(engine.state_of(&operation.key, now_ms).map_err(at)?);
            if several {
                index_of.insert(operation.key.clone(), place);
            }
        }
        #[expect(clippy::expect_used, reason = "`place` is known, or was pushed just now")]
        let state = states.get_mut(place).expect("each key has a state");
        let base = match state.decide(operation) {
            Ok(()) => continue,
            Err(Refusal::NeedsPatch(base)) => base,
            Err(_) => return Ok(()),
        };
        let bytes = match &base {
            Base::Stored(head) => {
                let version = store.engine()?.version_of(&operation.key, head).map_err(at)?;
                // Superseded since: the commit will ask for the newer version.
                let Some(version) = version else { return Ok(()) };
                version.value
            }
            Base::Pending(value) => value.bytes.clone(),
        };
        let check = check.as_deref_mut();
        if !apply_to(operation, state, base.id(), &bytes, check).map_err(at)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Applies the filter of an operation to a version and, if that holds, the patch; returns whether
/// the operation is allowed then.
fn apply_to(
    operation: &mut Operation,
    state: &mut KeyState,
    base: BaseId,
    bytes: &[u8],
    check: Option<&mut Check<'_>>,
) -> Result<bool> {
    if !operation.is_judged(base) {
        operation.judge(base, bytes);
        match state.decide(operation) {
            Ok(()) => return Ok(true),
            Err(Refusal::NeedsPatch(_)) => {}
            Err(_) => return Ok(false),
        }
    }
    let Action::Patch(plan) = &mut operation.action else {
        return Err(Error::Internal { what: "an operation without a patch asked for one" });
    };
    let mut own = plan.check;
    plan.compute(&operation.key, base, bytes, check.unwrap_or(&mut own));
    Ok(!plan.has_failed() && state.decide(operation).is_ok())
}
