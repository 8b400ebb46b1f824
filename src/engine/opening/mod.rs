//! Opening a store: its directory, its journal, and an index that is proven to be the journal's.
//!
//! A crash may interrupt every step; the next open then repeats it.

mod adrift;
mod content;
mod create;
mod index;
mod repair;
mod replay;

use std::path::Path;
use std::sync::Arc;

use crate::engine::environment::Environment;
use crate::index::{Backings, GuardedBackings};
use crate::journal::Journal;
use crate::journal::manifest::{Loaded, ManifestFile};
use crate::journal::recover::{Recovered, recover, remove_unnamed};
use crate::journal::revision_skip::skip_beyond;
use crate::journal::segments::Segments;
use crate::journal::watermark::Watermark;
use crate::seams::clock::millis;
use crate::storage::layout::manifest_path;
use crate::storage::{HeldLock, StoreDirectory};
use crate::values::damage::Damage;
use crate::values::error::{Error, Result};
use crate::values::history::HistoryPolicy;
use crate::values::options::{OnDamage, Options};

pub(crate) use index::OpenedIndex;

/// A store's parts, opened.
pub(crate) struct Opened {
    pub(crate) lock: Arc<dyn HeldLock>,
    pub(crate) backings: Arc<dyn Backings>,
    pub(crate) journal: Journal,
    pub(crate) index: OpenedIndex,
    pub(crate) damage: Option<Damage>,
    /// The lowest time that this session's clock may show.
    pub(crate) clock_ms: u64,
    /// Which superseded versions are kept.
    pub(crate) history: HistoryPolicy,
}

/// Opens the store in a directory, or creates it.
pub(crate) fn open(environment: &Environment, path: &Path, options: &Options) -> Result<Opened> {
    create::prepare_directory(&*environment.disk, path, options.create)?;
    let (directory, lock) = StoreDirectory::lock(&environment.disk, path)?;
    // Again: what was looked at may have been replaced before the lock was taken.
    create::prepare_directory(&*directory, path, options.create)?;
    let backings = Arc::new(GuardedBackings::new(environment.backings.clone(), directory.clone()));
    let environment = &Environment { disk: directory, backings, ..environment.clone() };
    let disk = &*environment.disk;

    create::settle_unfinished(disk, path)?;
    let (mut recovered, mut damage) = open_journal(environment, path, options)?;
    let mut index = match index::open(environment, &mut recovered, options) {
        Err(error @ Error::Corrupt { .. }) if options.on_damage == OnDamage::SkipDamaged => {
            damage = Some(repair::go_on_unproven(environment, &mut recovered, error)?);
            index::open(environment, &mut recovered, options)?
        }
        opened => opened?,
    };
    // Only now: an open that is refused leaves journal and MANIFEST as they were found. The index
    // may have been replaced already, but it can be computed from them again.
    recovered.settle()?;
    remove_unnamed(disk, path, &recovered.manifest)?;
    let segments = Segments::new(environment.disk.clone(), path);
    for found in recovered.segments.iter().chain(&recovered.retired) {
        let header = &found.segment.header;
        segments.add(header.number, header.incarnations.clone(), found.segment.seed);
    }
    for held in &recovered.manifest.retained {
        segments.retain(held.segment, held.bytes, held.until_ms);
    }
    if recovered.manifest.copied {
        begin_incarnation(environment, &mut recovered)?;
    }
    for (number, error) in index.damaged.iter().chain(&recovered.damaged) {
        segments.note_damage(*number, error);
    }
    for (number, live_bytes) in &index.live_bytes {
        segments.add_live(*number, *live_bytes);
    }
    let mut clock_ms = recovered.manifest.clock_ms.max(index.newest_clock_ms);
    note_lost_removals(&mut recovered, index.removals_lost)?;
    let history = adopt_wishes(environment, &mut recovered, options, &mut clock_ms)?;
    let content = std::mem::take(&mut index.content);
    let (entropy, durability) = (environment.entropy.clone(), options.durability);
    let journal = Journal::new(recovered, content, segments, entropy, durability);
    let backings = environment.backings.clone();
    Ok(Opened { lock, backings, journal, index, damage, clock_ms, history })
}

/// Makes a copy that was never opened a store of its own, before anything is written to it. From
/// then on its tags and revisions are in no other copy and not in the original. Called when the
/// rest of the open has succeeded. It is one replacement of MANIFEST, so a crash leaves either a
/// copy or a store of its own.
fn begin_incarnation(environment: &Environment, recovered: &mut Recovered) -> Result<()> {
    let mut manifest = recovered.manifest.clone();
    manifest.copied = false;
    manifest.incarnation = environment.entropy.incarnation();
    manifest.revision_floor = skip_beyond(recovered.last_revision, recovered.next_revision - 1);
    recovered.manifest_file.replace(&manifest)?;
    recovered.next_revision = manifest.revision_floor + 1;
    recovered.manifest = manifest;
    Ok(())
}

/// Records that followers which have not passed a damaged frame may miss a removal that it held: to
/// them the removal's tombstone counts as dropped by compaction.
fn note_lost_removals(recovered: &mut Recovered, up_to: u64) -> Result<()> {
    if up_to <= recovered.manifest.purge_floor {
        return Ok(());
    }
    let mut manifest = recovered.manifest.clone();
    manifest.purge_floor = up_to;
    manifest.purges += 1;
    recovered.manifest_file.replace(&manifest)?;
    recovered.manifest = manifest;
    Ok(())
}

/// Records what this open's options change for later opens too; returns the history policy.
fn adopt_wishes(
    environment: &Environment,
    recovered: &mut Recovered,
    options: &Options,
    clock_ms: &mut u64,
) -> Result<HistoryPolicy> {
    let mut manifest = recovered.manifest.clone();
    if let Some(wanted) = options.history {
        manifest.history = Some(wanted.into());
    }
    let now_ms = millis((environment.time)());
    if options.reset_clock && *clock_ms > now_ms {
        log::warn!("the store's clock is set back by {} ms, as asked for", *clock_ms - now_ms);
        *clock_ms = now_ms;
        manifest.clock_ms = now_ms;
        manifest.clock_since = recovered.last_revision;
    }
    if manifest != recovered.manifest {
        recovered.manifest_file.replace(&manifest)?;
        recovered.manifest = manifest;
    }
    Ok(recovered.manifest.history.map_or_else(HistoryPolicy::new, Into::into))
}

fn open_journal(
    environment: &Environment,
    path: &Path,
    options: &Options,
) -> Result<(Recovered, Option<Damage>)> {
    let disk = &*environment.disk;
    match ManifestFile::load(disk, path)? {
        Loaded::Found(found) => {
            let (file, manifest) = *found;
            if manifest.clean.is_none() {
                // A session that was killed may have named the manifest and not synced the name.
                disk.sync_dir(path).map_err(Error::io("syncing", path))?;
            }
            match options.on_damage {
                OnDamage::Refuse => {
                    let watermark = Watermark::load(disk, path)?;
                    Ok((recover(&environment.disk, path, file, manifest, watermark)?, None))
                }
                OnDamage::KeepPrefix | OnDamage::SkipDamaged => {
                    repair::open(environment, path, Some((file, manifest)), options)
                }
            }
        }
        Loaded::Missing if create::is_vacant(disk, path)? => {
            let (file, manifest) = create::create(environment, path)?;
            let watermark = Watermark::load(disk, path)?;
            Ok((recover(&environment.disk, path, file, manifest, watermark)?, None))
        }
        Loaded::Missing | Loaded::Damaged if options.on_damage != OnDamage::Refuse => {
            repair::open(environment, path, None, options)
        }
        Loaded::Missing => Err(Error::corrupt(&manifest_path(path), 0, "the manifest is missing")),
        Loaded::Damaged => {
            Err(Error::corrupt(&manifest_path(path), 0, "both slots of the manifest are damaged"))
        }
    }
}
