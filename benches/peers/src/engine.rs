//! What every engine is measured through: [`Engine`] and its sessions, one to a thread.

use std::error::Error;
use std::path::Path;

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

pub const KEY_BYTES: usize = 21;
pub const VALUE_BYTES: usize = 256;
pub const TAG_BYTES: usize = 16;

pub type Key = [u8; KEY_BYTES];
pub type Value = [u8; VALUE_BYTES];
pub type Tag = [u8; TAG_BYTES];

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The loss of power: the write is on stable storage before it returns.
    Durable,
    /// The end of the process.
    Eventual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Replace,
    ReplaceHundred,
    UpdateOneKey,
    Get,
    GetNotModified,
    ScanValues,
    ScanKeys,
    Patch,
}

/// An engine as a column of the table.
pub struct Column {
    pub name: &'static str,
    /// Whether it counts as a peer; ours, sled alone and the raw disk do not.
    pub peer: bool,
    /// Whether what it acknowledges in [`Mode::Eventual`] survives a kill; if not, it is shown
    /// and does not count there.
    pub eventual_survives_kill: bool,
    /// How it is set up, durable and eventual.
    pub setup: &'static str,
    pub open: fn(&Path, Mode) -> Outcome<Box<dyn Engine>>,
}

pub trait Engine: Sync {
    fn can(&self, op: Op) -> bool {
        !matches!(op, Op::GetNotModified | Op::Patch)
    }

    /// Ends what loading has left to do in the background. `documents` JSON documents are wanted
    /// for [`Session::patch`].
    fn settle(&mut self, documents: u64) -> Outcome {
        let _ = documents;
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>>;
}

/// One thread's access.
pub trait Session {
    /// Writes new items in one transaction, by whatever way is fastest.
    fn load(&mut self, keys: &[Key], value: &Value) -> Outcome;

    /// Reads an item, and replaces it if its tag is still the same; repeated until done.
    fn replace(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome;

    /// The same for a key that many threads want at once.
    fn update(&mut self, key: &Key, value: &Value, tag: Tag) -> Outcome {
        self.replace(key, value, tag)
    }

    /// The same as a replace, for many items in one transaction.
    fn replace_many(&mut self, keys: &[Key], value: &Value, tag: Tag) -> Outcome;

    /// Reads an item and touches its value.
    fn get(&mut self, key: &Key) -> Outcome<u64>;

    /// Reads everything in order of keys; returns how many items there are.
    fn scan(&mut self, values: bool) -> Outcome<u64>;

    /// Asks for item `n` if it is not as it was; it is.
    fn get_not_modified(&mut self, n: u64) -> Outcome {
        Err(format!("no conditional get of item {n}").into())
    }

    /// Sets one number in document `n` if its tag is the one of this session's last patch.
    fn patch(&mut self, n: u64, number: u64) -> Outcome {
        Err(format!("no patch of document {n} to {number}").into())
    }
}

/// The item as peers store it: the tag, then the value.
pub fn with_tag(tag: Tag, value: &Value) -> [u8; TAG_BYTES + VALUE_BYTES] {
    let mut bytes = [0; TAG_BYTES + VALUE_BYTES];
    bytes[..TAG_BYTES].copy_from_slice(&tag);
    bytes[TAG_BYTES..].copy_from_slice(value);
    bytes
}

pub fn tag_of(bytes: &[u8]) -> Tag {
    bytes[..TAG_BYTES].try_into().unwrap_or_default()
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
