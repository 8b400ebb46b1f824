//! Looking at a store without opening it.

use std::path::Path;

use crate::api::store::Store;
use crate::engine::environment::Environment;
use crate::journal::copying::{ClosedStore, Source};
use crate::storage::layout::INDEX_FOLDER_PREFIX;
use crate::values::error::{Error, Result};
use crate::values::options::Options;
use crate::values::revision::Revision;

/// What [`Store::inspect`] found in a directory whose journal is whole.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("shop.ifm");
/// let store = ifmatch::Store::open(&path)?;
/// store.collection::<f64>("prices")?.create("apple", &0.5)?;
/// store.close()?;
///
/// let found = ifmatch::Store::inspect(&path)?;
/// assert_eq!((found.commits, found.replayed_commits), (1, 0));
/// assert!(found.closed_in_order && !found.rebuilds_index);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The newest commit.
    pub revision: Revision,
    /// Commits in the journal, a count. Compaction drops commits whose versions are all superseded.
    pub commits: u64,
    /// Segment files of the journal, a count.
    pub segments: u64,
    /// Bytes of frames that were read. Every checksum was verified.
    pub journal_bytes: u64,
    /// Whether the last program that had it open has closed it.
    pub closed_in_order: bool,
    /// Whether it is a backup that was never opened. Opening it makes it a store of its own.
    pub is_backup: bool,
    /// Commits that the next open applies to the index, because no checkpoint covers them.
    pub replayed_commits: u64,
    /// Whether the next open must rebuild the index from the whole journal. It may also rebuild it
    /// in other cases, because an inspection does not read the index.
    pub rebuilds_index: bool,
}

impl Store {
    /// Reads the journal of a store that nobody has open, and reports what it holds and what the
    /// next open would do. Changes no byte of it.
    ///
    /// Costs one read of the journal. Checks every frame and entry by its checksums. It checks
    /// neither tags nor the index; [`verify`](Self::verify) does that in an open store. The store
    /// is locked for that time, so an open is refused as [`Error::Locked`]. A store without the
    /// file LOCK, which no program has open, is read without a lock.
    ///
    /// # Errors
    /// - [`Error::Io`] of kind `NotFound` when there is no store; of another kind when the system
    ///   refuses a call.
    /// - [`Error::Locked`] when somebody has it open.
    /// - [`Error::Corrupt`] with the first damaged place of the journal. Its field `stepped_over`
    ///   says whether an open gets past the damage if the index is whole, as it does past a damaged
    ///   frame, or is refused, as where a segment is missing.
    /// - [`Error::Unsupported`] when a newer version wrote it.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("shop.ifm");
    /// # ifmatch::Store::open(&path)?.close()?;
    /// use ifmatch::{Error, Store};
    ///
    /// match Store::inspect(&path) {
    ///     Err(error @ Error::Corrupt { stepped_over: true, .. }) => eprintln!("opens: {error}"),
    ///     Err(error) => eprintln!("does not open: {error}"),
    ///     Ok(found) => println!("{} commits", found.commits),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection> {
        Options::new().inspect(path)
    }

    pub(crate) fn inspect_in(
        environment: &Environment,
        path: &Path,
        options: &Options,
    ) -> Result<Inspection> {
        let disk = &environment.disk;
        let mut source = ClosedStore::open_unchanged(disk, path, options.on_progress.as_ref())?;
        let manifest = source.manifest.clone();
        let generation = manifest.checkpoint.index_generation;
        let index = path.join(format!("{INDEX_FOLDER_PREFIX}{generation}"));
        let has_index = disk.exists(&index).map_err(Error::io("looking for", &index))?;
        let mut found = Inspection {
            revision: Revision(source.last_revision),
            commits: 0,
            segments: manifest.segments.len() as u64,
            journal_bytes: source.total_bytes(),
            closed_in_order: source.closed_in_order,
            is_backup: manifest.copied,
            replayed_commits: 0,
            rebuilds_index: source.last_revision > 0
                && (!has_index || manifest.repaired || manifest.checkpoint.index_lost),
        };
        loop {
            // Everything that an open needs in addition to the index was found.
            let commits = source.next().map_err(Error::stepped_over)?;
            if commits.is_empty() {
                return Ok(found);
            }
            found.commits += commits.len() as u64;
            let after = commits.iter().filter(|c| c.revision > manifest.checkpoint.revision);
            found.replayed_commits += after.count() as u64;
        }
    }
}

impl Options {
    /// Inspects a store as [`Store::inspect`] does, and reports to
    /// [`on_progress`](Self::on_progress) after each 4 MiB or so that are read. No other option has
    /// an effect.
    ///
    /// # Errors
    /// As [`Store::inspect`].
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("copy.ifm");
    /// # ifmatch::Store::in_memory().backup(&path)?;
    /// let show = |progress: ifmatch::Progress| println!("{} bytes read", progress.done_bytes);
    /// let found = ifmatch::Options::new().on_progress(show).inspect(&path)?;
    /// assert!(found.is_backup);
    /// # Ok(()) }
    /// ```
    pub fn inspect(&self, path: impl AsRef<Path>) -> Result<Inspection> {
        let (environment, path) = Environment::on_disk(path.as_ref())?;
        Store::inspect_in(&environment, &path, self)
    }
}
