//! Renewing the table: copying its rows into a new one when its files have grown far beyond what
//! they hold.

use crate::error::Result;
use crate::pace::Pace;
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

/// Copies the table if its files are 9/5 of what they would be afterwards. `looked_at_bytes` is how
/// large they were when that was last looked at, 0 for never.
pub(crate) fn renew_if_bloated(shared: &Shared, looked_at_bytes: &mut u64) -> Result<()> {
    let bytes = {
        let running = shared.running()?;
        if !running.has_table_on_disk() || running.core.journal.is_poisoned() {
            return Ok(());
        }
        running.core.table.size_on_disk_bytes()?
    };
    // A look costs a scan, so not after each little change.
    if bytes < LEAST_BYTES || bytes < *looked_at_bytes + *looked_at_bytes / 20 {
        return Ok(());
    }
    *looked_at_bytes = bytes;
    if bytes >= fresh_bytes(shared)? * 9 / 5 {
        renew(shared)?;
        *looked_at_bytes = shared.running()?.core.table.size_on_disk_bytes()?;
    }
    Ok(())
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
        let mut of_pass = |(key, ()): &&(Vec<u8>, ())| pass_of(key) == pass;
        Pace::Half.for_each_rows(
            shared,
            ROWS,
            |_| (),
            |running, rows| {
                let mut keys = rows.iter().filter(&mut of_pass);
                keys.try_for_each(|(key, ())| running.core.copy_row(&running.table, key))
            },
        )?;
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
    Pace::Half.for_each_rows(shared, ROWS, <[u8]>::len, |_, rows| {
        let row = |(key, len): &(Vec<u8>, usize)| (key.len() + len) as u64 + ROW_BYTES;
        bytes += rows.iter().map(row).sum::<u64>();
        Ok(())
    })?;
    Ok(bytes)
}
