//! The one place where panics, errors and hangs of sled end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::values::error::{Error, IndexFailure, Result};

/// Runs calls into sled and remembers whether one of them failed.
///
/// After the first failure no later call reaches sled: it does not keep its state consistent when
/// it panics, and its reads miss what it could not write. A panic of sled calls the process's
/// panic hook, which belongs to the program and is left alone.
///
/// Under `panic = "abort"` nothing can be caught here; the store's marker, synced before sled is
/// opened, covers that.
#[derive(Debug, Default)]
pub(super) struct Guard {
    failed: AtomicBool,
}

impl Guard {
    /// Runs a call on this thread.
    pub(super) fn call<T>(
        &self,
        what: &'static str,
        call: impl FnOnce() -> Result<T, sled::Error>,
    ) -> Result<T> {
        self.check()?;
        self.settle(what, run(call))
    }

    /// Runs a call on a thread of its own and waits for it, at most for `limit`; a call that takes
    /// longer is abandoned with its thread, and counts as a failure.
    pub(super) fn call_within<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl FnOnce() -> Result<T, sled::Error> + Send + 'static,
    ) -> Result<T> {
        self.check()?;
        match run_within(limit, call) {
            // The system has no thread to spare: momentary, and sled was not called.
            Err(Refused::NoThread(source)) => Err(Error::io(
                "starting a thread for the index in",
                Path::new("this process"),
            )(source)),
            Err(Refused::Failed(reason)) => self.settle(what, Err(reason)),
            Ok(done) => Ok(done),
        }
    }

    fn check(&self) -> Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::IndexUnavailable(IndexFailure::new(
                "an earlier call into the backing store failed",
            )));
        }
        Ok(())
    }

    fn settle<T>(&self, what: &'static str, outcome: Result<T, String>) -> Result<T> {
        outcome.map_err(|reason| {
            self.failed.store(true, Ordering::Release);
            failure(what, &reason)
        })
    }
}

/// Runs a call whose failure nobody can act on, such as dropping a database, within `limit`.
pub(super) fn attempt_within(
    what: &'static str,
    limit: Duration,
    call: impl FnOnce() + Send + 'static,
) {
    let outcome = run_within(limit, || {
        call();
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(Refused::NoThread(error)) => log::warn!("{what}: no thread can be started: {error}"),
        Err(Refused::Failed(reason)) => log::warn!("{}", failure_text(what, &reason)),
    }
}

/// Why a call on another thread gave nothing.
enum Refused {
    NoThread(io::Error),
    Failed(String),
}

fn run_within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> Result<T, sled::Error> + Send + 'static,
) -> Result<T, Refused> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        // Nobody listens any more when the call was abandoned; its result is dropped here.
        let _ = sender.send(run(call));
    };
    thread::Builder::new()
        .name("ifmatch-index".to_owned())
        .spawn(work)
        .map_err(Refused::NoThread)?;
    let received = receiver.recv_timeout(limit).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(format!("not done within {limit:?}")),
        RecvTimeoutError::Disconnected => Err("its thread ended".to_owned()),
    });
    received.map_err(Refused::Failed)
}

fn run<T>(call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, String> {
    // Unwind safety: after a failure nothing that the call touched is used again.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(payload) => Err(format!("panic: {}", panic_text(payload.as_ref()))),
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

fn failure(what: &'static str, reason: &str) -> Error {
    Error::IndexUnavailable(IndexFailure::new(failure_text(what, reason)))
}

fn failure_text(what: &'static str, reason: &str) -> String {
    // Some panics of sled print the whole tree.
    const LONGEST: usize = 300;
    let reason: String = reason.chars().take(LONGEST).collect();
    format!("{what}: {reason}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use std::sync::Arc;

    use super::*;

    fn text<T: std::fmt::Debug>(outcome: Result<T>) -> String {
        let Error::IndexUnavailable(error) = outcome.unwrap_err() else {
            panic!("not the backing store's error")
        };
        error.to_string()
    }

    fn calls_after_failure(guard: &Guard) -> String {
        text(guard.call("get", || -> Result<(), _> { panic!("sled was called") }))
    }

    #[test]
    fn a_panic_becomes_an_error_and_ends_all_calls() {
        let guard = Guard::default();
        assert_eq!(guard.call("get", || Ok(1)).unwrap(), 1);
        assert_eq!(
            text(guard.call("get", || -> Result<(), _> { panic!("no {}", 2) })),
            "get: panic: no 2"
        );
        assert_eq!(calls_after_failure(&guard), "an earlier call into the backing store failed");
    }

    #[test]
    fn an_error_of_sled_ends_all_calls() {
        let guard = Guard::default();
        let refused = || Err::<(), _>(sled::Error::Unsupported("this".to_owned()));
        assert!(text(guard.call("get", refused)).starts_with("get: Unsupported: this"));
        assert_eq!(calls_after_failure(&guard), "an earlier call into the backing store failed");
    }

    #[test]
    fn a_hanging_call_is_abandoned_and_ends_all_calls() {
        let guard = Guard::default();
        let (release, wait) = mpsc::channel::<()>();
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let hang = move || {
            let _ = wait.recv();
            drop(held);
            Ok(())
        };
        let outcome = guard.call_within("flush", Duration::from_millis(10), hang);
        assert_eq!(text(outcome), "flush: not done within 10ms");
        assert_eq!(calls_after_failure(&guard), "an earlier call into the backing store failed");
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(release);
    }

    #[test]
    fn a_panic_on_the_helper_thread_is_an_error() {
        let guard = Guard::default();
        let limit = Duration::from_secs(60);
        let outcome = guard.call_within("flush", limit, || -> Result<(), _> { panic!("no") });
        assert_eq!(text(outcome), "flush: panic: no");
        attempt_within("close", limit, || panic!("nobody waits for it any more"));
    }

    #[test]
    fn a_message_that_holds_the_whole_tree_is_cut() {
        let guard = Guard::default();
        let outcome = guard.call("get", || -> Result<(), _> { panic!("{}", "é".repeat(100_000)) });
        assert_eq!(text(outcome).chars().count(), "get: ".len() + 300);
    }
}
