//! Disk use, bytes written and time to open after many overwrites.
//!
//! `cargo bench --bench disk_use`; `IFMATCH_BENCH_ITEMS` and `IFMATCH_BENCH_OVERWRITES` change the
//! sizes. Live bytes are those of keys and values.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that fails may stop")]

mod common;

use std::time::Instant;

use bytes::Bytes;
use common::{Folder, grouped, items, key, setting, size_bytes, value};
use ifmatch::{Durability, Options, Precondition};

fn main() {
    let overwrites = setting("IFMATCH_BENCH_OVERWRITES", 500_000);
    let empty = Folder::new("empty");
    ifmatch::Store::open(empty.path().join("store"))
        .and_then(ifmatch::Store::close)
        .expect("empty");
    println!("an empty store occupies {} bytes", grouped(size_bytes(empty.path()) as f64));
    for value_bytes in [256, 1_024] {
        let folder = Folder::new("disk-use");
        let path = folder.path().join("store");
        let store = Options::new().durability(Durability::Eventual).open(&path).expect("a store");
        let blobs = store.raw("items").expect("a collection");
        let mut rng = fastrand::Rng::with_seed(0);
        let (began, written_before) = (Instant::now(), written_bytes());
        for number in 0..items() + overwrites {
            let number = if number < items() { number } else { rng.u64(..items()) };
            let new = Bytes::from(value(&mut rng, value_bytes));
            blobs.upsert(key(number), &new, Precondition::Always).expect("a write");
        }
        let seconds = began.elapsed().as_secs_f64();
        store.sync().expect("synced");
        drop(blobs);
        store.close().expect("closed");
        let live = items() * (value_bytes as u64 + 21);
        let stored = (items() + overwrites) * (value_bytes as u64 + 21);
        let (journal, all) = (size_bytes(&path.join("journal")), size_bytes(&path));
        println!(
            "{value_bytes} B values, {} items, {} overwrites at {} a second:",
            grouped(items() as f64),
            grouped(overwrites as f64),
            grouped((items() + overwrites) as f64 / seconds),
        );
        println!(
            "  live {} bytes, all files {} ({:.2} x), journal {}, table {}",
            grouped(live as f64),
            grouped(all as f64),
            all as f64 / live as f64,
            grouped(journal as f64),
            grouped((all - journal) as f64),
        );
        let written = written_before.zip(written_bytes());
        for ((what, before), (_, after)) in
            written.into_iter().flat_map(|(b, a)| b.into_iter().zip(a))
        {
            let written = (after - before) as f64;
            println!("  {what} {}, {:.2} x", grouped(written), written / stored as f64);
        }
        let began = Instant::now();
        let store = ifmatch::Store::open(&path).expect("opened again");
        println!("  open after a clean close: {:.3} s", began.elapsed().as_secs_f64());
        drop(store);
    }
}

/// What this process has handed to the system to write so far, and what of it the system counts as
/// written to disk, where it tells: pages that are written twice before they reach it count once.
fn written_bytes() -> Option<[(&'static str, u64); 2]> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let figure = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let [calls, disk] = [figure("wchar:")?, figure("write_bytes:")?];
    Some([("bytes in write calls", calls), ("bytes written to disk", disk)])
}
