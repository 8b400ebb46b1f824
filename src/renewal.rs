//! Renewing the table: copying its rows into a new one when its files have grown far beyond what
//! they hold.

use std::ops::Bound;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::running::Running;
use crate::store::Shared;

/// Smaller tables are left alone.
const LEAST_BYTES: u64 = 24 << 20;
/// What a fresh table takes for each row beside its key and value, in bytes, as measured.
const ROW_BYTES: u64 = 116;
/// How many rows are looked at before others get a turn.
const ROWS: usize = 512;
/// The rows are copied in so many passes, each in order of key but with gaps: filled in one go, the
/// engine's file comes out twice as large, with pages in it that pin it from then on.
const PASSES: u64 = 4;

/// How large the table was when it was last looked at, and would be if it were new.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TableSize {
    looked_at_bytes: u64,
    fresh_bytes: u64,
}

/// Copies the table if its files are 7/4 of what they would be afterwards; gives whether it did.
pub(crate) fn renew_if_bloated(shared: &Shared, size: &mut TableSize) -> Result<bool> {
    let bytes = {
        let running = shared.running()?;
        if !running.has_table_on_disk() || running.core.journal.is_poisoned() {
            return Ok(false);
        }
        running.core.table.size_on_disk_bytes()?
    };
    // A look costs a scan, so not after each little change.
    if bytes < LEAST_BYTES || bytes < size.looked_at_bytes + size.looked_at_bytes / 10 {
        return Ok(false);
    }
    *size = TableSize { looked_at_bytes: bytes, fresh_bytes: fresh_bytes(shared)? };
    if bytes < size.fresh_bytes * 7 / 4 {
        return Ok(false);
    }
    renew(shared)?;
    size.looked_at_bytes = shared.running()?.core.table.size_on_disk_bytes()?;
    Ok(true)
}

/// Copies the table into a new one, which takes over.
pub(crate) fn renew(shared: &Shared) -> Result<()> {
    let _only = shared.compacting();
    shared.running()?.begin_table_copy()?;
    let copied = copy_rows(shared);
    let running = shared.running()?;
    match copied {
        Ok(()) => running.take_over_table_copy(),
        Err(error) => {
            running.abandon_table_copy();
            Err(error)
        }
    }
}

fn copy_rows(shared: &Shared) -> Result<()> {
    for pass in 0..PASSES {
        for_each_chunk(shared, |running, keys| {
            for key in keys.iter().filter(|(key, _)| pass_of(key) == pass) {
                running.core.copy_row(&running.table, &key.0)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn pass_of(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 32) % PASSES
}

/// What a new table of the same rows would take.
fn fresh_bytes(shared: &Shared) -> Result<u64> {
    let mut bytes = 0;
    for_each_chunk(shared, |_, rows| {
        let row = |(key, len): &(Vec<u8>, usize)| (key.len() + len) as u64 + ROW_BYTES;
        bytes += rows.iter().map(row).sum::<u64>();
        Ok(())
    })?;
    Ok(bytes)
}

/// Calls `f` with all keys and the lengths of their values, some at a time; pauses in between for
/// as long as each took.
fn for_each_chunk(
    shared: &Shared,
    mut f: impl FnMut(&Running, &[(Vec<u8>, usize)]) -> Result<()>,
) -> Result<()> {
    const LONGEST_PAUSE: Duration = Duration::from_millis(100);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let began = Instant::now();
        let mut rows = Vec::with_capacity(ROWS);
        {
            let running = shared.running()?;
            let table = Arc::clone(&running.core.table);
            let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            table.scan(lower, Bound::Unbounded, false, ROWS, &mut |key, value| {
                rows.push((key.to_vec(), value.len()));
            })?;
            f(&running, &rows)?;
        }
        if rows.len() < ROWS {
            return Ok(());
        }
        after = rows.pop().map(|(key, _)| key);
        thread::sleep(began.elapsed().min(LONGEST_PAUSE));
    }
}
