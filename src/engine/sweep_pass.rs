//! Sweeping a store: one step of a pass by the store's thread, or a whole pass at once.

use crate::engine::Engine;
use crate::engine::SweepStep;
use crate::engine::background::Background;
use crate::engine::shared::Shared;
use crate::values::error::Result;

/// Takes one step of a sweep, if any item is expired or a pass is under way: looks at some hundred
/// heads and removes the expired items among them. Costs nothing while nothing is due.
///
/// # Errors
/// As any write.
pub(crate) fn step(engine: &Engine, background: &Background) -> Result<SweepStep> {
    let step = engine.sweep_step()?;
    if step.swept > 0 {
        background.note_commit();
    }
    Ok(step)
}

impl Shared {
    /// Runs a whole pass, or the rest of the one under way; returns how many items it removed.
    ///
    /// # Errors
    /// As any write, and [`Error::Closed`](crate::Error::Closed).
    pub(crate) fn sweep(&self) -> Result<u64> {
        let mut swept = 0;
        loop {
            let step = step(&*self.engine()?, self.background())?;
            swept += step.swept;
            if !step.more {
                return Ok(swept);
            }
        }
    }
}
