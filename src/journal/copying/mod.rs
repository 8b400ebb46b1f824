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

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::journal::manifest::{Checkpoint, Manifest, ManifestFile};
use crate::journal::segment_writer::SegmentWriter;
use crate::journal::watermark::Watermark;
use crate::seams::entropy::Entropy;
use crate::storage::Disk;
use crate::values::error::{Error, Result};

pub(crate) use collect::{Collector, Loose};
pub(crate) use damaged::DamagedStore;
pub(crate) use source::ClosedStore;
pub(crate) use target::{Target, clear_journal};

use layout::Layout;

/// The greatest length of a copy's segments, unless one frame needs more. It is fixed: what is live
/// is known only at the end of the copy.
pub(crate) const COPIED_SEGMENT_BYTES: u64 = 64 << 20;

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
    /// Whether another thread writes and a third one syncs, so that this one reads and checks on.
    pub(crate) on_three_threads: bool,
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
    let Origin { manifest, last_revision, on_three_threads } = origin;
    let mut layout = Layout::new(&target, entropy, COPIED_SEGMENT_BYTES);
    if on_three_threads {
        write_on_other_threads(source, &mut layout, target.path())?;
    } else {
        while let Some(commits) = next(source)? {
            layout.push_all(commits, &|segment| segment.sync())?;
        }
    }
    let segments = layout.finish(last_revision, manifest.incarnation)?;
    let (checkpoint, clock_ms) = end(source);
    let manifest = Manifest {
        next_segment: segments.last().map_or(1, |last| last.number + 1),
        segments,
        retired: Vec::new(),
        // Of the source's segments, by their numbers.
        retained: Vec::new(),
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

fn next(source: &mut impl Source) -> Result<Option<Vec<Loose>>> {
    Ok(Some(source.next()?).filter(|commits| !commits.is_empty()))
}

fn write_on_other_threads(
    source: &mut impl Source,
    layout: &mut Layout<'_>,
    path: &Path,
) -> Result<()> {
    thread::scope(|scope| {
        let (give, given) = sync_channel::<Vec<Loose>>(1);
        let (to_sync, sealed) = sync_channel::<SegmentWriter>(0);
        let write = move || {
            // Where nobody takes it, a sync has failed, which is what the caller returns.
            let hand_on = |segment| to_sync.send(segment).map_err(|_| Error::Closed);
            given.iter().try_for_each(|commits| layout.push_all(commits, &hand_on))
        };
        let sync = move || sealed.iter().try_for_each(|segment| segment.sync());
        let syncing = begin(scope, path, sync)?;
        let writing = begin(scope, path, write)?;
        let read = loop {
            let commits = match next(source) {
                Ok(Some(commits)) => commits,
                ended => break ended.map(drop),
            };
            // The writer has failed and says why.
            if give.send(commits).is_err() {
                break Ok(());
            }
        };
        drop(give);
        let written = writing.join().unwrap_or_else(|panic| resume_unwind(panic));
        let synced = syncing.join().unwrap_or_else(|panic| resume_unwind(panic));
        synced.and(written).and(read)
    })
}

fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    path: &Path,
    work: impl FnOnce() -> Result<()> + Send + 's,
) -> Result<ScopedJoinHandle<'s, Result<()>>> {
    let builder = thread::Builder::new().name("ifmatch-copy".to_owned());
    builder.spawn_scoped(scope, work).map_err(Error::io("starting a thread for", path))
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
