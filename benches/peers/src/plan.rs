//! What a run measures, on what, and how long.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tempfile::TempDir;

use crate::engine::{Column, Outcome, Setup};
use crate::engines;
use crate::report::Row;

pub const VALUE_BYTES: usize = 256;
pub const DEFAULT_CACHE_BYTES: u64 = 64 << 20;

pub struct Plan {
    pub quick: bool,
    /// The items of most rows; all other sizes are multiples of it.
    pub items: u64,
    pub time: Duration,
    pub rounds: u64,
    pub columns: Vec<&'static Column>,
    /// Beginnings of the names of rows; empty means all.
    pub rows: Vec<String>,
    pub dir: PathBuf,
}

impl Plan {
    pub fn from_arguments(arguments: &[String]) -> Outcome<Self> {
        let quick = arguments.iter().any(|name| name == "quick");
        let mut plan = Self {
            quick,
            items: if quick { 1_000 } else { 200_000 },
            time: Duration::from_millis(if quick { 40 } else { 2_000 }),
            rounds: if quick { 1 } else { 3 },
            columns: engines::COLUMNS.iter().collect(),
            rows: Vec::new(),
            dir: env::temp_dir(),
        };
        let mut given = arguments.iter();
        while let Some(name) = given.next() {
            if !name.starts_with("--") {
                if name != "quick" && name != "all" {
                    plan.rows.push(name.clone());
                }
                continue;
            }
            let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
            let listed = |known: &str| value.split(',').any(|name| known.starts_with(name));
            match &**name {
                "--items" => plan.items = value.parse::<u64>()?.max(1_000),
                "--seconds" => plan.time = Duration::try_from_secs_f64(value.parse()?)?,
                "--rounds" => plan.rounds = value.parse::<u64>()?.max(1),
                "--engines" => plan.columns.retain(|column| listed(column.name)),
                "--dir" => plan.dir = value.into(),
                _ => return Err(format!("unknown argument {name}").into()),
            }
        }
        Ok(plan)
    }

    pub fn wants(&self, row: &Row) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|start| row.id.starts_with(&**start))
    }

    pub fn wants_any(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }

    /// The columns but for the raw disk.
    pub fn stores(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().copied().filter(|column| column.name != engines::RAW_DISK)
    }

    pub fn idle(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 60 })
    }

    /// How many stores are open at once.
    pub fn many(&self) -> u64 {
        if self.quick { 10 } else { 100 }
    }

    pub fn folder(&self) -> Outcome<TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }

    /// Lets an engine do what it has put off, so that it is not done in the time of the next.
    pub fn rest(&self) {
        if !self.quick {
            rest();
        }
    }
}

const LONGEST_REST: Duration = Duration::from_secs(10);

/// Waits until this process is all but idle, for a while.
pub fn rest() {
    let began = Instant::now();
    while began.elapsed() < LONGEST_REST {
        let before = cpu_ticks();
        thread::sleep(Duration::from_millis(100));
        if cpu_ticks() <= before + 1 {
            return;
        }
    }
}

/// What this process has used of the processors, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Bytes of keys and values.
pub fn live_bytes(items: u64, value_bytes: usize) -> u64 {
    items * (crate::engine::KEY_BYTES + value_bytes) as u64
}

/// A cache of a quarter of the data.
pub fn quarter(items: u64) -> u64 {
    live_bytes(items, VALUE_BYTES) / 4
}

/// What ifmatch has in memory beside its cache, the page cache of its index on disk; in the cold rows
/// memtables may hold as much.
pub const BESIDE_CACHE_BYTES: u64 = 8 << 20;

pub const fn eventual(cache_bytes: u64) -> Setup {
    Setup { mode: crate::engine::Mode::Eventual, cache_bytes, memtable_bytes: None }
}

pub const fn durable(cache_bytes: u64) -> Setup {
    Setup { mode: crate::engine::Mode::Durable, cache_bytes, memtable_bytes: None }
}
