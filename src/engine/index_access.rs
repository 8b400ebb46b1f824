//! The engine's way to its index: lost leaves are first restored from the journal.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::engine::Engine;
use crate::index::{Index, Pinned, TakeHead};
use crate::journal::content_sum::ContentSum;
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::values::Few;
use crate::values::error::{Error, IndexFailure, Result};
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// How long a look waits for leaves that another thread is restoring.
const RESTORATION_WAIT: Duration = Duration::from_secs(30);

impl Engine {
    /// Calls `look` with the index. If leaves cannot be loaded from the backing store, restores
    /// them from the journal, once for all threads that need them, and calls `look` again.
    ///
    /// # Errors
    /// [`Error::IndexUnavailable`] when that takes longer than half a minute, or the
    /// journal cannot be read: the same look may succeed later.
    pub(crate) fn with_index<T>(&self, mut look: impl FnMut(&Index) -> Result<T>) -> Result<T> {
        match look(&self.index) {
            Err(Error::IndexUnavailable(_)) if self.index.is_lost() => {
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
        self.pin_heads(keys).map(|(pin, _)| pin)
    }

    /// As [`pin`](Self::pin), with the heads of these items, tombstones and expired ones included.
    pub(crate) fn pin_heads<'k>(
        &self,
        keys: impl Iterator<Item = &'k ItemKey> + Clone,
    ) -> Result<(Pinned<'_>, Few<Option<Head>>)> {
        let mut heads = Few::with_capacity(keys.size_hint().0);
        loop {
            let pin = self.index.pin();
            heads.clear();
            let load = |key| self.index.make_resident(key, &pin).map(|head| heads.push(head));
            match keys.clone().try_for_each(load) {
                Ok(()) => return Ok((pin, heads)),
                Err(Error::IndexUnavailable(_)) if self.index.is_lost() => {
                    drop(pin);
                    self.restore_index()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Restores from the journal what the index has lost. From then on the index is in memory only,
    /// until a checkpoint has made another backing store. The caller pins nothing.
    pub(crate) fn restore_index(&self) -> Result<()> {
        let Some(_only) = self.restoring.try_lock_for(RESTORATION_WAIT) else {
            let reason = "the index is being rebuilt from the journal; try again";
            return Err(Error::IndexUnavailable(IndexFailure::new(reason)));
        };
        if !self.index.is_lost() {
            return Ok(());
        }
        self.index.detach();
        self.give_up_lost_rows();
        // Compaction must not remove anything from the journal during this.
        let (_guard, _) = self.journal.guard_copy();
        self.journal.write_out();
        self.index.restore(|take| {
            let up_to = self.journal.applied();
            let mut visit = |commit: &CommitFrame<'_>| {
                commit.for_each_entry(&mut |found| {
                    take(&found.key, &found.head());
                    Ok(())
                })?;
                Ok(ControlFlow::Continue(()))
            };
            match FrameReader::after(0).read(&self.journal, up_to, &mut visit) {
                Err(Error::Corrupt { .. }) => self.heads_over_damage(take),
                read => read.map(drop),
            }
        })?;
        log::warn!("leaves that the index had lost were restored from the journal");
        Ok(())
    }

    /// Takes the newest heads of a damaged journal, if its content proves that no item needs what
    /// cannot be read. Needs memory for all heads.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where an item is lost.
    fn heads_over_damage(&self, take: &mut TakeHead<'_>) -> Result<()> {
        let (up_to, content) = self.journal.content();
        self.journal.write_out();
        let mut heads: HashMap<ItemKey, Head> = HashMap::new();
        let mut visit = |commit: &CommitFrame<'_>| {
            commit.for_each_entry(&mut |found| {
                let head = found.head();
                if found.clears() {
                    heads.retain(|key, _| key.collection() != found.key.collection());
                }
                heads.insert(found.key, head);
                Ok(())
            })?;
            Ok(ControlFlow::Continue(()))
        };
        let (mut damage, mut removals_lost) = (None, 0);
        FrameReader::after(0).read_over_damage(&self.journal, up_to, &mut visit, &mut |met| {
            damage.get_or_insert(met.error());
            removals_lost = met.stretch.last_revision.min(up_to);
            Ok(())
        })?;
        let mut found = ContentSum::default();
        for (key, head) in heads.iter().filter(|(_, head)| !head.deleted) {
            found.add(key.as_bytes(), head.etag);
        }
        if found != content {
            let lost = Error::Internal { what: "a whole journal lacks items" };
            return Err(damage.unwrap_or(lost));
        }
        self.journal.note_lost_removals(removals_lost)?;
        // In order of revision: the tombstone of a clear takes with it what was before.
        let mut heads: Vec<_> = heads.iter().collect();
        heads.sort_unstable_by_key(|(_, head)| head.revision);
        heads.iter().for_each(|(key, head)| take(key, head));
        Ok(())
    }
}
