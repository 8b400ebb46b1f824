//! The disk itself: a record appended by `pwrite` and `fdatasync` to a file of zeros, over and
//! over. What one thread cannot go beyond. Many threads commit in groups: the last one to come writes
//! and syncs for all, and wakes them. So each sync has a record of every thread, and nothing else is
//! done.

use std::fs::File;
use std::io::Write;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use crate::engine::{Column, Engine, Item, Key, Mode, Op, Outcome, Session, Setup, absent};

pub const NAME: &str = "raw disk";

pub const COLUMN: Column = Column {
    name: NAME,
    package: "",
    peer: false,
    survives_kill: true,
    checks_reads: false,
    setup: "pwrite and fdatasync into a file of zeros, one of each for all threads; pwrite alone",
    open,
    restore: None,
};

const FILE_BYTES: u64 = 64 << 20;
/// What an engine writes for an item beside it, about.
const FRAME_BYTES: usize = 48;

struct RawDisk {
    file: File,
    mode: Mode,
    end: AtomicU64,
    group: Mutex<Group>,
}

/// The threads that commit together.
#[derive(Default)]
struct Group {
    members: usize,
    waiting: Vec<(Thread, Arc<AtomicBool>)>,
    records: Vec<u8>,
}

struct Appender<'a> {
    disk: &'a RawDisk,
    is_member: bool,
    /// Whether its record was synced.
    synced: Arc<AtomicBool>,
}

fn open(dir: &Path, setup: Setup) -> Outcome<Box<dyn Engine>> {
    let mut file = File::create_new(dir.join("zeros"))?;
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&[0; 1 << 20])?;
    }
    file.sync_all()?;
    let (end, group) = (AtomicU64::new(0), Mutex::default());
    Ok(Box::new(RawDisk { file, mode: setup.mode, end, group }))
}

impl Engine for RawDisk {
    fn settle(&self) -> Outcome {
        Ok(())
    }

    fn session(&self) -> Outcome<Box<dyn Session + '_>> {
        Ok(Box::new(Appender { disk: self, is_member: false, synced: Arc::default() }))
    }
}

impl RawDisk {
    fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, records: &[u8]) -> Outcome {
        let len = records.len() as u64;
        let at = self.end.fetch_add(len, Ordering::Relaxed) % (FILE_BYTES - len);
        Ok(self.file.write_all_at(records, at)?)
    }

    /// Writes and syncs for all who wait. An error ends the row by way of who leads.
    fn lead(&self, mut group: MutexGuard<'_, Group>) -> Outcome {
        let (waiting, records) = (mem::take(&mut group.waiting), mem::take(&mut group.records));
        drop(group);
        let synced = self.append(&records).and_then(|()| Ok(self.file.sync_data()?));
        for (thread, synced) in waiting {
            synced.store(true, Ordering::Release);
            thread.unpark();
        }
        synced
    }
}

impl Session for Appender<'_> {
    fn prepare(&mut self, op: Op, _: u64) -> Outcome {
        if op != Op::Replace {
            return absent("only appends");
        }
        self.is_member = true;
        self.disk.group().members += 1;
        Ok(())
    }

    fn load(&mut self, _: &[(Key, Item)]) -> Outcome {
        Ok(())
    }

    fn replace(&mut self, key: &Key, item: &[u8]) -> Outcome {
        let record = [&key[..], item, &[0; FRAME_BYTES]].concat();
        if self.disk.mode != Mode::Durable {
            return self.disk.append(&record);
        }
        let mut group = self.disk.group();
        group.records.extend(record);
        if group.waiting.len() + 1 >= group.members {
            return self.disk.lead(group);
        }
        group.waiting.push((thread::current(), Arc::clone(&self.synced)));
        drop(group);
        while !self.synced.swap(false, Ordering::Acquire) {
            thread::park();
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

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        if !self.is_member {
            return;
        }
        let mut group = self.disk.group();
        group.members -= 1;
        if !group.waiting.is_empty() && group.waiting.len() >= group.members {
            // The others wait for this one alone; what they lose is a figure.
            let _ = self.disk.lead(group);
        }
    }
}
