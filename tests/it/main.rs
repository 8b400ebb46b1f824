//! The integration tests: one binary, one module per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backends;
mod backup;
mod backup_faults;
mod backup_places;
mod batch_cuts;
mod batches;
mod clearing;
mod collections;
mod compaction;
mod cursors;
mod damage;
mod depth;
mod etags;
mod expected_commits;
mod expiry;
mod faults;
mod feed;
mod finding;
mod follower;
mod foreign;
mod golden;
mod guide;
mod handles;
mod in_memory;
mod inspection;
mod iteration;
mod kills;
mod layers;
mod limits;
mod linearizability;
mod lost_index;
#[cfg(target_os = "linux")]
mod machine_limits;
mod messages;
#[path = "../model/mod.rs"]
mod model;
mod moved;
mod patching;
mod policy;
mod power_cuts;
mod prepared_stores;
mod processes;
mod properties;
mod random_activity;
mod reading;
#[cfg(target_os = "linux")]
mod recorded_cuts;
mod repairs;
mod same_boot;
mod saving;
mod shrink;
#[cfg(target_os = "linux")]
mod small_file_systems;
mod snapshot_bounds;
mod snapshots;
mod stats;
mod store_files;
#[cfg(feature = "stream")]
mod stream;
mod uniqueness;
mod updates;
mod upkeep;
mod verbs;
mod verification;
mod versions;
mod watch;
mod watch_found;
mod writer;

/// A number that the caller of the tests gave.
fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// How many cases of a long test are run: the first number in a plain `cargo test`, the second with
/// `IFMATCH_THOROUGH=1`.
fn thinned(plain: u64, thorough: u64) -> u64 {
    if is_thorough() { thorough } else { plain }
}

fn is_thorough() -> bool {
    from_environment("IFMATCH_THOROUGH").is_some_and(|thorough| thorough > 0)
}

/// The seeds of a test, or the one that the caller wants again.
fn seeds(all: std::ops::Range<u64>) -> std::ops::Range<u64> {
    from_environment("IFMATCH_SEED").map_or(all, |seed| seed..seed + 1)
}

/// Says, when a test fails, how to run the same again.
struct Repeat {
    module: &'static str,
    seed: u64,
}

impl Repeat {
    fn new(module: &'static str, seed: u64) -> Self {
        Self { module, seed }
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { module, seed } = self;
            eprintln!("to repeat: IFMATCH_SEED={seed} cargo test --test it {module}");
        }
    }
}

/// Names the case that a test fails in.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the case: {}", self.0);
        }
    }
}
