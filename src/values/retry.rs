//! How often an operation that lost a race is repeated, and after which waits.

use std::time::{Duration, Instant};

/// When operations that retry, such as `update` and `patch`, give up, and how long they wait
/// between attempts.
///
/// The wait before the n-th retry is drawn evenly between zero and the lesser of `base_delay · 2ⁿ`
/// and `max_delay`: "full jitter" as in Brooker, *[Exponential Backoff And Jitter]* (2015). Instead
/// of a wait below 50 µs, the thread yields the processor.
///
/// ```
/// use std::time::Duration;
/// use ifmatch::RetryPolicy;
///
/// let policy = RetryPolicy::new().max_attempts(100).deadline(Duration::from_secs(2));
/// let patient = ifmatch::Store::in_memory().collection::<u64>("counters")?.with_retry(policy);
/// # Ok::<(), ifmatch::Error>(())
/// ```
///
/// [Exponential Backoff And Jitter]: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RetryPolicy {
    max_attempts: u32,
    base_delay: Duration,
    max_delay: Duration,
    deadline: Option<Duration>,
}

impl RetryPolicy {
    /// The default: 10 000 attempts within 30 s, with waits of up to 20 µs at first and up to 10 ms
    /// later. With it, 64 threads that update one key all succeed.
    pub const fn new() -> Self {
        Self {
            max_attempts: 10_000,
            base_delay: Duration::from_micros(10),
            max_delay: Duration::from_millis(10),
            deadline: Some(Duration::from_secs(30)),
        }
    }

    /// Sets the maximum number of attempts, the first included: 10 000 by default, at least 1.
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// Sets half of the longest first wait; 10 µs by default. The longest wait doubles with each
    /// retry, up to [`max_delay`](Self::max_delay).
    pub const fn base_delay(mut self, delay: Duration) -> Self {
        self.base_delay = delay;
        self
    }

    /// Sets the longest wait between two attempts; 10 ms by default.
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Sets for how long new attempts are begun: 30 s by default; `Duration::MAX` means without
    /// limit. An attempt in progress is not cut short, so the operation may take longer by one
    /// attempt.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub(crate) fn start(&self) -> Attempts<'_> {
        Attempts { policy: self, made: 0, lost_to_itself: 0, began: Instant::now() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    made: u32,
    lost_to_itself: u32,
    began: Instant,
}

/// How often an update may lose to a write of its own closure. A closure that writes the item every
/// time never succeeds; one that does so a few times may.
const MAX_LOST_TO_ITSELF: u32 = 16;

/// Why no further attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted {
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
}

impl Attempts<'_> {
    /// As [`lost`](Self::lost), of a race against a write that the attempt itself made.
    pub(crate) fn lost_to_itself(&mut self) -> Result<(), Exhausted> {
        self.lost_to_itself += 1;
        if self.lost_to_itself < MAX_LOST_TO_ITSELF {
            return self.lost();
        }
        Err(Exhausted { attempts: self.made + 1, elapsed: self.began.elapsed() })
    }

    /// Counts a lost race; waits before the next attempt, or says that there is none.
    pub(crate) fn lost(&mut self) -> Result<(), Exhausted> {
        self.made += 1;
        let elapsed = self.began.elapsed();
        let wait = self.next_delay();
        let left = self.policy.deadline.map(|deadline| deadline.saturating_sub(elapsed));
        if self.made >= self.policy.max_attempts
            || left.is_some_and(|left| left < wait.max(Duration::from_nanos(1)))
        {
            return Err(Exhausted { attempts: self.made, elapsed });
        }
        const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
        if wait < SHORTEST_SLEEP {
            std::thread::yield_now();
        } else {
            std::thread::sleep(wait);
        }
        Ok(())
    }

    fn next_delay(&self) -> Duration {
        let doubled = self.policy.base_delay.saturating_mul(1 << self.made.min(20));
        let bound = doubled.min(self.policy.max_delay);
        bound.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_attempt_is_made_beyond_the_policys_count() {
        let policy = RetryPolicy::new().max_attempts(3).base_delay(Duration::ZERO);
        let mut attempts = policy.start();
        assert!(attempts.lost().is_ok());
        assert!(attempts.lost().is_ok());
        assert_eq!(attempts.lost().unwrap_err().attempts, 3);
    }

    #[test]
    fn no_wait_is_begun_that_would_end_after_the_deadline() {
        let policy = RetryPolicy::new().deadline(Duration::ZERO);
        assert_eq!(policy.start().lost().unwrap_err().attempts, 1);
    }

    #[test]
    fn waits_stay_below_their_bound_and_do_not_overflow() {
        let policy = RetryPolicy::new()
            .base_delay(Duration::from_secs(u64::MAX))
            .max_delay(Duration::from_millis(7));
        let mut attempts = policy.start();
        for made in 0..100 {
            attempts.made = made;
            assert!(attempts.next_delay() <= Duration::from_millis(7));
        }
    }
}
