//! What the benches share: keys, values, random order, and a table of results.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many items the stores hold; `IFMATCH_BENCH_ITEMS` overrides.
pub(crate) fn items() -> u64 {
    setting("IFMATCH_BENCH_ITEMS", 200_000)
}

/// How long each figure is measured; `IFMATCH_BENCH_SECONDS` overrides.
pub(crate) fn seconds() -> Duration {
    Duration::from_secs(setting("IFMATCH_BENCH_SECONDS", 2))
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A key of 21 bytes, the same for the same number.
pub(crate) fn key(number: u64) -> [u8; 21] {
    let mut key = *b"item/0000000000000000";
    for (slot, digit) in key[5..].iter_mut().zip(format!("{number:016}").bytes()) {
        *slot = digit;
    }
    key
}

/// A value of this length that does not compress.
pub(crate) fn value(rng: &mut fastrand::Rng, len_bytes: usize) -> Vec<u8> {
    let mut value = vec![0; len_bytes];
    rng.fill(&mut value);
    value
}

/// Runs `step` on so many threads for a while and gives the steps per second of all together.
pub(crate) fn per_second(
    threads: usize,
    step: impl Fn(&mut fastrand::Rng) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> + Sync,
) -> f64 {
    let (done, stop, start) =
        (AtomicU64::new(0), AtomicBool::new(false), Barrier::new(threads + 1));
    let elapsed = thread::scope(|scope| {
        for thread in 0..threads {
            let (done, stop, start, step) = (&done, &stop, &start, &step);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread as u64 + 1);
                start.wait();
                let mut steps = 0;
                while !stop.load(Ordering::Relaxed) {
                    steps += step(&mut rng).expect("a step of the bench");
                }
                done.fetch_add(steps, Ordering::Relaxed);
            });
        }
        start.wait();
        let began = Instant::now();
        thread::sleep(seconds());
        stop.store(true, Ordering::Relaxed);
        began.elapsed()
    });
    done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64()
}

/// A folder below the target directory, on the same file system as the checkout, removed on drop.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for the bench");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes of all files below a folder.
pub(crate) fn size_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// `12 345` style.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
