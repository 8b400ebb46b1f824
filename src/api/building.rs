//! Building indexes and checking unique ones, with the engine held for one step at a time.

use crate::api::collection::IndexProgress;
use crate::api::store::Store;
use crate::api::submit;
use crate::engine::Secondary;
use crate::values::error::Result;

/// Builds an index that is not built, and reports how far that has come. The caller holds the lock
/// of builds.
pub(crate) fn build(
    store: &Store,
    collection: &str,
    name: &str,
    on_progress: &mut dyn FnMut(IndexProgress),
) -> Result<()> {
    let Some(mut build) = store.engine()?.begin_build(collection, name) else { return Ok(()) };
    loop {
        let goes_on = store.engine()?.build_step(&mut build)?;
        let done_items = build.done_items();
        // Writers add and remove items during the build.
        let there = store.engine()?.item_count(collection);
        let total_items = if goes_on { there.max(done_items) } else { done_items };
        on_progress(IndexProgress { done_items, total_items });
        if !goes_on {
            break;
        }
    }
    store.engine()?.checkpoint_or_put_off("an index that was built is built again after a crash")
}

/// Builds a unique index that was lost, for a writer that needs it; or waits for another thread
/// that does.
pub(crate) fn build_lost(store: &Store, index: &Secondary) -> Result<()> {
    let _only = store.shared().building.lock();
    build(store, &index.collection, &index.definition.name(), &mut |_| {})
}

/// Compares the items of a new unique index with each other. The caller holds the lock of builds.
pub(crate) fn check_unique(store: &Store, collection: &str, name: &str) -> Result<()> {
    let Some(mut rivals) = store.engine()?.begin_check(collection, name)? else { return Ok(()) };
    while submit::write(store, |engine| engine.compare_some(&mut rivals))? {}
    submit::write(store, |engine| engine.bind_unique(&rivals))
}
