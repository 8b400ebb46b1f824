//! Compaction on a full disk: with the space that is set aside, segment by segment.

use std::collections::HashSet;

use crate::engine::Engine;
use crate::engine::compaction::{Compaction, compact_range, plan, retire};
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::journal::manifest::SegmentRecord;
use crate::values::error::{Error, Result};

/// Rewrites one segment after the other, of each time the one of which least is kept, and frees it
/// before the next. Then merges small neighbours that are many. What is set aside has room for any
/// one segment. Where that is not enough, because it was used up or something else takes space, the
/// index on disk goes as well. Whether any space was freed: there may be nothing dead.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when there is no space even so, and none was freed.
pub(super) fn compact(
    maintenance: &MaintenanceGuard<'_>,
    met: &Error,
    done: &mut Compaction,
) -> Result<bool> {
    log::warn!("compaction uses the space that is set aside, since the disk is full: {met}");
    let lent = {
        let engine = maintenance.engine()?;
        let lent = engine.journal.lend_reserve();
        // What was removed last lies in the segment that is written to.
        engine.journal.seal_if_dead()?;
        lent
    };
    let (mut tried, mut refusal) = (HashSet::new(), None);
    let (mut has_all, mut freed, mut has_more) = (false, false, false);
    loop {
        let tried_before = tried.len();
        match compact_one(maintenance, &mut tried, done) {
            Ok(true) => (freed, has_more) = (true, true),
            Ok(false) if refusal.is_none() => {
                return Ok(freed || maintenance.engine()?.free_index()?);
            }
            // There is space now that was not there when some were refused.
            Ok(false) if has_more => (has_more, refusal) = (false, None),
            Ok(false) => return refusal.filter(|_| !freed).map_or(Ok(true), Err),
            Err(error) if error.is_full_disk() => {
                if !maintenance.engine()?.free_index()? {
                    if has_all && tried.len() == tried_before {
                        return if freed { Ok(true) } else { Err(error) };
                    }
                    if has_all {
                        // Of another less may have to be written than this one seemed to keep.
                        refusal = Some(error);
                        continue;
                    }
                    lent.take_rest();
                    has_all = true;
                }
            }
            Err(error) => return Err(error),
        }
        if refusal.is_none() {
            tried.clear();
        }
    }
}

/// The segment of which least is kept. If none gives back enough: small ones that this has left, which
/// would become ever more.
fn next_run(engine: &Engine, tried: &HashSet<u32>) -> Option<Vec<SegmentRecord>> {
    let one = plan::least_kept(engine, tried).map(|record| vec![record]);
    one.or_else(|| plan::many_small(engine, tried))
}

/// Rewrites the next segment, or small ones as one, and frees them; whether there were any.
fn compact_one(
    maintenance: &MaintenanceGuard<'_>,
    tried: &mut HashSet<u32>,
    done: &mut Compaction,
) -> Result<bool> {
    // What a checkpoint does not cover is not compacted.
    maintenance.engine()?.checkpoint()?;
    // What was rewritten before takes space as well.
    retire::finish_and_remove(maintenance)?;
    let Some(run) = next_run(&*maintenance.engine()?, tried) else { return Ok(false) };
    tried.extend(run.iter().map(|record| record.number));
    let compacted = compact_range(maintenance, run, Throttle::Off, done)?;
    retire::finish_and_remove(maintenance)?;
    Ok(compacted)
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;
    use std::time::Duration;

    use bytes::Bytes;

    use crate::engine::compaction::compact_some;
    use crate::engine::throttle::Throttle;
    use crate::simulation::Simulation;
    use crate::{Collection, Error, Index, Options, Precondition, Raw};

    type Write = fn(Collection<Bytes, Raw>) -> Result<(), Error>;

    /// A regression: for a moment a compaction had written a copy of what it rewrote and not yet
    /// removed that, and a write was refused, though there was space before and after.
    #[test]
    fn a_write_that_finds_the_disk_full_beside_a_compaction_waits_for_it() {
        let writes: [Write; 3] = [
            |items| items.create("b", &Bytes::new()).map(drop),
            |items| items.delete("a", Precondition::Always).map(drop),
            |items| items.clear().map(drop),
        ];
        for write in writes {
            let sim = Simulation::new(1);
            let store = sim.open(&Options::new()).unwrap();
            store.raw("items").unwrap().create("a", &Bytes::new()).unwrap();
            // Then the first write begins a segment, and needs space for that.
            let sim = sim.kill(&mut fastrand::Rng::with_seed(1));
            let store = sim.open(&Options::new()).unwrap();
            let items = store.raw("items").unwrap();
            let compaction = store.shared().maintenance();
            // Stands for what it writes.
            sim.disk().set_capacity(Some(0));
            let writer = thread::spawn(move || write(items));
            thread::sleep(Duration::from_millis(50));
            sim.disk().set_capacity(None);
            drop(compaction);
            writer.join().unwrap().unwrap();
        }
    }

    /// A regression: what was rewritten took the space, and was about to be removed.
    #[test]
    fn a_write_takes_the_space_of_what_was_rewritten() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        for page in 0..2_000_u32 {
            let value = vec![page as u8; 5_000].into();
            items.upsert((page % 1_000).to_be_bytes(), &value, Precondition::Always).unwrap();
        }
        Simulation::checkpoint(&store).unwrap();
        assert!(compact_some(store.shared(), Throttle::Off, || ()).unwrap());
        assert!(store.engine().unwrap().journal.has_dropped_files());
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes() + 4_096));
        items.create("large", &vec![1; 2_000_000].into()).unwrap();
        assert!(!store.engine().unwrap().journal.has_dropped_files());
    }

    /// A regression: the last step in the making of a unique index is a commit that puts something
    /// in, and it alone was refused while a compaction had what is set aside.
    #[test]
    fn making_a_unique_index_waits_for_a_compaction_that_has_the_space() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.collection::<serde_json::Value>("items").unwrap();
        // So that the items are compared in several steps.
        for n in 0..1_500 {
            items.create(format!("{n}"), &serde_json::json!({ "n": n })).unwrap();
        }
        let mut compaction = None;
        let made = items.ensure_index_with_progress(Index::on("/n").unique(), |progress| {
            if progress.done_items < progress.total_items || compaction.is_some() {
                return;
            }
            let (store, (begun, has_begun)) = (store.clone(), std::sync::mpsc::channel());
            compaction = Some(thread::spawn(move || {
                let compaction = store.shared().maintenance();
                let lent = compaction.engine().unwrap().journal.lend_reserve();
                begun.send(()).unwrap();
                thread::sleep(Duration::from_millis(200));
                drop(lent);
            }));
            has_begun.recv().unwrap();
        });
        assert_eq!(made.unwrap(), "/n");
        compaction.unwrap().join().unwrap();
        items.create("twice", &serde_json::json!({ "n": 7 })).unwrap_err();
    }

    /// A regression: removals beside a compaction on the full disk used up the space that was set
    /// aside for that, and then nothing could be compacted any more.
    #[test]
    fn a2_removals_leave_a_compaction_under_way_what_it_needs() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        let key = |n: u32| format!("{:0>500}", n.wrapping_mul(0x9E37_79B1));
        sim.disk().set_capacity(Some(8 << 20));
        let value = Bytes::from(vec![7; 500]);
        let full = (0..).find(|n| items.create(key(*n), &value).is_err()).unwrap();
        for lent in [true, false] {
            let lent = lent.then(|| store.engine().unwrap().journal.lend_reserve());
            // All over the segments, so that something of each is kept.
            let mut removed = 0;
            for n in (0..full).filter(|n| n % 3 > 0) {
                match items.delete(key(n), Precondition::Always) {
                    Ok(_) => removed += 1,
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => {
                        assert_eq!(error.http_status(), 507, "{error:?}");
                        break;
                    }
                }
            }
            assert!(removed > 100, "{removed} of {full} items were removed");
            drop(lent);
            store.compact().unwrap();
        }
        items.create("new", &value).unwrap();
    }

    /// A regression: on a disk that was filled and freed again and again small segments became ever
    /// more, until their headers had taken the space.
    #[test]
    fn a2_small_segments_are_merged_on_a_full_disk() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        let items = store.raw("items").unwrap();
        for n in 0..100_u32 {
            for value in [vec![1; 10], vec![2; 10]] {
                items.upsert(n.to_be_bytes(), &value.into(), Precondition::Always).unwrap();
            }
            store.engine().unwrap().journal.seal_if_dead().unwrap();
        }
        Simulation::checkpoint(&store).unwrap();
        let segments = || store.stats().unwrap().segments;
        assert!(segments() > 100, "{} segments", segments());
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes()));
        store.compact().unwrap();
        assert!(segments() < 20, "{} segments", segments());
        assert!(
            (0..100_u32).all(|n| items.get(n.to_be_bytes()).unwrap().unwrap().value == [2; 10][..])
        );
    }
}
