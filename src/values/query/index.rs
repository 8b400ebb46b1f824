//! The definition of an index.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pointer::Pointer;

/// Begins the text of a unique index. No path begins so.
const UNIQUE: &str = "unique ";
/// The most fields of an index.
pub(super) const MAX_FIELDS: usize = 8;
/// The longest text of an index in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// The definition of an index: the fields of a collection's documents that it is sorted by.
///
/// A field is a path, a JSON Pointer ([RFC 6901]): `/modified`, `/address/city`, and `""` for the
/// whole document. A `*` represents each element of an array: an index on `/tags/*` has an entry
/// for each tag of an item. Several fields make a compound index, sorted by the first, then by the
/// second, and so on, each ascending or descending. An index has at most 8 fields, one `*`, and a
/// text form of 256 bytes.
///
/// Values are ordered null, false, true, numbers, strings, arrays, objects. Numbers are ordered by
/// their exact value and strings by their bytes in UTF-8. An item that lacks the first field has no
/// entry; one that lacks a later field comes before all values of that field. The index holds the
/// first 256 bytes of an entry's fields; for longer values a find reads the items.
///
/// If something is wrong with a definition, it keeps the error, and an operation that uses the
/// index returns it. [`check`](Self::check) returns it at once.
///
/// ```
/// use ifmatch::Index;
///
/// let index = Index::on("/tags/*").then_desc("/modified");
/// assert_eq!(index.to_string(), "/tags/*,-/modified");
/// assert_eq!("/tags/*,-/modified".parse(), Ok(index));
/// assert!(Index::on("email").check().is_err());
/// ```
///
/// # As text
///
/// The text form is the paths, separated by commas. A descending one has a `-` before it. A comma
/// or backslash in a path has a backslash before it. The text of a unique index begins with
/// `unique` and a blank. With serde an index is this text.
///
/// [RFC 6901]: https://www.rfc-editor.org/rfc/rfc6901
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[must_use]
pub struct Index {
    fields: Vec<Field>,
    unique: bool,
    fault: Option<IndexError>,
}

/// One field of an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Field {
    path: Pointer,
    descending: bool,
}

impl Field {
    pub(crate) fn path(&self) -> &Pointer {
        &self.path
    }

    pub(crate) fn is_descending(&self) -> bool {
        self.descending
    }
}

/// What is wrong with the definition of an index.
///
/// ```
/// let error = ifmatch::Index::on("/a/*/b/*").check().unwrap_err();
/// assert_eq!(error.to_string(), "an index may have one * in all its fields, and this has 2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A field is not a JSON Pointer.
    #[error("the field {path:?} is not a JSON Pointer: {reason}")]
    InvalidPath {
        /// The field as it was given.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// There is more than one `*`.
    #[error("an index may have one * in all its fields, and this has {count}")]
    SeveralElements {
        /// How many there are.
        count: usize,
    },
    /// A field is there twice.
    #[error("the field {path:?} is in the index twice")]
    RepeatedField {
        /// The field.
        path: String,
    },
    /// There are more than 8 fields.
    #[error("the index has {count} fields, over the limit of 8")]
    TooManyFields {
        /// How many there are.
        count: usize,
    },
    /// The collection has an index of these fields that is unique, or is not, other than this.
    #[error(
        "the collection has an index on {index}, and that one is {}unique; drop it first, or ask \
         for it as it is",
        if *.unique { "" } else { "not " }
    )]
    OtherUniqueness {
        /// The name of the index.
        index: String,
        /// Whether the one that the collection has is unique.
        unique: bool,
    },
    /// The text form is longer than 256 bytes.
    #[error("the index has {bytes} bytes as text, over the limit of 256")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Index {
    /// An index that is sorted by one field, ascending.
    ///
    /// ```
    /// let index = ifmatch::Index::on("/author");
    /// assert_eq!(index.name(), "/author");
    /// ```
    pub fn on(path: &str) -> Self {
        Self::empty(false).push(path, false)
    }

    /// An index that is sorted by one field, descending.
    ///
    /// ```
    /// let index = ifmatch::Index::on_desc("/modified");
    /// assert_eq!(index.name(), "-/modified");
    /// ```
    pub fn on_desc(path: &str) -> Self {
        Self::empty(false).push(path, true)
    }

    /// Sorts by another field, ascending, where the fields before it are equal.
    ///
    /// ```
    /// let index = ifmatch::Index::on("/country").then("/city");
    /// assert_eq!(index.name(), "/country,/city");
    /// ```
    pub fn then(self, path: &str) -> Self {
        self.push(path, false)
    }

    /// Sorts by another field, descending, where the fields before it are equal.
    ///
    /// See [`Index`] for an example.
    pub fn then_desc(self, path: &str) -> Self {
        self.push(path, true)
    }

    /// Allows at most one item to have each value of all fields together. A write that would make a
    /// second one is refused as [`Error::NotUnique`](crate::Error::NotUnique), in every program.
    ///
    /// Items that lack the first field do not count. A later field that an item lacks counts as a
    /// value of its own, and so does null. If an `Option` may be empty in several items, leave the
    /// field out, with `#[serde(skip_serializing_if = "Option::is_none")]`. With a `*`, no two
    /// items may share an element; one item may have it twice. Values are compared as in a
    /// [`Filter`](crate::Filter): the number 1 equals 1.0, and strings that differ only in case, or
    /// in the form of an accent, are different.
    ///
    /// ```
    /// # fn main() -> Result<(), ifmatch::Error> {
    /// use ifmatch::{Error, Index};
    /// use serde_json::json;
    ///
    /// let users = ifmatch::Store::in_memory().collection::<serde_json::Value>("users")?;
    /// users.ensure_index(Index::on("/email").unique())?;
    /// users.create("ann", &json!({"email": "a@example.org"}))?;
    /// match users.create("bob", &json!({"email": "a@example.org"})) {
    ///     Err(Error::NotUnique { of, .. }) => assert_eq!(&of[..], b"ann"),
    ///     other => panic!("expected a refusal, got {other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// Whether the index is [unique](Self::unique).
    ///
    /// ```
    /// use ifmatch::Index;
    ///
    /// assert!(Index::on("/email").unique().is_unique());
    /// assert_eq!("unique /email".parse(), Ok(Index::on("/email").unique()));
    /// ```
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// The fields as text, which name the index in its collection. As [`Display`](fmt::Display)
    /// writes it, but does not say whether the index is unique.
    ///
    /// ```
    /// use ifmatch::Index;
    ///
    /// assert_eq!(Index::on("/email").name(), "/email");
    /// assert_eq!(Index::on("/email").unique().name(), "/email");
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = String::new();
        for (at, field) in self.fields.iter().enumerate() {
            if at > 0 {
                name.push(',');
            }
            if field.descending {
                name.push('-');
            }
            for c in field.path.as_str().chars() {
                if matches!(c, ',' | '\\') {
                    name.push('\\');
                }
                name.push(c);
            }
        }
        name
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    ///
    /// ```
    /// use ifmatch::Index;
    ///
    /// assert!(Index::on("/a").then("/b").check().is_ok());
    /// assert!(Index::on("/a").then("/a").check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), IndexError> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn empty(unique: bool) -> Self {
        Self { fields: Vec::new(), unique, fault: None }
    }

    fn push(mut self, path: &str, descending: bool) -> Self {
        if self.fault.is_some() {
            return self;
        }
        match Pointer::parse(path) {
            Ok(path) => {
                self.fault = self.reason_against(&path);
                self.fields.push(Field { path, descending });
                self.note_length();
            }
            Err(reason) => {
                self.fault = Some(IndexError::InvalidPath { path: path.to_owned(), reason });
            }
        }
        self
    }

    fn reason_against(&self, path: &Pointer) -> Option<IndexError> {
        let each = |field: &Field| field.path.each_count();
        let count = self.fields.iter().map(each).sum::<usize>() + path.each_count();
        if count > 1 {
            return Some(IndexError::SeveralElements { count });
        }
        if self.fields.iter().any(|field| field.path == *path) {
            return Some(IndexError::RepeatedField { path: path.as_str().to_owned() });
        }
        let count = self.fields.len() + 1;
        (count > MAX_FIELDS).then_some(IndexError::TooManyFields { count })
    }

    fn note_length(&mut self) {
        let bytes = self.name().len();
        if bytes > MAX_TEXT_BYTES && self.fault.is_none() {
            self.fault = Some(IndexError::TooLong { bytes });
        }
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unique = if self.unique { UNIQUE } else { "" };
        write!(f, "{unique}{}", self.name())
    }
}

impl FromStr for Index {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let (unique, text) = text.strip_prefix(UNIQUE).map_or((false, text), |rest| (true, rest));
        let fields = split_fields(text).into_iter();
        let fields = fields.map(|field| match field.strip_prefix('-') {
            Some(path) => (path.to_owned(), true),
            None => (field, false),
        });
        let empty = Self::empty(unique);
        let index = fields.fold(empty, |index, (path, descending)| index.push(&path, descending));
        index.check().map(|()| index)
    }
}

/// The fields between the commas that no backslash is before.
fn split_fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == ',' {
            fields.push(String::new());
            continue;
        }
        let c = if c == '\\' { chars.next().unwrap_or(c) } else { c };
        if let Some(field) = fields.last_mut() {
            field.push(c);
        }
    }
    fields
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.check().map_err(serde::ser::Error::custom)?;
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
