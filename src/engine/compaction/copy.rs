//! Copying what is worth keeping of some segments.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::engine::compaction::purge::Purgeable;
use crate::engine::shared::MaintenanceGuard;
use crate::engine::throttle::Throttle;
use crate::engine::{Engine, EntryStatus};
use crate::journal::entries::EntrySource;
use crate::journal::frame::Entry;
use crate::journal::manifest::SegmentRecord;
use crate::journal::rewrite::Rewrite;
use crate::journal::scanner::{FrameScanner, ScannedFrame};
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// How much of a segment is read before others get a turn.
const CHUNK_BYTES: u64 = 256 << 10;

/// How many entries are decided on before others get a turn.
const ENTRIES: usize = 512;

/// Copies the entries that are worth keeping of a rewrite's sources.
pub(super) fn copy(
    maintenance: &MaintenanceGuard<'_>,
    rewrite: &mut Rewrite,
    purgeable: &Purgeable,
    throttle: Throttle,
) -> Result<()> {
    let sources = rewrite.sources().to_vec();
    let mut chains = Chains::default();
    for source in &sources {
        let dropped = find_dropped(maintenance, source, purgeable, &mut chains, throttle)?;
        read_frames(maintenance, source, throttle, &mut |_, source, frame| {
            let mut kept = Vec::new();
            source.for_each_entry(frame, &mut |found| {
                if dropped.contains(&(frame.revision, found.entry.ordinal)) {
                    return Ok(());
                }
                // Those of all sources are listed.
                let incarnation = rewrite.incarnation_index(found.incarnation);
                let incarnation =
                    incarnation.ok_or(internal("a rewritten segment lacks an incarnation"))?;
                // A checkpoint holds what it changed in secondary indexes.
                kept.push(Entry { incarnation, index_changes: &[], ..found.entry });
                Ok(())
            })?;
            if kept.is_empty() { Ok(()) } else { rewrite.append(frame.revision, &kept) }
        })?;
    }
    Ok(())
}

/// The entries of a segment that nobody needs, by revision and ordinal.
fn find_dropped(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    purgeable: &Purgeable,
    chains: &mut Chains,
    throttle: Throttle,
) -> Result<HashSet<(u64, u16)>> {
    let mut entries: Vec<(ItemKey, u64, u16)> = Vec::new();
    read_frames(maintenance, source, throttle, &mut |_, source, frame| {
        source.for_each_entry(frame, &mut |found| {
            entries.push((found.key, found.revision, found.entry.ordinal));
            Ok(())
        })
    })?;
    // In order of key, neighbours lie on one page of the index.
    entries.sort_unstable();
    let mut dropped = HashSet::new();
    throttle.for_each(maintenance, &entries, ENTRIES, |engine, (key, revision, ordinal)| {
        let purged = purgeable.get(key) == Some(revision);
        if purged || !chains.keeps(engine, key, *revision)? {
            dropped.insert((*revision, *ordinal));
        }
        Ok(())
    })?;
    Ok(dropped)
}

/// Visits the commits of a sealed segment; the store may be closed, and others go on, in between.
pub(super) fn read_frames(
    maintenance: &MaintenanceGuard<'_>,
    source: &SegmentRecord,
    throttle: Throttle,
    visit: &mut dyn FnMut(&Engine, EntrySource<'_>, &ScannedFrame<'_>) -> Result<()>,
) -> Result<()> {
    let end_offset =
        source.sealed.ok_or(internal("compaction reads a segment that is not sealed"))?.offset;
    let (known, mut scan) = {
        let engine = maintenance.engine()?;
        let segments = engine.journal.segments();
        let unknown = || internal("compaction reads a segment that was dropped");
        let known = segments.get(source.number).ok_or_else(unknown)?;
        let file = segments.file(source.number)?.ok_or_else(unknown)?;
        let first = known.place_after(0);
        (known.clone(), FrameScanner::new(file, known.path.clone(), end_offset, first))
    };
    loop {
        let began = Instant::now();
        let engine = maintenance.engine()?;
        let until = scan.position().offset + CHUNK_BYTES;
        while scan.position().offset < until {
            let Some(frame) = scan.next_commit()? else { return scan.expect_end(end_offset) };
            visit(&engine, EntrySource::new(source.number, &known), &frame)?;
        }
        drop(engine);
        throttle.pause(began);
    }
}

fn internal(what: &'static str) -> Error {
    Error::Internal { what }
}

/// The revisions of items' versions that the history policy keeps, as they were looked up.
#[derive(Debug, Default)]
struct Chains {
    kept: HashMap<ItemKey, Vec<u64>>,
}

impl Chains {
    /// The most items that are remembered at a time.
    const LIMIT: usize = 100_000;

    fn keeps(&mut self, engine: &Engine, key: &ItemKey, revision: u64) -> Result<bool> {
        match engine.status_of(key, revision)? {
            EntryStatus::Newest => Ok(true),
            EntryStatus::Superseded if engine.history.depth() == 0 => Ok(false),
            EntryStatus::Superseded => {
                if let Some(kept) = self.kept.get(key) {
                    return Ok(kept.contains(&revision));
                }
                let mut kept = Vec::new();
                engine.past(key, &mut |past| {
                    kept.push(past.version.meta.revision.0);
                    std::ops::ControlFlow::Continue(())
                })?;
                let keeps = kept.contains(&revision);
                if self.kept.len() >= Self::LIMIT {
                    self.kept.clear();
                }
                self.kept.insert(key.clone(), kept);
                Ok(keeps)
            }
        }
    }
}
