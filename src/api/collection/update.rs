//! Read, change, write back: retried until nobody came in between.

use std::convert::Infallible;
use std::fmt;

use crate::api::collection::{Collection, decode};
use crate::api::own_writes::OwnWrites;
use crate::values::codec::Codec;
use crate::values::error::{Conflict, Error, Result};
use crate::values::item::Item;
use crate::values::retry::Exhausted;

/// Why a [`try_update`](Collection::try_update) did not go through.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Error, UpdateError};
///
/// let stock = ifmatch::Store::in_memory().collection::<u64>("stock")?;
/// match stock.try_update("01AC0", |_| Err("not for sale")) {
///     Err(UpdateError::Store(Error::NotFound { .. })) => {} // the closure was not run
///     other => panic!("expected no item, got {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub enum UpdateError<E> {
    /// The closure refused; nothing was written.
    Aborted(E),
    /// The store refused or failed.
    Store(Error),
}

impl<E> UpdateError<E> {
    /// The HTTP status for this error: that of the store's error, or 422 if the closure refused.
    /// The caller, which knows what the closure's error means, may choose a better one.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let stock = ifmatch::Store::in_memory().collection::<u64>("stock")?;
    /// let refused = stock.try_update("01AC0", |_| Err("sold out"));
    /// assert_eq!(refused.map_err(|error| error.http_status()), Err(404));
    /// stock.create("01AC0", &0)?;
    /// let refused = stock.try_update("01AC0", |_| Err("sold out"));
    /// assert_eq!(refused.map_err(|error| error.http_status()), Err(422));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Aborted(_) => 422,
            Self::Store(error) => error.http_status(),
        }
    }
}

impl<E> From<Error> for UpdateError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<E: fmt::Display> fmt::Display for UpdateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(error) => write!(f, "the update was aborted: {error}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for UpdateError<E> {
    /// The cause of the closure's or the store's error, whose text is part of this one's.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Aborted(error) => error.source(),
            Self::Store(error) => error.source(),
        }
    }
}

impl<T, C: Codec<T>> Collection<T, C> {
    /// Changes an item that exists. Reads it, runs the closure on it, and writes it back if nobody
    /// has changed it since; otherwise repeats this. Returns the item as written. Each attempt
    /// costs a read and a write.
    ///
    /// The closure runs once for each attempt, each time on the current value, and under no lock.
    /// It may use the store, and a panic in it does no harm to the store. Only a lost race is
    /// retried, within the limits of the collection's [`RetryPolicy`](crate::RetryPolicy). A
    /// closure that itself writes the item loses to its own write; after sixteen such losses the
    /// update gives up.
    ///
    /// # Errors
    /// - [`Error::NotFound`] when there is no item, or when it is deleted during the update.
    /// - [`Error::Contended`] when every attempt that the policy allows has lost, or when the
    ///   closure writes the item.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let counters = ifmatch::Store::in_memory().collection::<u64>("counters")?;
    /// counters.create("visits", &41)?;
    /// let item = counters.update("visits", |count| *count += 1)?;
    /// assert_eq!(item.value, 42);
    /// # Ok(()) }
    /// ```
    pub fn update(&self, key: impl AsRef<[u8]>, mut f: impl FnMut(&mut T)) -> Result<Item<T>> {
        let infallible = |value: &mut T| {
            f(value);
            Ok::<(), Infallible>(())
        };
        match self.try_update(key, infallible) {
            Ok(item) => Ok(item),
            Err(UpdateError::Store(error)) => Err(error),
            Err(UpdateError::Aborted(never)) => match never {},
        }
    }

    /// As [`update`](Self::update), with a closure that may refuse: its error ends the update, and
    /// nothing is written.
    ///
    /// # Errors
    /// - [`UpdateError::Aborted`] with the closure's error.
    /// - [`UpdateError::Store`] with the errors of [`update`](Self::update).
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::UpdateError;
    ///
    /// let stock = ifmatch::Store::in_memory().collection::<u64>("stock")?;
    /// stock.create("01AC0", &1)?;
    /// let reserve = |left: &mut u64| left.checked_sub(2).map(|new| *left = new).ok_or("sold out");
    /// let refused = stock.try_update("01AC0", reserve);
    /// assert!(matches!(refused, Err(UpdateError::Aborted("sold out"))));
    /// # Ok(()) }
    /// ```
    pub fn try_update<E>(
        &self,
        key: impl AsRef<[u8]>,
        f: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<Item<T>, UpdateError<E>> {
        self.run_update(key.as_ref(), None::<fn() -> T>, f)
    }

    /// As [`update`](Self::update), but an absent item is created: `default` makes a document, and
    /// the closure changes it before it is written. Both may run once for each attempt.
    ///
    /// # Errors
    /// [`Error::Contended`] when every attempt that the policy allows has lost.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// let counters = ifmatch::Store::in_memory().collection::<u64>("counters")?;
    /// assert_eq!(counters.update_or_insert_with("visits", || 0, |count| *count += 1)?.value, 1);
    /// assert_eq!(counters.update_or_insert_with("visits", || 0, |count| *count += 1)?.value, 2);
    /// # Ok(()) }
    /// ```
    pub fn update_or_insert_with(
        &self,
        key: impl AsRef<[u8]>,
        default: impl FnMut() -> T,
        mut f: impl FnMut(&mut T),
    ) -> Result<Item<T>> {
        let infallible = |value: &mut T| {
            f(value);
            Ok::<(), Infallible>(())
        };
        match self.run_update(key.as_ref(), Some(default), infallible) {
            Ok(item) => Ok(item),
            Err(UpdateError::Store(error)) => Err(error),
            Err(UpdateError::Aborted(never)) => match never {},
        }
    }

    fn run_update<E>(
        &self,
        key: &[u8],
        mut default: Option<impl FnMut() -> T>,
        mut f: impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<Item<T>, UpdateError<E>> {
        let mut attempts = self.retry().start();
        loop {
            // Checks each time that the collection is still of this form.
            let item_key = self.key(key)?;
            let stored = {
                let engine = self.store.engine()?;
                engine.await_writer(&item_key);
                engine.read_to_change(&item_key)?
            };
            let mut item = match (stored, &mut default) {
                (Some(version), _) => decode::<T, C>(&item_key, version)?,
                (None, Some(default)) => Item::new(key, default()),
                (None, None) => return Err(Error::not_found(self.name(), key).into()),
            };
            let own_writes = OwnWrites::collect();
            f(&mut item.value).map_err(UpdateError::Aborted)?;
            let current = match self.save(&mut item) {
                Ok(()) => return Ok(item),
                Err(Error::PreconditionFailed(current) | Error::AlreadyExists(current)) => current,
                Err(error) => return Err(error.into()),
            };
            let lost = if own_writes.include(current.meta()) {
                attempts.lost_to_itself()
            } else {
                attempts.lost()
            };
            lost.map_err(|exhausted| contended(exhausted, current))?;
        }
    }
}

pub(crate) fn contended(exhausted: Exhausted, mut current: Box<Conflict>) -> Error {
    let Exhausted { attempts, elapsed } = exhausted;
    current.give_up();
    Error::Contended { attempts, elapsed, current }
}
