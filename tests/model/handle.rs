//! The store's collections, spoken to in the model's terms.

use bytes::Bytes;
use ifmatch::{
    Batch, Change, ChangeKind, Codec, Collection, Conflict, Cursor, Error, Item, Json, Meta,
};
use ifmatch::{Precondition, Raw, Read, Snapshot, Store, Tags, UpdateError};
use serde::{Deserialize, Serialize};

use super::reader::Reader;
use super::{Action, COLLECTIONS, Expires, KEYS, ModelItem, Place, RAW, Reading, Seen, Value};
use super::{Want, patch};

/// The documents: fields that are known, and any further ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    n: i64,
    list: Vec<i64>,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, i64>,
}

/// A type of the store's documents, to and from the model's values.
pub(super) trait Form: serde::de::DeserializeOwned + Sized {
    type Codec: Codec<Self>;
    fn of(value: Value) -> Self;
    fn value(self) -> Value;
}

impl Form for Document {
    type Codec = Json;

    fn of(value: Value) -> Self {
        let Value::Document(value) = value else { panic!("{value:?} is no document") };
        serde_json::from_value(value).unwrap()
    }

    fn value(self) -> Value {
        Value::Document(serde_json::to_value(self).unwrap())
    }
}

impl Form for Bytes {
    type Codec = Raw;

    fn of(value: Value) -> Self {
        let Value::Raw(bytes) = value else { panic!("{value:?} is not raw") };
        bytes
    }

    fn value(self) -> Value {
        Value::Raw(self)
    }
}

/// One collection, whatever its type.
#[derive(Clone)]
pub(super) enum Handle {
    Documents(Collection<Document>),
    Raw(Collection<Bytes, Raw>),
}

macro_rules! on {
    ($handle:expr, $collection:ident => $body:expr) => {
        match $handle {
            Handle::Documents($collection) => $body,
            Handle::Raw($collection) => $body,
        }
    };
}

pub(super) fn plain<T: Form>(item: Item<T>) -> Item<Value> {
    item.map(T::value)
}

pub(super) fn checked(item: &Item<Value>, place: Place) -> ModelItem {
    assert_eq!(item.key(), KEYS[place.key], "an item has another key than it was read by");
    ModelItem { value: item.value.clone(), meta: *item.meta() }
}

impl Handle {
    pub(super) fn open(store: &Store, collection: usize) -> Result<Self, Error> {
        let name = COLLECTIONS[collection];
        Ok(if collection == RAW {
            Self::Raw(store.raw(name)?)
        } else {
            Self::Documents(store.collection(name)?)
        })
    }

    /// The handle whose writes expire like this.
    pub(super) fn expiring(&self, expires: Expires) -> Self {
        match (self.clone(), expires) {
            (same, Expires::Keep) => same,
            (Self::Documents(documents), Expires::Never) => {
                Self::Documents(documents.without_ttl())
            }
            (Self::Documents(documents), Expires::After(ttl)) => {
                Self::Documents(documents.with_ttl(ttl))
            }
            (Self::Raw(raw), Expires::Never) => Self::Raw(raw.without_ttl()),
            (Self::Raw(raw), Expires::After(ttl)) => Self::Raw(raw.with_ttl(ttl)),
        }
    }

    /// The collection as it is now.
    pub(super) fn now(&self) -> Reader {
        match self {
            Self::Documents(collection) => Reader::Documents(collection.clone()),
            Self::Raw(collection) => Reader::Raw(collection.clone()),
        }
    }

    /// The collection as it was.
    pub(super) fn at(&self, snapshot: &Snapshot) -> Reader {
        match self {
            Self::Documents(collection) => Reader::PastDocuments(snapshot.collection(collection)),
            Self::Raw(collection) => Reader::PastRaw(snapshot.collection(collection)),
        }
    }

    pub(super) fn get_if(&self, place: Place, want: &Want) -> Result<Reading, Error> {
        let key = KEYS[place.key];
        on!(self, c => Ok(match c.get_if(key, precondition(want))? {
            Read::Found(item) => Reading::Found(checked(&plain(item), place)),
            Read::NotModified(meta) => Reading::NotModified(meta),
            Read::Missing => Reading::Missing,
        }))
    }

    /// Returns the new version, and of a patch the value too.
    pub(super) fn write(
        &self,
        key: &[u8],
        action: &Action,
        want: &Want,
    ) -> Result<(Meta, Option<Value>), Error> {
        let handle = self.expiring(action.expires());
        if let (Self::Documents(documents), Action::Patch(steps, _)) = (&handle, action) {
            let item = documents.patch(key, &patch::build(steps), precondition(want))?;
            return Ok((*item.meta(), Some(item.value.value())));
        }
        let meta = on!(&handle, c => match action {
            Action::Create(new) => c.create(key, &Form::of(new.value.clone())),
            Action::Replace(new) => {
                c.replace(key, &Form::of(new.value.clone()), precondition(want))
            }
            Action::Upsert(new) => c.upsert(key, &Form::of(new.value.clone()), precondition(want)),
            Action::Delete => c.delete(key, precondition(want)),
            Action::Check | Action::Patch(..) => panic!("{action:?} is not a verb of this handle"),
        })?;
        Ok((meta, None))
    }

    pub(super) fn add(&self, batch: Batch, key: &[u8], action: &Action, want: &Want) -> Batch {
        let handle = self.expiring(action.expires());
        if let (Self::Documents(documents), Action::Patch(steps, _)) = (&handle, action) {
            return batch.patch(documents, key, &patch::build(steps), precondition(want));
        }
        on!(&handle, c => match action {
            Action::Create(new) => batch.create(c, key, &Form::of(new.value.clone())),
            Action::Replace(new) => {
                batch.replace(c, key, &Form::of(new.value.clone()), precondition(want))
            }
            Action::Upsert(new) => {
                batch.upsert(c, key, &Form::of(new.value.clone()), precondition(want))
            }
            Action::Delete => batch.delete(c, key, precondition(want)),
            Action::Check => batch.check(c, key, precondition(want)),
            Action::Patch(..) => panic!("bytes are not patched"),
        })
    }

    pub(super) fn clear(&self) -> Result<u64, Error> {
        on!(self, c => c.clear())
    }

    /// Saves the item and returns it as the store left it.
    pub(super) fn save(&self, item: Item<Value>) -> (Result<(), Error>, Item<Value>) {
        on!(self, c => {
            let mut item = item.map(Form::of);
            let saved = c.save(&mut item);
            (saved, plain(item))
        })
    }

    pub(super) fn update(&self, key: &[u8], to: &Value) -> Result<Item<Value>, Error> {
        on!(self, c => c.update(key, |value| *value = Form::of(to.clone())).map(plain))
    }

    pub(super) fn abort_update(
        &self,
        key: &[u8],
    ) -> Result<Item<Value>, UpdateError<&'static str>> {
        on!(self, c => c.try_update(key, |_| Err("no")).map(plain))
    }

    pub(super) fn update_or_insert(&self, key: &[u8], to: &Value) -> Result<Item<Value>, Error> {
        let form = || to.clone();
        on!(self, c => {
            c.update_or_insert_with(key, || Form::of(form()), |value| *value = Form::of(form()))
                .map(plain)
        })
    }

    /// The collection's changes: each as the store's, and its document.
    pub(super) fn changes(&self, cursor: Cursor) -> Result<Vec<TypedChange>, Error> {
        on!(self, c => c.changes(cursor)?.map(|change| change.map(TypedChange::new)).collect())
    }

    /// What a conflict carries, in the model's terms.
    pub(super) fn seen(&self, place: Place, conflict: &Conflict) -> Option<Seen> {
        assert_eq!(conflict.collection(), COLLECTIONS[place.collection]);
        assert_eq!(conflict.key(), KEYS[place.key]);
        let item = match self {
            Self::Documents(_) => conflict.current::<Document>().unwrap().map(plain),
            Self::Raw(_) => conflict.current::<Bytes>().unwrap().map(plain),
        };
        let saved = |item: &Item<Value>| item.etag() != ifmatch::ETag::UNSAVED;
        item.map(|item| Seen { meta: saved(&item).then_some(*item.meta()), value: item.value })
    }
}

/// A change of a typed feed, its document as the model's value.
#[derive(Debug, PartialEq)]
pub(super) struct TypedChange {
    meta: Meta,
    kind: ChangeKind,
    cursor: Cursor,
    value: Option<Value>,
}

impl TypedChange {
    fn new<T: Form>(change: Change<T>) -> Self {
        let (meta, kind, cursor) = (*change.meta(), change.kind(), change.cursor());
        Self { meta, kind, cursor, value: change.into_value().map(T::value) }
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(super) fn kind(&self) -> ChangeKind {
        self.kind
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub(super) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// Stored bytes, as the model's value.
pub(super) fn decoded(collection: usize, bytes: &Bytes) -> Value {
    if collection == RAW {
        return bytes.clone().value();
    }
    serde_json::from_slice::<Document>(bytes).expect("a document is stored").value()
}

pub(super) fn precondition(want: &Want) -> Precondition {
    match want {
        Want::Always => Precondition::Always,
        Want::Match(tags) => Precondition::if_match(tags.clone()),
        Want::MatchAny => Precondition::if_match(Tags::Any),
        Want::NoneMatch(tags) => Precondition::if_none_match(tags.clone()),
        Want::NoneMatchAny => Precondition::if_none_match(Tags::Any),
        Want::ModifiedSince(time) => Precondition::if_modified_since(*time),
    }
}

/// The value that a seed represents: few of them, so that the same bytes are written again.
pub(super) fn value_of(collection: usize, seed: u8) -> Value {
    let small = i64::from(seed % 3);
    if collection == RAW {
        let len = [0, 1, 40, 700][usize::from(seed % 4)];
        let len = if seed == u8::MAX { 70_000 } else { len };
        return Value::Raw(vec![seed % 3; len].into());
    }
    let list = &[1, 2, 3][..usize::from(seed % 4)];
    let n = if seed % 8 == 7 { i64::MIN } else { small };
    let mut document = serde_json::json!({"n": n, "list": list});
    if seed.is_multiple_of(5) {
        document["x"] = small.into();
    }
    Value::Document(document)
}
