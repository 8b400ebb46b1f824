//! Copying a damaged journal as it is, for an open of the copy to repair.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::copying::Target;
use crate::journal::copying::source::{ReadLock, check_present};
use crate::journal::copying::target::sync_dir;
use crate::journal::manifest::{Loaded, ManifestFile};
use crate::journal::salvage::segment_numbers;
use crate::storage::layout::{JOURNAL_FOLDER, WATERMARK_FILE, segment_path};
use crate::storage::{Disk, ReadOnlyDisk};
use crate::values::error::{Error, Result};
use crate::values::options::{OnProgress, Progress};

/// How much is read and written at a time.
const PIECE_BYTES: u64 = 4 << 20;

/// A damaged store that nobody has open, locked.
pub(crate) struct DamagedStore<'a> {
    disk: ReadOnlyDisk,
    path: &'a Path,
    _lock: ReadLock,
}

impl<'a> DamagedStore<'a> {
    /// # Errors
    /// [`Error::Locked`]; [`Error::Io`], of kind `NotFound` where there is no store.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &'a Path) -> Result<Self> {
        check_present(disk, path)?;
        let (directory, lock) = ReadLock::take(disk, path)?;
        Ok(Self { disk: ReadOnlyDisk(directory), path, _lock: lock })
    }

    /// Copies every segment, the mark and MANIFEST, as far as there are any, byte for byte. The
    /// copy is marked as one in MANIFEST; without one that can be read there is none in the copy
    /// either.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Unsupported`].
    pub(crate) fn copy_to(
        &self,
        target: Target<'_>,
        on_progress: Option<&OnProgress>,
    ) -> Result<()> {
        let Self { disk, path, .. } = self;
        let mut manifest = match ManifestFile::load(disk, path)? {
            Loaded::Found(found) => Some(found.1),
            Loaded::Missing | Loaded::Damaged => None,
        };
        if let Some(manifest) = &mut manifest {
            manifest.copied = true;
            // No index comes along.
            manifest.checkpoint.index_lost = true;
        }
        let mut files: Vec<(PathBuf, PathBuf)> = segment_numbers(disk, path)?
            .into_iter()
            .map(|number| (segment_path(path, number), segment_path(target.path(), number)))
            .collect();
        let mark = path.join(WATERMARK_FILE);
        if disk.exists(&mark).map_err(Error::io("looking for", &mark))? {
            files.push((mark, target.path().join(WATERMARK_FILE)));
        }
        let mut progress = Progress { done_bytes: 0, total_bytes: 0 };
        for (from, _) in &files {
            let file = disk.open_to_read(from).map_err(Error::io("opening", from))?;
            progress.total_bytes += file.len().map_err(Error::io("reading the length of", from))?;
        }
        for (from, to) in &files {
            copy_file((disk, from), (target.disk(), to), &mut |bytes| {
                progress.done_bytes += bytes;
                if let Some(on_progress) = on_progress {
                    on_progress(progress);
                }
            })?;
        }
        sync_dir(target.disk(), &target.path().join(JOURNAL_FOLDER))?;
        sync_dir(target.disk(), target.path())?;
        if let Some(manifest) = manifest {
            drop(ManifestFile::create(target.disk(), target.path(), &manifest)?);
            sync_dir(target.disk(), target.path())?;
        }
        target.finish()
    }
}

/// Copies a file and syncs it, but not its name.
fn copy_file(
    (disk, from): (&dyn Disk, &Path),
    (target, to): (&dyn Disk, &Path),
    copied: &mut dyn FnMut(u64),
) -> Result<()> {
    let source = disk.open_to_read(from).map_err(Error::io("opening", from))?;
    let len = source.len().map_err(Error::io("reading the length of", from))?;
    let file = target.open(to, true).map_err(Error::io("creating", to))?;
    let mut offset = 0;
    while offset < len {
        let mut bytes = vec![0; PIECE_BYTES.min(len - offset) as usize];
        source.read_exact_at(&mut bytes, offset).map_err(Error::io("reading", from))?;
        file.write_all_at(&bytes, offset).map_err(Error::io("writing", to))?;
        offset += bytes.len() as u64;
        copied(bytes.len() as u64);
    }
    file.sync_all().map_err(Error::io("syncing", to))
}
