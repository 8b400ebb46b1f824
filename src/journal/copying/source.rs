//! The journal of a store that nobody has open, read without changing a byte of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::journal::copying::{Collector, Loose, Source};
use crate::journal::entries::EntrySource;
use crate::journal::manifest::{Checkpoint, Loaded, Manifest, ManifestFile};
use crate::journal::recover::{FoundSegment, find_ends, is_outdated};
use crate::journal::salvage::segment_numbers;
use crate::journal::scanner::FrameScanner;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::journal::watermark::Watermark;
use crate::storage::layout::{
    JOURNAL_FOLDER, LOCK_FILE, MANIFEST_FILE, UNFINISHED_FILE, WATERMARK_FILE,
};
use crate::storage::{Disk, HeldLock, ReadOnlyDisk, StoreDirectory};
use crate::values::error::{Error, Result};
use crate::values::options::{OnProgress, Progress};

/// A store's directory, locked, with the ends of its segments found.
pub(crate) struct ClosedStore {
    disk: ReadOnlyDisk,
    pub(crate) manifest: Manifest,
    pub(crate) last_revision: u64,
    /// Whether the last program to have it open closed it, and nothing was appended since.
    pub(crate) closed_in_order: bool,
    segments: vec::IntoIter<FoundSegment>,
    current: Option<(FoundSegment, FrameScanner)>,
    collector: Collector,
    on_progress: Option<OnProgress>,
    /// Of the segments that were read to their ends.
    progress: Progress,
    _lock: ReadLock,
}

/// The lock of a store that is read, where one can be taken.
pub(super) struct ReadLock {
    _held: Option<Arc<dyn HeldLock>>,
}

impl ReadLock {
    /// The directory, and the lock or why it cannot be taken.
    ///
    /// # Errors
    /// [`Error::Locked`].
    fn try_take(disk: &Arc<dyn Disk>, path: &Path) -> Result<(Arc<StoreDirectory>, Result<Self>)> {
        match StoreDirectory::lock(disk, path) {
            Ok((directory, lock)) => Ok((directory, Ok(Self { _held: Some(lock) }))),
            Err(error @ Error::Locked { .. }) => Err(error),
            Err(error) => Ok((Arc::new(StoreDirectory::unlocked(disk, path)), Err(error))),
        }
    }

    /// The directory and its lock, or none where nobody can write.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Io`].
    pub(super) fn take(disk: &Arc<dyn Disk>, path: &Path) -> Result<(Arc<StoreDirectory>, Self)> {
        match Self::try_take(disk, path)? {
            (directory, Err(error)) if cannot_be_written(&error) => {
                Ok((directory, Self { _held: None }))
            }
            (directory, lock) => Ok((directory, lock?)),
        }
    }
}

impl ClosedStore {
    /// Locks the store and reads where its journal ends, as an open would.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::Unsupported`]; [`Error::Io`], of kind
    /// `NotFound` where there is no store.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        on_progress: Option<&OnProgress>,
    ) -> Result<Self> {
        check_present(disk, path)?;
        let (directory, lock) = ReadLock::try_take(disk, path)?;
        Self::read(directory, lock, path, on_progress)
    }

    /// As [`open`](Self::open), but makes no file LOCK where there is none: it is then read
    /// without a lock.
    pub(crate) fn open_unchanged(
        disk: &Arc<dyn Disk>,
        path: &Path,
        on_progress: Option<&OnProgress>,
    ) -> Result<Self> {
        let lock = path.join(LOCK_FILE);
        if disk.exists(&lock).map_err(Error::io("looking for", &lock))? {
            return Self::open(disk, path, on_progress);
        }
        check_present(disk, path)?;
        let directory = Arc::new(StoreDirectory::unlocked(disk, path));
        Self::read(directory, Ok(ReadLock { _held: None }), path, on_progress)
    }

    fn read(
        directory: Arc<StoreDirectory>,
        lock: Result<ReadLock>,
        path: &Path,
        on_progress: Option<&OnProgress>,
    ) -> Result<Self> {
        let manifest_path = path.join(MANIFEST_FILE);
        let disk = ReadOnlyDisk(directory);
        let manifest = match ManifestFile::load(&disk, path)? {
            Loaded::Found(found) => found.1,
            Loaded::Missing => {
                return Err(Error::corrupt(&manifest_path, 0, "the manifest is missing"));
            }
            Loaded::Damaged => {
                let reason = "both slots of the manifest are damaged";
                return Err(Error::corrupt(&manifest_path, 0, reason));
            }
        };
        let lock = match lock {
            // Nobody opens a copy there: that would write to it.
            Err(error) if manifest.copied && cannot_be_written(&error) => ReadLock { _held: None },
            lock => lock?,
        };
        if is_outdated(&disk, path, &manifest)? {
            let reason = "the manifest is older than the journal";
            return Err(Error::corrupt(&manifest_path, 0, reason));
        }
        let on_progress = on_progress.cloned();
        let ends = find_ends(&disk, path, &manifest, mark(&disk, path)?)?;
        let total_bytes = ends.segments.iter().map(frame_bytes).sum();
        Ok(Self {
            on_progress,
            progress: Progress { done_bytes: 0, total_bytes },
            disk,
            closed_in_order: ends.clean.is_some(),
            last_revision: ends.last_revision.max(manifest.checkpoint.revision),
            segments: ends.segments.into_iter(),
            current: None,
            collector: Collector::new(&manifest),
            manifest,
            _lock: lock,
        })
    }

    /// Bytes of its frames.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.progress.total_bytes
    }

    /// What the copy's checkpoint and clock are, once every commit was read.
    pub(crate) fn end(&self) -> (Checkpoint, u64) {
        (self.collector.checkpoint_at(self.last_revision), self.collector.newest_clock_ms())
    }
}

impl Source for ClosedStore {
    fn next(&mut self) -> Result<Vec<Loose>> {
        let Self { disk, segments, current, collector, progress, .. } = self;
        loop {
            let (found, scan) = match current {
                Some(current) => current,
                None => {
                    let Some(next) = segments.next() else { break };
                    let scan = next.scan(disk)?;
                    current.insert((next, scan))
                }
            };
            let Some(frame) = scan.next_commit()? else {
                scan.expect_end(found.end_offset)?;
                progress.done_bytes += frame_bytes(found);
                *current = None;
                continue;
            };
            let segment = &found.segment;
            if collector.add(EntrySource::of_header(&segment.path, &segment.header), &frame)? {
                break;
            }
        }
        let commits = collector.take();
        self.report();
        Ok(commits)
    }
}

impl ClosedStore {
    fn report(&self) {
        let Some(on_progress) = &self.on_progress else { return };
        let read = self
            .current
            .as_ref()
            .map_or(0, |(_, scan)| scan.position().offset.saturating_sub(SEGMENT_HEADER_BYTES));
        on_progress(Progress { done_bytes: self.progress.done_bytes + read, ..self.progress });
    }
}

/// # Errors
/// [`Error::Io`] of kind `NotFound` where there is neither MANIFEST nor a segment of a store that
/// has lost it.
pub(super) fn check_present(disk: &Arc<dyn Disk>, path: &Path) -> Result<()> {
    let exists = |name: &str| {
        let path = path.join(name);
        disk.exists(&path).map_err(Error::io("looking for", &path))
    };
    if exists(MANIFEST_FILE)?
        || exists(JOURNAL_FOLDER)?
            && !exists(UNFINISHED_FILE)?
            && !segment_numbers(&**disk, path)?.is_empty()
    {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "there is no store");
    Err(Error::io("opening", path)(source))
}

fn frame_bytes(found: &FoundSegment) -> u64 {
    found.end_offset.saturating_sub(SEGMENT_HEADER_BYTES)
}

/// How far the journal is known to have been synced.
fn mark(disk: &ReadOnlyDisk, store: &Path) -> Result<u64> {
    let path: PathBuf = store.join(WATERMARK_FILE);
    // Loading a WATERMARK that is missing would make one.
    let present = disk.exists(&path).map_err(Error::io("looking for", &path))?;
    if present { Ok(Watermark::load(disk, store)?.1) } else { Ok(0) }
}

fn cannot_be_written(error: &Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, Error::Io { source, .. }
        if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}
