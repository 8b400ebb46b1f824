//! Frames on their way to the file: a commit is read as soon as it is applied, which may be before
//! anyone has written it.

use crate::journal::append::{Journal, pack};
use crate::journal::state::State;
use crate::journal::waiters::{Goal, Woken};
use crate::seams::sync::Ordering;
use crate::values::error::Result;

/// Frames that a leader is writing.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) segment: u32,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

impl Journal {
    /// Returns when everything appended so far is in the file, or writing has ended.
    pub(crate) fn write_out(&self) {
        let state = self.lock();
        let appended = state.appended;
        drop(self.wait(state, Goal::written(appended), Woken::default()));
    }

    /// Whether everything before this place of a segment is in its file.
    pub(crate) fn is_written(&self, segment: u32, end: u64) -> bool {
        // Every other segment was written whole before it was sealed.
        let written_up_to = self.written_up_to.load(Ordering::Acquire);
        written_up_to >> 32 != u64::from(segment) || pack(segment, end) <= written_up_to
    }

    /// Reads an entry's record, from the file or from the frames on their way there. `None` when
    /// compaction has removed the segment.
    ///
    /// # Errors
    /// As [`Segments::read`](crate::journal::segments::Segments::read).
    pub(crate) fn read(
        &self,
        segment: u32,
        offset: u32,
        len_bytes: u32,
    ) -> Result<Option<Vec<u8>>> {
        let end = u64::from(offset) + u64::from(len_bytes);
        if !self.is_written(segment, end)
            && let Some(bytes) = self.lock().read_unwritten(segment, offset, len_bytes)
        {
            return Ok(Some(bytes));
        }
        self.segments.read(segment, offset, len_bytes)
    }
}

impl State {
    fn read_unwritten(&self, segment: u32, offset: u32, len_bytes: u32) -> Option<Vec<u8>> {
        let active = self.active.as_ref().filter(|active| active.number == segment);
        let buffered = active
            .map(|active| (active.tail.offset - self.buffer.len() as u64, self.buffer.as_slice()));
        let flying = self.flight.as_ref().filter(|flight| flight.segment == segment);
        let flying = flying.map(|flight| (flight.offset, flight.bytes.as_slice()));
        [buffered, flying].into_iter().flatten().find_map(|(start, bytes)| {
            let from = u64::from(offset).checked_sub(start)? as usize;
            bytes.get(from..from + len_bytes as usize).map(<[u8]>::to_vec)
        })
    }
}
