//! What the environment asks of a test run.

use std::env;

/// The number in an environment variable, or the usual one.
pub(crate) fn count(variable: &str, usual: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => usual,
    }
}

/// The seed to repeat, or a new one.
pub(crate) fn seed() -> u64 {
    count("IFMATCH_SEED", fastrand::u64(..))
}
