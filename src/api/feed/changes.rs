//! The feed up to now, as an iterator.

use bytes::Bytes;

use crate::api::feed::change::Change;
use crate::api::feed::cursor::Cursor;
use crate::api::feed::reader::{Feed, Refill, Selected};
use crate::api::store::Store;
use crate::values::error::Result;

/// The durable changes after a cursor, made by [`Store::changes`] and
/// [`Collection::changes`](crate::Collection::changes).
///
/// It ends where nothing more is durable. If it is asked again later, it continues with what has
/// become durable since. After an error of the store it yields nothing more. After a document that
/// cannot be decoded it continues. It keeps the store open.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::Cursor;
///
/// let notes = ifmatch::Store::in_memory().collection::<String>("notes")?;
/// let mut changes = notes.changes(Cursor::START)?;
/// assert!(changes.next().is_none());
/// notes.create("a", &"one".to_owned())?;
/// let change = changes.next().transpose()?;
/// assert_eq!(change.and_then(|change| change.into_value()).as_deref(), Some("one"));
/// assert!(changes.next().is_none());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Changes<T = Bytes> {
    store: Store,
    feed: Feed,
    decode: fn(Bytes) -> Result<T>,
    ended: bool,
}

impl<T> Changes<T> {
    pub(super) fn new(
        store: &Store,
        cursor: Cursor,
        selected: Option<Selected>,
        decode: fn(Bytes) -> Result<T>,
    ) -> Result<Self> {
        let feed = Feed::open(store, cursor, selected)?;
        Ok(Self { store: store.clone(), feed, decode, ended: false })
    }

    /// The place after every change that was yielded, or passed over because it is of another
    /// collection.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::Cursor;
    ///
    /// let store = ifmatch::Store::in_memory();
    /// let notes = store.collection::<String>("notes")?;
    /// store.raw("icons")?.create("a", &vec![0x89].into())?;
    /// let mut changes = notes.changes(Cursor::START)?;
    /// assert!(changes.next().is_none());
    /// assert_eq!(changes.cursor(), store.cursor()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.feed.cursor()
    }
}

impl<T> Iterator for Changes<T> {
    type Item = Result<Change<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(change) = self.feed.take() {
                return Some(change.try_map(self.decode));
            }
            match self.feed.refill_from(&self.store) {
                Ok(Refill::Reached(_)) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
