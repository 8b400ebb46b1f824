//! The models' disk: one in memory that remembers what was synced, and fails on request.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::journal::frame::Body;
use crate::journal::segment::{OpenSegment, SEGMENT_HEADER_BYTES, SegmentFacts, SegmentHeader};
use crate::seams::sync::thread;
use crate::storage::{Disk, DiskFile, EntryKind, HeldLock, MemoryDisk};

/// Of std are the mutexes and atomics here: each is held or touched for a moment inside of a step
/// that the disk in memory makes.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelDisk {
    memory: MemoryDisk,
    segments: Arc<Mutex<BTreeMap<PathBuf, Arc<Shadow>>>>,
    trap: Arc<Trap>,
}

/// What a segment's file holds, and what of it a loss of power would leave at least.
#[derive(Debug, Default)]
struct Shadow {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    written: Vec<u8>,
    synced: Vec<u8>,
}

/// The call that will not go well, if any: the next one of its kind on a segment.
#[derive(Debug, Default)]
struct Trap(AtomicU8);

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Trapped {
    FailWrite = 1,
    FailSync,
    PanicInWrite,
    PanicInSync,
}

impl ModelDisk {
    pub(super) fn set_trap(&self, trapped: Trapped) {
        self.trap.0.store(trapped as u8, Ordering::SeqCst);
    }

    /// The revisions whose frames a crash at this moment cannot take: those that recovery finds
    /// where everything that was not synced is gone.
    pub(super) fn synced_revisions(&self) -> Vec<u64> {
        let segments = self.segments.lock().unwrap();
        let synced = |shadow: &Shadow| shadow.contents.lock().unwrap().synced.clone();
        segments.iter().flat_map(|(path, shadow)| revisions_of(path, synced(shadow))).collect()
    }

    /// The revisions whose frames the end of the process at this moment cannot take.
    pub(super) fn written_revisions(&self) -> Vec<u64> {
        let segments = self.segments.lock().unwrap();
        let written = |shadow: &Shadow| shadow.contents.lock().unwrap().written.clone();
        segments.iter().flat_map(|(path, shadow)| revisions_of(path, written(shadow))).collect()
    }
}

/// The revisions that recovery finds in a segment's file.
fn revisions_of(path: &Path, image: Vec<u8>) -> Vec<u64> {
    let Some(header) = image.get(..SEGMENT_HEADER_BYTES as usize) else { return Vec::new() };
    let (header, seed) = SegmentHeader::decode(path, header).unwrap();
    let (path, len_bytes) = (path.to_owned(), image.len() as u64);
    let file = Arc::new(Image(image));
    let facts = SegmentFacts { path, header, seed, len_bytes };
    let segment = OpenSegment { file, facts };
    let mut scan = segment.scan(len_bytes);
    let mut revisions = Vec::new();
    while let Some(frame) = scan.next().unwrap() {
        if matches!(Body::decode(frame.body), Some(Body::Commit(_))) {
            revisions.push(frame.revision);
        }
    }
    revisions
}

impl Trap {
    fn meet(&self, fail: Trapped, panic: Trapped) -> io::Result<()> {
        let met = |trapped: Trapped| {
            let (set, idle) = (trapped as u8, 0);
            self.0.compare_exchange(set, idle, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        if met(panic) {
            // Without the message that a panic prints, thousands of times.
            std::panic::resume_unwind(Box::new("trapped"));
        }
        if met(fail) {
            // A call that fails takes time too, in which other threads work.
            thread::yield_now();
            return Err(io::Error::other("trapped"));
        }
        Ok(())
    }
}

impl Disk for ModelDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.memory.open(path, create)?;
        if path.extension().is_none_or(|extension| extension != "seg") {
            return Ok(file);
        }
        let shadow = Arc::clone(self.segments.lock().unwrap().entry(path.to_owned()).or_default());
        Ok(Arc::new(ModelFile { file, shadow, trap: Arc::clone(&self.trap) }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.memory.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.memory.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.memory.exists(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        self.memory.kind(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.memory.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.memory.sync_dir(dir)
    }

    fn can_be_full(&self) -> bool {
        false
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn HeldLock>>> {
        self.memory.lock(path)
    }
}

#[derive(Debug)]
struct ModelFile {
    file: Arc<dyn DiskFile>,
    shadow: Arc<Shadow>,
    trap: Arc<Trap>,
}

impl DiskFile for ModelFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.trap.meet(Trapped::FailWrite, Trapped::PanicInWrite)?;
        let count = self.file.write_at(buf, offset)?;
        let mut contents = self.shadow.contents.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + count);
        if contents.written.len() < end {
            contents.written.resize(end, 0);
        }
        contents.written[start..end].copy_from_slice(&buf[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.shadow.contents.lock().unwrap().written.resize(len as usize, 0);
        self.file.set_len(len)
    }

    /// Covers what was written before the call, and nothing that is written during it.
    fn sync_data(&self) -> io::Result<()> {
        let covered = self.shadow.contents.lock().unwrap().written.clone();
        self.file.sync_data()?;
        self.trap.meet(Trapped::FailSync, Trapped::PanicInSync)?;
        self.shadow.contents.lock().unwrap().synced = covered;
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Bytes to be read as a file.
#[derive(Debug)]
struct Image(Vec<u8>);

impl DiskFile for Image {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let stored = self.0.get(offset as usize..).unwrap_or_default();
        let count = stored.len().min(buf.len());
        buf[..count].copy_from_slice(&stored[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
