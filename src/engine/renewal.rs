//! Renewing the table: copying its rows into a new one when its files have grown far beyond what
//! they hold.

use crate::engine::shared::{MaintenanceGuard, Shared};
use crate::engine::throttle::Throttle;
use crate::values::error::Result;

/// Smaller tables are left alone.
const LEAST_BYTES: u64 = 24 << 20;
/// What a fresh table takes for each row beside its key and value, in bytes, as measured.
const ROW_BYTES: u64 = 116;
/// How many rows are looked at before others get a turn.
const ROWS: usize = 512;
/// The rows are copied in so many passes, each in order of key but with gaps: filled in one go, the
/// engine's file comes out twice as large, with pages in it that pin it from then on.
const PASSES: u64 = 4;

/// How large the table was when it was last looked at, and would have been if it were new.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TableSize {
    looked_at_bytes: u64,
    /// Not after a renewal that failed: then it waits until the files have grown.
    fresh_bytes: Option<u64>,
}

impl TableSize {
    /// Whether files of this size are worth a look, which costs a scan: not after each little
    /// growth, but as soon as they are due by what the last look has found.
    fn is_worth_a_look(self, bytes: u64) -> bool {
        let grown = bytes >= self.looked_at_bytes + self.looked_at_bytes / 10;
        let bloated = self.fresh_bytes.is_some_and(|fresh| is_bloated(bytes, fresh));
        let due = bytes > self.looked_at_bytes && bloated;
        bytes >= LEAST_BYTES && (grown || due)
    }
}

fn is_bloated(bytes: u64, fresh_bytes: u64) -> bool {
    bytes >= fresh_bytes * 15 / 8
}

/// Copies the table if its files are 15/8 of what they would be afterwards.
pub(crate) fn renew_if_bloated(shared: &Shared, size: &mut TableSize) -> Result<()> {
    let maintenance = &shared.maintenance();
    let bytes = {
        let engine = maintenance.engine()?;
        if !engine.has_table_on_disk() || engine.journal.is_poisoned() {
            return Ok(());
        }
        engine.table.size_on_disk_bytes()?
    };
    if !size.is_worth_a_look(bytes) {
        return Ok(());
    }
    *size = TableSize { looked_at_bytes: bytes, fresh_bytes: None };
    let fresh_bytes = fresh_bytes(maintenance)?;
    if is_bloated(bytes, fresh_bytes) {
        renew(maintenance)?;
        size.looked_at_bytes = maintenance.engine()?.table.size_on_disk_bytes()?;
    }
    size.fresh_bytes = Some(fresh_bytes);
    Ok(())
}

/// Copies the table into a new one, which takes over.
pub(crate) fn renew(maintenance: &MaintenanceGuard<'_>) -> Result<()> {
    maintenance.engine()?.begin_table_copy()?;
    let copied = copy_rows(maintenance);
    let engine = maintenance.engine()?;
    match copied {
        Ok(()) => engine.take_over_table_copy(),
        Err(error) => {
            engine.abandon_table_copy();
            Err(error)
        }
    }
}

fn copy_rows(maintenance: &MaintenanceGuard<'_>) -> Result<()> {
    for pass in 0..PASSES {
        let mut of_pass = |(key, ()): &&(Vec<u8>, ())| pass_of(key) == pass;
        Throttle::HalfTime.for_each_rows(
            maintenance,
            ROWS,
            |_| (),
            |engine, rows| {
                let mut keys = rows.iter().filter(&mut of_pass);
                keys.try_for_each(|(key, ())| engine.copy_row(&engine.renewable, key))
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
fn fresh_bytes(maintenance: &MaintenanceGuard<'_>) -> Result<u64> {
    let mut bytes = 0;
    Throttle::HalfTime.for_each_rows(maintenance, ROWS, <[u8]>::len, |_, rows| {
        let row = |(key, len): &(Vec<u8>, usize)| (key.len() + len) as u64 + ROW_BYTES;
        bytes += rows.iter().map(row).sum::<u64>();
        Ok(())
    })?;
    Ok(bytes)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_looked_at_when_it_has_grown_or_is_due_and_after_a_failure_only_when_grown() {
        const MIB: u64 = 1 << 20;
        let size = |fresh| TableSize { looked_at_bytes: 100 * MIB, fresh_bytes: fresh };
        assert!(!TableSize::default().is_worth_a_look(LEAST_BYTES - 1));
        assert!(TableSize::default().is_worth_a_look(LEAST_BYTES));
        assert!(!size(Some(60 * MIB)).is_worth_a_look(105 * MIB));
        assert!(size(Some(60 * MIB)).is_worth_a_look(110 * MIB), "grown by a tenth");
        assert!(size(Some(56 * MIB)).is_worth_a_look(105 * MIB), "due");
        assert!(!size(Some(50 * MIB)).is_worth_a_look(100 * MIB), "looked at already");
        assert!(!size(None).is_worth_a_look(105 * MIB), "renewing it failed");
    }
}
