//! The disk itself: a record appended by `pwrite` and `fdatasync` to a file of zeros, over and
//! over. What one thread cannot go beyond.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::{Column, Engine, Key, Mode, Op, Outcome, Session, Tag, VALUE_BYTES, Value};

pub const COLUMN: Column = Column {
    name: "raw disk",
    peer: false,
    eventual_survives_kill: true,
    setup: "pwrite and fdatasync into a file of zeros; pwrite alone",
    open,
};

const FILE_BYTES: u64 = 64 << 20;
/// Key, value and some forty bytes of a record's own.
const RECORD_BYTES: usize = VALUE_BYTES + 64;

struct RawDisk(File, Mode, AtomicU64);

fn open(dir: &Path, mode: Mode) -> Outcome<Box<dyn Engine>> {
    let mut file = File::create_new(dir.join("zeros"))?;
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&[0; 1 << 20])?;
    }
    file.sync_all()?;
    Ok(Box::new(RawDisk(file, mode, AtomicU64::new(0))))
}

impl Engine for RawDisk {
    fn can(&self, op: Op) -> bool {
        op == Op::Replace
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(self))
    }
}

impl Session for &RawDisk {
    fn load(&mut self, _: &[Key], _: &Value) -> Outcome {
        Ok(())
    }

    fn replace(&mut self, key: &Key, value: &Value, _: Tag) -> Outcome {
        let mut record = [0; RECORD_BYTES];
        record[..key.len()].copy_from_slice(key);
        record[key.len()..key.len() + value.len()].copy_from_slice(value);
        let at = self.2.fetch_add(RECORD_BYTES as u64, Ordering::Relaxed);
        self.0.write_all_at(&record, at % (FILE_BYTES - RECORD_BYTES as u64))?;
        if self.1 == Mode::Durable {
            self.0.sync_data()?;
        }
        Ok(())
    }

    fn replace_many(&mut self, _: &[Key], _: &Value, _: Tag) -> Outcome {
        Err("the raw disk only appends".into())
    }

    fn get(&mut self, _: &Key) -> Outcome<u64> {
        Err("the raw disk only appends".into())
    }

    fn scan(&mut self, _: bool) -> Outcome<u64> {
        Err("the raw disk only appends".into())
    }
}
