//! The model of the whole store: what every operation promises, said a second time and as plainly
//! as possible, without any of the store's own code. Property tests and fuzz targets share it.
//!
//! The model predicts each outcome exactly. Tags, revisions and times are the store's to choose;
//! the model learns them from its answers and holds them to their rules.

// Failures carry items; nothing here is hot.
#![allow(clippy::result_large_err)]

mod decide;
mod feed;
mod handle;
pub(crate) mod ops;
pub(crate) mod patch;
mod reader;
mod run;
mod scan;
mod snapshots;
mod unique;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ifmatch::{ChangeKind, ETag, Meta, Revision};

use decide::decide;
use patch::PatchFailure;
pub(crate) use world::{Home, World};

/// Two collections of documents and one of bytes; one name is the beginning of another.
pub(crate) const COLLECTIONS: [&str; 3] = ["a", "ab", "raw"];
pub(crate) const RAW: usize = 2;
/// In ascending order: prefixes of each other, and bytes at both ends.
pub(crate) const KEYS: [&[u8]; 6] = [b"\0", b"a", b"a\0", b"a\xff", b"b", b"\xff\xff"];

/// An item's place in the store, as indexes into [`COLLECTIONS`] and [`KEYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) collection: usize,
    pub(crate) key: usize,
}

impl Place {
    /// Stands for a collection as a whole in the feed.
    pub(crate) fn of_collection(collection: usize) -> Self {
        Self { collection, key: KEYS.len() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Document(serde_json::Value),
    Raw(Bytes),
}

/// A stored version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelItem {
    pub(crate) value: Value,
    pub(crate) meta: Meta,
}

pub(crate) type Items = BTreeMap<Place, ModelItem>;

/// The store's contents at one moment.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Expired ones, too, until they are swept or written over.
    pub(crate) items: Items,
    /// When each key was last written, tombstones included.
    modified: BTreeMap<Place, SystemTime>,
    /// Whether the first collection has a unique index; see [`unique`].
    pub(crate) unique: bool,
    /// The collections whose form is recorded.
    pub(crate) recorded: [bool; COLLECTIONS.len()],
    pub(crate) revision: Revision,
    /// What the clock said when it was written.
    written_at: SystemTime,
}

/// A precondition with its tags filled in.
#[derive(Debug, Clone)]
pub(crate) enum Want {
    Always,
    Match(Vec<ETag>),
    MatchAny,
    NoneMatch(Vec<ETag>),
    NoneMatchAny,
    ModifiedSince(SystemTime),
}

/// What a write leaves under its key if nothing stands in its way.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Create(New),
    Replace(New),
    Upsert(New),
    Patch(Vec<ops::PatchStep>, Expires),
    Delete,
    Check,
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct New {
    pub(crate) value: Value,
    pub(crate) expires: Expires,
}

/// When a write expires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expires {
    Never,
    /// When the version before it would have, if there is one.
    Keep,
    After(Duration),
}

pub(crate) type Written = BTreeMap<Place, Option<New>>;

/// An item as a batch sees it: a version that the batch itself wrote has no tag yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) value: Value,
    pub(crate) meta: Option<Meta>,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    NotFound,
    AlreadyExists(Seen),
    PreconditionFailed(Option<Seen>),
    /// The item that was to be written, and the one that has the value.
    NotUnique(Place, Place),
    InvalidPrecondition,
    Patch(PatchFailure),
    /// The patched document is not one that the collection's type can read.
    Codec,
    CodecMismatch,
    InvalidKey,
    Batch(usize, Box<Failure>),
}

/// What a conditional read gives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reading {
    Found(ModelItem),
    NotModified(Meta),
    Missing,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) state: State,
    /// What the store's clock says, to the millisecond.
    pub(crate) now: SystemTime,
    /// Whether the clock stands still, so that it is known when exactly something expires.
    exact: bool,
    /// The states that a loss of power may bring back: from the last that is known to be synced.
    pub(crate) unsynced: Vec<State>,
    /// All changes, in order of revision.
    pub(crate) log: Vec<feed::Logged>,
    /// Whether writes may stay un-synced after they returned.
    pub(crate) eventual: bool,
    /// All tags that the store ever gave, in order, also of writes that a crash undid.
    given: Vec<(Place, ETag)>,
    seen: HashSet<ETag>,
    highest: Revision,
}

impl Model {
    pub(crate) fn new(eventual: bool, exact: bool) -> Self {
        let state = State {
            items: BTreeMap::new(),
            modified: BTreeMap::new(),
            unique: false,
            recorded: [false; COLLECTIONS.len()],
            revision: Revision::ZERO,
            written_at: UNIX_EPOCH,
        };
        Self {
            unsynced: vec![state.clone()],
            state,
            now: UNIX_EPOCH,
            exact,
            log: Vec::new(),
            eventual,
            given: Vec::new(),
            seen: HashSet::new(),
            highest: Revision::ZERO,
        }
    }

    /// A collection has indexes from the beginning, which record its form.
    pub(crate) fn begins_with_indexes(
        &mut self,
        collection: usize,
        unique: bool,
        revision: Revision,
    ) {
        self.state.recorded[collection] = true;
        self.state.unique = unique;
        self.state.revision = revision;
        self.highest = revision;
        self.unsynced = vec![self.state.clone()];
    }

    /// The items of a state, as it is or was, that have not expired by now.
    pub(crate) fn live_of(&self, state: &State) -> Items {
        let items = state.items.iter().filter(|(_, item)| !item.is_expired(self.now));
        items.map(|(place, item)| (*place, item.clone())).collect()
    }

    /// The item as every read and precondition sees it.
    pub(crate) fn live(&self, place: Place) -> Option<&ModelItem> {
        self.state.items.get(&place).filter(|item| !item.is_expired(self.now))
    }

    pub(crate) fn tags_of(&self, place: Place) -> Vec<ETag> {
        self.given.iter().filter(|(at, _)| *at == place).map(|(_, tag)| *tag).collect()
    }

    pub(crate) fn tags(&self) -> Vec<ETag> {
        self.given.iter().map(|(_, tag)| *tag).collect()
    }

    /// Semantics, "get_if".
    pub(crate) fn read(&self, place: Place, want: &Want) -> Result<Reading, Failure> {
        let Some(item) = self.live(place) else {
            return match want {
                Want::Match(_) | Want::MatchAny => Err(Failure::PreconditionFailed(None)),
                _ => Ok(Reading::Missing),
            };
        };
        let found = match want {
            Want::Always | Want::MatchAny => true,
            Want::Match(tags) if tags.contains(&item.meta.etag()) => true,
            Want::Match(_) => return Err(Failure::PreconditionFailed(Some(item.seen()))),
            Want::NoneMatch(tags) => !tags.contains(&item.meta.etag()),
            Want::NoneMatchAny => false,
            Want::ModifiedSince(time) => {
                let [modified, since] = [item.meta.modified(), *time]
                    .map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
                // Whole seconds, as HTTP has them, are compared in whole seconds.
                match since.subsec_nanos() {
                    0 => modified.as_secs() > since.as_secs(),
                    _ => modified > since,
                }
            }
        };
        let meta = item.meta;
        Ok(if found { Reading::Found(item.clone()) } else { Reading::NotModified(meta) })
    }

    /// What a single verb, or each operation of a batch in turn, leaves under its key.
    pub(crate) fn decide_all(
        &self,
        operations: &[(Place, Action, Want)],
    ) -> Result<Written, (usize, Failure)> {
        let mut written = Written::new();
        for (index, (place, action, want)) in operations.iter().enumerate() {
            let own = written.get(place);
            let stored = || self.live(*place).map(ModelItem::seen);
            let current = own.map_or_else(stored, |own| {
                own.clone().map(|own| Seen { value: own.value, meta: None })
            });
            let names_tags = matches!(want, Want::Match(_) | Want::NoneMatch(_));
            if own.is_some() && names_tags && !matches!(action, Action::Create(_)) {
                return Err((index, Failure::InvalidPrecondition));
            }
            let left = decide(action, want, current).map_err(|failure| (index, failure))?;
            if let Some(mut left) = left {
                if let (Some(own), Some(new)) = (own, &mut left)
                    && new.expires == Expires::Keep
                {
                    // What the batch itself removed has left nothing to keep.
                    new.expires = own.as_ref().map_or(Expires::Never, |own| own.expires);
                }
                written.insert(*place, left);
            }
        }
        written.retain(|place, left| left.is_some() || self.live(*place).is_some());
        self.check_unique(operations, &written)?;
        Ok(written)
    }

    /// Takes over what a commit wrote; `metas` are the store's answers, of a batch those that were
    /// read afterwards. A deleted key's may be unknown.
    pub(crate) fn commit(
        &mut self,
        revision: Revision,
        written: Written,
        metas: &BTreeMap<Place, Meta>,
    ) {
        if written.is_empty() {
            assert_eq!(revision, self.state.revision, "a commit of nothing took a revision");
            return;
        }
        assert!(revision > self.highest, "{revision} was given before");
        self.highest = revision;
        self.state.revision = revision;
        self.sweep_holders(&written);
        for (place, left) in written {
            let before = self.state.items.get(&place).map(|item| item.meta.etag());
            let kind = match (self.live(place), &left) {
                (None, _) => ChangeKind::Created,
                (Some(_), Some(_)) => ChangeKind::Replaced,
                (Some(_), None) => ChangeKind::Deleted,
            };
            let (meta, value) = (metas.get(&place).copied(), left.clone().map(|new| new.value));
            self.log.push(feed::Logged { place, revision, kind, parent: before, meta, value });
            if let Some(meta) = metas.get(&place) {
                self.check_expiry(place, left.as_ref(), meta);
                self.learn(place, meta, revision);
            } else {
                assert!(left.is_none(), "nothing is known of what was written at {place:?}");
            }
            match left {
                Some(New { value, .. }) => {
                    self.state.recorded[place.collection] = true;
                    self.state.items.insert(place, ModelItem { value, meta: metas[&place] });
                }
                None => drop(self.state.items.remove(&place)),
            }
        }
        self.committed();
    }

    fn committed(&mut self) {
        self.state.written_at = self.now;
        self.unsynced.push(self.state.clone());
        if !self.eventual {
            self.synced();
        }
    }

    /// Takes away what is expired; returns how much that was.
    pub(crate) fn sweep(&mut self, revision: Revision) -> u64 {
        let (now, before) = (self.now, self.state.items.len());
        let expired = self.state.items.iter().filter(|(_, item)| item.is_expired(now));
        let expired = expired.map(|(place, item)| feed::Logged {
            place: *place,
            revision,
            kind: ChangeKind::Expired,
            parent: Some(item.meta.etag()),
            meta: None,
            value: None,
        });
        self.log.extend(expired);
        self.state.items.retain(|_, item| !item.is_expired(now));
        let swept = before - self.state.items.len();
        if swept > 0 {
            assert!(revision > self.highest, "{revision} was given before");
            self.highest = revision;
            self.state.revision = revision;
            self.committed();
        }
        swept as u64
    }

    /// How many items a collection holds, expired ones too.
    pub(crate) fn items_of(&self, collection: usize) -> u64 {
        self.state.items.keys().filter(|place| place.collection == collection).count() as u64
    }

    /// Removes what is in a collection, in one change.
    pub(crate) fn clear(&mut self, collection: usize, dropped: bool, revision: Revision) {
        assert!(revision > self.highest, "{revision} was given before");
        self.highest = revision;
        self.state.revision = revision;
        if self.items_of(collection) > 0 {
            let (kind, place) = (ChangeKind::Cleared, Place::of_collection(collection));
            let (parent, meta, value) = (None, None, None);
            self.log.push(feed::Logged { place, revision, kind, parent, meta, value });
        }
        self.state.items.retain(|place, _| place.collection != collection);
        self.state.modified.retain(|place, _| place.collection != collection);
        self.state.recorded[collection] &= !dropped;
        self.state.unique &= !(dropped && collection == unique::COLLECTION);
        self.committed();
    }

    fn check_expiry(&self, place: Place, left: Option<&New>, meta: &Meta) {
        let expected = match left.map(|new| new.expires) {
            None | Some(Expires::Never) => None,
            Some(Expires::Keep) => self.live(place).and_then(|item| item.meta.expires()),
            Some(Expires::After(ttl)) if self.exact => Some(self.now + ttl),
            Some(Expires::After(ttl)) => {
                let written = meta.expires().expect("it expires") - ttl;
                assert!(self.now <= written && written <= SystemTime::now(), "{meta:?}");
                return;
            }
        };
        assert_eq!(meta.expires(), expected, "{left:?} at {place:?}");
    }

    /// The rules for what the store chooses.
    fn learn(&mut self, place: Place, meta: &Meta, revision: Revision) {
        let before = self.state.items.get(&place).map(|item| item.meta.etag());
        assert_eq!(meta.parent(), before, "the parent is not the tag that was replaced");
        assert_eq!(meta.revision(), revision, "one commit has two revisions");
        assert_ne!(meta.etag(), ETag::UNSAVED);
        assert!(self.seen.insert(meta.etag()), "a tag was given twice: {:?}", meta.etag());
        if let Some(earlier) = self.state.modified.insert(place, meta.modified()) {
            assert!(meta.modified() > earlier, "a version is not newer than the one before");
        }
        self.given.push((place, meta.etag()));
    }

    /// All that was written is on stable storage.
    pub(crate) fn synced(&mut self) {
        self.unsynced = vec![self.state.clone()];
    }

    /// Goes back to the state after a commit that a crash may have left the store at.
    ///
    /// The clock may go back, but not to before that commit, and not ahead.
    pub(crate) fn go_back_to(&mut self, revision: Revision, clock: SystemTime) {
        let mut survivors = self.unsynced.iter().filter(|state| state.revision == revision);
        let known: Vec<Revision> = self.unsynced.iter().map(|state| state.revision).collect();
        let survivor = survivors.next_back().cloned();
        self.state = survivor.unwrap_or_else(|| {
            panic!("after the crash the store is at {revision}; legal were {known:?}")
        });
        assert!(clock >= self.state.written_at, "the clock went back over what survived");
        assert!(!self.exact || clock <= self.now, "the clock ran ahead");
        self.now = clock;
        self.log.retain(|logged| logged.revision <= revision);
        self.synced();
    }
}

impl ModelItem {
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.meta.expires().is_some_and(|expires| expires <= now)
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen { value: self.value.clone(), meta: Some(self.meta) }
    }
}
