//! The disk itself: a record appended by `pwrite` and `fdatasync` to a file of zeros, over and
//! over. What one thread cannot go beyond.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::{Column, Engine, Item, Key, Mode, Op, Outcome, Session, Setup, absent};

pub const NAME: &str = "raw disk";

pub const COLUMN: Column = Column {
    name: NAME,
    package: "",
    peer: false,
    survives_kill: true,
    checks_reads: false,
    setup: "pwrite and fdatasync into a file of zeros; pwrite alone",
    open,
    restore: None,
};

const FILE_BYTES: u64 = 64 << 20;
/// What an engine writes for an item beside it, about.
const FRAME_BYTES: usize = 48;

struct RawDisk(File, Mode, AtomicU64);

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut file = File::create_new(dir.join("zeros"))?;
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&[0; 1 << 20])?;
    }
    file.sync_all()?;
    Ok(Box::new(RawDisk(file, setup.mode, AtomicU64::new(0))))
}

impl Engine for RawDisk {
    fn settle(&self) -> Outcome {
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &RawDisk {
    fn prepare(&mut self, op: Op, _: u64) -> Outcome {
        if op == Op::Replace { Ok(()) } else { absent("only appends") }
    }

    fn load(&mut self, _: &[(Key, Item)]) -> Outcome {
        Ok(())
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let record = [&key[..], item, &[0; FRAME_BYTES]].concat();
        let room = FILE_BYTES - record.len() as u64;
        let at = self.2.fetch_add(record.len() as u64, Ordering::Relaxed) % room;
        self.0.write_all_at(&record, at)?;
        if self.1 == Mode::Durable {
            self.0.sync_data()?;
        }
        Ok(())
    }

    fn replace_many(&mut self, _: &[(Key, Item)]) -> Outcome {
        absent("only appends")
    }

    fn get(&mut self, _: &Key) -> Outcome<u64> {
        absent("only appends")
    }

    fn scan(&mut self, _: bool) -> Outcome<u64> {
        absent("only appends")
    }
}
