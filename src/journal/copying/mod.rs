//! Copying a journal into a directory of its own: what backup and restore share.
//!
//! Commits are read one after another, their checksums are verified, and they are laid out anew in
//! segments of the copy. MANIFEST is written last, so that a copy is whole or no store at all;
//! until then a marker says that the files there may be removed.

mod collect;
mod damaged;
mod layout;
mod source;
mod target;

use std::path::Path;

use crate::journal::manifest::{Checkpoint, Manifest, ManifestFile};
use crate::journal::rotate::MAX_SEGMENT_BYTES;
use crate::journal::watermark::Watermark;
use crate::seams::entropy::Entropy;
use crate::storage::Disk;
use crate::values::error::Result;

pub(crate) use collect::{Collector, Loose};
pub(crate) use damaged::DamagedStore;
pub(crate) use source::ClosedStore;
pub(crate) use target::{Target, clear_journal};

use layout::Layout;

/// Where the commits of a copy come from.
pub(crate) trait Source {
    /// The next commits in order of revision, some MiB of them; none when that was all.
    fn next(&mut self) -> Result<Vec<Loose>>;
}

/// What a copy takes over in addition to the commits.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) manifest: Manifest,
    /// The last revision that is copied.
    pub(crate) last_revision: u64,
}

/// Lays a journal out in the target and makes that a store, marked as a copy. `checkpoint` and
/// `clock_ms` are asked for when every commit was read.
pub(crate) fn copy<S: Source>(
    target: Target<'_>,
    entropy: &Entropy,
    origin: Origin,
    source: &mut S,
    end: impl FnOnce(&S) -> (Checkpoint, u64),
) -> Result<()> {
    let Origin { manifest, last_revision } = origin;
    let mut layout = Layout::new(&target, entropy, MAX_SEGMENT_BYTES);
    loop {
        let commits = source.next()?;
        if commits.is_empty() {
            break;
        }
        for commit in commits {
            layout.push(commit)?;
        }
    }
    let segments = layout.finish(last_revision, manifest.incarnation)?;
    let (checkpoint, clock_ms) = end(source);
    let manifest = Manifest {
        next_segment: segments.last().map_or(1, |last| last.number + 1),
        segments,
        retired: Vec::new(),
        revision_floor: manifest.revision_floor.max(last_revision),
        clock_ms: manifest.clock_ms.max(clock_ms),
        copied: true,
        checkpoint,
        clean: None,
        indexes: Vec::new(),
        prepared: 0,
        ..manifest
    };
    name(target.disk(), target.path(), &manifest)?;
    target.finish()
}

/// Makes the files next to the journal, MANIFEST last and durable.
fn name(disk: &dyn Disk, path: &Path, manifest: &Manifest) -> Result<()> {
    let mut watermark = Watermark::create(disk, path)?;
    watermark.record(manifest.checkpoint.revision)?;
    watermark.sync()?;
    drop(watermark);
    target::sync_dir(disk, path)?;
    drop(ManifestFile::create(disk, path, manifest)?);
    target::sync_dir(disk, path)
}
