//! Changing what is found, each item under its own tag.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Find;
use super::found::keys;
use crate::api::collection::{Collection, contended, decode};
use crate::api::own_writes::OwnWrites;
use crate::engine::operation::meets;
use crate::values::codec::Json;
use crate::values::error::{Error, Result};
use crate::values::key::ItemKey;
use crate::values::query::filter::Filter;

impl<T: Serialize + DeserializeOwned> Find<T> {
    /// Changes each item that is found, and returns how many were changed.
    ///
    /// First the find lists the keys of its items, as of one moment. So it does not meet its own
    /// writes: an item that the change moves in the order is changed once. Then each item is read
    /// as it is now, in the order of the find. If it is gone, or no longer meets the filter, it is
    /// left unchanged. Otherwise it is changed and written under its own tag. If another writer
    /// comes in between, this is repeated, as often as the collection's
    /// [`RetryPolicy`](crate::RetryPolicy) allows. So the closure may run several times for an
    /// item. It runs under no lock.
    ///
    /// The whole is not atomic. Others may see some items changed and others not yet. Items that
    /// were changed before an error stay changed. If changed items no longer meet the filter, a
    /// second call continues with the rest. For all or nothing, put the changes into a
    /// [`batch`](crate::Store::batch).
    ///
    /// Costs what [`iter`](Self::iter) costs, the keys of the items in memory, and for each item
    /// what [`update`](Collection::update) costs: one sync each on an `Immediate` store.
    ///
    /// # Errors
    /// As [`iter`](Self::iter), and as [`update`](Collection::update) except
    /// [`Error::NotFound`]. The first one ends it.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Filter;
    ///
    /// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
    /// for (fruit, price) in [("apple", 0.5), ("banana", 0.3), ("cherry", 4.0)] {
    ///     prices.create(fruit, &price)?;
    /// }
    /// let raised = prices.find(Filter::lt("", 1)).update_each(|price| *price *= 2.0)?;
    /// assert_eq!((raised, prices.get("apple")?.map(|item| item.value)), (2, Some(1.0)));
    /// # Ok(()) }
    /// ```
    pub fn update_each(self, mut f: impl FnMut(&mut T)) -> Result<u64> {
        let (collection, filter) = (self.collection.clone(), self.filter.clone());
        let mut changed = 0;
        for key in keys(self)? {
            let key = ItemKey::new(collection.name(), key.as_slice())?;
            changed += u64::from(update_found(&collection, &filter, &key, &mut f)?);
        }
        Ok(changed)
    }
}

/// Changes an item that was found; returns false if the item is to be left alone.
fn update_found<T: Serialize + DeserializeOwned>(
    collection: &Collection<T, Json>,
    filter: &Filter,
    key: &ItemKey,
    f: &mut impl FnMut(&mut T),
) -> Result<bool> {
    let mut attempts = collection.retry().start();
    loop {
        let version = collection.store().engine()?.read_to_change(key)?;
        let Some(version) = version else { return Ok(false) };
        let meets = meets(filter, &version.value);
        if !meets.map_err(|error| error.with_item(collection.name(), key.key_bytes()))? {
            return Ok(false);
        }
        let mut item = decode::<T, Json>(key, version)?;
        let own_writes = OwnWrites::collect();
        f(&mut item.value);
        let current = match collection.save(&mut item) {
            Ok(()) => return Ok(true),
            Err(Error::PreconditionFailed(current)) => current,
            Err(error) => return Err(error),
        };
        let own = own_writes.include(current.meta());
        let lost = if own { attempts.lost_to_itself() } else { attempts.lost() };
        lost.map_err(|exhausted| contended(exhausted, current))?;
    }
}
