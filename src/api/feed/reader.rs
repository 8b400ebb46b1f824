//! Reading the feed: the journal's frames after a cursor, as changes, one chunk at a time.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::api::feed::change::{Change, ChangeKind};
use crate::api::feed::cursor::Cursor;
use crate::api::store::Store;
use crate::engine::Engine;
use crate::journal::Journal;
use crate::journal::entries::FoundEntry;
use crate::journal::frame::Entry;
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::values::codec::CodecId;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;

/// How many bytes of changes are read ahead, in addition to one commit.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// How many bytes of frames are looked at under one guard of the store, in addition to one commit.
const LOOK_BYTES: usize = 1 << 20;
/// What a change costs in addition to its key and value.
const CHANGE_BYTES: usize = size_of::<Change>();

/// One collection of the feed.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) collection: Box<str>,
    pub(crate) codec: CodecId,
}

/// A place in the feed, and some changes that follow it.
#[derive(Debug)]
pub(crate) struct Feed {
    selected: Option<Selected>,
    frames: FrameReader,
    /// After everything that was read or passed over.
    read: Cursor,
    /// After the last change that was taken.
    taken: Cursor,
    changes: VecDeque<Change>,
}

/// The result of reading on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refill {
    Found,
    /// Nothing, up to a place before the end.
    More,
    /// Nothing, up to this revision, above which nothing was durable.
    Reached(u64),
    /// A removal may have been missed.
    Compacted,
}

/// What one look at the journal gathers.
struct Gathered<'a> {
    engine: &'a Engine,
    from: Cursor,
    /// The newest tombstone that was dropped before anything was read.
    newest_purged: u64,
    /// What is durable, and so may be notified of.
    up_to: u64,
    selected: Option<&'a Selected>,
    /// The collection that was asked for last, and up to which revision it was cleared.
    cleared: (String, u64),
    changes: VecDeque<Change>,
    changes_bytes: usize,
    looked_bytes: usize,
}

impl Feed {
    /// A feed from a cursor on; checks that the store can go on from there.
    pub(crate) fn open(store: &Store, cursor: Cursor, selected: Option<Selected>) -> Result<Self> {
        let engine = store.engine()?;
        let journal = &engine.journal;
        let compacted = if cursor.is_start() {
            false
        } else {
            check_history(journal, cursor)?;
            !cursor.bears(journal.purged())
        };
        drop(engine);
        if compacted {
            return Err(Error::Compacted);
        }
        Ok(Self::new(cursor, selected))
    }

    pub(crate) fn new(cursor: Cursor, selected: Option<Selected>) -> Self {
        let frames = FrameReader::after(cursor.done());
        Self { selected, frames, read: cursor, taken: cursor, changes: VecDeque::new() }
    }

    /// The place after everything that was taken or passed over.
    pub(crate) fn cursor(&self) -> Cursor {
        if self.changes.is_empty() { self.read } else { self.taken }
    }

    /// The next change that is at hand.
    pub(crate) fn take(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?;
        self.taken = change.cursor;
        Some(change)
    }

    /// As [`refill`](Self::refill), with the error that a reader gets whom compaction overtook.
    pub(crate) fn refill_from(&mut self, store: &Store) -> Result<Refill> {
        let refilled = {
            let engine = store.engine()?;
            self.refill(&engine)?
        };
        if refilled == Refill::Compacted { Err(Error::Compacted) } else { Ok(refilled) }
    }

    /// Reads on, when nothing is at hand: until there are enough changes, or nothing more is
    /// durable, or enough was looked at for now.
    pub(crate) fn refill(&mut self, engine: &Engine) -> Result<Refill> {
        debug_assert!(self.changes.is_empty());
        if let Some(Selected { collection, codec }) = &self.selected {
            engine.check_codec(collection, *codec)?;
        }
        let journal = &engine.journal;
        // Before anything is read: a tombstone that is dropped during the pass may be that of an
        // item which the pass has met before.
        let purged = journal.purged();
        let from = if self.read.is_start() {
            Cursor::after(*journal.incarnation(), 0, purged.count)
        } else {
            self.read
        };
        check_history(journal, from)?;
        let up_to = journal.durable();
        let selected = self.selected.as_ref();
        let mut gathered = Gathered::new(engine, (from, up_to), purged.newest, selected);
        let collection = selected.map(|selected| &*selected.collection);
        let visited = self.frames.read_over_damage(
            journal,
            up_to,
            &mut |frame| gathered.add(frame),
            // Superseded changes may be missing. Each item's newest change is reported, or the
            // damage.
            &mut |damage| match engine.newest_change_in(&damage.stretch, collection)? {
                Some(key) => Err(damage.error().with_item(key.collection(), key.key_bytes())),
                None => Ok(()),
            },
        );

        // After everything was read: compaction counts when it drops a tombstone.
        if !from.bears(journal.purged()) {
            self.frames = FrameReader::after(self.read.done());
            // A reader that begins at the start and has returned nothing yet begins again.
            return Ok(if self.read.is_start() { Refill::More } else { Refill::Compacted });
        }
        let reached = match visited {
            Ok(reached) => reached,
            Err(error) if gathered.changes.is_empty() => {
                self.frames = FrameReader::after(self.read.done());
                return Err(error);
            }
            // Met again when what precedes it was handed out.
            Err(_) => false,
        };
        let passed = if reached { up_to } else { self.frames.revision() };
        self.taken = from;
        let read = if passed > from.done() { from.after_commit(passed) } else { from };
        self.read = read.settled(purged.newest);
        self.changes = gathered.changes;
        Ok(match reached {
            _ if !self.changes.is_empty() => Refill::Found,
            true => Refill::Reached(up_to),
            false => Refill::More,
        })
    }
}

/// Whether the cursor is a place of this store's history.
fn check_history(journal: &Journal, cursor: Cursor) -> Result<()> {
    let known = cursor.incarnation() == journal.incarnation()
        // Not the durable revision: a snapshot of an `Eventual` store is ahead of it.
        && cursor.revision() <= journal.applied()
        && cursor.since() <= journal.purged().count;
    if known { Ok(()) } else { Err(Error::Diverged) }
}

impl<'a> Gathered<'a> {
    fn new(
        engine: &'a Engine,
        (from, up_to): (Cursor, u64),
        newest_purged: u64,
        selected: Option<&'a Selected>,
    ) -> Self {
        let changes = VecDeque::new();
        Self {
            engine,
            from,
            newest_purged,
            up_to,
            selected,
            cleared: (String::new(), 0),
            changes,
            changes_bytes: 0,
            looked_bytes: 0,
        }
    }

    /// Adds the changes of a commit, all or, where it fails, none.
    fn add(&mut self, commit: &CommitFrame<'_>) -> Result<ControlFlow<()>> {
        let before = self.changes.len();
        if let Err(error) = self.add_entries(commit) {
            self.changes.truncate(before);
            return Err(error);
        }
        self.looked_bytes += commit.frame.body.len();
        let enough = self.changes_bytes >= READ_AHEAD_BYTES || self.looked_bytes >= LOOK_BYTES;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn add_entries(&mut self, commit: &CommitFrame<'_>) -> Result<()> {
        let revision = commit.revision();
        let mut last_is_added = false;
        commit.for_each_entry(&mut |found| {
            last_is_added = self.shows(revision, &found.entry)
                && !self.is_cleared(found.entry.collection, revision)?;
            if last_is_added {
                let change = self.change(found)?;
                self.changes_bytes += CHANGE_BYTES
                    + change.key.as_bytes().len()
                    + change.value.as_ref().map_or(0, Bytes::len);
                self.changes.push_back(change);
            }
            Ok(())
        })?;
        if last_is_added && let Some(last) = self.changes.back_mut() {
            last.cursor = self.from.after_commit(revision).settled(self.newest_purged);
        }
        Ok(())
    }

    fn shows(&self, revision: u64, entry: &Entry<'_>) -> bool {
        let collection = entry.collection;
        let selected = match self.selected {
            Some(selected) => *selected.collection == *collection,
            // The store's own.
            None => !collection.is_empty(),
        };
        selected && !self.from.is_behind(revision, entry.ordinal)
    }

    /// Whether a later clear has taken away what an entry did: then the feed shows the clear alone.
    /// The entry may also have another codec than the collection of that name has now. False while
    /// a crash may still undo the clear.
    fn is_cleared(&mut self, collection: &str, revision: u64) -> Result<bool> {
        if self.cleared.0 != collection {
            let tombstone = self.engine.head(&ItemKey::of_collection(collection))?;
            let durable = tombstone.filter(|tombstone| tombstone.revision <= self.up_to);
            let up_to = durable.map_or(0, |tombstone| tombstone.revision);
            self.cleared = (collection.to_owned(), up_to);
        }
        Ok(revision < self.cleared.1)
    }

    fn change(&self, found: FoundEntry<'_, '_>) -> Result<Change> {
        let meta = found.meta();
        let FoundEntry { key, entry, revision, .. } = found;
        let leaves_item = entry.kind().leaves_item();
        // An item that has expired is absent everywhere, swept or not. One that was superseded
        // is shown as it was.
        let expired = leaves_item
            && meta.expires_ms.is_some_and(|at| at <= self.engine.clock.now_ms())
            && self.is_newest(&key, revision)?;
        let kind = if expired { ChangeKind::Expired } else { entry.kind().into() };
        // Copied, so that what is kept of a chunk does not keep the chunk.
        let value = (leaves_item && !expired).then(|| Bytes::copy_from_slice(entry.value));
        let cursor = self.from.before_entry(revision, entry.ordinal.saturating_add(1));
        Ok(Change { kind, key, meta, value, cursor: cursor.settled(self.newest_purged) })
    }

    fn is_newest(&self, key: &ItemKey, revision: u64) -> Result<bool> {
        Ok(self.engine.head(key)?.is_some_and(|newest| newest.revision == revision))
    }
}
