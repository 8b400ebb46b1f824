//! Getting an index that matches the journal: believed after an orderly close, proven after a
//! crash, and else rebuilt.

use std::collections::HashMap;
use std::sync::Arc;

use super::content::Content;
use super::replay::{Report, for_each_entry};
use crate::engine::environment::Environment;
use crate::engine::secondary::settle::FoundRows;
use crate::index::opening::DirectoryFile;
use crate::index::{Backing, Index};
use crate::journal::content_sum::{ContentSum, Contents};
use crate::journal::manifest::{Checkpoint, CleanClose};
use crate::journal::recover::Recovered;
use crate::storage::layout::{INDEX_FILE, manifest_path};
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::options::{Options, Progress};

/// An index, and what it was found to hold.
#[derive(Debug)]
pub(crate) struct OpenedIndex {
    pub(crate) index: Index,
    pub(crate) generation: u64,
    pub(crate) content: Contents,
    /// Bytes of each segment's entries that heads of items point to.
    pub(crate) live_bytes: HashMap<u32, u64>,
    /// No item expires before this.
    pub(crate) next_expiry_ms: u64,
    /// The latest reading of the clock among the entries that were read.
    pub(crate) newest_clock_ms: u64,
    /// The revision up to which the index on disk is known to hold everything.
    pub(crate) written_revision: u64,
    /// The digest of the directory file, where that was believed.
    pub(crate) directory_digest: Option<[u8; 32]>,
    /// Segments in which frames were found damaged, and the first of them in each.
    pub(crate) damaged: Vec<(u32, Error)>,
    /// Removals up to this revision may not be known to the index, as their frames are damaged; 0
    /// for none.
    pub(crate) removals_lost: u64,
    /// Count and sum of the rows of secondary indexes; `None` where the directory file was
    /// believed.
    pub(crate) found_rows: Option<FoundRows>,
}

/// Opens the index that belongs to the journal.
pub(super) fn open(
    environment: &Environment,
    recovered: &mut Recovered,
    options: &Options,
) -> Result<OpenedIndex> {
    let backings = &*environment.backings;
    // After a repair nothing proves an index.
    let distrust = recovered.manifest.repaired;
    let checkpoint = recovered.manifest.checkpoint;
    let on_progress = options.on_progress.as_ref();
    let mut report = Report { on_progress, progress: Progress { done_bytes: 0, total_bytes: 0 } };
    // The marker is left by an open that did not survive its index. That index is not touched
    // again.
    if !distrust && !checkpoint.index_lost && !recovered.watermark.is_opening()? {
        let believed = recovered.clean.as_ref();
        let believed = believed.and_then(|clean| directory_file(recovered, clean).transpose());
        let believed = believed.transpose()?;
        recovered.watermark.set_opening(true)?;
        let opened = backings.open(checkpoint.index_generation).and_then(|backing| {
            let believed = believed.and_then(|(file, digest)| {
                let content = contents_of(&file);
                let index = Index::from_file(file, Arc::clone(&backing), options.cache_bytes)?;
                Some(as_closed(recovered, index, content, digest))
            });
            match believed {
                Some(opened) => Ok(Some(opened)),
                None => prove(recovered, backing, options.cache_bytes, &mut report),
            }
        });
        recovered.watermark.set_opening(false)?;
        match opened {
            Ok(Some(opened)) => {
                // Left by a replacement of the index that was not finished.
                if let Err(error) = backings.remove_all_but(opened.generation) {
                    log::warn!("an unfinished index could not be removed and is left: {error}");
                }
                return Ok(opened);
            }
            Ok(None) => log::warn!("the index does not match the journal and is rebuilt from it"),
            Err(error @ Error::Corrupt { .. }) => return Err(error),
            Err(error) => {
                log::warn!("the index cannot be used and is rebuilt from the journal: {error}");
            }
        }
    }
    let rebuilt = rebuild(environment, recovered, distrust, options.cache_bytes, &mut report)?;
    // While the index is in memory only, MANIFEST still names the one that is not to be touched.
    if rebuilt.index.is_on_disk() && recovered.watermark.is_opening()? {
        recovered.watermark.set_opening(false)?;
    }
    Ok(rebuilt)
}

/// The directory file, if it is the one that an orderly close left.
fn directory_file(
    recovered: &Recovered,
    clean: &CleanClose,
) -> Result<Option<(DirectoryFile, [u8; 32])>> {
    let checkpoint = &recovered.manifest.checkpoint;
    let (disk, path) = (&*recovered.disk, recovered.store.join(INDEX_FILE));
    if checkpoint.revision != clean.revision
        || !disk.exists(&path).map_err(Error::io("looking for", &path))?
    {
        return Ok(None);
    }
    let file = disk.open_to_read(&path).map_err(Error::io("opening", &path))?;
    let len = file.len().map_err(Error::io("reading the length of", &path))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    if file.read_exact_at(&mut bytes, 0).is_err() {
        return Ok(None);
    }
    let digest = *blake3::hash(&bytes).as_bytes();
    let file = (digest == clean.index_digest).then(|| DirectoryFile::decode(&bytes)).flatten();
    let file = file.filter(|file| file.generation == checkpoint.index_generation);
    Ok(file.map(|file| (file, digest)))
}

/// What an orderly close has counted of each collection.
fn contents_of(file: &DirectoryFile) -> Contents {
    let mut contents = Contents::default();
    for (collection, (count, sum)) in file.contents() {
        contents.set(collection, ContentSum { count, sum });
    }
    contents
}

fn as_closed(
    recovered: &Recovered,
    index: Index,
    content: Contents,
    digest: [u8; 32],
) -> OpenedIndex {
    let checkpoint = recovered.manifest.checkpoint;
    OpenedIndex {
        index,
        generation: checkpoint.index_generation,
        content,
        live_bytes: recovered.counted_live_bytes(),
        next_expiry_ms: checkpoint.next_expiry_ms,
        newest_clock_ms: 0,
        written_revision: checkpoint.revision,
        directory_digest: Some(digest),
        damaged: Vec::new(),
        removals_lost: 0,
        found_rows: None,
    }
}

/// Brings an index up to the journal's end and proves that it then holds what the journal says;
/// `None` when it does not.
fn prove(
    recovered: &Recovered,
    backing: Arc<dyn Backing>,
    cache_bytes: u64,
    report: &mut Report<'_>,
) -> Result<Option<OpenedIndex>> {
    let checkpoint = recovered.manifest.checkpoint;
    let mut found = Content::of_segments(recovered);
    let mut rows = FoundRows::default();
    let last = recovered.last_revision;
    let visit = &mut |key: &[u8], head: &Head| rows.add(key, head, last) || found.take(key, head);
    let Some(index) = Index::from_pairs(backing, cache_bytes, visit)? else { return Ok(None) };
    found.relocate(&index, recovered)?;
    let mut expected = checkpoint.content;
    let mut newest_clock_ms = 0;
    let mut sound = true;
    let damage = for_each_entry(recovered, checkpoint.revision, report, &mut |entry| {
        let (key, head) = (&entry.key, entry.head);
        expected.merge(entry.change);
        newest_clock_ms = newest_clock_ms.max(recovered.clock_of(&head, entry.clock_ms));
        if entry.clears {
            return found.clear(&index, key, &head);
        }
        let pin = index.pin();
        let present = index.make_resident(key, &pin)?;
        if present.is_none_or(|present| present.revision < head.revision) {
            index.put(key, &head, None, &pin);
            sound = sound && found.replace(key.as_bytes(), present.as_ref(), &head);
        }
        Ok(())
    })?;
    if !sound || !damage.leaves(&found.content.total(), &expected) {
        return Ok(None);
    }
    let Some(damaged) = found.settle(&index)? else { return Ok(None) };
    Ok(Some(OpenedIndex {
        index,
        generation: checkpoint.index_generation,
        content: found.content,
        live_bytes: found.live_bytes,
        next_expiry_ms: found.next_expiry_ms,
        newest_clock_ms,
        written_revision: checkpoint.revision,
        directory_digest: None,
        removals_lost: damage.removals_lost,
        damaged: damage.segments.into_iter().chain(damaged).collect(),
        found_rows: Some(rows),
    }))
}

/// Builds the index anew from the whole journal, and a backing store of the next generation for it
/// if that can be made.
fn rebuild(
    environment: &Environment,
    recovered: &mut Recovered,
    damaged: bool,
    cache_bytes: u64,
    report: &mut Report<'_>,
) -> Result<OpenedIndex> {
    let mut built = fill(recovered, damaged, cache_bytes, report)?;
    let backings = &*environment.backings;
    let previous = recovered.manifest.checkpoint.index_generation;
    let generation = previous + 1;
    let on_disk = backings.remove_all_but(previous).and_then(|()| {
        built.index.attach(backings.open(generation)?);
        // All of the journal that an open relies on is durable.
        built.index.write_back(&mut |_| Ok(()))
    });
    if let Err(error) = on_disk {
        log::warn!("no index can be made on disk, so it stays in memory for now: {error}");
        built.index.detach();
        if built.index.is_lost() {
            // Leaves that were written may have left memory already.
            built = fill(recovered, damaged, cache_bytes, report)?;
        }
        built.generation = previous;
        return Ok(built);
    }
    built.generation = generation;
    let mut manifest = recovered.manifest.clone();
    manifest.clean = None;
    manifest.repaired = false;
    // Built anew by the engine.
    manifest.indexes.clear();
    manifest.checkpoint = Checkpoint {
        revision: recovered.last_revision,
        content: built.content.total(),
        index_generation: generation,
        next_expiry_ms: built.next_expiry_ms,
        index_lost: false,
    };
    // The new index points only into what the journal consists of.
    manifest.retired.clear();
    recovered.retired.clear();
    manifest.clock_ms = manifest.clock_ms.max(built.newest_clock_ms);
    manifest.revision_floor = manifest.revision_floor.max(recovered.next_revision - 1);
    recovered.manifest_file.replace(&manifest)?;
    recovered.manifest = manifest;
    if let Err(error) = backings.remove_all_but(generation) {
        log::warn!("the replaced index could not be removed and is left: {error}");
    }
    Ok(built)
}

/// Whether no item of the journal lies in frames that are damaged. Reads all of it, and notes in
/// which segments there are such frames.
pub(super) fn is_whole(recovered: &mut Recovered, cache_bytes: u64) -> Result<bool> {
    let progress = Progress { done_bytes: 0, total_bytes: 0 };
    let filled = fill(recovered, false, cache_bytes, &mut Report { on_progress: None, progress });
    match filled {
        Err(Error::Corrupt { .. }) => Ok(false),
        filled => {
            recovered.damaged = filled?.damaged;
            Ok(true)
        }
    }
}

/// Puts the heads of the whole journal into an empty index, in order of revision.
fn fill(
    recovered: &Recovered,
    damaged: bool,
    cache_bytes: u64,
    report: &mut Report<'_>,
) -> Result<OpenedIndex> {
    let checkpoint = recovered.manifest.checkpoint;
    let index = Index::new(cache_bytes);
    let mut found = Content::of_segments(recovered);
    let mut expected = checkpoint.content;
    let mut newest_clock_ms = 0;
    let damage = {
        let pin = index.pin();
        for_each_entry(recovered, 0, report, &mut |entry| {
            let (key, head) = (&entry.key, entry.head);
            if head.revision > checkpoint.revision {
                expected.merge(entry.change);
            }
            newest_clock_ms = newest_clock_ms.max(recovered.clock_of(&head, entry.clock_ms));
            if entry.clears {
                return found.clear(&index, key, &head);
            }
            let present = index.put(key, &head, None, &pin);
            found.replace(key.as_bytes(), present.as_ref(), &head);
            Ok(())
        })?
    };
    if !damaged && !damage.leaves(&found.content.total(), &expected) {
        let path = manifest_path(&recovered.store);
        let lacks = Error::corrupt(&path, 0, "the journal lacks items of the last checkpoint");
        return Err(damage.segments.into_iter().next().map_or(lacks, |(_, error)| error));
    }
    Ok(OpenedIndex {
        index,
        generation: checkpoint.index_generation,
        content: found.content,
        live_bytes: found.live_bytes,
        next_expiry_ms: found.next_expiry_ms,
        newest_clock_ms,
        written_revision: recovered.last_revision,
        directory_digest: None,
        removals_lost: damage.removals_lost,
        damaged: damage.segments,
        found_rows: Some(FoundRows::default()),
    })
}
