//! Someone who follows a store's change feed, keeps the place, and makes a copy of the store.

use std::collections::BTreeMap;

use ifmatch::{Change, ChangeKind, Cursor, ETag, Error, Store};

use crate::expected_commits::{Key, State, expires_ms};
use crate::writer::{Writer, key_of, number_of};

/// What became of an item, as far as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    etag: ETag,
    expires_ms: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Follower {
    place: Cursor,
    revision: u64,
    items: BTreeMap<Key, Told>,
}

impl Follower {
    /// Takes so many of the changes that are durable and were not told yet, and keeps the place,
    /// perhaps inside a batch. A place is good for ever, also after any cut: what it was given for
    /// is durable. Only dropped tombstones make it begin again.
    pub(crate) fn follow(&mut self, writer: &Writer, most: usize) -> Result<(), Error> {
        match self.take_some(writer.store(), most) {
            Err(Error::Compacted) => self.begin_again(writer),
            Err(Error::Diverged) => panic!("a place that a store gave is not of it: {self:?}"),
            other => other,
        }
    }

    fn take_some(&mut self, store: &Store, most: usize) -> Result<(), Error> {
        for change in store.changes(self.place)?.take(most) {
            self.take(&change?);
        }
        let kept = self.place.to_string();
        self.place = kept.parse().unwrap();
        Ok(())
    }

    fn take(&mut self, change: &Change) {
        let revision = change.revision().0;
        assert!(revision >= self.revision, "{revision} was told after {}", self.revision);
        self.revision = revision;
        self.place = change.cursor();
        if change.kind() == ChangeKind::Cleared {
            let cleared = number_of(change.collection());
            self.items.retain(|(collection, _), _| *collection != cleared);
            return;
        }
        let key = key_of(change.collection(), change.key());
        match change.kind() {
            ChangeKind::Created | ChangeKind::Replaced => {
                let told = Told { etag: change.etag(), expires_ms: expires_ms(change.meta()) };
                let before = self.items.insert(key, told);
                assert!(before.is_none_or(|before| before != told), "{key:?} was told twice");
            }
            _ => drop(self.items.remove(&key)),
        }
    }

    fn begin_again(&mut self, writer: &Writer) -> Result<(), Error> {
        let snapshot = writer.store().snapshot();
        let mut items = BTreeMap::new();
        for (key, version) in writer.read_snapshot(&snapshot)? {
            let told = Told { etag: version.etag.unwrap(), expires_ms: version.expires_ms };
            items.insert(key, told);
        }
        let place = snapshot.cursor()?;
        *self = Self { place, revision: snapshot.revision().0, items };
        Ok(())
    }

    /// # Panics
    /// Unless the copy is the state, which must be durable.
    pub(crate) fn check(&self, state: &State, now_ms: u64) {
        let lives = |told: &Told| told.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms);
        let copied = self.items.iter().filter(|(_, told)| lives(told));
        let copied: Vec<_> = copied.map(|(key, told)| (*key, Some(told.etag))).collect();
        let stored: Vec<_> = state.iter().map(|(key, version)| (*key, version.etag)).collect();
        assert_eq!(copied, stored, "the feed told something else");
    }
}
