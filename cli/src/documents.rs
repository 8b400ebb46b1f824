//! A collection whose documents' type is not known: their bytes, by whichever codec they are stored.

use std::ops::Bound;
use std::time::SystemTime;

use bytes::Bytes;
use ifmatch::{
    Batch, Bincode, Change, Changes, Codec, Collection, Cursor, ETag, Error, Item, Json, Meta,
    Precondition, Raw, Read, Store, Stored,
};
use serde_json::Value;

use crate::failure::{Failure, Outcome};

type Result<T> = std::result::Result<T, Error>;

/// How a collection's documents are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    Json,
    Bincode,
    Raw,
}

impl Form {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Bincode, Self::Raw].into_iter().find(|form| form.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bincode => "bincode",
            Self::Raw => "raw",
        }
    }

    /// The form of a collection; `None` when it is not there.
    pub(crate) fn of(store: &Store, collection: &str) -> Outcome<Option<Self>> {
        let all = store.collections()?;
        let Some(info) = all.iter().find(|info| info.name() == collection) else {
            return Ok(None);
        };
        let known = info.codec().and_then(Self::from_name);
        known.map(Some).ok_or_else(|| {
            let text = format!(
                "collection {collection:?} is stored in a form that this version does not know; \
                 use a newer one"
            );
            Failure::Input(text)
        })
    }
}

/// When what is written expires.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    /// When it did, or after the collection's default time to live.
    AsItIs,
    Never,
    At(SystemTime),
}

/// A part of a collection, by keys.
#[derive(Debug, Clone)]
pub(crate) enum Span {
    Prefix(Vec<u8>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

pub(crate) type Items = Box<dyn DoubleEndedIterator<Item = Result<Item<Bytes>>>>;

/// What the commands do with a collection.
pub(crate) trait Documents: Send + Sync {
    fn get_if(&self, key: &[u8], precondition: Precondition) -> Result<Read<Bytes>>;
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Item<Bytes>>>>;
    fn get_version(&self, key: &[u8], tag: &ETag) -> Result<Option<Item<Bytes>>>;
    fn history(&self, key: &[u8]) -> Result<Vec<Result<Item<Bytes>>>>;
    fn create(&self, key: &[u8], value: Bytes) -> Result<Meta>;
    fn upsert(&self, key: &[u8], value: Bytes, precondition: Precondition) -> Result<Meta>;
    fn delete(&self, key: &[u8], precondition: Precondition) -> Result<Meta>;
    fn items(&self, span: &Span) -> Result<Items>;
    fn len(&self) -> Result<u64>;
    /// Removes all documents, and returns how many there were.
    fn clear(&self) -> Result<u64>;
    fn changes(&self, cursor: Cursor) -> Result<Changes<Bytes>>;
    /// The same collection; what is written through it expires as said.
    fn expiring(&self, expiry: Expiry) -> Box<dyn Documents>;
    /// Adds an upsert to a batch.
    fn add(&self, batch: Batch, key: &[u8], value: Bytes) -> Batch;
}

/// Opens a collection in the form that it is stored in; in the given one where it is not there.
pub(crate) fn open(store: &Store, name: &str, unless_stored: Form) -> Outcome<Box<dyn Documents>> {
    let form = Form::of(store, name)?.unwrap_or(unless_stored);
    open_as(store, name, form)
}

pub(crate) fn open_as(store: &Store, name: &str, form: Form) -> Outcome<Box<dyn Documents>> {
    Ok(match form {
        Form::Json => Box::new(store.collection_with::<Bytes, Stored<Json>>(name)?),
        Form::Bincode => Box::new(store.collection_with::<Bytes, Stored<Bincode>>(name)?),
        Form::Raw => Box::new(store.collection_with::<Bytes, Raw>(name)?),
    })
}

/// Opens a collection that must be there.
pub(crate) fn open_stored(store: &Store, name: &str) -> Outcome<(Box<dyn Documents>, Form)> {
    let form = Form::of(store, name)?.ok_or_else(|| missing(name))?;
    Ok((open_as(store, name, form)?, form))
}

/// Opens a collection of JSON documents. One that is not there is an error, unless the command may
/// make it.
pub(crate) fn open_json(store: &Store, name: &str, makes: bool) -> Outcome<Collection<Value>> {
    match Form::of(store, name)? {
        Some(Form::Json) => {}
        Some(form) => {
            let form = form.name();
            return Err(Failure::Input(format!(
                "collection {name:?} is stored as {form}, and only JSON documents have paths; \
                 `ifmatch cat` prints what is in it"
            )));
        }
        None if makes => {}
        None => return Err(missing(name)),
    }
    Ok(store.collection(name)?)
}

fn missing(name: &str) -> Failure {
    Failure::NotFound(format!(
        "there is no collection {name:?}; `ifmatch ls` lists those that are there"
    ))
}

impl<C: Codec<Bytes>> Documents for Collection<Bytes, C> {
    fn get_if(&self, key: &[u8], precondition: Precondition) -> Result<Read<Bytes>> {
        self.get_if(key, precondition)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Item<Bytes>>>> {
        self.get_many(keys)
    }

    fn get_version(&self, key: &[u8], tag: &ETag) -> Result<Option<Item<Bytes>>> {
        self.get_version(key, tag)
    }

    fn history(&self, key: &[u8]) -> Result<Vec<Result<Item<Bytes>>>> {
        self.history(key)
    }

    fn create(&self, key: &[u8], value: Bytes) -> Result<Meta> {
        self.create(key, &value)
    }

    fn upsert(&self, key: &[u8], value: Bytes, precondition: Precondition) -> Result<Meta> {
        self.upsert(key, &value, precondition)
    }

    fn delete(&self, key: &[u8], precondition: Precondition) -> Result<Meta> {
        self.delete(key, precondition)
    }

    fn items(&self, span: &Span) -> Result<Items> {
        Ok(match span {
            Span::Prefix(prefix) => Box::new(self.prefix(prefix)?),
            Span::Range(from, to) => Box::new(self.range((from.clone(), to.clone()))?),
        })
    }

    fn len(&self) -> Result<u64> {
        self.len()
    }

    fn clear(&self) -> Result<u64> {
        self.clear()
    }

    fn changes(&self, cursor: Cursor) -> Result<Changes<Bytes>> {
        self.changes(cursor)
    }

    fn expiring(&self, expiry: Expiry) -> Box<dyn Documents> {
        Box::new(match expiry {
            Expiry::AsItIs => self.clone(),
            Expiry::Never => self.clone().without_ttl(),
            Expiry::At(instant) => self.clone().expires_at(instant),
        })
    }

    fn add(&self, batch: Batch, key: &[u8], value: Bytes) -> Batch {
        batch.upsert(self, key, &value, Precondition::Always)
    }
}

/// The kind of a change, as the library names it.
pub(crate) fn kind_of<T>(change: &Change<T>) -> String {
    format!("{:?}", change.kind()).to_lowercase()
}
