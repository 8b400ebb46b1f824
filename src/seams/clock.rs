//! The store's wall clock: milliseconds since 1970 that never go back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the wall time comes from; tests use a source of their own.
pub(crate) type TimeSource = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A clock that never goes back, within a session and, through [`raise`](Self::raise), across
/// opens.
pub(crate) struct Clock {
    source: TimeSource,
    highest_ms: AtomicU64,
}

impl Clock {
    pub(crate) fn new(source: TimeSource) -> Self {
        Self { source, highest_ms: AtomicU64::new(0) }
    }

    /// Milliseconds since 1970, at least as many as any earlier call returned.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = millis((self.source)());
        self.highest_ms.fetch_max(now, Ordering::AcqRel).max(now)
    }

    /// Makes sure that no later reading is below one that an earlier session recorded.
    pub(crate) fn raise(&self, at_least_ms: u64) {
        self.highest_ms.fetch_max(at_least_ms, Ordering::AcqRel);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("highest_ms", &self.highest_ms).finish_non_exhaustive()
    }
}

/// A clock for tests: it does not move until it is set or advanced. Clones are the same clock.
///
/// Pass it to [`Options::clock`](crate::Options::clock); expiry, `modified` and the age of
/// tombstones then use it. It counts whole milliseconds. A store's own time never goes back, so
/// setting the clock back has no effect on an open store until the clock is ahead again. Expired
/// items are absent at once; the sweep that removes what is left of them runs in real time.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use std::time::{Duration, SystemTime};
/// use ifmatch::{ManualClock, Options};
///
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
/// let store = Options::new().clock(&clock).in_memory();
/// let hour = Duration::from_secs(3_600);
/// let sessions = store.collection::<String>("sessions")?.with_ttl(hour);
/// sessions.create("s1", &"ada".to_owned())?;
/// clock.advance(hour - Duration::from_millis(1));
/// assert!(sessions.get("s1")?.is_some());
/// clock.advance(Duration::from_millis(1));
/// assert!(sessions.get("s1")?.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    now_ms: Arc<AtomicU64>,
}

impl ManualClock {
    /// Makes a clock set to this instant.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self { now_ms: Arc::new(AtomicU64::new(millis(now))) }
    }

    /// The instant that the clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        instant(self.now_ms.load(Ordering::SeqCst))
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: SystemTime) {
        self.now_ms.store(millis(now), Ordering::SeqCst);
    }

    /// Moves the clock forward; a fraction of a millisecond counts as a whole one.
    pub fn advance(&self, by: Duration) {
        let add = |now_ms: u64| Some(now_ms.saturating_add(span_ms(by)));
        // The closure never refuses.
        let _ = self.now_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
    }

    pub(crate) fn source(&self) -> TimeSource {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// Milliseconds since 1970; instants before 1970 are 0, and ones past the year 584 million the
/// maximum.
pub(crate) fn millis(instant: SystemTime) -> u64 {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The end of the year 9999: every platform's `SystemTime` can hold it.
const LAST_MS: u64 = 253_402_300_799_999;

/// The instant of a count of milliseconds, capped at the last whole year 9999.
pub(crate) fn instant(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))
}

/// When something that is written now expires after `ttl_ms`; `None`, which means never, beyond the
/// last time of [`instant`].
pub(crate) fn expires_at(now_ms: u64, ttl_ms: u64) -> Option<u64> {
    now_ms.checked_add(ttl_ms).filter(|at_ms| *at_ms <= LAST_MS)
}

/// A span in whole milliseconds, rounded up: nothing expires before its time.
pub(crate) fn span_ms(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back_when_the_source_does() {
        let source = Arc::new(AtomicU64::new(5_000));
        let read = Arc::clone(&source);
        let clock = Clock::new(Arc::new(move || instant(read.load(Ordering::SeqCst))));
        assert_eq!(clock.now_ms(), 5_000);
        source.store(1_000, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 5_000);
        clock.raise(9_000);
        assert_eq!(clock.now_ms(), 9_000);
        source.store(9_001, Ordering::SeqCst);
        assert_eq!(clock.now_ms(), 9_001);
    }

    #[test]
    fn instants_beyond_the_range_do_not_panic() {
        assert_eq!(millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(millis(instant(u64::MAX)), 253_402_300_799_999);
    }

    #[test]
    fn spans_are_rounded_up_and_what_leads_beyond_the_year_9999_is_never() {
        assert_eq!(span_ms(Duration::ZERO), 0);
        assert_eq!(span_ms(Duration::from_nanos(1)), 1);
        assert_eq!(span_ms(Duration::from_millis(7)), 7);
        assert_eq!(span_ms(Duration::from_micros(7_001)), 8);
        assert_eq!(span_ms(Duration::MAX), u64::MAX);
        assert_eq!(expires_at(5, 0), Some(5));
        assert_eq!(expires_at(5, LAST_MS - 5), Some(LAST_MS));
        assert_eq!(expires_at(5, LAST_MS - 4), None);
        assert_eq!(expires_at(5, u64::MAX), None);
    }
}
