//! What a copy of a damaged journal takes from elsewhere: the frames that live items still need and
//! that cannot be read as a whole.
//!
//! A head knows the place and the checksum of its entry, so an entry can be read that lies in a
//! damaged frame and is whole itself.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::snapshots::View;
use crate::journal::content_sum::ContentSum;
use crate::journal::copying::Loose;
use crate::journal::frame::{Entry, FrameBuilder, record_checksum};
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::journal::scanner::DamagedStretch;
use crate::values::error::{Error, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// How many heads of the index are looked at in one go.
const HEADS: usize = 4_096;

/// What is to be copied, in addition to the frames that are whole.
#[derive(Debug, Default)]
pub(crate) struct Rescued {
    /// What lives at the snapshot.
    pub(crate) content: ContentSum,
    /// Items that are absent at the snapshot, and that older entries would bring back: of these,
    /// the entries below this revision are left out.
    pub(crate) absent: HashMap<ItemKey, u64>,
    /// Whether a collection was cleared since the snapshot began: its items are then not met.
    pub(crate) was_cleared: bool,
    /// Whole entries out of damaged frames, by revision and ordinal.
    entries: BTreeMap<(u64, u16), (u32, Vec<u8>)>,
}

impl Engine {
    /// The parts of the journal up to a revision that cannot be read.
    pub(crate) fn damaged_stretches(&self, up_to: u64) -> Result<Vec<DamagedStretch>> {
        let mut stretches = Vec::new();
        let mut reader = FrameReader::after(0);
        let mut visit = |_: &CommitFrame<'_>| Ok(ControlFlow::Continue(()));
        reader.read_over_damage(&self.journal, up_to, &mut visit, &mut |met| {
            stretches.push(met.stretch);
            Ok(())
        })?;
        Ok(stretches)
    }

    /// An item, of this collection or of any but the store's own, whose newest change may lie in a
    /// part of the journal that cannot be read. Costs a walk over the index.
    pub(crate) fn newest_change_in(
        &self,
        stretch: &DamagedStretch,
        collection: Option<&str>,
    ) -> Result<Option<ItemKey>> {
        let selected = |key: &ItemKey| match collection {
            Some(collection) => key.collection() == collection,
            None => !key.collection().is_empty(),
        };
        let mut after = None;
        loop {
            let (heads, last) = self.walk_heads(after.as_ref(), HEADS)?;
            let lost = heads
                .into_iter()
                .find(|(key, head)| stretch.covers(head.revision) && selected(key));
            match (lost, last) {
                (Some((key, _)), _) => return Ok(Some(key)),
                (None, Some(last)) => after = Some(last),
                (None, None) => return Ok(None),
            }
        }
    }

    /// Takes up what some heads of the index need of damaged frames; returns where to go on.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the item, where the version of the snapshot cannot be read.
    pub(crate) fn rescue(
        &self,
        view: &View,
        stretches: &[DamagedStretch],
        after: Option<&ItemKey>,
        rescued: &mut Rescued,
    ) -> Result<Option<ItemKey>> {
        let (heads, last) = self.walk_heads(after, HEADS)?;
        for (key, now) in &heads {
            let Some(head) = view.head_at(key.as_bytes(), Some(*now))? else {
                rescued.was_cleared |= key.is_collection();
                rescued.absent.insert(key.clone(), now.revision);
                continue;
            };
            if !head.deleted {
                rescued.content.add(key.as_bytes(), head.etag);
            }
            if !stretches.iter().any(|stretch| stretch.covers(head.revision)) {
                continue;
            }
            match self.record_of(key, &head) {
                Ok((ordinal, record)) => {
                    let place = (head.revision, ordinal);
                    rescued.entries.insert(place, (head.segment, record));
                }
                Err(Error::Corrupt { .. }) if head.deleted => {
                    rescued.absent.insert(key.clone(), head.revision);
                }
                Err(error) => return Err(error.with_item(key.collection(), key.key_bytes())),
            }
        }
        Ok(last)
    }

    /// The entry that a head points to, as it is stored, and its ordinal.
    fn record_of(&self, key: &ItemKey, head: &Head) -> Result<(u16, Vec<u8>)> {
        let record = self.journal.read(head.segment, head.offset, head.len_bytes)?;
        let path = self.journal.segment_path(head.segment);
        let lost = || {
            Error::corrupt(&path, u64::from(head.offset), "an item's entry cannot be read any more")
        };
        let record = record.filter(|record| record_checksum(record) == head.checksum);
        let record = record.ok_or_else(lost)?;
        let (entry, _) = Entry::decode(&record).ok_or_else(lost)?;
        if entry.collection != key.collection() || entry.key != key.key_bytes() {
            return Err(lost());
        }
        Ok((entry.ordinal, record))
    }

    /// The frames that the rescued entries make, in order of revision.
    pub(crate) fn rescued_frames(&self, rescued: &Rescued) -> Vec<Loose> {
        let mut frames: Vec<(u64, u32, Vec<&[u8]>)> = Vec::new();
        for ((revision, _), (segment, record)) in &rescued.entries {
            match frames.last_mut() {
                Some((last, of, records)) if (*last, *of) == (*revision, *segment) => {
                    records.push(record);
                }
                _ => frames.push((*revision, *segment, vec![record])),
            }
        }
        let segments = self.journal.segments();
        let frame = |(revision, segment, records): (u64, u32, Vec<&[u8]>)| {
            let incarnations = segments.get(segment)?.incarnations.clone();
            let frame = FrameBuilder::of_records(&records);
            Some(Loose { revision, frame, incarnations: Arc::from(incarnations) })
        };
        frames.into_iter().filter_map(frame).collect()
    }
}
