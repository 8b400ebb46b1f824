//! Segment files that reading keeps open: few as a rule, more if many segments are read at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::storage::DiskFile;

/// How many files a store keeps open, unless it has to reopen them often.
const FILES: usize = 16;
/// How often a file has to be opened in the place of another before one more is kept open. So a
/// walk that reads each of many segments once adds hardly any.
const OPENED_AGAIN: usize = 32;
/// How many files a store may keep open in addition, so that it has 32 handles at most.
const MORE_OF_STORE: usize = 8;
/// How many files all stores of the process may keep open in addition: some systems allow a process
/// no more than 256 handles.
const MORE_FILES: usize = 128;

/// The additional files that the stores of this process keep open.
static MORE: AtomicUsize = AtomicUsize::new(0);

/// Open files of segments.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    files: Vec<OpenFile>,
    /// Where the search for a file to close continues.
    hand: usize,
    /// How many files were opened in the place of others since room for one more was made.
    opened_again: usize,
    /// How much of [`MORE_FILES`] this store has.
    more: usize,
}

#[derive(Debug)]
struct OpenFile {
    number: u32,
    file: Arc<dyn DiskFile>,
    /// Whether it was used since the hand came by.
    used: bool,
}

impl OpenFiles {
    /// The file of a segment, if it is open.
    pub(super) fn get(&mut self, number: u32) -> Option<Arc<dyn DiskFile>> {
        let open = self.files.iter_mut().find(|open| open.number == number)?;
        open.used = true;
        Some(Arc::clone(&open.file))
    }

    /// Adds an open file, and closes another if there is no room.
    pub(super) fn insert(&mut self, number: u32, file: Arc<dyn DiskFile>) {
        let open = OpenFile { number, file, used: false };
        if self.files.len() < FILES + self.more || self.has_more_room() {
            self.files.push(open);
            return;
        }
        // One turn clears every flag, so the second turn finds a file that was not used.
        let count = self.files.len();
        loop {
            self.hand = (self.hand + 1) % count;
            let Some(place) = self.files.get_mut(self.hand) else { return };
            if !std::mem::take(&mut place.used) {
                *place = open;
                return;
            }
        }
    }

    /// Closes the file of a segment.
    pub(super) fn remove(&mut self, number: u32) {
        self.files.retain(|open| open.number != number);
    }

    /// Makes room for one more file, if files were closed too often for lack of room.
    fn has_more_room(&mut self) -> bool {
        self.opened_again += 1;
        if self.opened_again < OPENED_AGAIN {
            return false;
        }
        self.opened_again = 0;
        if self.more == MORE_OF_STORE {
            return false;
        }
        // Relaxed: it is a count and says nothing of other memory.
        let one_more = |more: usize| (more < MORE_FILES).then_some(more + 1);
        let granted = MORE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        self.more += usize::from(granted);
        granted
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        MORE.fetch_sub(self.more, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::storage::{Disk, MemoryDisk};

    fn read_all(open: &mut OpenFiles, file: &Arc<dyn DiskFile>, segments: u32) -> usize {
        let closed = |number| {
            let closed = open.get(number).is_none();
            if closed {
                open.insert(number, Arc::clone(file));
            }
            closed
        };
        (0..segments).map(closed).filter(|closed| *closed).count()
    }

    #[test]
    fn c8_one_walk_keeps_few_files_open_and_random_reads_more_within_a_bound() {
        let disk = MemoryDisk::default();
        let file = disk.open(Path::new("segment"), true).unwrap();
        let mut open = OpenFiles::default();
        assert_eq!(read_all(&mut open, &file, 40), 40);
        assert_eq!(open.files.len(), FILES);
        let most = FILES + MORE_OF_STORE;
        let opened = (0..100).map(|_| read_all(&mut open, &file, most as u32)).sum::<usize>();
        assert!(opened < (MORE_OF_STORE + 1) * OPENED_AGAIN + most, "{opened}");
        assert_eq!(open.files.len(), most);
        assert_eq!(read_all(&mut open, &file, most as u32), 0);
        open.remove(7);
        assert!(open.get(7).is_none());
        assert_eq!(read_all(&mut open, &file, most as u32), 1);
        // Other tests use the rest of the budget; what this one was granted comes back.
        let granted = open.more;
        assert!(granted == MORE_OF_STORE && MORE.load(Ordering::Relaxed) >= granted);
        let _ = read_all(&mut open, &file, 4_000);
        assert_eq!(open.files.len(), most);
    }
}
