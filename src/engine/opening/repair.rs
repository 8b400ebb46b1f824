//! Opening a damaged store: everything before the first damage is kept, what lies behind it is
//! moved aside, and the store goes on as a new incarnation.

use std::path::{Path, PathBuf};

use crate::engine::environment::Environment;
use crate::journal::append::skip_beyond;
use crate::journal::dual_slot::MAX_STORED;
use crate::journal::frame::FrameBuilder;
use crate::journal::manifest::{Manifest, ManifestFile, SegmentRecord};
use crate::journal::recover::{Recovered, Unproven, is_outdated, recover};
use crate::journal::salvage::{Salvaged, salvage, segment_numbers, segment_numbers_in};
use crate::journal::segment::{OpenSegment, SEGMENT_HEADER_BYTES, ensure_folder};
use crate::journal::watermark::Watermark;
use crate::storage::Disk;
use crate::storage::layout::{
    DAMAGED_FOLDER, INDEX_FOLDER_PREFIX, JOURNAL_FOLDER, manifest_path, segment_path,
};
use crate::values::damage::Damage;
use crate::values::error::{Error, Result};
use crate::values::revision::Revision;

/// Reads the whole journal and opens what is whole of it. Without a manifest the segments are
/// those that are found.
pub(super) fn open(
    environment: &Environment,
    path: &Path,
    manifest: Option<(ManifestFile, Manifest)>,
) -> Result<(Recovered, Option<Damage>)> {
    let disk = &*environment.disk;
    let (watermark, mark) = Watermark::load(disk, path)?;
    let Some((file, manifest)) = manifest else {
        let reason = "both slots of the manifest are damaged, or it is missing";
        let lost = Error::corrupt(&manifest_path(path), 0, reason);
        return without_manifest(environment, path, (watermark, mark), lost);
    };
    if is_outdated(disk, path, &manifest)? {
        let reason = "the manifest is older than the journal";
        let lost = Error::corrupt(&manifest_path(path), 0, reason);
        // Closed first: Windows does not rename over every file that is open.
        drop(file);
        return without_manifest(environment, path, (watermark, mark), lost);
    }
    let mark = mark.max(manifest.checkpoint.revision);
    let prefix = salvage(disk, path, Some(&manifest), mark)?;
    if prefix.damage.is_some() {
        return keep(environment, path, prefix, watermark, Some((file, manifest)));
    }
    match recover(&environment.disk, path, file, manifest, (watermark, mark)) {
        // The manifest contradicts the files: it is not the one to believe.
        Err(error @ Error::Corrupt { .. }) => {
            let watermark = Watermark::load(disk, path)?;
            without_manifest(environment, path, watermark, error)
        }
        recovered => Ok((recovered?, None)),
    }
}

fn without_manifest(
    environment: &Environment,
    path: &Path,
    (watermark, mark): (Watermark, u64),
    reason: Error,
) -> Result<(Recovered, Option<Damage>)> {
    let mut prefix = salvage(&*environment.disk, path, None, mark)?;
    prefix.damage.get_or_insert(reason);
    keep(environment, path, prefix, watermark, None)
}

fn keep(
    environment: &Environment,
    path: &Path,
    prefix: Salvaged,
    mut watermark: Watermark,
    previous: Option<(ManifestFile, Manifest)>,
) -> Result<(Recovered, Option<Damage>)> {
    let disk = &*environment.disk;
    ensure_folder(disk, path)?;
    let moved = move_aside(disk, path, &prefix.dropped)?;
    settle_end(disk, path, &prefix)?;
    let mut manifest = Manifest::empty(environment.entropy.incarnation());
    let numbers = prefix.records.iter().map(|record: &SegmentRecord| record.number);
    let highest = numbers.chain(prefix.dropped.iter().copied()).max().unwrap_or(0);
    // Beside the parts of the journal there may be what a compaction or an earlier repair has left.
    let left = segment_numbers(disk, path)?;
    let moved_before = segment_numbers_in(disk, &path.join(DAMAGED_FOLDER))?;
    let highest = left.into_iter().chain(moved_before).fold(highest, u32::max);
    manifest.next_segment = highest + 1;
    let floor_before = previous.as_ref().map_or(0, |(_, before)| before.revision_floor);
    let highest_given = prefix.highest_seen.max(floor_before);
    manifest.revision_floor = skip_beyond(prefix.last_revision, highest_given);
    manifest.segments = prefix.records;
    manifest.repaired = true;
    let file = match previous {
        Some((mut file, before)) => {
            manifest.next_segment = manifest.next_segment.max(before.next_segment);
            manifest.clock_ms = before.clock_ms;
            manifest.clock_since = before.clock_since;
            manifest.history = before.history;
            manifest.checkpoint.table_generation = before.checkpoint.table_generation;
            file.replace(&manifest)?;
            file
        }
        None => {
            // The next table gets a higher number, and those that are there go once MANIFEST says so.
            manifest.checkpoint.table_generation = highest_generation(disk, path)?;
            let file = ManifestFile::create(disk, path, &manifest)?;
            disk.sync_dir(path).map_err(Error::io("syncing", path))?;
            file
        }
    };
    // A mark above what is kept would make the next open look for commits that are gone. Both
    // slots, lest damage to one bring back such a mark; and after the manifest, lest a repair that
    // a crash cuts short pass for a torn tail.
    watermark.settle(prefix.last_revision)?;
    let damage =
        prefix.damage.map(|error| report(error, prefix.last_revision, prefix.lost_bytes, moved));
    let recovered =
        recover(&environment.disk, path, file, manifest, (watermark, prefix.last_revision))?;
    Ok((recovered, damage))
}

/// Ends the last segment with a seal, if none follows its frames, so that the journal can be read
/// on from there should the manifest be lost later; and makes durable what was read of it.
fn settle_end(disk: &dyn Disk, store: &Path, prefix: &Salvaged) -> Result<()> {
    let Some(record) = prefix.records.last() else { return Ok(()) };
    let mut seal = FrameBuilder::seal();
    if let Some(end) = prefix.unsealed_end {
        let path = segment_path(store, record.number);
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        let written = file.write_all_at(seal.finish(prefix.last_revision, end.chain).0, end.offset);
        written.map_err(Error::io("writing", &path))?;
    }
    let segment = OpenSegment::open(disk, store, record.number)?;
    let end_offset = record.sealed.map_or(SEGMENT_HEADER_BYTES, |end| end.offset);
    let to = segment.facts.len_bytes.min(end_offset + seal.len() as u64);
    Unproven { segment, from: 0, to }.write_again()?;
    let folder = store.join(JOURNAL_FOLDER);
    disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))
}

/// The highest number of a table's folder, 0 where there is none.
fn highest_generation(disk: &dyn Disk, store: &Path) -> Result<u64> {
    let names = disk.list(store).map_err(Error::io("listing", store))?;
    let digits = names.iter().filter_map(|name| name.strip_prefix(INDEX_FOLDER_PREFIX));
    let numbers = digits.filter_map(|digits| digits.parse::<u64>().ok());
    Ok(numbers.filter(|number| *number < MAX_STORED).max().unwrap_or(0))
}

fn report(error: Error, kept: u64, lost_bytes: u64, moved: Vec<PathBuf>) -> Damage {
    let (file, offset, reason) = match error {
        Error::Corrupt { file, offset, reason } => (file, offset, reason.to_owned()),
        other => (PathBuf::new(), 0, other.to_string()),
    };
    Damage { file, offset, reason, kept: Revision(kept), lost_bytes, moved }
}

/// Moves whole segments out of the journal's folder; they stay there for whoever wants to look.
fn move_aside(disk: &dyn Disk, store: &Path, numbers: &[u32]) -> Result<Vec<PathBuf>> {
    let aside = store.join(DAMAGED_FOLDER);
    let was_there = disk.exists(&aside).map_err(Error::io("looking for", &aside))?;
    if numbers.is_empty() && !was_there {
        return Ok(Vec::new());
    }
    // Also where an earlier repair has moved all of them: it may have ended before that was durable.
    disk.create_dir_all(&aside).map_err(Error::io("creating", &aside))?;
    let mut moved = Vec::new();
    for number in numbers {
        let from = segment_path(store, *number);
        let Some(name) = from.file_name() else { continue };
        let to = aside.join(name);
        if disk.exists(&from).map_err(Error::io("looking for", &from))? {
            disk.rename(&from, &to).map_err(Error::io("renaming", &from))?;
            moved.push(to);
        } else if disk.exists(&to).map_err(Error::io("looking for", &to))? {
            // By a repair that was cut short.
            moved.push(to);
        }
    }
    for folder in [aside, store.join(JOURNAL_FOLDER), store.to_owned()] {
        disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))?;
    }
    Ok(moved)
}
