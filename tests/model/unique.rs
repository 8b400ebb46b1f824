//! What a unique index of the first collection refuses, and what a commit takes away for it.

use ifmatch::{ChangeKind, Index};

use super::{Action, Failure, Model, Place, Value, Want, Written, feed};

pub(super) const COLLECTION: usize = 0;

/// The index of the model's documents.
pub(super) fn index() -> Index {
    Index::on("/n").unique()
}

/// What a document has in it.
fn value_of(value: &Value) -> Option<i64> {
    let Value::Document(document) = value else { return None };
    document.get("n").map(|n| n.as_i64().expect("the documents hold integers"))
}

impl Model {
    /// Refuses what would leave a value in two items: the first item written that gets one which
    /// another has afterwards. Of two that get it the first one has it.
    pub(super) fn check_unique(
        &self,
        operations: &[(Place, Action, Want)],
        written: &Written,
    ) -> Result<(), (usize, Failure)> {
        if !self.state.unique {
            return Ok(());
        }
        let mut order: Vec<Place> = Vec::new();
        for (place, ..) in operations {
            if place.collection == COLLECTION && !order.contains(place) {
                order.push(*place);
            }
        }
        let left =
            |place: &Place| written.get(place)?.as_ref().and_then(|new| value_of(&new.value));
        // Of an expired item, too: it is still its own.
        let had =
            |place: &Place| self.state.items.get(place).and_then(|item| value_of(&item.value));
        let gets = |place: &Place| left(place).filter(|value| had(place) != Some(*value));
        for (at, place) in order.iter().enumerate() {
            let Some(value) = gets(place) else { continue };
            let has = |(other, rival): &(usize, &Place)| {
                left(rival) == Some(value) && (*other < at || gets(rival).is_none())
            };
            let within = order
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .find(has)
                .map(|(_, of)| *of);
            let mut stored = self.state.items.iter().filter(|(rival, item)| {
                rival.collection == COLLECTION
                    && !written.contains_key(rival)
                    && value_of(&item.value) == Some(value)
                    && !item.is_expired(self.now)
            });
            let Some(of) = within.or_else(|| stored.next().map(|(rival, _)| *rival)) else {
                continue;
            };
            let by = operations.iter().rposition(|(written, ..)| written == place);
            let by = by.expect("an operation has written it");
            return Err((by, Failure::NotUnique(*place, of)));
        }
        Ok(())
    }

    /// Takes away the expired items whose values a commit takes. Nothing of it is applied yet.
    pub(super) fn sweep_holders(&mut self, written: &Written) {
        if !self.state.unique {
            return;
        }
        let taken: Vec<(Place, i64)> = written
            .iter()
            .filter(|(place, _)| place.collection == COLLECTION)
            .filter_map(|(place, left)| Some((*place, value_of(&left.as_ref()?.value)?)))
            .collect();
        let holders: Vec<Place> = self
            .state
            .items
            .iter()
            .filter(|(place, item)| {
                let value = value_of(&item.value);
                let is_taken = taken.iter().any(|(_, taken)| value == Some(*taken));
                place.collection == COLLECTION && !written.contains_key(place) && is_taken
            })
            .map(|(place, _)| *place)
            .collect();
        for place in holders {
            let item = self.state.items.remove(&place).expect("it was there just now");
            assert!(item.is_expired(self.now), "a live item at {place:?} has the value, too");
            self.log.push(feed::Logged {
                place,
                revision: self.state.revision,
                kind: ChangeKind::Expired,
                parent: Some(item.meta.etag()),
                meta: None,
                value: None,
            });
        }
    }

    /// No two live items have one value.
    pub(super) fn assert_unique(&self) {
        let live = self.state.items.iter().filter(|(place, _)| place.collection == COLLECTION);
        let mut values: Vec<i64> = live.filter_map(|(_, item)| value_of(&item.value)).collect();
        let count = values.len();
        values.sort_unstable();
        values.dedup();
        assert!(!self.state.unique || values.len() == count, "a value is there twice");
    }
}
