//! What the handles of a store and its background threads share, and how it closes.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::background::Background;
use crate::journal::notify::{Notifier, WakeLater};
use crate::seams::sync::{ShardedLock, ShardedLockReadGuard};
use crate::values::damage::Damage;
use crate::values::error::{Error, Result};

/// What the handles and the background threads share.
pub(crate) struct Shared {
    /// Read by every operation for as long as it is under way; emptied by close, which so waits
    /// for them. No user code runs while it is held.
    pub(crate) engine: ShardedLock<Option<Engine>>,
    pub(crate) background: Background,
    /// Held by the thread that compacts.
    pub(crate) maintenance: parking_lot::Mutex<()>,
    /// Held by a thread that builds a secondary index.
    pub(crate) building: parking_lot::Mutex<()>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) damage: Option<Damage>,
}

/// Keeps a store from closing. When it is dropped, it releases the store and then wakes the tasks
/// that the operation has news for: a waker is the user's code.
pub(crate) struct EngineGuard<'a> {
    pub(crate) engine: ShardedLockReadGuard<'a, Option<Engine>>,
    _wake: Option<WakeLater<'a>>,
}

/// Keeps others from compacting and from taking a checkpoint. When it is dropped, it wakes the
/// tasks that this work has news for, unless another operation has woken them before.
pub(crate) struct MaintenanceGuard<'a> {
    shared: &'a Shared,
    _only: parking_lot::MutexGuard<'a, ()>,
    _wake: WakeLater<'a>,
}

impl MaintenanceGuard<'_> {
    /// As [`Shared::engine`], but wakes no task: a waker may want to compact.
    pub(crate) fn engine(&self) -> Result<EngineGuard<'_>> {
        self.shared.guard(None)
    }
}

impl std::ops::Deref for EngineGuard<'_> {
    type Target = Engine;

    #[expect(clippy::expect_used, reason = "Shared::engine checks before it makes a guard")]
    fn deref(&self) -> &Engine {
        self.engine.as_ref().expect("the store is open")
    }
}

impl Shared {
    pub(crate) fn engine(&self) -> Result<EngineGuard<'_>> {
        self.guard(Some(self.notifier.wake_later()))
    }

    /// As [`engine`](Self::engine), but wakes no task: for a thread that another thread waits for.
    /// A waker that closes the store would wait for that thread too.
    pub(crate) fn engine_without_waking(&self) -> Result<EngineGuard<'_>> {
        self.guard(None)
    }

    fn guard<'a>(&'a self, wake: Option<WakeLater<'a>>) -> Result<EngineGuard<'a>> {
        let engine = self.engine.read();
        if engine.is_none() {
            return Err(Error::Closed);
        }
        Ok(EngineGuard { engine, _wake: wake })
    }

    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Waits until nobody compacts. Taken before the engine is.
    pub(crate) fn maintenance(&self) -> MaintenanceGuard<'_> {
        let _wake = self.notifier.wake_later();
        MaintenanceGuard { shared: self, _only: self.maintenance.lock(), _wake }
    }

    /// As [`maintenance`](Self::maintenance), but waits for this long at most.
    pub(crate) fn maintenance_within(&self, longest: Duration) -> Option<MaintenanceGuard<'_>> {
        let _wake = self.notifier.wake_later();
        let _only = self.maintenance.try_lock_for(longest)?;
        Some(MaintenanceGuard { shared: self, _only, _wake })
    }

    pub(crate) fn close(&self) -> Result<()> {
        let engine = self.engine.write().take();
        self.notifier.close();
        self.background.stop();
        engine.ok_or(Error::Closed)?.close()
    }
}
