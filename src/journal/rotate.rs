//! Making room: filling the active segment with zeros ahead of its frames, sealing it, and
//! beginning the next.

use std::io;

use crate::journal::append::{Journal, pack};
use crate::journal::dual_slot::MAX_STORED;
use crate::journal::frame::FrameBuilder;
use crate::journal::manifest::{SealedEnd, SegmentRecord};
use crate::journal::prepared::PreparedSegment;
use crate::journal::room::{BEGIN_BYTES, Filling, Room};
use crate::journal::scanner::Position;
use crate::journal::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::journal::state::{Active, State};
use crate::journal::waiters::{Need, Woken};
use crate::seams::sync::{MutexGuard, Ordering};
use crate::storage::layout::{JOURNAL_FOLDER, manifest_path, segment_path};
use crate::values::error::{Error, Result};

/// The first segment's length; each next one is twice its predecessor's, up to the limit.
#[cfg(not(all(test, loom)))]
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 256 << 10;
/// In models small: each of their runs begins with making one.
#[cfg(all(test, loom))]
pub(crate) const FIRST_SEGMENT_BYTES: u64 = 8 << 10;
pub(crate) const MAX_SEGMENT_BYTES: u64 = 128 << 20;
const LEAST_FULL_SEGMENT_BYTES: u64 = 1 << 20;
/// Room that is kept for the frame that seals a segment.
pub(super) const SEAL_ROOM_BYTES: u64 = 64;

impl Journal {
    /// Makes sure that a frame of this length can be appended to the active segment without
    /// another call that may find the disk full.
    ///
    /// # Errors
    /// - [`Error::Io`], of kind `StorageFull` when there is no room; nothing is changed.
    /// - [`Error::Poisoned`].
    pub(super) fn make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        room: Room,
    ) -> Result<MutexGuard<'a, State>> {
        if state.failed {
            return Err(self.poisoned());
        }
        if !room.frees {
            self.keep_reserve()?;
        }
        let frame_bytes = room.bytes;
        let full = match &state.active {
            None => true,
            Some(active) => {
                active.must_rotate
                    || active.tail.offset + frame_bytes + SEAL_ROOM_BYTES > active.capacity
            }
        };
        if full {
            state = self.wait_idle(state);
            if state.failed {
                return Err(self.poisoned());
            }
            // Another writer may have made the room while this one waited.
            return if state.has_room(frame_bytes) {
                self.make_room(state, room)
            } else {
                self.begin_next(&mut state, room)?;
                Ok(state)
            };
        }
        if !state.opened_for_writing {
            self.clear_clean_mark(&mut state)?;
        }
        if let Some(active) = &mut state.active {
            if room.frees {
                let needed_bytes = active.lacks(frame_bytes);
                let mut reserve = || active.reserve(&self.store, frame_bytes, self.filling());
                self.with_reserve(needed_bytes, &mut reserve)?;
            } else {
                active.reserve(&self.store, frame_bytes, self.filling())?;
            }
        }
        Ok(state)
    }

    /// Begins the next segment: with the space that is set aside for a commit that frees space, and
    /// else while the reserve grows.
    fn begin_next(&self, state: &mut State, room: Room) -> Result<()> {
        if room.frees {
            self.recheck_reserve();
            let needed_bytes = BEGIN_BYTES + room.bytes;
            return self.with_reserve(needed_bytes, || self.rotate(state, room.bytes));
        }
        self.grow_reserve()?;
        self.rotate(state, room.bytes)
    }

    pub(super) fn filling(&self) -> Filling {
        Filling { durability: self.durability, scarce: self.is_short_of_space() }
    }

    /// Refuses a revision that no reader would accept.
    pub(super) fn check_revisions(&self, state: &State) -> Result<()> {
        if state.next_revision <= MAX_STORED {
            return Ok(());
        }
        let reason = "it says that all revisions were used";
        Err(Error::corrupt(&manifest_path(&self.store), 0, reason))
    }

    /// How large segments get: a tenth of the journal's live bytes, at least 1 and at most 128 MiB.
    /// So compaction has a choice, and most files can stay open.
    pub(crate) fn segment_capacity(&self) -> u64 {
        let share = self.segments.total_live_bytes() / 10;
        share.clamp(LEAST_FULL_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// Seals the active segment and begins the next if it holds dead bytes, so that compaction can
    /// reclaim them.
    pub(crate) fn seal_if_dead(&self) -> Result<()> {
        let state = self.lock();
        let dead = state.active.as_ref().is_some_and(|active| {
            let frames = active.tail.offset - SEGMENT_HEADER_BYTES;
            frames > self.segments.live_bytes(active.number)
        });
        if !dead {
            return Ok(());
        }
        let mut state = self.wait_idle(state);
        if state.failed {
            return Err(self.poisoned());
        }
        self.recheck_reserve();
        self.with_reserve(0, || self.rotate(&mut state, 0))
    }

    /// Seals the active segment, if there is one, and begins the next. Costs some syncs under the
    /// journal's lock, once for each segment.
    fn rotate(&self, state: &mut State, frame_bytes: u64) -> Result<()> {
        self.check_revisions(state)?;
        // Twice what the last one holds, which after a crash may be little.
        let previous_bytes = state.active.as_ref().map_or(0, |active| active.tail.offset);
        let wanted = (previous_bytes * 2).max(FIRST_SEGMENT_BYTES).min(self.segment_capacity());
        let frames = SEGMENT_HEADER_BYTES + frame_bytes + SEAL_ROOM_BYTES;
        let capacity = wanted.max(frames);
        if let Some(active) = &mut state.active {
            active.reserve(&self.store, 0, self.filling())?;
        }
        // Waits for a segment that is being made ahead: to make another would take longer.
        let mut prepared = self.prepared.lock();
        self.check_prepared(&mut prepared)?;
        let mut manifest = self.manifest.lock();
        let number = match &*prepared {
            Some(prepared) => prepared.number,
            None => self.free_number(manifest.current.next_segment)?,
        };
        let mut changed = manifest.current.clone();
        if let Some(last) = changed.segments.last_mut().filter(|last| last.sealed.is_none()) {
            last.sealed = state.active.as_ref().map(|active| SealedEnd {
                last_revision: state.appended,
                offset: active.tail.offset,
            });
        }
        changed.segments.push(SegmentRecord {
            number,
            first_revision: state.next_revision,
            sealed: None,
            live_bytes: 0,
        });
        changed.next_segment = changed.next_segment.max(number + 1);
        changed.prepared = 0;
        changed.revision_floor = state.next_revision - 1;
        changed.clean = None;
        manifest.file.make_room(&mut changed, true)?;
        let prepared = prepared.take();
        self.prepared_number.store(0, Ordering::Release);
        let first_revision = state.next_revision;
        let next = self.create_segment(number, first_revision, capacity, frame_bytes, prepared)?;

        // From here on it is unknown after a failure which segments the store has, so that ends
        // writing.
        self.seal(state).inspect_err(|error| self.fail(state, error))?;
        let replaced = manifest.file.replace(&changed);
        replaced.inspect_err(|error| self.fail(state, error))?;
        manifest.current = changed;

        self.segments.add(number, vec![self.incarnation], next.tail.seed);
        self.segments.note_removals(number, false);
        if let Some(sealed) = &state.active {
            // Frees what was filled ahead: nothing after the seal is ever read.
            let cut = sealed.file.set_len(sealed.tail.offset + SEAL_ROOM_BYTES);
            if let Err(error) = cut {
                let path = segment_path(&self.store, sealed.number);
                let error = Error::io("cutting to its length", &path)(error);
                log::warn!("a sealed segment keeps the space that was reserved for it: {error}");
            }
        }
        self.written_up_to.store(pack(number, next.tail.offset), Ordering::Release);
        state.active = Some(next);
        state.opened_for_writing = true;
        // The seal was written and synced on their behalf, and nobody else wakes them.
        let mut woken = Woken::default();
        self.release(state, Need::Write, &mut woken);
        self.release(state, Need::Sync, &mut woken);
        Ok(())
    }

    /// The first number, from this one on, of which there is no file. A file that an earlier
    /// attempt could not remove stays until the next open, which knows whose it is.
    pub(super) fn free_number(&self, from: u32) -> Result<u32> {
        /// The most files that failed attempts may have left.
        const MOST_TAKEN: u32 = 1_000;
        for number in from..from.saturating_add(MOST_TAKEN) {
            let path = segment_path(&self.store, number);
            if !self.disk.exists(&path).map_err(Error::io("looking for", &path))? {
                return Ok(number);
            }
        }
        let path = segment_path(&self.store, from);
        Err(Error::io("creating", &path)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Makes a segment's file that has room for a frame of this length, and syncs it and its name.
    /// Uses the file that was made ahead, if there is one.
    fn create_segment(
        &self,
        number: u32,
        first_revision: u64,
        capacity: u64,
        frame_bytes: u64,
        prepared: Option<PreparedSegment>,
    ) -> Result<Active> {
        let path = segment_path(&self.store, number);
        let folder = self.store.join(JOURNAL_FOLDER);
        let incarnations = vec![self.incarnation];
        let header = SegmentHeader::new(number, &self.entropy, first_revision, incarnations);
        let (bytes, seed) = header.encode();
        let is_prepared = prepared.is_some();
        let (file, reserved) = match prepared {
            Some(prepared) => (prepared.file, prepared.reserved),
            None => {
                let file = self.disk.open(&path, true).map_err(Error::io("creating", &path))?;
                (file, SEGMENT_HEADER_BYTES)
            }
        };
        let tail = Position { offset: SEGMENT_HEADER_BYTES, seed };
        let mut active = Active { number, file, tail, reserved, capacity, must_rotate: false };
        let written = active
            .file
            .write_all_at(&bytes, 0)
            .map_err(Error::io("writing", &path))
            .and_then(|()| active.reserve(&self.store, frame_bytes, self.filling()));
        let made = written.and_then(|()| {
            if is_prepared {
                return active.file.sync_data().map_err(Error::io("syncing", &path));
            }
            active.file.sync_all().map_err(Error::io("syncing", &path))?;
            self.disk.sync_dir(&folder).map_err(Error::io("syncing", &folder))
        });
        if let Err(error) = made {
            drop(active);
            self.remove_unused(number);
            return Err(error);
        }
        Ok(active)
    }

    /// Writes what is buffered, ends the active segment with a seal and syncs it.
    fn seal(&self, state: &mut State) -> Result<()> {
        let Some(active) = &state.active else { return Ok(()) };
        let path = segment_path(&self.store, active.number);
        let end = active.tail;
        let start = end.offset - state.buffer.len() as u64;
        let mut seal = FrameBuilder::seal();
        let check = state.content.total().check();
        state.buffer.extend_from_slice(seal.finish(state.appended, check, end).0);
        let written = active.file.write_all_at(&state.buffer, start);
        let synced = written.and_then(|()| active.file.sync_data());
        if let Err(error) = synced {
            // Only the seal is removed: what was appended before stays readable.
            state.buffer.truncate((end.offset - start) as usize);
            return Err(Error::io("syncing", &path)(error));
        }
        state.buffer.clear();
        let active_number = active.number;
        self.set_written(state, state.appended);
        // If MANIFEST fails next, this stays the active segment, and all of it is durable.
        self.written_up_to.store(pack(active_number, end.offset), Ordering::Release);
        self.set_synced(state, state.appended);
        Ok(())
    }
}

impl State {
    fn has_room(&self, frame_bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let end = active.tail.offset + frame_bytes + SEAL_ROOM_BYTES;
            !active.must_rotate && end <= active.capacity
        })
    }
}
