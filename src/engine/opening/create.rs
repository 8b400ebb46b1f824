//! Making a store: the manifest comes last, so that a store either exists or was never there.

use std::io;
use std::path::Path;

use crate::engine::environment::Environment;
use crate::journal::copying::clear_journal;
use crate::journal::manifest::{Manifest, ManifestFile};
use crate::journal::salvage::segment_numbers;
use crate::journal::segment::OpenSegment;
use crate::journal::watermark::{Provenance, Watermark};
use crate::storage::layout::{
    DAMAGED_FOLDER, INDEX_FILE, INDEX_FOLDER_PREFIX, JOURNAL_FOLDER, LOCK_FILE, MANIFEST_FILE,
    RESERVE_FILE, UNFINISHED_FILE, UNFINISHED_MANIFEST_FILE, WATERMARK_FILE, segment_number,
};
use crate::storage::{Disk, EntryKind, sync_ancestors};
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
    if let Some(foreign) = find_foreign(disk, path, &names)? {
        let message = format!("the directory holds {foreign:?} and no store; choose an empty one");
        let source = io::Error::new(io::ErrorKind::AlreadyExists, message);
        return Err(Error::io("creating a store in", path)(source));
    }
    // What an unfinished copy or creation has left is not a store either.
    let unfinished = names.iter().any(|name| name == UNFINISHED_FILE);
    if !create && (unfinished || is_vacant(disk, path)?) {
        return Err(Error::io("opening", path)(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no store",
        )));
    }
    Ok(())
}

/// Whether a directory without MANIFEST shows no sign of commits: no segment, and no mark of one
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
    // Before and after: what the marker represents must be durable before it is removed, and its
    // removal must be durable before anything is written, or it would condemn that if MANIFEST is
    // lost.
    disk.sync_dir(path).map_err(Error::io("syncing", path))?;
    disk.remove_file(&marker).map_err(Error::io("removing", &marker))?;
    disk.sync_dir(path).map_err(Error::io("syncing", path))
}

/// The first name in a directory without MANIFEST that is not plainly a store's.
///
/// A name alone proves nothing, and what is taken for ours may be written to or removed. So there
/// must be a segment or a mark that only this crate writes; without one each name must be what a
/// creation or a copy leaves when a crash cuts it short.
fn find_foreign(disk: &dyn Disk, path: &Path, names: &[String]) -> Result<Option<String>> {
    let is_known = |name: &&String| {
        KNOWN_FILES.contains(&name.as_str()) || name.starts_with(INDEX_FOLDER_PREFIX)
    };
    if let Some(foreign) = names.iter().find(|name| !is_known(name)) {
        return Ok(Some(foreign.clone()));
    }
    if is_written(disk, path)? {
        return Ok(None);
    }
    for name in names {
        if !is_left_over(disk, path, name)? {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

const KNOWN_FILES: [&str; 8] = [
    RESERVE_FILE,
    LOCK_FILE,
    UNFINISHED_MANIFEST_FILE,
    WATERMARK_FILE,
    JOURNAL_FOLDER,
    DAMAGED_FOLDER,
    UNFINISHED_FILE,
    INDEX_FILE,
];

/// Whether a segment's header or a mark can be read.
fn is_written(disk: &dyn Disk, path: &Path) -> Result<bool> {
    if Watermark::provenance(disk, path)? == Provenance::Written {
        return Ok(true);
    }
    for number in segment_numbers(disk, path)? {
        match OpenSegment::open(disk, path, number) {
            Err(Error::Corrupt { .. }) => {}
            opened => return opened.map(|_| true),
        }
    }
    Ok(false)
}

/// Whether this is what a crash leaves of a creation, or of a copy.
fn is_left_over(disk: &dyn Disk, path: &Path, name: &str) -> Result<bool> {
    let at = path.join(name);
    match name {
        LOCK_FILE | UNFINISHED_FILE => is_empty_file(disk, &at),
        WATERMARK_FILE => Ok(Watermark::provenance(disk, path)? != Provenance::Foreign),
        UNFINISHED_MANIFEST_FILE => ManifestFile::is_unfinished(disk, &at),
        JOURNAL_FOLDER => {
            let of_a_copy = is_empty_file(disk, &path.join(UNFINISHED_FILE))?;
            let names = disk.list(&at).map_err(Error::io("listing", &at))?;
            Ok(names.iter().all(|name| of_a_copy && segment_number(name).is_some()))
        }
        _ => Ok(false),
    }
}

fn is_empty_file(disk: &dyn Disk, path: &Path) -> Result<bool> {
    if disk.kind(path).map_err(Error::io("looking for", path))? != Some(EntryKind::File) {
        return Ok(false);
    }
    let file = disk.open_to_read(path).map_err(Error::io("opening", path))?;
    Ok(file.len().map_err(Error::io("reading the length of", path))? == 0)
}

/// Makes the files of a store without commits; nothing is there until the manifest's name is.
pub(super) fn create(environment: &Environment, path: &Path) -> Result<(ManifestFile, Manifest)> {
    let disk = &*environment.disk;
    sync_ancestors(disk, path)?;
    // Left by an attempt that a crash cut short.
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
