//! A document as it is edited, and saved under If-Match.

use bytes::Bytes;
use ifmatch::{ETag, Error, Item, Precondition, Store};

use crate::documents::{self, Form};
use crate::failure::Outcome;
use crate::json::{Layout, lay_out};
use crate::told::Told;

pub(crate) struct Draft {
    collection: String,
    key: Vec<u8>,
    form: Form,
    /// The version that the draft is based on; `None` when it was deleted.
    base: Option<ETag>,
    /// The base as text.
    before: String,
    pub(crate) text: String,
}

/// What a save came to.
pub(crate) enum Saved {
    Unchanged,
    Written(ETag),
    /// The text is no document.
    Refused(String),
    /// Somebody was faster.
    Conflict(Option<Box<Item<Bytes>>>),
}

impl Draft {
    pub(crate) fn new(collection: &str, item: &Item<Bytes>, form: Form) -> Self {
        let text = to_text(&item.value, form);
        let (collection, key) = (collection.to_owned(), item.key().to_vec());
        Self { collection, key, form, base: Some(item.etag()), before: text.clone(), text }
    }

    pub(crate) fn is_of(&self, collection: &str, key: &[u8]) -> bool {
        self.collection == collection && self.key == key
    }

    pub(crate) fn suffix(&self) -> &'static str {
        if self.form == Form::Json { ".json" } else { ".hex" }
    }

    /// Lets the draft replace this version, or the document's absence.
    pub(crate) fn rebase(&mut self, theirs: Option<&Item<Bytes>>) {
        self.base = theirs.map(Item::etag);
        self.before = theirs.map(|item| to_text(&item.value, self.form)).unwrap_or_default();
    }

    pub(crate) fn save(&self, store: &Store) -> Outcome<Saved> {
        if self.text.trim_end() == self.before.trim_end() {
            return Ok(Saved::Unchanged);
        }
        let value: Bytes = match self.form {
            Form::Json => lay_out(&self.text, Layout::Compact).into(),
            Form::Bincode | Form::Raw => {
                let digits: String = self.text.split_whitespace().collect();
                match hex::decode(digits) {
                    Ok(bytes) => bytes.into(),
                    Err(error) => return Ok(Saved::Refused(error.to_string())),
                }
            }
        };
        let documents = documents::open_as(store, &self.collection, self.form)?;
        let precondition = Precondition::if_unchanged(self.base);
        match documents.upsert(&self.key, value, precondition) {
            Ok(meta) => Ok(Saved::Written(meta.etag())),
            Err(Error::PreconditionFailed(conflict) | Error::AlreadyExists(conflict)) => {
                Ok(Saved::Conflict(conflict.current_bytes().cloned().map(Box::new)))
            }
            Err(error @ (Error::Codec(_) | Error::TooLarge { .. })) => {
                Ok(Saved::Refused(Told(&error).to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A value as it is edited: JSON laid out, anything else as hexadecimal.
fn to_text(value: &[u8], form: Form) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if form == Form::Json => lay_out(text, Layout::Pretty) + "\n",
        _ => hex::encode(value) + "\n",
    }
}
