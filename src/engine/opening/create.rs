//! Making a store: the manifest comes last, so that a store either exists or was never there.

use std::io;
use std::path::Path;

use crate::engine::environment::Environment;
use crate::journal::copying::clear_journal;
use crate::journal::manifest::{Manifest, ManifestFile};
use crate::journal::salvage::segment_numbers;
use crate::journal::watermark::Watermark;
use crate::storage::Disk;
use crate::storage::layout::{
    DAMAGED_FOLDER, INDEX_FILE, INDEX_FOLDER_PREFIX, JOURNAL_FOLDER, LOCK_FILE, MANIFEST_FILE,
    UNFINISHED_FILE, UNFINISHED_MANIFEST_FILE, WATERMARK_FILE,
};
use crate::storage::sync_ancestors;
use crate::values::error::{Error, Result};

/// Makes sure that the directory is there and is a store's or empty.
pub(super) fn prepare_directory(disk: &dyn Disk, path: &Path, create: bool) -> Result<()> {
    if !disk.exists(path).map_err(Error::io("looking for", path))? {
        if !create {
            return Err(Error::io("opening", path)(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no store",
            )));
        }
        return disk.create_dir_all(path).map_err(Error::io("creating", path));
    }
    let names = disk.list(path).map_err(Error::io("listing", path))?;
    if names.iter().any(|name| name == MANIFEST_FILE) {
        return Ok(());
    }
    if let Some(foreign) = names.iter().find(|name| !is_ours(name)) {
        let message = format!("the directory holds {foreign:?} and no store; choose an empty one");
        let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
        return Err(Error::io("creating a store in", path)(source));
    }
    // What an unfinished copy or creation has left is no store either.
    let unfinished = names.iter().any(|name| name == UNFINISHED_FILE);
    if !create && (unfinished || is_vacant(disk, path)?) {
        return Err(Error::io("opening", path)(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no store",
        )));
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

fn is_ours(name: &str) -> bool {
    let known = [
        LOCK_FILE,
        MANIFEST_FILE,
        UNFINISHED_MANIFEST_FILE,
        WATERMARK_FILE,
        JOURNAL_FOLDER,
        DAMAGED_FOLDER,
        UNFINISHED_FILE,
        INDEX_FILE,
    ];
    known.contains(&name) || name.starts_with(INDEX_FOLDER_PREFIX)
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
    let manifest = Manifest::empty(environment.entropy.incarnation());
    let file = ManifestFile::create(disk, path, &manifest)?;
    disk.sync_dir(path).map_err(Error::io("syncing", path))?;
    Ok((file, manifest))
}
