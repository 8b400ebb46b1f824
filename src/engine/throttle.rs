//! Doing much work in turns with everybody else: a piece at a time, holding nothing in between.

use std::thread;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::shared::MaintenanceGuard;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

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

    /// Calls `f` with some heads of the index at a time, in order of collection and key.
    pub(crate) fn for_each_heads(
        self,
        maintenance: &MaintenanceGuard<'_>,
        at_a_time: usize,
        mut f: impl FnMut(&Engine, &[(ItemKey, Head)]) -> Result<()>,
    ) -> Result<()> {
        let mut after: Option<ItemKey> = None;
        loop {
            let began = Instant::now();
            {
                let engine = maintenance.engine()?;
                let (heads, last) = engine.walk_heads(after.as_ref(), at_a_time)?;
                f(&engine, &heads)?;
                after = last;
            }
            if after.is_none() {
                return Ok(());
            }
            self.pause(began);
        }
    }
}
