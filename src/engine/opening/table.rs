//! Getting a table that is the journal's: believed after an orderly close, proven after a crash,
//! rebuilt when it is neither.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::engine::environment::Environment;
use crate::index::{MemoryTables, Table, Tables};
use crate::journal::content_sum::ContentSum;
use crate::journal::entries::{EntrySource, FoundEntry};
use crate::journal::manifest::{Checkpoint, CleanClose};
use crate::journal::recover::{FoundSegment, Recovered};
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::options::{OnProgress, Progress};

/// Rows that the proof looks at a time.
const PROOF_ROWS: usize = 1_024;
const PROGRESS_BYTES: u64 = 1 << 20;

/// A table, and what it was found to hold.
#[derive(Debug)]
pub(crate) struct OpenedTable {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) generation: u64,
    pub(crate) content: ContentSum,
    /// Bytes of each segment's entries that the table's heads of items point to.
    pub(crate) live_bytes: HashMap<u32, u64>,
    /// No item expires before this.
    pub(crate) next_expiry_ms: u64,
    /// The latest reading of the clock among the entries that were read.
    pub(crate) newest_clock_ms: u64,
    /// False when the table could not be put on disk, as when that is full, and stands in memory:
    /// then no checkpoint can be taken.
    pub(crate) on_disk: bool,
    /// The revision up to which the table on disk is known to be on stable storage.
    pub(crate) flushed_revision: u64,
}

/// Opens the table that belongs to the journal.
pub(super) fn open(
    environment: &Environment,
    recovered: &mut Recovered,
    on_progress: Option<&OnProgress>,
) -> Result<OpenedTable> {
    let tables = &*environment.tables;
    // Then nothing is known to prove a table by.
    let distrust = recovered.manifest.repaired;
    let checkpoint = recovered.manifest.checkpoint;
    let mut report = Report { on_progress, progress: Progress { done_bytes: 0, total_bytes: 0 } };
    // The marker is found when an earlier open did not survive its table: that one is not
    // touched again.
    if !distrust && !recovered.watermark.is_opening()? {
        let believed = recovered.clean.as_ref();
        let believed = believed.is_some_and(|clean| is_as_closed(environment, &checkpoint, clean));
        recovered.watermark.set_opening(true)?;
        let opened = match tables.open(checkpoint.table_generation) {
            Ok(table) if believed => Ok(Some(OpenedTable {
                table,
                generation: checkpoint.table_generation,
                content: checkpoint.content,
                live_bytes: recovered.counted_live_bytes(),
                next_expiry_ms: checkpoint.next_expiry_ms,
                newest_clock_ms: 0,
                on_disk: true,
                flushed_revision: checkpoint.revision,
            })),
            Ok(table) => prove(recovered, table, &mut report),
            Err(error) => Err(error),
        };
        recovered.watermark.set_opening(false)?;
        match opened {
            Ok(Some(opened)) => {
                // A copy of the table that a run did not finish.
                if let Err(error) = tables.remove_all_but(opened.generation) {
                    log::warn!("an unfinished table could not be removed: {error}");
                }
                return Ok(opened);
            }
            Ok(None) => log::warn!("the table is not the journal's; rebuilding it"),
            Err(error @ Error::Corrupt { .. }) => return Err(error),
            Err(error) => log::warn!("the table cannot be used; rebuilding it: {error}"),
        }
    }
    let rebuilt = rebuild(environment, recovered, distrust, &mut report)?;
    // While it stands in memory MANIFEST names the one that is not to be touched.
    if rebuilt.on_disk && recovered.watermark.is_opening()? {
        recovered.watermark.set_opening(false)?;
    }
    Ok(rebuilt)
}

/// Whether the table's files are what an orderly close left. They are not after an open that was
/// killed, as opening lets the engine rewrite some: then the table is proven like after a crash.
fn is_as_closed(environment: &Environment, checkpoint: &Checkpoint, clean: &CleanClose) -> bool {
    checkpoint.revision == clean.revision
        && matches!(
            environment.tables.digest(checkpoint.table_generation),
            Ok(digest) if digest == clean.table_digest
        )
}

/// Brings the table up to the journal's end and proves that it then holds what the journal says;
/// `None` when it does not.
fn prove(
    recovered: &Recovered,
    table: Arc<dyn Table>,
    report: &mut Report<'_>,
) -> Result<Option<OpenedTable>> {
    let checkpoint = recovered.manifest.checkpoint;
    let mut expected = checkpoint.content;
    let mut newest_clock_ms = 0;
    for_each_entry(recovered, checkpoint.revision, report, &mut |found| {
        let (key, head) = (found.key.as_bytes(), found.head());
        expected.apply(key, found.entry.parent(), written(&head));
        newest_clock_ms = newest_clock_ms.max(recovered.clock_of(&found));
        let present = table.get(key)?.and_then(|bytes| Head::decode(&bytes));
        if present.is_none_or(|present| present.revision < head.revision) {
            table.insert(key, &head.encode())?;
        }
        Ok(())
    })?;
    let found = scan_heads(recovered, &*table)?.filter(|found| found.content == expected);
    for key in found.iter().flat_map(|found| &found.lost) {
        table.remove(key)?;
    }
    Ok(found.map(|found| OpenedTable {
        table,
        generation: checkpoint.table_generation,
        content: expected,
        live_bytes: found.live_bytes,
        next_expiry_ms: found.next_expiry_ms,
        newest_clock_ms,
        on_disk: true,
        flushed_revision: checkpoint.revision,
    }))
}

/// Builds the next generation of the table from the whole journal, on disk or, where that cannot
/// be had, in memory.
fn rebuild(
    environment: &Environment,
    recovered: &mut Recovered,
    damaged: bool,
    report: &mut Report<'_>,
) -> Result<OpenedTable> {
    let tables = &*environment.tables;
    let previous = recovered.manifest.checkpoint.table_generation;
    let generation = previous + 1;
    let on_disk = tables
        .remove_all_but(previous)
        .and_then(|()| tables.open(generation))
        .and_then(|table| fill(recovered, table, generation, damaged, report))
        .and_then(|filled| filled.table.flush().map(|()| filled));
    let built = match on_disk {
        Ok(built) => built,
        Err(error @ Error::Corrupt { .. }) => return Err(error),
        Err(error) => {
            log::warn!("no table can be had on disk; it is kept in memory: {error}");
            let table = MemoryTables::new().open(previous)?;
            let filled = fill(recovered, table, previous, damaged, report)?;
            return Ok(OpenedTable { on_disk: false, ..filled });
        }
    };
    let mut manifest = recovered.manifest.clone();
    manifest.clean = None;
    manifest.repaired = false;
    manifest.checkpoint = Checkpoint {
        revision: recovered.last_revision,
        content: built.content,
        table_generation: generation,
        next_expiry_ms: built.next_expiry_ms,
    };
    // The new table points only into what the journal consists of.
    manifest.retired.clear();
    recovered.retired.clear();
    manifest.clock_ms = manifest.clock_ms.max(built.newest_clock_ms);
    manifest.revision_floor = manifest.revision_floor.max(recovered.next_revision - 1);
    recovered.manifest_file.replace(&manifest)?;
    recovered.manifest = manifest;
    if let Err(error) = tables.remove_all_but(generation) {
        log::warn!("the replaced table could not be removed: {error}");
    }
    Ok(built)
}

/// Puts the heads of the whole journal into an empty table, in order of revision.
fn fill(
    recovered: &Recovered,
    table: Arc<dyn Table>,
    generation: u64,
    damaged: bool,
    report: &mut Report<'_>,
) -> Result<OpenedTable> {
    let checkpoint = recovered.manifest.checkpoint;
    let mut expected = checkpoint.content;
    let mut newest_clock_ms = 0;
    for_each_entry(recovered, 0, report, &mut |found| {
        let (key, head) = (found.key.as_bytes(), found.head());
        if head.revision > checkpoint.revision {
            expected.apply(key, found.entry.parent(), written(&head));
        }
        newest_clock_ms = newest_clock_ms.max(recovered.clock_of(&found));
        table.insert(key, &head.encode())
    })?;
    let found = scan_heads(recovered, &*table)?;
    let Some(found) = found.filter(|found| damaged || found.content == expected) else {
        let path = crate::storage::layout::manifest_path(&recovered.store);
        return Err(Error::corrupt(&path, 0, "the journal lacks items of the last checkpoint"));
    };
    Ok(OpenedTable {
        table,
        generation,
        content: found.content,
        live_bytes: found.live_bytes,
        next_expiry_ms: found.next_expiry_ms,
        newest_clock_ms,
        on_disk: true,
        flushed_revision: recovered.last_revision,
    })
}

fn written(head: &Head) -> Option<crate::values::etag::ETag> {
    (!head.deleted).then_some(head.etag)
}

/// Calls `f` with every entry of a revision above `after`, in order.
fn for_each_entry(
    recovered: &Recovered,
    after: u64,
    report: &mut Report<'_>,
    f: &mut dyn FnMut(FoundEntry<'_, '_>) -> Result<()>,
) -> Result<()> {
    let needed = |found: &&FoundSegment| found.last_revision > after;
    let segments: Vec<&FoundSegment> = recovered.segments.iter().filter(needed).collect();
    let frame_bytes = |found: &&FoundSegment| found.end_offset.saturating_sub(SEGMENT_HEADER_BYTES);
    report.begin(segments.iter().map(frame_bytes).sum());
    for found in segments {
        let source = EntrySource::of_header(&found.segment.path, &found.segment.header);
        let mut scan = found.scan(&*recovered.disk)?;
        let mut before = scan.position().offset;
        while let Some(frame) = scan.next_commit()? {
            if frame.revision > after {
                source.for_each_entry(&frame, f)?;
            }
            let done = scan.position().offset;
            report.advance(done - before);
            before = done;
        }
        scan.expect_end(found.end_offset)?;
    }
    Ok(())
}

/// What the heads of a whole table come to.
struct Scanned {
    content: ContentSum,
    live_bytes: HashMap<u32, u64>,
    next_expiry_ms: u64,
    /// Tombstones of commits that the journal has lost: they count nowhere, and go.
    lost: Vec<Vec<u8>>,
}

/// Adds up the heads of the whole table; `None` when a row is no head of a named segment.
fn scan_heads(recovered: &Recovered, table: &dyn Table) -> Result<Option<Scanned>> {
    let named = recovered.segments.iter().chain(&recovered.retired);
    let ends: HashMap<u32, u64> =
        named.map(|found| (found.segment.header.number, found.end_offset)).collect();
    let mut live_bytes: HashMap<u32, u64> = ends.keys().map(|number| (*number, 0)).collect();
    let (mut content, mut next_expiry_ms, mut sound) = (ContentSum::default(), u64::MAX, true);
    let mut lost = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let (mut rows, mut last) = (0, None);
        let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        table.scan(lower, Bound::Unbounded, false, PROOF_ROWS, &mut |key, value| {
            rows += 1;
            let head = Head::decode(value);
            match head.and_then(|head| live_bytes.get_mut(&head.segment).map(|live| (head, live))) {
                Some((head, live)) if !head.deleted => {
                    content.add(key, head.etag);
                    *live += head.footprint_bytes();
                    next_expiry_ms = next_expiry_ms.min(head.expires_ms.unwrap_or(u64::MAX));
                }
                Some((head, _)) if ends.get(&head.segment).is_some_and(|end| head.end() > *end) => {
                    lost.push(key.to_vec());
                }
                Some(_) => {}
                None => sound = false,
            }
            if rows == PROOF_ROWS {
                last = Some(key.to_vec());
            }
        })?;
        if !sound {
            return Ok(None);
        }
        match last {
            Some(_) => after = last,
            None => return Ok(Some(Scanned { content, live_bytes, next_expiry_ms, lost })),
        }
    }
}

/// Tells the caller how far an open has come.
struct Report<'a> {
    on_progress: Option<&'a OnProgress>,
    progress: Progress,
}

impl Report<'_> {
    fn begin(&mut self, total_bytes: u64) {
        self.progress = Progress { done_bytes: 0, total_bytes };
    }

    fn advance(&mut self, bytes: u64) {
        let before = self.progress.done_bytes / PROGRESS_BYTES;
        self.progress.done_bytes += bytes;
        if let Some(on_progress) = self.on_progress
            && self.progress.done_bytes / PROGRESS_BYTES > before
        {
            on_progress(self.progress);
        }
    }
}
