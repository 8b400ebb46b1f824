//! The engine's way to its index: where rows are lost, the journal gives them back first.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::engine::Engine;
use crate::index::{Index, Pinned};
use crate::journal::frame_reader::FrameReader;
use crate::values::error::{Error, Result, TableError};
use crate::values::key::ItemKey;

/// How long a look waits for rows that another thread is restoring.
const RESTORATION_WAIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Looks into the index. Rows that the backing store cannot give are restored from the journal,
    /// once for all who need them.
    ///
    /// # Errors
    /// [`Error::Table`] when that takes longer than half a minute, or the journal cannot be read:
    /// the same look may succeed later.
    pub(crate) fn with_index<T>(&self, mut look: impl FnMut(&Index) -> Result<T>) -> Result<T> {
        match look(&self.index) {
            Err(Error::Table(_)) if self.index.is_lost() => {
                self.restore_index()?;
                look(&self.index)
            }
            looked => looked,
        }
    }

    /// Brings the leaves of some items into memory, and keeps all that are there in memory.
    pub(crate) fn pin<'k>(
        &self,
        keys: impl Iterator<Item = &'k ItemKey> + Clone,
    ) -> Result<Pinned<'_>> {
        loop {
            let pin = self.index.pin();
            let resident = keys.clone().try_for_each(|key| self.index.make_resident(key, &pin));
            match resident {
                Ok(()) => return Ok(pin),
                Err(Error::Table(_)) if self.index.is_lost() => {
                    drop(pin);
                    self.restore_index()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fills what the index has lost from the journal. From then on it is in memory only, until a
    /// checkpoint has made another backing store. Called with nothing pinned.
    pub(crate) fn restore_index(&self) -> Result<()> {
        let Some(_only) = self.restoring.try_lock_for(RESTORATION_WAIT) else {
            let reason = "the index is being rebuilt from the journal; try again";
            return Err(Error::Table(TableError::new(reason)));
        };
        if !self.index.is_lost() {
            return Ok(());
        }
        self.index.detach();
        self.give_up_lost_rows();
        // Compaction must not take anything out of the journal meanwhile.
        let (_guard, _) = self.journal.guard_copy();
        self.journal.write_out();
        self.index.restore(|take| {
            let up_to = self.journal.applied();
            let mut visit = |commit: &crate::journal::frame_reader::CommitFrame<'_>| {
                commit.for_each_entry(&mut |found| {
                    take(&found.key, &found.head());
                    Ok(())
                })?;
                Ok(ControlFlow::Continue(()))
            };
            FrameReader::after(0).read(&self.journal, up_to, &mut visit).map(drop)
        })?;
        log::warn!("rows that the index had lost were restored from the journal");
        Ok(())
    }
}
