//! Making the next segment's file ahead, off the journal's lock.
//!
//! A rotation spends most of its time on making a file, filling its beginning, and syncing it and
//! its name, and every writer waits for a rotation. So a file without a header is made when the
//! active segment is nearly full, and the rotation writes the header into it. A crash in between
//! leaves a file that no MANIFEST names and that holds nothing; the next open removes it.
//!
//! **Lock order:** `state` → `prepared` → `manifest`.

use std::sync::Arc;

use crate::journal::append::Journal;
use crate::journal::manifest::Manifest;
use crate::journal::scanner::Position;
use crate::journal::segment::SEGMENT_HEADER_BYTES;
use crate::journal::state::Active;
use crate::seams::sync::Ordering;
use crate::storage::DiskFile;
use crate::storage::layout::{JOURNAL_FOLDER, segment_path};
use crate::values::error::{Error, Result};

/// A file for the next segment, synced with its name.
#[derive(Debug)]
pub(super) struct PreparedSegment {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    /// The file holds zeros or reserved space up to here.
    pub(super) reserved: u64,
}

impl Journal {
    /// Makes the next segment's file, unless there is one or the disk is full. A failure is not
    /// reported: the rotation makes the file itself then.
    pub(crate) fn prepare_segment(&self) {
        if self.is_poisoned() || self.is_short_of_space() {
            return;
        }
        let mut prepared = self.prepared.lock();
        if prepared.is_some() {
            return;
        }
        match self.make_prepared() {
            Ok(made) => *prepared = Some(made),
            Err(error) => {
                self.prepared_number.store(0, Ordering::Release);
                log::debug!("the next segment is made when it is needed: {error}");
            }
        }
    }

    fn make_prepared(&self) -> Result<PreparedSegment> {
        let number = {
            let manifest = self.manifest.lock();
            let number = self.free_number(manifest.current.next_segment)?;
            // Before the lock is released, so that compaction takes another number.
            self.prepared_number.store(number, Ordering::Release);
            number
        };
        let path = segment_path(&self.store, number);
        let folder = self.store.join(JOURNAL_FOLDER);
        let file = self.disk.open(&path, true).map_err(Error::io("creating", &path))?;
        let mut segment = Active {
            number,
            file,
            tail: Position { offset: SEGMENT_HEADER_BYTES, seed: 0 },
            reserved: SEGMENT_HEADER_BYTES,
            capacity: self.segment_capacity(),
            must_rotate: false,
        };
        // Zeros where the header will be, so that the sync of the header need not write the file
        // system's metadata.
        let made = segment
            .file
            .write_zeros(0, SEGMENT_HEADER_BYTES)
            .map_err(Error::io("writing", &path))
            .and_then(|()| segment.reserve(&self.store, 0, self.filling()))
            .and_then(|()| segment.file.sync_all().map_err(Error::io("syncing", &path)))
            .and_then(|()| self.disk.sync_dir(&folder).map_err(Error::io("syncing", &folder)));
        let Active { file, reserved, .. } = segment;
        if let Err(error) = made {
            drop(file);
            self.remove_unused(number);
            return Err(error);
        }
        Ok(PreparedSegment { number, file, reserved })
    }

    /// Forgets the file that was made ahead if it is gone.
    pub(super) fn check_prepared(&self, prepared: &mut Option<PreparedSegment>) -> Result<()> {
        let Some(number) = prepared.as_ref().map(|prepared| prepared.number) else { return Ok(()) };
        let path = segment_path(&self.store, number);
        if !self.disk.exists(&path).map_err(Error::io("looking for", &path))? {
            *prepared = None;
        }
        Ok(())
    }

    /// Takes a number for a segment that compaction makes. It passes over the number of the file
    /// that was made ahead, which MANIFEST then notes.
    pub(super) fn take_number(&self, manifest: &mut Manifest) -> u32 {
        let prepared = self.prepared_number.load(Ordering::Acquire);
        if prepared >= manifest.next_segment {
            manifest.prepared = prepared;
            manifest.next_segment = prepared + 1;
        }
        let number = manifest.next_segment;
        manifest.next_segment += 1;
        number
    }

    /// Whether a file was made ahead.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn has_prepared(&self) -> bool {
        self.prepared.lock().is_some()
    }

    /// Removes the file that was made ahead: the store closes.
    pub(super) fn remove_prepared(&self) {
        if let Some(PreparedSegment { number, file, .. }) = self.prepared.lock().take() {
            self.prepared_number.store(0, Ordering::Release);
            drop(file);
            self.remove_unused(number);
        }
    }

    /// Removes the file of a segment that holds nothing. If that fails, the next open removes it.
    pub(super) fn remove_unused(&self, number: u32) {
        let path = segment_path(&self.store, number);
        if let Err(error) = self.disk.remove_file(&path) {
            let error = Error::io("removing", &path)(error);
            log::warn!("an unfinished segment takes space until the next open removes it: {error}");
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    use crate::journal::manifest::{Loaded, ManifestFile};
    use crate::simulation::{Operation, STORE, Simulation};
    use crate::storage::layout::MANIFEST_FILE;
    use crate::{Durability, Options, Precondition, Store};

    fn write(store: &Store, key: &str, len: usize) {
        let items = store.raw("items").unwrap();
        items.upsert(key, &vec![1; len].into(), Precondition::Always).unwrap();
    }

    fn prepare(store: &Store) -> u32 {
        let engine = store.engine().unwrap();
        engine.journal.prepare_segment();
        engine.journal.prepared_number.load(Ordering::Acquire)
    }

    fn active(store: &Store) -> u32 {
        store.engine().unwrap().journal.position().segment
    }

    fn seal(store: &Store) {
        write(store, "dead", 10);
        write(store, "dead", 10);
        store.engine().unwrap().journal.seal_if_dead().unwrap();
    }

    fn check(store: &Store) {
        let items = store.raw("items").unwrap();
        for key in ["first", "second", "dead"] {
            assert!(items.get(key).unwrap().is_some(), "{key}");
        }
        assert_eq!(Simulation::differs_from_journal(store).unwrap(), None);
    }

    #[test]
    fn c4_a_rotation_takes_the_file_that_was_made_ahead_and_makes_none() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, "first", 10);
        let number = prepare(&store);
        assert_eq!(prepare(&store), number, "one is enough");
        let names = sim.disk().calls_of(Operation::SyncDir);
        seal(&store);
        assert_eq!(active(&store), number);
        assert_eq!(sim.disk().calls_of(Operation::SyncDir), names, "its name was synced before");
        write(&store, "second", 10);
        for round in 0..2 {
            let crashed = if round == 0 {
                sim.crash(&mut fastrand::Rng::with_seed(1))
            } else {
                sim.kill(&mut fastrand::Rng::with_seed(1))
            };
            check(&crashed.open(&Options::new()).unwrap());
        }
        store.close().unwrap();
        check(&sim.open(&Options::new()).unwrap());
    }

    /// Compaction takes a number while a lower one is not in MANIFEST yet.
    #[test]
    fn compaction_takes_another_number_and_an_older_manifest_is_known_as_such() {
        let sim = Simulation::new(1);
        // So that the mark of what is synced does not tell.
        let options = Options::new().durability(Durability::Eventual);
        let store = sim.open(&options).unwrap();
        write(&store, "first", 10);
        seal(&store);
        Simulation::checkpoint(&store).unwrap();
        let number = prepare(&store);
        store.raw("items").unwrap().upsert("dead", &"".into(), Precondition::Always).unwrap();
        let rewritten = store.engine().unwrap().journal.covered_segments();
        let rewrite = store.engine().unwrap().journal.begin_rewrite(rewritten).unwrap();
        rewrite.abandon(&store.engine().unwrap().journal);
        let older = sim.disk().read_file(Path::new(STORE).join(MANIFEST_FILE)).unwrap();
        seal(&store);
        assert_eq!(active(&store), number);
        let next = prepare(&store);
        assert!(next > number + 1, "{next} was taken");
        write(&store, "second", 10);
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        check(&killed.open(&Options::new()).unwrap());
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        killed.disk().write_file(Path::new(STORE).join(MANIFEST_FILE), &older).unwrap();
        let refused = killed.open(&Options::new()).map(drop);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }

    /// A regression: a copy took the number over, and what a crash left of a compaction that had
    /// taken it there passed for commits of a newer MANIFEST: the copy did not open any more.
    #[test]
    fn a_copy_says_nothing_of_what_was_made_ahead_in_the_original() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, "first", 10);
        seal(&store);
        Simulation::checkpoint(&store).unwrap();
        let number = prepare(&store);
        let engine = store.engine().unwrap();
        let rewritten = engine.journal.covered_segments();
        engine.journal.begin_rewrite(rewritten).unwrap().abandon(&engine.journal);
        assert_eq!(engine.journal.manifest.lock().current.prepared, number);
        store.backup("copy").unwrap();
        let Loaded::Found(found) = ManifestFile::load(sim.disk(), Path::new("copy")).unwrap()
        else {
            panic!("no manifest")
        };
        assert!(found.1.next_segment <= number, "the copy may take the number itself");
        assert_eq!(found.1.prepared, 0);
    }

    #[test]
    fn what_was_made_ahead_is_gone_after_a_close_and_after_a_crash() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, "first", 10);
        write(&store, "second", 10);
        write(&store, "dead", 10);
        let path = segment_path(Path::new(STORE), prepare(&store));
        assert!(sim.disk().read_file(&path).is_some());
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        check(&killed.open(&Options::new()).unwrap());
        assert!(killed.disk().read_file(&path).is_none());
        store.close().unwrap();
        assert!(sim.disk().read_file(&path).is_none());
    }

    #[test]
    fn where_it_was_removed_or_cannot_be_made_the_rotation_makes_one() {
        let sim = Simulation::new(1);
        let store = sim.open(&Options::new()).unwrap();
        write(&store, "first", 10);
        let number = prepare(&store);
        sim.disk().remove_file_durably(segment_path(Path::new(STORE), number)).unwrap();
        seal(&store);
        // On a full disk none is made ahead.
        sim.disk().set_capacity(Some(sim.disk().total_len_bytes()));
        assert_eq!(prepare(&store), 0);
        sim.disk().set_capacity(None);
        seal(&store);
        write(&store, "second", 10);
        let killed = sim.kill(&mut fastrand::Rng::with_seed(1));
        check(&killed.open(&Options::new()).unwrap());
    }
}
