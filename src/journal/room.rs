//! Filling a segment ahead of its frames, so that writing a frame needs no new space.

use std::io;
use std::path::Path;

use crate::journal::rotate::SEAL_ROOM_BYTES;
use crate::journal::state::Active;
use crate::storage::layout::segment_path;
use crate::values::error::{Error, Result};
use crate::values::options::Durability;

/// How far ahead of its frames a segment is filled with zeros: little at first, then as far as it
/// is filled with frames, up to the limit.
const FIRST_RESERVE_BYTES: u64 = 64 << 10;
const RESERVE_BYTES: u64 = 1 << 20;
/// Segments of a smaller capacity are not synced before they are sealed.
const LEAST_SYNCED_AHEAD_BYTES: u64 = 1 << 20;
/// A segment is synced when a quarter of it is left, a sixteenth, and a sixty-fourth, so that its
/// seal syncs little while every writer waits.
const SYNCED_AHEAD_PARTS: [u64; 3] = [4, 16, 64];
/// How many bytes are filled at a time: a nearly full disk may have room for a part.
const RESERVE_STEP_BYTES: u64 = 64 << 10;
/// How far ahead is filled while the disk is full.
const SCARCE_RESERVE_BYTES: u64 = 4 << 10;

/// About how many bytes it takes to begin a segment: its header, some zeros, a longer MANIFEST.
pub(super) const BEGIN_BYTES: u64 = 32 << 10;

/// The room that a frame needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: u64,
    /// Whether it frees space, and so may use the space that is set aside.
    pub(super) frees: bool,
}

/// How the space ahead of the frames is filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    pub(super) durability: Durability,
    /// Whether the disk is full.
    pub(super) scarce: bool,
}

impl Active {
    /// Whether the frame at this offset, the newest one, is the first to reach into the segment's
    /// last quarter, sixteenth or sixty-fourth. False for small segments: their seal has little to
    /// sync.
    pub(super) fn comes_near_seal(&self, frame_offset: u64) -> bool {
        let reaches = |part: &u64| {
            let near = self.capacity - self.capacity / part;
            frame_offset < near && self.tail.offset >= near
        };
        self.capacity >= LEAST_SYNCED_AHEAD_BYTES && SYNCED_AHEAD_PARTS.iter().any(reaches)
    }

    /// How many bytes longer the file has to be for a frame of this length, on a full disk.
    pub(super) fn lacks(&self, frame_bytes: u64) -> u64 {
        let needed = self.tail.offset + frame_bytes + SEAL_ROOM_BYTES;
        if needed <= self.reserved { 0 } else { needed + SCARCE_RESERVE_BYTES - self.reserved }
    }

    /// Makes room in the file for a frame of this length and more, so that writing the frame needs
    /// no new space.
    ///
    /// If each commit is synced, the room is filled with zeros, so that a sync need not write the
    /// file system's metadata. If syncs are few, the space is only reserved: zeros would double
    /// what is written.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `StorageFull` when there is no room for this frame.
    pub(super) fn reserve(
        &mut self,
        store: &Path,
        frame_bytes: u64,
        filling: Filling,
    ) -> Result<()> {
        let needed = self.tail.offset + frame_bytes + SEAL_ROOM_BYTES;
        if needed <= self.reserved {
            return Ok(());
        }
        let ahead = if filling.scarce {
            SCARCE_RESERVE_BYTES
        } else {
            self.tail.offset.clamp(FIRST_RESERVE_BYTES, RESERVE_BYTES)
        };
        let goal = (needed + ahead).min(self.capacity).max(needed);
        while self.reserved < goal {
            let step = (goal - self.reserved).min(RESERVE_STEP_BYTES);
            let made = match filling.durability {
                Durability::Immediate => self.file.write_zeros(self.reserved, step),
                Durability::Eventual => self.file.allocate(self.reserved, step),
            };
            match made {
                Ok(()) => self.reserved += step,
                // A nearly full disk need not have room for more than this frame.
                Err(error)
                    if error.kind() == io::ErrorKind::StorageFull && needed <= self.reserved =>
                {
                    break;
                }
                Err(error) => {
                    let path = segment_path(store, self.number);
                    return Err(Error::io("reserving space in", &path)(error));
                }
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, Instant};

    use crate::simulation::Simulation;
    use crate::{Durability, Options, Precondition};

    /// Otherwise everything of the last interval is synced while every writer waits for the next
    /// segment.
    #[test]
    fn what_is_in_a_segment_is_synced_before_it_is_sealed() {
        let sim = Simulation::new(1);
        let hour = Duration::from_secs(3_600);
        let options = Options::new().durability(Durability::Eventual).sync_interval(hour);
        let store = sim.open_with_background(&options).unwrap();
        let pages = store.raw("pages").unwrap();
        let segment = || store.engine().unwrap().journal.position().segment;
        let write = |key: u32| {
            let value = vec![1; 10_000].into();
            pages.upsert(key.to_be_bytes(), &value, Precondition::Always).unwrap().revision()
        };
        // The first segments are small.
        let first = (0..u32::MAX).find(|key| {
            write(*key);
            segment() >= 4
        });
        let sealed = store.stats().unwrap().durable_revision;
        // Of 1 MiB, 80 % is beyond where the last quarter begins, and before the last sixteenth.
        let (first, number) = (first.unwrap(), segment());
        let mut revision = sealed;
        for key in first..first + 82 {
            revision = write(key);
        }
        assert_eq!(segment(), number);
        // The thread that syncs it makes the next segment's file as well, and nobody else does.
        let is_prepared = || store.engine().unwrap().journal.has_prepared();
        let deadline = Instant::now() + Duration::from_secs(60);
        let durable = || store.stats().unwrap().durable_revision;
        while (!is_prepared() || durable() == sealed) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(is_prepared(), "nothing was made ahead");
        assert!(
            sealed < durable() && durable() <= revision,
            "{sealed:?} of {revision:?} is synced"
        );
    }
}
