//! Engines with indexes over JSON documents, behind one trait.

mod ours;
mod redb;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::{Outcome, Random, absent};

/// A document of 256 bytes as JSON, about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Note {
    pub sku: String,
    pub tag: String,
    pub modified: u64,
    pub price: u64,
    pub text: String,
}

const TEXT_BYTES: usize = 164;
pub const TAGS: u64 = 100;
/// The end of prices and times.
pub const NUMBERS: u64 = 1_000_000_000;

impl Note {
    pub fn new(n: u64, random: &mut Random) -> Self {
        let letter = |_| char::from(b'a' + random.below(26) as u8);
        let text = (0..TEXT_BYTES).map(letter).collect();
        Self {
            sku: sku(n),
            tag: tag(random.below(TAGS)),
            modified: random.below(NUMBERS),
            price: random.below(NUMBERS),
            text,
        }
    }
}

pub fn sku(n: u64) -> String {
    format!("sku-{n:010}")
}

pub fn tag(n: u64) -> String {
    format!("tag-{n:03}")
}

/// How many documents a listing gives.
pub const PAGE: usize = 50;

#[derive(Debug, Clone)]
pub enum Query {
    /// The one with this `sku`.
    Sku(String),
    /// So many from this `price` on, in its order.
    PriceFrom(u64),
    /// The newest with this `tag`, by `modified`.
    NewestOf(String),
}

/// A collection of notes by number.
pub trait Documents {
    /// Writes new notes, in order of numbers, in one durable transaction.
    fn load(&mut self, first: u64, notes: &[Note]) -> Outcome;

    /// Decodes what is found, and returns how many there are.
    fn find(&mut self, query: &Query) -> Outcome<usize>;

    /// Reads a note and replaces it if its tag is still the same; not synced.
    fn replace(&mut self, n: u64, change: &dyn Fn(&mut Note)) -> Outcome;
}

/// Opens the documents of an engine, with the first `indexes` of three: by tag and falling time of
/// change, by price, by `sku`.
pub fn open(name: &str, dir: &Path, indexes: usize, cache: u64) -> Outcome<Box<dyn Documents>> {
    match name {
        "ifmatch" => ours::open(dir, indexes, cache),
        "redb" => redb::open(dir, indexes, cache),
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::open(dir, indexes, cache),
        _ => absent("has no row of indexes here"),
    }
}
