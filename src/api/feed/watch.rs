//! The feed, waited on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::feed::change::Change;
use crate::api::feed::cursor::Cursor;
use crate::api::feed::reader::{Feed, Refill, Selected};
use crate::api::store::{Store, WeakStore};
use crate::engine::background::Watching;
use crate::journal::notify::Notifier;
use crate::values::error::{Error, Result};

/// The durable changes after a cursor, and then those to come; made by [`Store::watch`] and
/// [`Collection::watch`](crate::Collection::watch).
///
/// It shows no change before it is durable, none twice, none out of order, and misses none. A slow
/// watch costs writers nothing, because it reads from the journal. It does not keep the store open.
/// Once the store is closed it returns [`Error::Closed`]. After a reopen, a watch from its
/// [`cursor`](Self::cursor) continues with the changes that the watch has not returned.
///
/// A watch is also an iterator, which blocks, and ends after its first error that is not about a
/// single document. With the feature `stream`, `into_stream` turns it into an async stream.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use std::time::Duration;
/// use ifmatch::{Error, Store};
///
/// let store = Store::in_memory();
/// let notes = store.collection::<String>("notes")?;
/// let mut watch = notes.watch(store.cursor()?)?;
/// assert!(watch.try_recv()?.is_none());
///
/// let writer = std::thread::spawn(move || notes.create("a", &"one".to_owned()));
/// let change = watch.recv()?;
/// assert_eq!(change.value().map(String::as_str), Some("one"));
/// assert_eq!(change.etag(), writer.join().unwrap()?.etag());
///
/// assert!(watch.recv_timeout(Duration::from_millis(1))?.is_none());
/// store.close()?;
/// assert!(matches!(watch.recv(), Err(Error::Closed)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Watch<T = Bytes> {
    store: WeakStore,
    pub(super) notifier: Arc<Notifier>,
    feed: Feed,
    decode: fn(Bytes) -> Result<T>,
    ended: bool,
    _watching: Watching,
}

/// The result of one look at the feed.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// A change, decoded or not to be decoded.
    Change(Result<Change<T>>),
    /// Nothing so far, but there is more to look at.
    More,
    /// There is no more until something above this revision is durable.
    Wait(u64),
}

impl<T> Watch<T> {
    pub(super) fn new(
        store: &Store,
        cursor: Cursor,
        selected: Option<Selected>,
        decode: fn(Bytes) -> Result<T>,
    ) -> Result<Self> {
        let feed = Feed::open(store, cursor, selected)?;
        let _watching = store.begin_watching();
        let (store, notifier) = (store.downgrade(), Arc::clone(store.notifier()));
        Ok(Self { store, notifier, feed, decode, ended: false, _watching })
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// - [`Error::Codec`] when the change's document cannot be decoded; the next call continues
    ///   after it.
    /// - [`Error::Closed`] once the store is closed.
    /// - [`Error::Poisoned`] once a failure has ended writing and everything durable was received.
    /// - [`Error::Compacted`] when compaction has overtaken the watch; [`Error::CodecMismatch`],
    ///   [`Error::Corrupt`], [`Error::Io`], [`Error::IndexUnavailable`].
    ///
    /// See [`Watch`] for an example.
    pub fn recv(&mut self) -> Result<Change<T>> {
        loop {
            if let Some(change) = self.receive(None)? {
                return change;
            }
        }
    }

    /// Waits for the next change, at most for the timeout; `None` if there was none.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// See [`Watch`] for an example.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Change<T>>> {
        // A time beyond what the clock can count never comes.
        self.receive(Instant::now().checked_add(timeout))?.transpose()
    }

    /// Returns the next change if there is one already. Does not wait, but may read from files.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// See [`Watch`] for an example.
    pub fn try_recv(&mut self) -> Result<Option<Change<T>>> {
        loop {
            match self.step()? {
                Step::Change(change) => return change.map(Some),
                Step::More => {}
                Step::Wait(_) => return Ok(None),
            }
        }
    }

    /// The place after every change that was received, or passed over because it is of another
    /// collection.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.feed.cursor()
    }

    fn receive(&mut self, until: Option<Instant>) -> Result<Option<Result<Change<T>>>> {
        loop {
            match self.step()? {
                Step::Change(change) => return Ok(Some(change)),
                Step::More if until.is_some_and(|until| Instant::now() >= until) => {
                    return Ok(None);
                }
                Step::More => {}
                Step::Wait(seen) if !self.notifier.wait(seen, until) => return Ok(None),
                Step::Wait(_) => {}
            }
        }
    }

    /// Takes what is at hand, or looks once for more. The store is held for no longer than that.
    pub(super) fn step(&mut self) -> Result<Step<T>> {
        if let Some(change) = self.take() {
            return Ok(Step::Change(change));
        }
        // Before the look: what becomes durable before the failure is seen by it.
        let failed = self.notifier.status().failed;
        // If the user's last clone is dropped during this, the store is closed here.
        let store = self.store.upgrade()?;
        match self.feed.refill_from(&store)? {
            Refill::Reached(_) if failed => Err(store.engine()?.journal.poisoned()),
            Refill::Reached(seen) => Ok(Step::Wait(seen)),
            _ => Ok(self.take().map_or(Step::More, Step::Change)),
        }
    }

    fn take(&mut self) -> Option<Result<Change<T>>> {
        let change = self.feed.take()?;
        Some(change.try_map(self.decode))
    }

    /// Whether iteration has met the error that ends it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end(&mut self, error: Error) -> Result<Change<T>> {
        self.ended = true;
        Err(error)
    }
}

impl<T> Iterator for Watch<T> {
    type Item = Result<Change<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.has_ended() {
            match self.receive(None) {
                Ok(Some(change)) => return Some(change),
                Ok(None) => {}
                Err(error) => return Some(self.end(error)),
            }
        }
        None
    }
}
