//! Making a store: the manifest comes last, so that a store either exists or was never there.

use std::io;
use std::path::Path;

use crate::copying::{UNFINISHED_FILE, clear_journal};
use crate::disk::Disk;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::journal::manifest::{MANIFEST_FILE, Manifest, ManifestFile, UNFINISHED_MANIFEST_FILE};
use crate::journal::segment::JOURNAL_FOLDER;
use crate::journal::survey::segment_numbers;
use crate::journal::watermark::{WATERMARK_FILE, Watermark};
use crate::opening::{DAMAGED_FOLDER, LOCK_FILE, empty_manifest};

/// Makes sure that the directory is there and is a store's or empty.
pub(super) fn prepare_directory(disk: &dyn Disk, path: &Path, create: bool) -> Result<()> {
    if !disk.exists(path).map_err(Error::io("looking for", path))? {
        if !create {
            return Err(Error::io("opening", path)(io::ErrorKind::NotFound.into()));
        }
        return disk.create_dir_all(path).map_err(Error::io("creating", path));
    }
    let names = disk.list(path).map_err(Error::io("listing", path))?;
    if names.iter().any(|name| name == MANIFEST_FILE) {
        return Ok(());
    }
    if let Some(foreign) = names.iter().find(|name| !is_ours(name)) {
        let message = format!("the directory holds {foreign:?} and no store");
        let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
        return Err(Error::io("creating a store in", path)(source));
    }
    // What an unfinished copy or creation has left is no store either.
    let unfinished = names.iter().any(|name| name == UNFINISHED_FILE);
    if !create && (unfinished || is_vacant(disk, path)?) {
        return Err(Error::io("opening", path)(io::ErrorKind::NotFound.into()));
    }
    Ok(())
}

/// Whether nothing in a directory without MANIFEST tells of commits: no segment, and no mark of one
/// that was synced.
pub(super) fn is_vacant(disk: &dyn Disk, path: &Path) -> Result<bool> {
    Ok(segment_numbers(disk, path)?.is_empty() && Watermark::mark(disk, path)? == 0)
}

/// Removes the marker of a backup or restore that did not return, and with it what it has left,
/// unless MANIFEST says that it is whole.
pub(super) fn settle_unfinished(disk: &dyn Disk, path: &Path) -> Result<()> {
    let marker = path.join(UNFINISHED_FILE);
    if !disk.exists(&marker).map_err(Error::io("looking for", &marker))? {
        return Ok(());
    }
    let manifest = path.join(MANIFEST_FILE);
    if !disk.exists(&manifest).map_err(Error::io("looking for", &manifest))? {
        clear_journal(disk, path)?;
    }
    // Before and after: what the marker stands for must be durable before it goes, and it must be
    // gone for good before anything is written, lest it condemn that if MANIFEST is ever lost.
    disk.sync_dir(path).map_err(Error::io("syncing", path))?;
    disk.remove_file(&marker).map_err(Error::io("removing", &marker))?;
    disk.sync_dir(path).map_err(Error::io("syncing", path))
}

/// Makes the names of the store's directory and of those above it durable. Not only of those that
/// this open made: an earlier one may have been killed between making them and syncing them.
pub(crate) fn sync_ancestors(disk: &dyn Disk, path: &Path) -> Result<()> {
    for ancestor in path.ancestors().skip(1) {
        match disk.sync_dir(ancestor) {
            // A directory that we may not read is not one that we made, and one of a file system
            // that cannot sync directories, or is read-only, can be had no better.
            Err(error) if cannot_be_synced(error.kind()) => {}
            synced => synced.map_err(Error::io("syncing", ancestor))?,
        }
    }
    Ok(())
}

fn cannot_be_synced(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

fn is_ours(name: &str) -> bool {
    let known = [
        LOCK_FILE,
        MANIFEST_FILE,
        UNFINISHED_MANIFEST_FILE,
        WATERMARK_FILE,
        JOURNAL_FOLDER,
        DAMAGED_FOLDER,
        UNFINISHED_FILE,
    ];
    known.contains(&name) || name.starts_with("table-")
}

/// Makes the files of a store without commits; nothing is there until the manifest's name is.
pub(super) fn create(environment: &Environment, path: &Path) -> Result<(ManifestFile, Manifest)> {
    let disk = &*environment.disk;
    sync_ancestors(disk, path)?;
    // What an attempt that a crash cut short left behind.
    environment.tables.remove_all_but(u64::MAX)?;
    let watermark = path.join(WATERMARK_FILE);
    if disk.exists(&watermark).map_err(Error::io("looking for", &watermark))? {
        disk.remove_file(&watermark).map_err(Error::io("removing", &watermark))?;
    }
    let journal = path.join(JOURNAL_FOLDER);
    disk.create_dir_all(&journal).map_err(Error::io("creating", &journal))?;
    drop(Watermark::create(disk, path)?);
    disk.sync_dir(path).map_err(Error::io("syncing", path))?;
    let manifest = empty_manifest(environment.entropy.incarnation());
    let file = ManifestFile::create(disk, path, &manifest)?;
    disk.sync_dir(path).map_err(Error::io("syncing", path))?;
    Ok((file, manifest))
}
