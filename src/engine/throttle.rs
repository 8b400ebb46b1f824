//! Doing much work in turns with everybody else: a piece at a time, holding nothing in between.

use std::ops::Bound;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::shared::MaintenanceGuard;
use crate::values::error::Result;

/// How much of the machine upkeep may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// Half of the time at most: it pauses for as long as it worked.
    HalfTime,
    Off,
}

impl Throttle {
    /// Pauses after a piece of work that began at this time, with nothing held.
    pub(crate) fn pause(self, began: Instant) {
        const LONGEST: Duration = Duration::from_millis(100);
        if self == Self::HalfTime {
            thread::sleep(began.elapsed().min(LONGEST));
        }
    }

    /// Calls `f` with each of these, some at a time; the store may be closed in between.
    pub(crate) fn for_each<T>(
        self,
        maintenance: &MaintenanceGuard<'_>,
        all: &[T],
        at_a_time: usize,
        mut f: impl FnMut(&Engine, &T) -> Result<()>,
    ) -> Result<()> {
        for some in all.chunks(at_a_time) {
            let began = Instant::now();
            let engine = maintenance.engine()?;
            some.iter().try_for_each(|one| f(&engine, one))?;
            drop(engine);
            self.pause(began);
        }
        Ok(())
    }

    /// Calls `f` with some rows of the table at a time, in order of key: with their keys and what
    /// `pick` makes of their values.
    pub(crate) fn for_each_rows<T>(
        self,
        maintenance: &MaintenanceGuard<'_>,
        at_a_time: usize,
        pick: impl Fn(&[u8]) -> T,
        mut f: impl FnMut(&Engine, &[(Vec<u8>, T)]) -> Result<()>,
    ) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let began = Instant::now();
            let mut rows = Vec::with_capacity(at_a_time);
            {
                let engine = maintenance.engine()?;
                let table = Arc::clone(&engine.table);
                let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                table.scan(lower, Bound::Unbounded, false, at_a_time, &mut |key, value| {
                    rows.push((key.to_vec(), pick(value)));
                })?;
                f(&engine, &rows)?;
            }
            if rows.len() < at_a_time {
                return Ok(());
            }
            after = rows.pop().map(|(key, _)| key);
            self.pause(began);
        }
    }
}
