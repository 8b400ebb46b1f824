//! Conditions on a document.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Filter`] and what it is built with |
//! | `build.rs` | building one, within the limits |
//! | `condition.rs` | the parts of one |
//! | `matching.rs` | whether a document meets one |
//! | `json.rs` | its form in serde |
//! | `text.rs`, `parser.rs` | its text form: written, read |
//! | `error.rs` | what is wrong with one |

mod build;
mod condition;
mod error;
mod json;
mod matching;
mod parser;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;
use serde_json::Value;

use self::build::{MAX_PARTS, pointer, written};
pub(crate) use self::condition::{Comparison, Condition};
pub use self::error::{FilterError, ParseFilterError};
use super::order::kind;

/// A condition on a JSON document, for [`find`](crate::Collection::find) and
/// [`Precondition::matching`](crate::Precondition::matching).
///
/// A path is a JSON Pointer ([RFC 6901]) in which `*` represents each element of an array:
/// `/price`, `/address/city`, `/tags/*`, and `""` for the whole document. **A condition holds if
/// one of the values that the path leads to meets it.** A path that leads nowhere meets none.
///
/// | filter | text form | holds if a value at the path |
/// |---|---|---|
/// | [`eq`](Self::eq), [`is_in`](Self::is_in) | `/a = 1`, `/a in [1, 2]` | is equal to the value, to one of the values |
/// | [`ne`](Self::ne) | `/a != 1` | is there, and none at the path is equal to the value |
/// | [`lt`](Self::lt) [`le`](Self::le) [`gt`](Self::gt) [`ge`](Self::ge) | `/a < 1` `<=` `>` `>=` | is less, … than the value, and of its kind |
/// | [`between`](Self::between) | `/a between 1 and 5` | is not less than the first, nor greater than the second |
/// | [`prefix`](Self::prefix) | `/a prefix "x"` | is a string that begins with the text |
/// | [`exists`](Self::exists) | `/a exists` | is there, even if it is null |
/// | [`contains`](Self::contains) | `/a contains 1`, which is `/a/* = 1` | is an array with such an element |
/// | [`element`](Self::element) | `/a/* has (/b = 1 and /c = 2)` | meets the whole filter, whose paths begin at the value |
/// | [`all`](Self::all), [`any`](Self::any), [`not`](Self::not) | `and`, `or`, `not` | |
///
/// Numbers are compared by their exact value, whichever type holds them: 1 equals 1.0, and the
/// integer 2⁵³ + 1 does not equal the float 2⁵³. Strings are ordered by their bytes in UTF-8, false
/// before true, arrays element by element. `<` and its like compare values of one kind only, so
/// `/price < 50` finds no item whose price is null.
///
/// Two conditions on `/tags/*` may be met by two tags; with [`element`](Self::element) one tag must
/// meet both. No condition finds an item that lacks its path; `not` of a condition does.
///
/// A filter has at most 1 000 conditions, groups and listed values, and nests at most 32 levels. If
/// something is wrong with it, such as a path that is not a JSON Pointer, the filter keeps the
/// error, and an operation that uses the filter returns it. [`check`](Self::check) returns it at
/// once.
///
/// ```
/// use ifmatch::Filter;
/// use serde_json::json;
///
/// let filter = Filter::all([Filter::lt("/price", 50), Filter::eq("/tags/*", "work")]);
/// assert!(filter.matches(&json!({"price": 9.5, "tags": ["home", "work"]}))?);
/// assert!(!filter.matches(&json!({"price": null, "tags": ["work"]}))?);
///
/// assert_eq!(filter.to_string(), r#"/price < 50 and /tags/* = "work""#);
/// assert_eq!(filter, r#"/price < 50 and /tags/* = "work""#.parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # As text
///
/// `Display` and `FromStr`. `and` binds closer than `or`, `not` closer than both, and parentheses
/// group. Values are JSON. A path with a blank or one of `()[]{},"=<>!` in it, and the empty one,
/// is written as a JSON string: `"/first name" = "Ada"`. `true` holds always and `false` never. An
/// error says where in the text it is.
///
/// # As JSON
///
/// With serde a filter is an object with `op` and what the operation takes; `all` and `any` take a
/// list, `not` and `element` one filter:
///
/// ```
/// use ifmatch::Filter;
///
/// let text = r#"{"op": "all", "of": [
///     {"op": "lt", "path": "/price", "value": 50},
///     {"op": "between", "path": "/stock", "low": 1, "high": 9},
///     {"op": "in", "path": "/state", "values": ["new", "used"]},
///     {"op": "not", "of": {"op": "exists", "path": "/sold"}},
///     {"op": "element", "path": "/parts/*", "of": {"op": "prefix", "path": "/sku", "value": "A"}}
/// ]}"#;
/// let filter: Filter = serde_json::from_str(text)?;
/// assert_eq!(filter, r#"/price < 50 and /stock between 1 and 9 and /state in ["new", "used"]
///     and not /sold exists and /parts/* has (/sku prefix "A")"#.parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [RFC 6901]: https://www.rfc-editor.org/rfc/rfc6901
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Filter {
    condition: Result<Condition, FilterError>,
}

impl Filter {
    /// Holds if a value at the path is equal to this one.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::eq("/n", 1).matches(&serde_json::json!({"n": 1.0}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn eq(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Eq, &value)
    }

    /// Holds if there are values at the path, and none is equal to this one. To find also items
    /// that lack the path, use [`not`](Self::not) of [`eq`](Self::eq).
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// # use serde_json::json;
    /// let filter = Filter::ne("/state", "done");
    /// assert!(filter.matches(&json!({"state": "open"}))? && !filter.matches(&json!({}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn ne(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Ne, &value)
    }

    /// Holds if a value at the path is less than this one, and of its kind.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// # use serde_json::json;
    /// let filter = Filter::lt("/price", 50);
    /// assert!(filter.matches(&json!({"price": 49.9}))?);
    /// assert!(!filter.matches(&json!({"price": null}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn lt(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Lt, &value)
    }

    /// Holds if a value at the path is less than or equal to this one, and of its kind.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::le("/price", 50).matches(&serde_json::json!({"price": 50}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn le(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Le, &value)
    }

    /// Holds if a value at the path is greater than this one, and of its kind.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// let filter = Filter::gt("/modified", "2026-01-01");
    /// assert!(filter.matches(&serde_json::json!({"modified": "2026-01-01T08:00:00Z"}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn gt(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Gt, &value)
    }

    /// Holds if a value at the path is greater than or equal to this one, and of its kind.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::ge("/price", 50).matches(&serde_json::json!({"price": 50}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn ge(path: &str, value: impl Serialize) -> Self {
        Self::compare(path, Comparison::Ge, &value)
    }

    /// Holds if a value at the path is not less than `low` and not greater than `high`, which must
    /// be of one kind.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::between("/price", 10, 50).matches(&serde_json::json!({"price": 50}))?);
    /// assert!(Filter::between("/price", 10, "50").check().is_err());
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn between(path: &str, low: impl Serialize, high: impl Serialize) -> Self {
        Self::of(|| {
            let (low, high) = (written(path, &low)?, written(path, &high)?);
            if kind(&low) != kind(&high) {
                let reason = "the two bounds are of different kinds".to_owned();
                return Err(FilterError::InvalidValue { path: path.to_owned(), reason });
            }
            Ok(Condition::Between { path: pointer(path)?, low, high })
        })
    }

    /// Holds if a value at the path is equal to one of these.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// let filter = Filter::is_in("/state", ["open", "waiting"]);
    /// assert!(filter.matches(&serde_json::json!({"state": "waiting"}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn is_in(path: &str, values: impl IntoIterator<Item = impl Serialize>) -> Self {
        Self::of(|| {
            // One more than the limit, so that too many are refused.
            let values = values.into_iter().take(MAX_PARTS + 1);
            let values = values.map(|value| written(path, &value)).collect::<Result<_, _>>()?;
            Ok(Condition::In { path: pointer(path)?, values })
        })
    }

    /// Holds if a value at the path is a string that begins with this one.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::prefix("/name", "Ad").matches(&serde_json::json!({"name": "Ada"}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn prefix(path: &str, prefix: impl Into<String>) -> Self {
        Self::of(|| Ok(Condition::Prefix { path: pointer(path)?, prefix: prefix.into() }))
    }

    /// Holds if there is a value at the path, which may be null.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// let filter = Filter::not(Filter::exists("/deleted"));
    /// assert!(filter.matches(&serde_json::json!({"name": "Ada"}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn exists(path: &str) -> Self {
        Self::of(|| Ok(Condition::Exists { path: pointer(path)? }))
    }

    /// Holds if the value at the path is an array with an element that is equal to this value: the
    /// same as [`eq`](Self::eq) with `/*` after the path.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert_eq!(Filter::contains("/tags", "work"), Filter::eq("/tags/*", "work"));
    /// ```
    pub fn contains(path: &str, value: impl Serialize) -> Self {
        Self::eq(&format!("{path}/*"), value)
    }

    /// Holds if one value at the path meets the whole filter, whose paths begin at that value.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// # use serde_json::json;
    /// let document = json!({"scores": [5, 25]});
    /// let some = |bounds: [Filter; 2]| Filter::all(bounds);
    /// let two = some([Filter::ge("/scores/*", 10), Filter::lt("/scores/*", 20)]);
    /// assert!(two.matches(&document)?); // 25 is at least 10, and 5 is below 20
    /// let one = some([Filter::ge("", 10), Filter::lt("", 20)]);
    /// assert!(!Filter::element("/scores/*", one).matches(&document)?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    pub fn element(path: &str, filter: Filter) -> Self {
        Self::of(|| {
            Ok(Condition::Element { path: pointer(path)?, of: Box::new(filter.condition?) })
        })
    }

    /// Holds if all of these hold; without any, always.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// let filter = Filter::all([Filter::ge("/price", 10), Filter::lt("/price", 50)]);
    /// assert_eq!(filter.to_string(), "/price >= 10 and /price < 50");
    /// assert_eq!(Filter::all([]).to_string(), "true");
    /// ```
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self::group(filters, Condition::All, |condition| match condition {
            Condition::All(parts) => Ok(parts),
            other => Err(other),
        })
    }

    /// Holds if one of these holds; without any, never.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// let filter = Filter::any([Filter::eq("/state", "open"), Filter::exists("/due")]);
    /// assert_eq!(filter.to_string(), "/state = \"open\" or /due exists");
    /// assert_eq!(Filter::any([]).to_string(), "false");
    /// ```
    pub fn any(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self::group(filters, Condition::Any, |condition| match condition {
            Condition::Any(parts) => Ok(parts),
            other => Err(other),
        })
    }

    /// Holds if the filter does not: also for a document that lacks its path.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::not(Filter::eq("/done", true)).matches(&serde_json::json!({}))?);
    /// # Ok::<(), ifmatch::FilterError>(())
    /// ```
    #[expect(
        clippy::should_implement_trait,
        reason = "named like `all` and `any`, and not an operator"
    )]
    pub fn not(filter: Filter) -> Self {
        Self::of(|| Ok(Condition::Not(Box::new(filter.condition?))))
    }

    /// Whether a document meets the filter.
    ///
    /// # Errors
    /// What is wrong with the filter.
    ///
    /// See [`Filter`] for an example.
    pub fn matches(&self, document: &Value) -> Result<bool, FilterError> {
        self.condition().map(|condition| condition.matches(document)).map_err(Clone::clone)
    }

    /// Checks the filter.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    ///
    /// ```
    /// # use ifmatch::Filter;
    /// assert!(Filter::exists("/a").check().is_ok());
    /// let error = Filter::exists("a").check().unwrap_err();
    /// assert_eq!(error.to_string(), "\"a\" is not a JSON Pointer: it does not begin with a /");
    /// ```
    pub fn check(&self) -> Result<(), FilterError> {
        self.condition().map(drop).map_err(Clone::clone)
    }

    pub(crate) fn condition(&self) -> Result<&Condition, &FilterError> {
        self.condition.as_ref()
    }
}
