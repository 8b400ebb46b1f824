//! Opening a store: its directory, its journal, and a table that is proven to be the journal's.
//!
//! Every step may be cut short by a crash and is then done again, or was never begun.

mod create;
mod index;
mod repair;

use std::any::Any;
use std::path::Path;

use crate::engine::environment::Environment;
use crate::journal::Journal;
use crate::journal::append::{Start, skip_beyond};
use crate::journal::manifest::{Loaded, ManifestFile};
use crate::journal::recover::{Recovered, recover, remove_unnamed};
use crate::journal::segments::Segments;
use crate::journal::watermark::Watermark;
use crate::storage::layout::{LOCK_FILE, manifest_path};
use crate::values::damage::Damage;
use crate::values::error::{Error, Result};
use crate::values::options::{OnDamage, Options};

pub(crate) use index::OpenedIndex;

/// A store's parts, opened.
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn Any + Send + Sync>,
    pub(crate) journal: Journal,
    pub(crate) index: OpenedIndex,
    pub(crate) damage: Option<Damage>,
    /// The wall clock that this run must not go below.
    pub(crate) clock_ms: u64,
}

/// Opens the store in a directory, or creates it.
pub(crate) fn open(environment: &Environment, path: &Path, options: &Options) -> Result<Opened> {
    let disk = &*environment.disk;
    create::prepare_directory(disk, path, options.create)?;
    let lock_path = path.join(LOCK_FILE);
    let lock = disk.lock(&lock_path).map_err(Error::io("locking", &lock_path))?;
    let lock = lock.ok_or_else(|| Error::Locked { path: path.to_owned() })?;

    create::settle_unfinished(disk, path)?;
    let (recovered, damage) = open_journal(environment, path, options.on_damage)?;
    let mut recovered = recovered;
    let index = index::open(environment, &mut recovered, options)?;
    // Only now: an open that is refused leaves the journal as it was found.
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
    for (number, live_bytes) in &index.live_bytes {
        segments.add_live(*number, *live_bytes);
    }
    let clock_ms = recovered.manifest.clock_ms.max(index.newest_clock_ms);
    let Recovered { manifest_file, manifest, watermark, active, .. } = recovered;
    let start = Start {
        manifest_file,
        manifest,
        watermark,
        active,
        last_revision: recovered.last_revision,
        next_revision: recovered.next_revision,
        content: index.content,
    };
    let journal = Journal::new(
        environment.disk.clone(),
        path.to_owned(),
        environment.entropy.clone(),
        options.durability,
        segments,
        start,
    );
    Ok(Opened { lock, journal, index, damage, clock_ms })
}

/// Makes a copy that was never opened a store of its own, before anything is written to it: what
/// it gives from now on, no other copy and not the original gives. Comes when all else of the open
/// has gone well, and in one replacement of MANIFEST, so it is still a copy or is one no more.
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

fn open_journal(
    environment: &Environment,
    path: &Path,
    on_damage: OnDamage,
) -> Result<(Recovered, Option<Damage>)> {
    let disk = &*environment.disk;
    match ManifestFile::load(disk, path)? {
        Loaded::Found(found) => {
            let (file, manifest) = *found;
            if manifest.clean.is_none() {
                // A run that was killed may have named the manifest and not synced that.
                disk.sync_dir(path).map_err(Error::io("syncing", path))?;
            }
            match on_damage {
                OnDamage::Refuse => {
                    let watermark = Watermark::load(disk, path)?;
                    Ok((recover(&environment.disk, path, file, manifest, watermark)?, None))
                }
                OnDamage::KeepPrefix => repair::open(environment, path, Some((file, manifest))),
            }
        }
        Loaded::Missing if create::is_vacant(disk, path)? => {
            let (file, manifest) = create::create(environment, path)?;
            let watermark = Watermark::load(disk, path)?;
            Ok((recover(&environment.disk, path, file, manifest, watermark)?, None))
        }
        Loaded::Missing | Loaded::Damaged if on_damage == OnDamage::KeepPrefix => {
            repair::open(environment, path, None)
        }
        Loaded::Missing => Err(Error::corrupt(&manifest_path(path), 0, "the manifest is missing")),
        Loaded::Damaged => {
            Err(Error::corrupt(&manifest_path(path), 0, "both slots of the manifest are damaged"))
        }
    }
}
