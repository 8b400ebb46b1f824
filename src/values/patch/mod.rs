//! Partial changes to JSON documents: RFC 6902, RFC 7396, `set` and `incr`.

mod apply;
mod error;
mod number;
mod operation;
mod splice;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use self::error::PatchError;
use self::number::Unreadable;
use self::operation::{Draft, Operation, Operations, Verb};
use crate::values::error::Result;

/// Changes parts of a JSON document, all or nothing.
///
/// A patch is a list of operations, applied in order; if one fails, the document stays as it was
/// and the [`PatchError`] names the operation's index and path. Their number is not limited.
///
/// | operation | what it does | from |
/// |---|---|---|
/// | [`add`](Self::add) | sets a member, inserts an array element | [RFC 6902] |
/// | [`remove`](Self::remove) | takes away what is there | RFC 6902 |
/// | [`replace`](Self::replace) | sets what is there to another value | RFC 6902 |
/// | [`move_to`](Self::move_to), [`copy_to`](Self::copy_to) | `add` what is at another path | RFC 6902 |
/// | [`test`](Self::test) | fails unless the value is there | RFC 6902 |
/// | [`set`](Self::set) | sets a member or an array element, there or not | this crate |
/// | [`incr`](Self::incr) | adds to a number | this crate |
/// | [`merge`](Self::merge) | merges an object into another | [RFC 7396] |
///
/// A path is a JSON pointer ([RFC 6901]): `""` is the whole document, `"/items/0/price"` a field,
/// `"/items/-"` the place after the last element; `~1` is a `/` in a name and `~0` a
/// `~`. The parent of what is written must be there: no operation makes more than one level.
///
/// The builder takes any `Serialize` value, and writes it as a document's field would be written.
/// If a value cannot be written, or a path is not a pointer, the patch keeps the error, and an
/// operation that uses the patch returns it.
///
/// ```
/// use ifmatch::Patch;
///
/// let patch = Patch::new().set("/price", 50.0).incr("/stock", -1).test("/sku", "A1");
/// let text = r#"[
///     {"op": "set", "path": "/price", "value": 50.0},
///     {"op": "incr", "path": "/stock", "value": -1},
///     {"op": "test", "path": "/sku", "value": "A1"}
/// ]"#;
/// assert_eq!(patch, Patch::from_json(text)?);
/// # Ok::<(), ifmatch::Error>(())
/// ```
///
/// # What stays as it is
///
/// A field that is not changed keeps its exact meaning: unknown fields survive, and numbers stay
/// the same, -0.0 and the last bit of a float included. If a number in a document could not be kept
/// so, whichever field holds it, the patch is refused with [`PatchError::InexactNumber`]. Such
/// numbers are integers below `i64::MIN` or above `u64::MAX` (from a `u128`, say), and numbers with
/// more than 17 significant digits. Change such documents with `update`, or store such numbers as
/// strings.
///
/// What has no meaning in JSON may change: the order of an object's members, the white space and
/// escapes of a `RawValue`. Of two members with one name, which a `#[serde(flatten)]`ed map can
/// write in addition to a field, the last one is kept.
///
/// Where an operation would nest the document deeper than 127 levels, or copies would make it
/// larger than 64 MiB, it is refused, so that a patched document can always be read again.
///
/// # As JSON
///
/// With serde a patch is the array of RFC 6902, in which `set` and `incr` are two more operations
/// with a `value`, and a merge patch is a third: `{"op": "merge", "path": "", "value": {…}}`, which
/// may also stand between others and merge into a part of the document. What is written is read
/// back as the same patch. A self-describing format is needed; a patch that keeps an error cannot
/// be written.
///
/// [RFC 6901]: https://www.rfc-editor.org/rfc/rfc6901
/// [RFC 6902]: https://www.rfc-editor.org/rfc/rfc6902
/// [RFC 7396]: https://www.rfc-editor.org/rfc/rfc7396
#[derive(Debug, Clone, PartialEq, Default)]
#[must_use]
pub struct Patch {
    operations: Vec<Result<Operation, PatchError>>,
}

impl Patch {
    /// A patch without operations, which changes nothing.
    ///
    /// ```
    /// assert!(ifmatch::Patch::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the array of operations of [RFC 6902], or one with this crate's own operations.
    ///
    /// Members that an operation does not define are ignored, as the RFC demands. An object is
    /// refused: it may be a merge patch, and a caller that accepts merge patches uses
    /// [`merge`](Self::merge).
    ///
    /// ```
    /// use ifmatch::Patch;
    ///
    /// let patch = Patch::from_json(r#"[{"op": "replace", "path": "/price", "value": 50}]"#)?;
    /// assert_eq!(patch, Patch::new().replace("/price", 50));
    /// assert!(Patch::from_json(r#"{"price": 50}"#).is_err());
    /// # Ok::<(), ifmatch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Patch`](crate::Error::Patch) with
    /// - [`PatchError::NotAPatch`] when the text is not an array, or holds a number that cannot be
    ///   kept exactly;
    /// - [`PatchError::InvalidOperation`], [`InvalidPointer`](PatchError::InvalidPointer) or
    ///   [`InvalidValue`](PatchError::InvalidValue) when one of its elements is not an operation.
    ///
    /// [RFC 6902]: https://www.rfc-editor.org/rfc/rfc6902
    pub fn from_json(text: &str) -> Result<Self> {
        let mut fault = None;
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = reader.deserialize_any(Operations { fault: &mut fault });
        let read = read.and_then(|operations| reader.end().map(|()| operations));
        let operations = read.map_err(|error| {
            fault.unwrap_or_else(|| PatchError::NotAPatch { reason: error.to_string() })
        })?;
        match number::inexact(text.as_bytes()) {
            None => Ok(Self::from(operations)),
            Some(number) => Err(PatchError::NotAPatch { reason: inexact_reason(&number) }.into()),
        }
    }

    /// A merge patch of [RFC 7396]: members of the object are set, `null` ones removed, objects
    /// merged likewise; anything else, arrays too, replaces what was there.
    ///
    /// ```
    /// use ifmatch::Patch;
    /// use serde_json::json;
    ///
    /// let patch = Patch::merge(json!({"name": null, "size": {"cm": 12}}));
    /// let written = json!([
    ///     {"op": "merge", "path": "", "value": {"name": null, "size": {"cm": 12}}}
    /// ]);
    /// assert_eq!(serde_json::to_value(&patch)?, written);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// [RFC 7396]: https://www.rfc-editor.org/rfc/rfc7396
    pub fn merge(value: Value) -> Self {
        Self::new().push(Verb::Merge, "", None, Ok(Some(value)))
    }

    /// Sets the object member at `path`, or inserts an array element before the one there; after
    /// the last one with `/-` or the array's length as index.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().add("/tags/-", "new").add("/tags/0", "first");
    /// assert_eq!(patch.len(), 2);
    /// ```
    pub fn add(self, path: &str, value: impl Serialize) -> Self {
        self.push(Verb::Add, path, None, written(&value))
    }

    /// Removes what is at `path`; fails if nothing is. The whole document cannot be removed.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().remove("/tags/0").remove("/note");
    /// assert_eq!(patch.len(), 2);
    /// ```
    pub fn remove(self, path: &str) -> Self {
        self.push(Verb::Remove, path, None, Ok(None))
    }

    /// Sets what is at `path` to another value; fails if nothing is there.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().replace("/price", 50.0);
    /// assert_eq!(patch.len(), 1);
    /// ```
    pub fn replace(self, path: &str, value: impl Serialize) -> Self {
        self.push(Verb::Replace, path, None, written(&value))
    }

    /// The operation `move`: removes what is at `from` and [adds](Self::add) it at `path`. A value
    /// cannot be moved into itself.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().move_to("/name", "/title");
    /// let text = r#"[{"op": "move", "from": "/name", "path": "/title"}]"#;
    /// assert_eq!(patch, Patch::from_json(text)?);
    /// # Ok::<(), ifmatch::Error>(())
    /// ```
    pub fn move_to(self, from: &str, path: &str) -> Self {
        self.push(Verb::Move, path, Some(from), Ok(None))
    }

    /// The operation `copy`: [adds](Self::add) a copy of what is at `from` at `path`.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().copy_to("/billing", "/delivery");
    /// let text = r#"[{"op": "copy", "from": "/billing", "path": "/delivery"}]"#;
    /// assert_eq!(patch, Patch::from_json(text)?);
    /// # Ok::<(), ifmatch::Error>(())
    /// ```
    pub fn copy_to(self, from: &str, path: &str) -> Self {
        self.push(Verb::Copy, path, Some(from), Ok(None))
    }

    /// Fails with [`PatchError::TestFailed`] unless `value` is at `path`. Numbers are equal if
    /// their values are: 1 and 1.0. A missing field is not `null`.
    ///
    /// To demand that a document has not changed, use its tag. `test` is for a rule that must hold
    /// for any version.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().test("/state", "open").set("/state", "closed");
    /// assert_eq!(patch.len(), 2);
    /// ```
    pub fn test(self, path: &str, value: impl Serialize) -> Self {
        self.push(Verb::Test, path, None, written(&value))
    }

    /// Sets the object member at `path`, whether it is there or not, or overwrites the array
    /// element there; `/-` appends one, and `""` replaces the whole document.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().set("/price", 50.0).set("/tags", ["a", "b"]);
    /// assert_eq!(patch.len(), 2);
    /// ```
    pub fn set(self, path: &str, value: impl Serialize) -> Self {
        self.push(Verb::Set, path, None, written(&value))
    }

    /// Adds `by`, an integer or a finite float, to the number at `path`. A missing object member
    /// counts as 0; a missing array element, or anything but a number, is an error.
    ///
    /// Two integers give an integer, which must lie within `i64::MIN..=u64::MAX`; with a float the
    /// sum is a float, which must be finite.
    ///
    /// ```
    /// # use ifmatch::Patch;
    /// let patch = Patch::new().incr("/stock", -1).incr("/balance", 0.25);
    /// assert_eq!(patch.len(), 2);
    /// ```
    pub fn incr(self, path: &str, by: impl Serialize) -> Self {
        self.push(Verb::Incr, path, None, written(&by))
    }

    /// The number of operations; of a merge patch 1.
    ///
    /// ```
    /// assert_eq!(ifmatch::Patch::new().remove("/a").len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are no operations.
    ///
    /// ```
    /// assert!(!ifmatch::Patch::new().remove("/a").is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn push(
        mut self,
        op: Verb,
        path: &str,
        from: Option<&str>,
        value: Result<Option<Value>, String>,
    ) -> Self {
        let index = self.operations.len();
        let path = path.to_owned();
        self.operations.push(match value {
            Ok(value) => Draft { op, path, from: from.map(Value::from), value }.check(index),
            Err(reason) => Err(PatchError::InvalidValue { index, path, reason }),
        });
        self
    }

    /// The first error that the builder kept.
    fn fault(&self) -> Option<&PatchError> {
        self.operations.iter().find_map(|operation| operation.as_ref().err())
    }
}

/// The value as a document would hold it. It is made through the text, so that what is compared
/// and stored is what the collection's codec would write: of an `f32`, for one, its own digits.
fn written(value: &impl Serialize) -> Result<Option<Value>, String> {
    let json = crate::values::checked_json::to_vec(value).map_err(|error| error.to_string())?;
    number::parse(&json).map(Some).map_err(|unreadable| match unreadable {
        Unreadable::NotJson(error) => error.to_string(),
        Unreadable::Inexact(number) => inexact_reason(&number),
    })
}

fn inexact_reason(number: &str) -> String {
    format!("the number {number} cannot be kept exactly")
}

impl From<Vec<Operation>> for Patch {
    fn from(operations: Vec<Operation>) -> Self {
        Self { operations: operations.into_iter().map(Ok).collect() }
    }
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.fault() {
            Some(fault) => Err(serde::ser::Error::custom(fault)),
            None => serializer.collect_seq(self.operations.iter().flatten()),
        }
    }
}

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Operations { fault: &mut None }).map(Self::from)
    }
}
