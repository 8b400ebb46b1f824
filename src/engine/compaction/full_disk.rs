//! Compaction on a full disk: with the space that is set aside, segment by segment.

use std::collections::HashSet;

use crate::engine::compaction::retire::Wait;
use crate::engine::compaction::{Compaction, compact_range, plan, retire};
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::values::error::{Error, Result};

/// Rewrites one segment after the other, of each time the one of which least is kept, and frees it
/// before the next. What is set aside has room for any one segment. Where that is not enough,
/// because it was used up or something else takes space, the index on disk goes as well. Whether
/// any space was freed: there may be nothing dead.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when there is no space even so, and none was freed.
pub(super) fn compact(
    maintenance: &MaintenanceGuard<'_>,
    met: &Error,
    done: &mut Compaction,
) -> Result<bool> {
    log::warn!("compaction uses the space that is set aside, since the disk is full: {met}");
    let _lent = {
        let engine = maintenance.engine()?;
        let lent = engine.journal.lend_reserve();
        // What was removed last lies in the segment that is written to.
        engine.journal.seal_if_dead()?;
        lent
    };
    let mut tried = HashSet::new();
    let (mut freed, mut refused) = (false, false);
    loop {
        match compact_one(maintenance, &mut tried, done) {
            Ok(true) => (freed, refused) = (true, false),
            Ok(false) => return Ok(freed || maintenance.engine()?.free_index()?),
            Err(error) if error.is_full_disk() => {
                // A checkpoint beside this may have freed the index just now: then as well again.
                if !maintenance.engine()?.free_index()? && refused {
                    return if freed { Ok(true) } else { Err(error) };
                }
                refused = true;
                tried.clear();
            }
            Err(error) => return Err(error),
        }
    }
}

/// Less space than this is not worth a checkpoint on a full disk.
const LEAST_DROPPED_BYTES: u64 = 64 << 10;

/// Drops what this session has rewritten and what waits only for a checkpoint: one is taken now, with
/// the space that is set aside. Whether that gave space. What an earlier session left is for
/// upkeep: its heads have to be moved first.
///
/// # Errors
/// As [`Engine::checkpoint`](crate::engine::Engine::checkpoint).
pub(crate) fn drop_rewritten(maintenance: &MaintenanceGuard<'_>) -> Result<bool> {
    let _lent = {
        let engine = maintenance.engine()?;
        let retired = engine.journal.retired_segments();
        let moved = retired.iter().all(|retired| engine.is_relocated(retired.replaced_by));
        let numbers: Vec<u32> = retired.iter().map(|retired| retired.number).collect();
        let has_written = engine.journal.position().appended_bytes > 0;
        if !moved || engine.has_heads_left_behind() || !has_written {
            return Ok(false);
        }
        if retire::total_len_bytes(&engine, &numbers)? < LEAST_DROPPED_BYTES {
            return Ok(false);
        }
        engine.journal.lend_reserve()
    };
    retire::finish(maintenance, Throttle::Off, Wait::No)?;
    Ok(true)
}

/// Rewrites the segment of which least is kept, and frees it; whether there was one.
fn compact_one(
    maintenance: &MaintenanceGuard<'_>,
    tried: &mut HashSet<u32>,
    done: &mut Compaction,
) -> Result<bool> {
    // What a checkpoint does not cover is not compacted.
    maintenance.engine()?.checkpoint()?;
    // What was rewritten before takes space as well.
    retire::finish(maintenance, Throttle::Off, Wait::No)?;
    let Some(record) = plan::least_kept(&*maintenance.engine()?, tried) else { return Ok(false) };
    tried.insert(record.number);
    let compacted = compact_range(maintenance, vec![record], Throttle::Off, done)?;
    retire::finish(maintenance, Throttle::Off, Wait::No)?;
    Ok(compacted)
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;
    use std::time::Duration;

    use bytes::Bytes;

    use crate::simulation::Simulation;
    use crate::{Collection, Error, Options, Precondition, Raw};

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
}
