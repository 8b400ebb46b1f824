//! Synchronisation primitives of the commit path: `parking_lot` in every build, loom's in this
//! crate's own models.
//!
//! The shim is gated on `test` as well as `loom`, so a dependent that sets `--cfg loom` for its
//! own models compiles this crate unchanged.

#[cfg(not(all(test, loom)))]
mod imp {
    use std::sync::PoisonError;
    use std::time::Instant;

    pub(crate) use crossbeam_utils::sync::ShardedLockReadGuard;
    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
    pub(crate) use parking_lot::{
        RwLock as TryRwLock, RwLockReadGuard as TryReadGuard, RwLockWriteGuard as TryWriteGuard,
    };
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use std::thread;

    /// A lock for what every operation reads and few change. A reader writes to a cache line that
    /// few other threads use; a writer takes eight locks. It has `parking_lot`'s signatures.
    #[derive(Debug, Default)]
    pub(crate) struct ShardedLock<T>(crossbeam_utils::sync::ShardedLock<T>);

    impl<T> ShardedLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(crossbeam_utils::sync::ShardedLock::new(value))
        }

        #[inline]
        pub(crate) fn read(&self) -> ShardedLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> crossbeam_utils::sync::ShardedLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Locks a mutex that is held for a few microseconds at most: looks again some times before it
    /// sleeps, and does not give up the processor for it, as a thread that is at work elsewhere is
    /// about to release it.
    pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        const LOOKS: u32 = 40;
        for _ in 0..LOOKS {
            if let Some(locked) = mutex.try_lock() {
                return locked;
            }
            spin_briefly();
        }
        mutex.lock()
    }

    /// Waits until nobody holds a mutex, for some microseconds at most. When this returns somebody
    /// may hold it again.
    pub(crate) fn await_unlocked<T>(mutex: &Mutex<T>) {
        const LOOKS: u32 = 60;
        for _ in 0..LOOKS {
            if !mutex.is_locked() {
                return;
            }
            spin_briefly();
        }
    }

    /// Passes some 50 ns.
    pub(crate) fn spin_briefly() {
        (0..4).for_each(|_| std::hint::spin_loop());
    }

    /// A condition variable whose `wait` takes and returns the guard, as loom's does.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        /// As [`wait`](Self::wait), until this instant at the latest.
        pub(crate) fn wait_until<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            at: Instant,
        ) -> MutexGuard<'a, T> {
            self.0.wait_until(&mut guard, at);
            guard
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Runs a model some times, so that every loom model is an ordinary test as well.
    #[cfg(test)]
    pub(crate) fn model(body: impl Fn() + Send + Sync + 'static) {
        const RUNS: usize = 20;
        for _ in 0..RUNS {
            body();
        }
    }
}

#[cfg(all(test, loom))]
mod imp {
    use std::sync::Arc;
    use std::time::Instant;

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{MutexGuard, RwLockReadGuard};

    /// loom's threads, with stacks on which a store can be opened and closed.
    pub(crate) mod thread {
        pub(crate) use loom::thread::{Builder, JoinHandle, current, yield_now};

        /// loom hands the size on to where it counts machine words; its own default is a
        /// quarter of this.
        const STACK_WORDS: usize = 0x4000;

        #[expect(clippy::expect_used, reason = "loom never refuses a thread")]
        pub(crate) fn spawn<T: Send + 'static>(
            body: impl FnOnce() -> T + Send + 'static,
        ) -> JoinHandle<T> {
            let builder = Builder::new().stack_size(STACK_WORDS);
            builder.spawn(body).expect("a model's thread starts")
        }
    }

    /// loom's mutex with `parking_lot`'s signatures.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    pub(crate) fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }

    /// In a model no time passes.
    pub(crate) fn await_unlocked<T>(_: &Mutex<T>) {}

    /// The same.
    pub(crate) fn spin_briefly() {}

    /// loom's lock for many readers or one writer, with `parking_lot`'s signatures.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
            match self.0.read() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }

        pub(crate) fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
            match self.0.write() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }
    }

    /// A lock for many readers or one writer whose `try_read` never waits. loom's own does: a
    /// thread that is about to try it waits for as long as another has it.
    #[derive(Debug)]
    pub(crate) struct TryRwLock<T> {
        /// How many read, or are about to see that they cannot, and [`WRITER`].
        held: loom::sync::atomic::AtomicUsize,
        /// Nobody waits for it: `held` has let in the thread that locks it.
        value: std::sync::RwLock<T>,
    }

    const WRITER: usize = 1 << 16;

    #[derive(Debug)]
    pub(crate) struct TryReadGuard<'a, T> {
        lock: &'a TryRwLock<T>,
        value: Option<std::sync::RwLockReadGuard<'a, T>>,
    }

    #[derive(Debug)]
    pub(crate) struct TryWriteGuard<'a, T> {
        lock: &'a TryRwLock<T>,
        value: Option<std::sync::RwLockWriteGuard<'a, T>>,
    }

    impl<T> TryRwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            let held = loom::sync::atomic::AtomicUsize::new(0);
            Self { held, value: std::sync::RwLock::new(value) }
        }

        pub(crate) fn try_read(&self) -> Option<TryReadGuard<'_, T>> {
            if self.held.fetch_add(1, Ordering::AcqRel) >= WRITER {
                self.held.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            let value = self.value.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            Some(TryReadGuard { lock: self, value: Some(value) })
        }

        pub(crate) fn read(&self) -> TryReadGuard<'_, T> {
            loop {
                if let Some(guard) = self.try_read() {
                    return guard;
                }
                thread::yield_now();
            }
        }

        pub(crate) fn try_write(&self) -> Option<TryWriteGuard<'_, T>> {
            let (acq_rel, acquire) = (Ordering::AcqRel, Ordering::Acquire);
            self.held.compare_exchange(0, WRITER, acq_rel, acquire).ok()?;
            let value = self.value.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            Some(TryWriteGuard { lock: self, value: Some(value) })
        }

        pub(crate) fn write(&self) -> TryWriteGuard<'_, T> {
            loop {
                if let Some(guard) = self.try_write() {
                    return guard;
                }
                thread::yield_now();
            }
        }
    }

    impl<T> std::ops::Deref for TryReadGuard<'_, T> {
        type Target = T;

        #[expect(clippy::expect_used, reason = "only a drop takes it")]
        fn deref(&self) -> &T {
            self.value.as_ref().expect("the lock is held")
        }
    }

    impl<T> std::ops::Deref for TryWriteGuard<'_, T> {
        type Target = T;

        #[expect(clippy::expect_used, reason = "only a drop takes it")]
        fn deref(&self) -> &T {
            self.value.as_ref().expect("the lock is held")
        }
    }

    impl<T> std::ops::DerefMut for TryWriteGuard<'_, T> {
        #[expect(clippy::expect_used, reason = "only a drop takes it")]
        fn deref_mut(&mut self) -> &mut T {
            self.value.as_mut().expect("the lock is held")
        }
    }

    impl<T> Drop for TryReadGuard<'_, T> {
        fn drop(&mut self) {
            self.value = None;
            self.lock.held.fetch_sub(1, Ordering::AcqRel);
        }
    }

    impl<T> Drop for TryWriteGuard<'_, T> {
        fn drop(&mut self) {
            self.value = None;
            self.lock.held.fetch_sub(WRITER, Ordering::AcqRel);
        }
    }

    pub(crate) type ShardedLock<T> = RwLock<T>;
    pub(crate) type ShardedLockReadGuard<'a, T> = RwLockReadGuard<'a, T>;

    impl<T: Default> Default for RwLock<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    /// loom's condition variable with `parking_lot`'s lack of poisoning.
    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            match self.0.wait(guard) {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }

        /// Waits without end: in a model no time passes.
        pub(crate) fn wait_until<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _: Instant,
        ) -> MutexGuard<'a, T> {
            self.wait(guard)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Explores every interleaving of the model with at most three preemptions, or as many as
    /// `LOOM_MAX_PREEMPTIONS` says.
    pub(crate) fn model(body: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        // Opening a store takes some hundred steps before the first thread starts.
        builder.max_branches = 20_000;
        if builder.preemption_bound.is_none() {
            builder.preemption_bound = Some(3);
        }
        let runs = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = Arc::clone(&runs);
        let body = Arc::new(body);
        builder.check(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let body = Arc::clone(&body);
            if thread::spawn(move || body()).join().is_err() {
                panic!("the model's first thread panicked");
            }
        });
        eprintln!("explored {} interleavings", runs.load(std::sync::atomic::Ordering::Relaxed));
    }
}

pub(crate) use imp::*;
