//! Making a filter from its parts, within the limits.

use serde::Serialize;
use serde_json::Value;

use super::condition::{Comparison, Condition, Size};
use super::{Filter, FilterError};
use crate::values::checked_json;
use crate::values::query::pointer::Pointer;

/// How deep conditions nest at most.
pub(super) const MAX_DEPTH: usize = 32;
/// The most conditions, groups and listed values of a filter.
pub(super) const MAX_PARTS: usize = 1_000;

impl Filter {
    pub(super) fn compare(path: &str, comparison: Comparison, value: &impl Serialize) -> Self {
        Self::of(|| {
            let value = written(path, value)?;
            Ok(Condition::Compare { path: pointer(path)?, comparison, value })
        })
    }

    pub(super) fn group(
        filters: impl IntoIterator<Item = Filter>,
        join: fn(Vec<Condition>) -> Condition,
        parts_of: fn(Condition) -> Result<Vec<Condition>, Condition>,
    ) -> Self {
        Self::of(|| {
            let mut parts = Vec::new();
            for filter in filters {
                match parts_of(filter.condition?) {
                    Ok(inner) => parts.extend(inner),
                    Err(condition) => parts.push(condition),
                }
            }
            match parts.pop() {
                Some(only) if parts.is_empty() => Ok(only),
                last => {
                    parts.extend(last);
                    Ok(join(parts))
                }
            }
        })
    }

    /// Keeps what is built, if it is within the limits.
    pub(super) fn of(build: impl FnOnce() -> Result<Condition, FilterError>) -> Self {
        let within = |condition: Condition| match condition.size(0) {
            Size { depth, .. } if depth > MAX_DEPTH => Err(FilterError::TooDeep),
            Size { parts, .. } if parts > MAX_PARTS => Err(FilterError::TooLarge),
            _ => Ok(condition),
        };
        Self { condition: build().and_then(within) }
    }
}

/// The value as a document would hold it: made through the text, as a patch's is.
pub(super) fn written(path: &str, value: &impl Serialize) -> Result<Value, FilterError> {
    let json = checked_json::to_vec(value).map_err(|error| error.to_string());
    let value = json.and_then(|json| serde_json::from_slice(&json).map_err(|e| e.to_string()));
    value.map_err(|reason| FilterError::InvalidValue { path: path.to_owned(), reason })
}

pub(super) fn pointer(path: &str) -> Result<Pointer, FilterError> {
    let invalid = |reason| FilterError::InvalidPath { path: path.to_owned(), reason };
    Pointer::parse(path).map_err(invalid)
}
