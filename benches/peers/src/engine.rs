//! What every engine is measured through: [`Engine`] and its sessions, one to a thread.

use std::error::Error;
use std::fmt;
use std::path::Path;

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What an engine does not have. Any other error is a failure, and the run tells it at its end.
#[derive(Debug, Clone)]
pub struct Absent(pub String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Absent {}

pub fn absent<T>(reason: &str) -> Outcome<T> {
    Err(Absent(reason.to_owned()).into())
}

pub const KEY_BYTES: usize = 21;
pub const TAG_BYTES: usize = 16;

pub type Key = [u8; KEY_BYTES];
/// An item as peers store it: the tag, then the value. ifmatch makes its own tag and takes the
/// value alone.
pub type Item = Vec<u8>;

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The loss of power: the write is on stable storage before it returns.
    Durable,
    /// The end of the process.
    Eventual,
}

#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub mode: Mode,
    pub cache_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Replace,
    ReplaceHundred,
    UpdateOneKey,
    /// Of a tenth of the items.
    GetHot,
    GetAny,
    GetNotModified,
    ScanValues,
    ScanKeys,
    Patch,
}

/// An engine as a column of the tables.
pub struct Column {
    pub name: &'static str,
    /// The package whose version is told; empty for the disk itself.
    pub package: &'static str,
    /// Whether it counts as a peer; ours, sled alone and the raw disk do not.
    pub peer: bool,
    /// Whether what it acknowledges in [`Mode::Eventual`] survives a kill; if not, it is shown
    /// and does not count there.
    pub survives_kill: bool,
    /// Whether it compares a checksum of what it reads from its files.
    pub checks_reads: bool,
    /// How it is set up: durable, eventual, and what `cache_bytes` sets.
    pub setup: &'static str,
    /// Opens a store in a folder, or creates it there.
    pub open: fn(&Path, Setup) -> Outcome<Box<dyn Engine>>,
    /// Makes a store in a new folder from a backup; `None` if a backup is one when it is copied.
    pub restore: Option<fn(from: &Path, to: &Path) -> Outcome>,
}

pub trait Engine: Send + Sync {
    fn session(&self) -> Outcome<Box<dyn Session + '_>>;

    /// Ends what writing has left to do before its effects are durable.
    fn settle(&self) -> Outcome;

    fn close(self: Box<Self>) -> Outcome {
        Ok(())
    }

    /// Copies the open store into a new folder.
    fn backup(&self, to: &Path) -> Outcome {
        let _ = to;
        absent("has no backup of an open store")
    }

    /// Replaces items while they are watched; after each, how many milliseconds later the watch had
    /// the change.
    fn watch(&self, writes: u64) -> Outcome<Vec<f64>> {
        absent(&format!("has no watch that is told of {writes} changes when they are durable"))
    }
}

/// One thread's access.
pub trait Session {
    /// Makes ready for an operation on the first `count` items or documents, outside of what is
    /// measured, or tells that the engine does not have it.
    fn prepare(&mut self, op: Op, count: u64) -> Outcome {
        let _ = count;
        match op {
            Op::GetNotModified => absent("has no conditional get"),
            Op::Patch => absent("has no patch of a document"),
            _ => Ok(()),
        }
    }

    /// Writes new items, in order of keys, in one transaction, by whatever way is fastest.
    fn load(&mut self, items: &[(Key, Item)]) -> Outcome;

    /// Reads an item, and replaces it if its tag is still the same; repeated until done.
    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome;

    /// The same for a key that many threads want at once.
    fn update(&mut self, key: &Key, item: &[u8]) -> Outcome {
        self.replace(key, item)
    }

    /// The same as a replace, for many items in one transaction.
    fn replace_many(&mut self, items: &[(Key, Item)]) -> Outcome;

    /// Reads an item and touches its value.
    fn get(&mut self, key: &Key) -> Outcome<u64>;

    /// Reads everything in order of keys; returns how many items there are.
    fn scan(&mut self, values: bool) -> Outcome<u64>;

    /// Asks for item `n` if it is not as it was; it is.
    fn get_not_modified(&mut self, n: u64) -> Outcome {
        absent(&format!("has no conditional get of item {n}"))
    }

    /// Sets one number in document `n` if its tag is the one of this session's last patch.
    fn patch(&mut self, n: u64, number: u64) -> Outcome {
        absent(&format!("has no patch of document {n} to {number}"))
    }
}

/// Looks at an item's tag, as a precondition does.
pub fn see_tag(item: &[u8]) {
    std::hint::black_box(&item[..TAG_BYTES]);
}

/// A number that depends on the first and the last byte, so that a value has to be there.
pub fn touch(bytes: &[u8]) -> u64 {
    u64::from(bytes[0]) + u64::from(bytes[bytes.len() - 1])
}

pub fn key(n: u64) -> Key {
    let mut key = *b"item-0000000000000000";
    let mut rest = n;
    for digit in key.iter_mut().rev().take(16) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A JSON document of 1 KiB.
pub fn document(n: u64) -> serde_json::Value {
    let mut document = serde_json::json!({
        "sku": format!("{n:05}"), "name": "Trekking tent, 2 persons", "price": 249.9, "stock": 0,
        "tags": ["camping", "shelter"], "size_mm": { "w": 1400, "h": 1100, "d": 2200 }, "text": "",
    });
    let rest = 1_024_usize.saturating_sub(document.to_string().len());
    document["text"] = "x".repeat(rest).into();
    document
}

/// A small generator (xorshift64*), the same numbers in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Fills an item with bytes that do not compress.
    pub fn fill(&mut self, item: &mut [u8]) {
        for chunk in item.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_ne_bytes()[..chunk.len()]);
        }
    }

    pub fn item(&mut self, value_bytes: usize) -> Item {
        let mut item = vec![0; TAG_BYTES + value_bytes];
        self.fill(&mut item);
        item
    }
}
