//! Filling a segment ahead of its frames, so that writing a frame needs no new space.

use std::io;
use std::path::Path;

use crate::journal::append::Active;
use crate::journal::rotate::SEAL_ROOM_BYTES;
use crate::values::error::{Error, Result};
use crate::values::options::Durability;

/// How far ahead of its frames a segment is filled with zeros: little at first, then as much
/// again as it holds, up to the limit.
const FIRST_RESERVE_BYTES: u64 = 64 << 10;
const RESERVE_BYTES: u64 = 1 << 20;
/// How much of that is made at a time: a nearly full disk may have room for a part.
const RESERVE_STEP_BYTES: u64 = 64 << 10;
/// How far ahead is filled while the disk is full.
const SCARCE_RESERVE_BYTES: u64 = 4 << 10;

/// What a frame needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: u64,
    /// Whether it may use what is set aside for freeing space.
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
    /// Makes room in the file up to beyond a frame of this length, so that writing the frame needs
    /// no new space.
    ///
    /// Where each commit is synced the room is filled with zeros, so that syncing it need not change
    /// what the file system knows of the file. Where syncs are few the space is only reserved:
    /// zeros would double what is written.
    pub(super) fn reserve(
        &mut self,
        path: &Path,
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
                Err(error) => return Err(Error::io("reserving space in", path)(error)),
            }
        }
        Ok(())
    }
}
