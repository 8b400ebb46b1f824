//! Reading a collection, as it is now or as it was at a snapshot.

use bytes::Bytes;
use ifmatch::{Collection, Error, Item, Raw, SnapshotCollection};

use super::Value;
use super::handle::{Document, plain};

/// One collection to be read, whatever its type and time.
pub(super) enum Reader {
    Documents(Collection<Document>),
    Raw(Collection<Bytes, Raw>),
    PastDocuments(SnapshotCollection<Document>),
    PastRaw(SnapshotCollection<Bytes, Raw>),
}

macro_rules! on {
    ($reader:expr, $collection:ident => $body:expr) => {
        match $reader {
            Reader::Documents($collection) => $body,
            Reader::Raw($collection) => $body,
            Reader::PastDocuments($collection) => $body,
            Reader::PastRaw($collection) => $body,
        }
    };
}

impl Reader {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Item<Value>>, Error> {
        on!(self, c => Ok(c.get(key)?.map(plain)))
    }

    pub(super) fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Item<Value>>>, Error> {
        on!(self, c => Ok(c.get_many(keys)?.into_iter().map(|item| item.map(plain)).collect()))
    }

    /// The iterator's items, or those between two keys; `reverse` reads from the upper end.
    pub(super) fn scan(
        &self,
        select: &Select,
        from_the_end: impl FnMut() -> bool,
    ) -> Result<Vec<Item<Value>>, Error> {
        on!(self, c => {
            let iter = match select {
                Select::All => c.iter()?,
                Select::Prefix(prefix) => c.prefix(prefix)?,
                Select::Between(from, to, true) => c.range(*from..=*to)?,
                Select::Between(from, to, false) => c.range(*from..*to)?,
            };
            both_ends(iter, from_the_end).map(|item| item.map(plain)).collect()
        })
    }

    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        on!(self, c => c.keys()?.collect())
    }

    pub(super) fn len(&self) -> Result<(u64, bool), Error> {
        on!(self, c => Ok((c.len()?, c.is_empty()?)))
    }
}

/// Which items a scan is for.
pub(super) enum Select<'a> {
    All,
    Prefix(&'a [u8]),
    /// Whether the upper end is included.
    Between(&'a [u8], &'a [u8], bool),
}

/// Reads an iterator from either end, and returns what it read in ascending order.
fn both_ends<T>(
    mut iter: impl DoubleEndedIterator<Item = T>,
    mut from_the_end: impl FnMut() -> bool,
) -> impl Iterator<Item = T> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let end = from_the_end();
        let next = if end { iter.next_back() } else { iter.next() };
        match next {
            Some(item) if end => back.push(item),
            Some(item) => front.push(item),
            None => break,
        }
    }
    front.into_iter().chain(back.into_iter().rev())
}
