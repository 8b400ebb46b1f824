//! Opening a damaged store: everything before the first damage is kept, or everything that is
//! whole. What is damaged is moved aside, and the store continues as a new incarnation.

use std::path::{Path, PathBuf};

use crate::engine::environment::Environment;
use crate::engine::opening::index::is_whole;
use crate::journal::dual_slot::MAX_STORED;
use crate::journal::frame::FrameBuilder;
use crate::journal::manifest::{Loaded, Manifest, ManifestFile, SegmentRecord};
use crate::journal::recover::{Recovered, Unproven, is_outdated, recover};
use crate::journal::revision_skip::skip_beyond;
use crate::journal::salvage::{Salvaged, salvage, segment_numbers, segment_numbers_in};
use crate::journal::segment::{OpenSegment, SEGMENT_HEADER_BYTES, ensure_folder};
use crate::journal::skip_damaged::survey;
use crate::journal::watermark::Watermark;
use crate::storage::Disk;
use crate::storage::layout::{
    DAMAGED_FOLDER, INDEX_FOLDER_PREFIX, JOURNAL_FOLDER, manifest_path, segment_path,
};
use crate::values::damage::{Damage, DamagedItem, DamagedPart};
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;
use crate::values::options::{OnDamage, Options};
use crate::values::revision::Revision;

/// Reads the whole journal and opens what is whole of it. Without a manifest the segments are
/// those that are found.
pub(super) fn open(
    environment: &Environment,
    path: &Path,
    manifest: Option<(ManifestFile, Manifest)>,
    options: &Options,
) -> Result<(Recovered, Option<Damage>)> {
    let (disk, on_damage) = (&*environment.disk, options.on_damage);
    let (watermark, mark) = Watermark::load(disk, path)?;
    let Some((file, manifest)) = manifest else {
        let reason = "both slots of the manifest are damaged, or it is missing";
        let lost = Error::corrupt(&manifest_path(path), 0, reason);
        return without_manifest(environment, path, (watermark, mark), (lost, on_damage));
    };
    if is_outdated(disk, path, &manifest)? {
        let reason = "the manifest is older than the journal";
        let lost = Error::corrupt(&manifest_path(path), 0, reason);
        // Closed first: Windows does not rename over every file that is open.
        drop(file);
        return without_manifest(environment, path, (watermark, mark), (lost, on_damage));
    }
    let mark = mark.max(manifest.checkpoint.revision);
    let prefix = read(disk, path, Some(&manifest), mark, on_damage)?;
    if prefix.damage.is_some() {
        if on_damage == OnDamage::KeepPrefix
            && let Some(recovered) = with_all_that_counts(environment, path, options)?
        {
            return Ok((recovered, None));
        }
        return keep(environment, path, prefix, watermark, Some((file, manifest)));
    }
    match recover(&environment.disk, path, file, manifest, (watermark, mark)) {
        // The manifest contradicts the files, so it is not believed.
        Err(error @ Error::Corrupt { .. }) => {
            let watermark = Watermark::load(disk, path)?;
            without_manifest(environment, path, watermark, (error, on_damage))
        }
        recovered => Ok((recovered?, None)),
    }
}

fn read(
    disk: &dyn Disk,
    path: &Path,
    manifest: Option<&Manifest>,
    mark: u64,
    on_damage: OnDamage,
) -> Result<Salvaged> {
    match on_damage {
        OnDamage::SkipDamaged => Ok(survey(disk, path, manifest, mark)?.into()),
        OnDamage::Refuse | OnDamage::KeepPrefix => salvage(disk, path, manifest, mark),
    }
}

/// The journal as it is, where nothing is damaged that any item needs: then there is nothing to
/// cut.
fn with_all_that_counts(
    environment: &Environment,
    path: &Path,
    options: &Options,
) -> Result<Option<Recovered>> {
    let disk = &*environment.disk;
    let Loaded::Found(found) = ManifestFile::load(disk, path)? else { return Ok(None) };
    let (file, manifest) = *found;
    let is_known = !manifest.repaired;
    let watermark = Watermark::load(disk, path)?;
    match recover(&environment.disk, path, file, manifest, watermark) {
        Ok(mut recovered) if is_known => {
            let is_whole = is_whole(&mut recovered, options.cache_bytes)?;
            Ok(is_whole.then_some(recovered))
        }
        Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn without_manifest(
    environment: &Environment,
    path: &Path,
    (watermark, mark): (Watermark, u64),
    (reason, on_damage): (Error, OnDamage),
) -> Result<(Recovered, Option<Damage>)> {
    let mut prefix = read(&*environment.disk, path, None, mark, on_damage)?;
    prefix.damage.get_or_insert(reason);
    keep(environment, path, prefix, watermark, None)
}

fn keep(
    environment: &Environment,
    path: &Path,
    mut prefix: Salvaged,
    mut watermark: Watermark,
    mut previous: Option<(ManifestFile, Manifest)>,
) -> Result<(Recovered, Option<Damage>)> {
    let disk = &*environment.disk;
    ensure_folder(disk, path)?;
    let mut manifest = Manifest::empty(environment.entropy.incarnation());
    manifest.next_segment = next_number(disk, path, &prefix)?;
    let replaced = write_remains(environment, path, &mut prefix, &mut manifest, previous.as_mut())?;
    let mut moved = move_aside(disk, path, &prefix.dropped)?;
    settle_end(disk, path, &prefix)?;
    let floor_before = previous.as_ref().map_or(0, |(_, before)| before.revision_floor);
    let highest_given = prefix.highest_seen.max(floor_before);
    manifest.revision_floor = skip_beyond(prefix.last_revision, highest_given);
    manifest.segments = prefix.records.clone();
    manifest.repaired = true;
    let file = match previous {
        Some((mut file, before)) => {
            manifest.next_segment = manifest.next_segment.max(before.next_segment);
            manifest.clock_ms = before.clock_ms;
            manifest.clock_since = before.clock_since;
            manifest.history = before.history;
            manifest.checkpoint.index_generation = before.checkpoint.index_generation;
            file.replace(&manifest)?;
            file
        }
        None => {
            // The next index gets a higher number, and those that are there go once MANIFEST says
            // so.
            manifest.checkpoint.index_generation = highest_generation(disk, path)?;
            let file = ManifestFile::create(disk, path, &manifest)?;
            disk.sync_dir(path).map_err(Error::io("syncing", path))?;
            file
        }
    };
    // A mark above what is kept would make the next open look for commits that are gone. Both slots
    // are written, or damage to one could bring back such a mark; and after the manifest, or a
    // repair that a crash cuts short would look like a torn tail.
    watermark.settle(prefix.last_revision)?;
    // Only now: until MANIFEST names the new segments, these are the journal.
    moved.extend(move_aside(disk, path, &replaced)?);
    let last_revision = prefix.last_revision;
    let damage = report(prefix, highest_given, moved);
    let recovered = recover(&environment.disk, path, file, manifest, (watermark, last_revision))?;
    Ok((recovered, damage))
}

/// Opens a journal of which every frame is whole, although its items do not match count and sum: it
/// is unknown which item is missing or changed. As after any repair, nothing proves an index until
/// one is built.
pub(super) fn go_on_unproven(
    environment: &Environment,
    recovered: &mut Recovered,
    error: Error,
) -> Result<Damage> {
    let before = &recovered.manifest;
    let mut manifest = Manifest {
        segments: before.segments.clone(),
        next_segment: before.next_segment,
        clock_ms: before.clock_ms,
        clock_since: before.clock_since,
        history: before.history,
        purge_floor: before.purge_floor,
        purges: before.purges,
        repaired: true,
        ..Manifest::empty(environment.entropy.incarnation())
    };
    manifest.checkpoint.index_generation = before.checkpoint.index_generation;
    let last_revision = recovered.last_revision;
    manifest.revision_floor = skip_beyond(last_revision, recovered.next_revision - 1);
    recovered.manifest_file.replace(&manifest)?;
    recovered.next_revision = manifest.revision_floor + 1;
    recovered.manifest = manifest;
    recovered.clean = None;
    recovered.retired.clear();
    if let Some(active) = &mut recovered.active {
        // Its header names the old incarnation.
        active.must_rotate = true;
    }
    Ok(damage_of(error, Revision(last_revision)))
}

/// A number above those of all segment files.
fn next_number(disk: &dyn Disk, path: &Path, prefix: &Salvaged) -> Result<u32> {
    let numbers = prefix.records.iter().map(|record: &SegmentRecord| record.number);
    let highest = numbers.chain(prefix.dropped.iter().copied()).max().unwrap_or(0);
    // In addition to the journal's parts there may be leftovers of a compaction or an earlier
    // repair.
    let left = segment_numbers(disk, path)?;
    let moved_before = segment_numbers_in(disk, &path.join(DAMAGED_FOLDER))?;
    Ok(left.into_iter().chain(moved_before).fold(highest, u32::max) + 1)
}

/// Writes what is whole of damaged segments into new ones, durably; returns the numbers of the
/// damaged.
fn write_remains(
    environment: &Environment,
    path: &Path,
    prefix: &mut Salvaged,
    manifest: &mut Manifest,
    previous: Option<&mut (ManifestFile, Manifest)>,
) -> Result<Vec<u32>> {
    let remains = std::mem::take(&mut prefix.rewrites);
    if remains.is_empty() {
        return Ok(Vec::new());
    }
    let disk = &*environment.disk;
    let mut number = manifest.next_segment;
    if let Some((file, before)) = previous {
        number = number.max(before.next_segment);
        // Taken first, so that what a crash leaves of the new files is not taken for the journal's.
        before.next_segment = number + remains.len() as u32;
        file.replace(before)?;
    }
    let mut replaced = Vec::new();
    for (index, remains) in remains {
        replaced.extend(remains.source());
        let name = (number, manifest.incarnation);
        let record = remains.write(disk, path, &environment.entropy, name)?;
        if let Some(slot) = prefix.records.get_mut(index) {
            *slot = record;
        }
        number += 1;
    }
    manifest.next_segment = number;
    let folder = path.join(JOURNAL_FOLDER);
    disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))?;
    Ok(replaced)
}

/// Ends the last segment with a seal, if none follows its frames, so that the journal can be read
/// on from there should the manifest be lost later; and makes durable what was read of it.
fn settle_end(disk: &dyn Disk, store: &Path, prefix: &Salvaged) -> Result<()> {
    let Some(record) = prefix.records.last() else { return Ok(()) };
    let mut seal = FrameBuilder::seal();
    if let Some(end) = prefix.unsealed_end {
        let path = segment_path(store, record.number);
        let file = disk.open(&path, false).map_err(Error::io("opening", &path))?;
        let written = file.write_all_at(seal.finish(prefix.last_revision, 0, end).0, end.offset);
        written.map_err(Error::io("writing", &path))?;
    }
    let segment = OpenSegment::open(disk, store, record.number)?;
    let end_offset = record.sealed.map_or(SEGMENT_HEADER_BYTES, |end| end.offset);
    let to = segment.facts.len_bytes.min(end_offset + seal.len() as u64);
    Unproven { segment, from: 0, to }.write_again()?;
    let folder = store.join(JOURNAL_FOLDER);
    disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))
}

/// The highest number of an index's folder, 0 where there is none.
fn highest_generation(disk: &dyn Disk, store: &Path) -> Result<u64> {
    let names = disk.list(store).map_err(Error::io("listing", store))?;
    let digits = names.iter().filter_map(|name| name.strip_prefix(INDEX_FOLDER_PREFIX));
    let numbers = digits.filter_map(|digits| digits.parse::<u64>().ok());
    Ok(numbers.filter(|number| *number < MAX_STORED).max().unwrap_or(0))
}

fn report(prefix: Salvaged, highest_given: u64, moved: Vec<PathBuf>) -> Option<Damage> {
    let Salvaged { damage, last_revision, lost_bytes, gone, lost_items, .. } = prefix;
    let damage = damage_of(damage?, Revision(last_revision));
    let (file, offset) = (damage.file.clone(), damage.offset);
    let mut parts: Vec<DamagedPart> = gone
        .into_iter()
        .map(|(file, stretch)| DamagedPart {
            file,
            offset: stretch.offset,
            len_bytes: stretch.end_offset.saturating_sub(stretch.offset),
            first_revision: Revision(stretch.first_revision),
            last_revision: Revision(stretch.last_revision),
        })
        .collect();
    if parts.is_empty() && highest_given > last_revision {
        let (first_revision, last_revision) = (last_revision + 1, highest_given);
        parts.push(DamagedPart {
            file: file.clone(),
            offset,
            len_bytes: lost_bytes,
            first_revision: Revision(first_revision),
            last_revision: Revision(last_revision),
        });
    }
    let named = |key: ItemKey| DamagedItem::new(key.collection(), key.key_bytes());
    let items = lost_items.into_iter().map(named).collect();
    Some(Damage { lost_bytes, moved, gone: parts, items, ..damage })
}

/// A report that names the first damage alone.
fn damage_of(error: Error, kept: Revision) -> Damage {
    let (file, offset, reason) = match error {
        Error::Corrupt { file, offset, reason, .. } => (file, offset, reason.to_owned()),
        other => (PathBuf::new(), 0, other.to_string()),
    };
    let (moved, gone, items) = (Vec::new(), Vec::new(), Vec::new());
    Damage { file, offset, reason, kept, lost_bytes: 0, moved, gone, items }
}

/// Moves whole segments out of the journal's folder; they stay there for inspection.
fn move_aside(disk: &dyn Disk, store: &Path, numbers: &[u32]) -> Result<Vec<PathBuf>> {
    let aside = store.join(DAMAGED_FOLDER);
    let was_there = disk.exists(&aside).map_err(Error::io("looking for", &aside))?;
    if numbers.is_empty() && !was_there {
        return Ok(Vec::new());
    }
    // Also where an earlier repair has moved all of them: it may have ended before that was
    // durable.
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
