//! What compaction takes of memory, whatever the store's size: the resident set of a process that
//! compacts a large store with a small cache.
//!
//! ```text
//! cargo bench -p ifmatch-benches --bench compaction_memory -- 500      a store of so many MB; needs
//!                                                                    some minutes
//! ```
//!
//! Linux only: the figures are those of `/proc/self/status`.

#![allow(clippy::expect_used, reason = "a bench that fails may stop")]

use bytes::Bytes;
use ifmatch::{Durability, Options, Precondition, Store};

const VALUE_BYTES: usize = 256;
const CACHE_BYTES: u64 = 4 << 20;
const BATCH: u64 = 1_000;

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|argument| argument.parse::<u64>().ok());
    // A run of all benches, and `cargo test --benches`, run a small one.
    let items = megabytes.unwrap_or(20) * 1_000_000 / 350;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let options = Options::new().durability(Durability::Eventual).cache_bytes(CACHE_BYTES);
    let open = || options.clone().open(folder.path().join("store")).expect("a store");

    let store = open();
    write(&store, 0..items, 1);
    let mut rng = fastrand::Rng::with_seed(1);
    write(&store, (0..items / 3).map(|_| rng.u64(..items)), 2);
    store.close().expect("closed");

    let store = open();
    let before = status("VmRSS:");
    reset_peak();
    let done = store.compact().expect("compacted");
    println!(
        "{items} items of {VALUE_BYTES} bytes, cache of {} MiB: {} MB read, {} MB written; resident \
         {before:.0} MiB before, {:.0} MiB at most, {:.0} MiB afterwards",
        CACHE_BYTES >> 20,
        done.read_bytes / 1_000_000,
        done.written_bytes / 1_000_000,
        status("VmHWM:"),
        status("VmRSS:"),
    );
}

fn write(store: &Store, keys: impl Iterator<Item = u64>, seed: u64) {
    let items = store.raw("items").expect("a collection");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut keys = keys.peekable();
    while keys.peek().is_some() {
        let batch = keys.by_ref().take(BATCH as usize).fold(store.batch(), |batch, number| {
            let mut value = vec![0; VALUE_BYTES];
            rng.fill(&mut value);
            let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            batch.upsert(&items, key, &Bytes::from(value), Precondition::Always)
        });
        batch.commit().expect("a batch");
    }
}

/// Has the system count the peak of the resident set from now on.
fn reset_peak() {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        println!("the peak is that of the whole run: {error}");
    }
}

/// A figure of this process, in MiB.
fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1_024.0
}
