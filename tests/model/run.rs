//! Each verb, run on the store and on the model.

use std::collections::BTreeMap;

use ifmatch::simulation::Simulation;
use ifmatch::{Batch, Error, Item, UpdateError};

use super::handle::{checked, value_of};
use super::ops::{Cond, Held, Step, Ttl, Update};
use super::{
    Action, COLLECTIONS, Expires, Failure, KEYS, ModelItem, New, Place, Reading, Value, Want, World,
};

/// How many read items are kept of each key.
const HELD: usize = 4;

impl World {
    pub(super) fn get(&mut self, place: Place) {
        let read = self.read(place);
        let expired = read.is_none() && self.model.state.items.contains_key(&place);
        let absent = if expired { "expired" } else { "missing" };
        self.note("get", if read.is_some() { "found" } else { absent });
    }

    fn read(&mut self, place: Place) -> Option<Item<Value>> {
        let item =
            self.handles[place.collection].now().get(KEYS[place.key]).expect("a get succeeds");
        let read = item.as_ref().map(|item| checked(item, place));
        assert_eq!(read.as_ref(), self.model.live(place), "get of {place:?}");
        if let Some(item) = &item {
            self.hold(place, item.clone());
        }
        item
    }

    fn hold(&mut self, place: Place, item: Item<Value>) {
        let held = self.held.entry(place).or_default();
        held.push(item);
        if held.len() > HELD {
            held.remove(0);
        }
    }

    pub(super) fn get_if(&mut self, place: Place, cond: &Cond) {
        let want = self.want(place, cond);
        let expected = self.model.read(place, &want);
        let read = self.handles[place.collection].get_if(place, &want);
        let read = read.map_err(|error| self.failure(&error, &[place]));
        assert_eq!(read, expected, "get_if of {place:?} with {want:?}");
        let outcome = match &read {
            Ok(Reading::Found(_)) => "found",
            Ok(Reading::NotModified(_)) => "not modified",
            Ok(Reading::Missing) => "missing",
            Err(failure) => failure.name(),
        };
        self.note("get_if", outcome);
    }

    pub(super) fn get_many(&mut self, collection: usize, keys: &[usize]) {
        let names: Vec<&[u8]> = keys.iter().map(|key| KEYS[*key]).collect();
        let items = self.handles[collection].now().get_many(&names).expect("get_many succeeds");
        assert_eq!(items.len(), keys.len());
        for (key, item) in keys.iter().zip(&items) {
            let place = Place { collection, key: *key };
            let read = item.as_ref().map(|item| checked(item, place));
            assert_eq!(read.as_ref(), self.model.live(place), "get_many of {keys:?}");
        }
        self.note("get_many", "ok");
    }

    pub(super) fn write(&mut self, step: &Step) {
        let (place, action, want) = self.resolve(step, false);
        let written = self.handles[place.collection].write(KEYS[place.key], &action, &want);
        let patched = written.as_ref().ok().and_then(|(_, value)| value.clone());
        let meta = written.map(|(meta, _)| meta);
        let verb = action.name();
        let left = self.settle(verb, place, (action, want), meta);
        if let (Some(patched), Some(left)) = (patched, left) {
            assert_eq!(Some(patched), left, "a patch gives another value than it stores");
        }
    }

    /// Holds one verb's outcome against the model's; returns what it left under the key.
    fn settle(
        &mut self,
        verb: &'static str,
        place: Place,
        (action, want): (Action, Want),
        answer: Result<ifmatch::Meta, Error>,
    ) -> Option<Option<Value>> {
        let operation = [(place, action, want)];
        let expected = self.model.decide_all(&operation).map_err(|(_, failure)| failure);
        match (expected, answer) {
            (Ok(written), Ok(meta)) => {
                let left = written.get(&place).cloned();
                let left = left.map(|left| left.map(|new| new.value));
                self.model.commit(meta.revision(), written, &BTreeMap::from([(place, meta)]));
                self.note(verb, "ok");
                if !matches!(operation[0].2, Want::Always) {
                    self.note("a write with a precondition", "ok");
                }
                left
            }
            (Err(expected), Err(error)) => {
                assert_eq!(self.failure(&error, &[place]), expected, "{operation:?}");
                self.note(verb, expected.name());
                None
            }
            (expected, answer) => {
                panic!("{operation:?} gave {answer:?}; the model says {expected:?}")
            }
        }
    }

    pub(super) fn save(&mut self, place: Place, held: Held, seed: u8, ttl: Ttl) {
        let item = match held {
            Held::JustRead => self.read(place),
            Held::ReadEarlier(n) => {
                self.held.get(&place).map(|all| all[usize::from(n) % all.len()].clone())
            }
            Held::New => None,
        };
        let value = value_of(place.collection, seed);
        let mut item = item.unwrap_or_else(|| Item::new(KEYS[place.key], value.clone()));
        item.value = value.clone();
        let tag = item.etag();
        let (verb, decision) = if tag == ifmatch::ETag::UNSAVED {
            let new = New { value, expires: self.expires(ttl) };
            ("save of a new item", (Action::Create(new), Want::Always))
        } else {
            let new = New { value, expires: self.expires(ttl) };
            ("save of a read item", (Action::Upsert(new), Want::Match(vec![tag])))
        };
        let before = item.clone();
        let handle = self.handles[place.collection].expiring(decision.0.expires());
        let (saved, item) = handle.save(item);
        if saved.is_err() {
            assert_eq!(item, before, "a save that failed changed the item");
        } else {
            self.hold(place, item.clone());
        }
        self.settle(verb, place, decision, saved.map(|()| *item.meta()));
    }

    pub(super) fn update(&mut self, place: Place, how: Update, ttl: Ttl) {
        let expires = self.expires(ttl);
        let (handle, key) = (self.handles[place.collection].expiring(expires), KEYS[place.key]);
        let (verb, action, updated) = match how {
            Update::Change(seed) => {
                let to = value_of(place.collection, seed);
                let updated = handle.update(key, &to);
                ("update", Action::Replace(New { value: to, expires }), updated)
            }
            Update::OrInsert(seed) => {
                let to = value_of(place.collection, seed);
                let updated = handle.update_or_insert(key, &to);
                ("update_or_insert_with", Action::Upsert(New { value: to, expires }), updated)
            }
            Update::Abort => {
                let refused = handle.abort_update(key);
                let present = self.model.live(place).is_some();
                let as_expected = match refused {
                    Err(UpdateError::Aborted("no")) => present,
                    Err(UpdateError::Store(Error::NotFound { .. })) => !present,
                    _ => false,
                };
                assert!(as_expected, "an update that refuses was not refused as it should be");
                self.note("try_update", if present { "aborted" } else { "NotFound" });
                return;
            }
        };
        let item = updated.as_ref().ok().map(|item| item.value.clone());
        let answer = updated.map(|item| *item.meta());
        let left = self.settle(verb, place, (action, Want::Always), answer);
        assert_eq!(item.map(Some), left, "an update gives another value than it stores");
    }

    pub(super) fn sweep(&mut self) {
        let swept = Simulation::sweep(&self.store).expect("a sweep succeeds");
        assert_eq!(swept, self.model.sweep(self.store.revision()), "swept were others");
        self.note("sweep", if swept > 0 { "items" } else { "nothing" });
    }

    /// Removes everything from a collection, and with `dropped` its record as well.
    pub(super) fn clear(&mut self, collection: usize, dropped: bool) {
        let before = self.model.items_of(collection);
        let was_recorded = self.model.state.recorded[collection];
        if dropped {
            let existed = self.store.drop_collection(COLLECTIONS[collection]);
            assert_eq!(existed.expect("a drop succeeds"), was_recorded);
        } else {
            let cleared = self.handles[collection].clear().expect("a clear succeeds");
            assert_eq!(cleared, before, "another number of items was cleared");
        }
        let written = before > 0 || (dropped && was_recorded);
        if written {
            self.model.clear(collection, dropped, self.store.revision());
        }
        let verb = if dropped { "drop of a collection" } else { "clear" };
        self.note(verb, if written { "ok" } else { "nothing" });
    }

    /// Compaction sweeps first; nobody notices anything else of it.
    pub(super) fn compact(&mut self) {
        let compaction = self.store.compact().expect("a compaction succeeds");
        let swept = self.model.sweep(self.store.revision());
        self.model.synced();
        let difference =
            Simulation::differs_from_journal(&self.store).expect("the journal is read");
        assert_eq!(difference, None, "a rebuild would give another index");
        self.note("compaction", if compaction.segments > 0 { "segments" } else { "nothing" });
        if swept > 0 {
            self.note("compaction", "sweeps");
        }
    }

    pub(super) fn add(&self, batch: Batch, place: Place, action: &Action, want: &Want) -> Batch {
        self.handles[place.collection].add(batch, KEYS[place.key], action, want)
    }

    pub(super) fn batch(&mut self, steps: &[Step]) {
        let operations: Vec<_> = steps.iter().map(|step| self.resolve(step, true)).collect();
        let mut batch = self.store.batch();
        for (place, action, want) in &operations {
            batch = self.add(batch, *place, action, want);
        }
        let committed = batch.commit();
        match (self.model.decide_all(&operations), committed) {
            (Ok(written), Ok(done)) => {
                self.note("batch", if written.is_empty() { "changes nothing" } else { "ok" });
                if written.len() > 1 {
                    self.note("batch", "changes several items");
                }
                let mut metas = BTreeMap::new();
                for (place, left) in &written {
                    let handle = &self.handles[place.collection];
                    let item = handle.now().get(KEYS[place.key]).expect("a get succeeds");
                    let item = item.map(|item| checked(&item, *place));
                    let left = left.as_ref().map(|new| &new.value);
                    assert_eq!(item.as_ref().map(|item| &item.value), left);
                    metas.extend(item.map(|ModelItem { meta, .. }| (*place, meta)));
                }
                for (index, (place, action, _)) in operations.iter().enumerate() {
                    let is_written =
                        written.contains_key(place) && !matches!(action, Action::Check);
                    assert_eq!(done.meta(index).is_some(), is_written, "{operations:?}: {done:?}");
                    if let Some(meta) = done.meta(index) {
                        // Of a removal there was nothing to read.
                        assert_eq!(metas.entry(*place).or_insert(*meta), meta);
                    }
                }
                assert_eq!(done.metas().len(), operations.len());
                self.model.commit(done.revision(), written, &metas);
            }
            (Err((index, failure)), Err(error)) => {
                let places: Vec<Place> = operations.iter().map(|(place, ..)| *place).collect();
                let (name, pending) = (failure.name(), failure.is_over_a_pending_item());
                let expected = Failure::Batch(index, Box::new(failure));
                assert_eq!(self.failure(&error, &places), expected, "{operations:?}");
                self.note("batch", name);
                if pending {
                    self.note("batch", "conflict with itself");
                }
            }
            (expected, committed) => {
                panic!("{operations:?} gave {committed:?}; the model says {expected:?}")
            }
        }
    }
}

impl Action {
    pub(super) fn expires(&self) -> Expires {
        match self {
            Self::Create(new) | Self::Replace(new) | Self::Upsert(new) => new.expires,
            Self::Patch(_, expires) => *expires,
            Self::Delete | Self::Check => Expires::Never,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Replace(_) => "replace",
            Self::Upsert(_) => "upsert",
            Self::Patch(..) => "patch",
            Self::Delete => "delete",
            Self::Check => "check",
        }
    }
}

impl Failure {
    fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists(_) => "AlreadyExists",
            Self::PreconditionFailed(Some(_)) => "PreconditionFailed, present",
            Self::PreconditionFailed(None) => "PreconditionFailed, absent",
            Self::NotUnique(..) => "NotUnique",
            Self::InvalidPrecondition => "InvalidPrecondition",
            Self::Patch(failure) => failure.kind,
            Self::Codec => "Codec",
            Self::CodecMismatch => "CodecMismatch",
            Self::InvalidKey => "InvalidKey",
            Self::Batch(..) => "Batch",
        }
    }

    fn is_over_a_pending_item(&self) -> bool {
        let (Self::AlreadyExists(seen) | Self::PreconditionFailed(Some(seen))) = self else {
            return false;
        };
        seen.meta.is_none()
    }
}
