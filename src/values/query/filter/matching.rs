//! Whether a document meets a condition.

use serde_json::Value;

use super::{Comparison, Condition};
use crate::values::query::order::{compare, equal, kind};

impl Condition {
    pub(crate) fn matches(&self, document: &Value) -> bool {
        match self {
            Self::Compare { path, comparison: Comparison::Ne, value } => {
                let mut exists = false;
                let equals = path.any(document, &mut |found| {
                    exists = true;
                    equal(found, value)
                });
                exists && !equals
            }
            Self::Compare { path, comparison, value } => {
                path.any(document, &mut |found| comparison.holds(found, value))
            }
            Self::Between { path, low, high } => path.any(document, &mut |found| {
                Comparison::Ge.holds(found, low) && Comparison::Le.holds(found, high)
            }),
            Self::In { path, values } => {
                path.any(document, &mut |found| values.iter().any(|value| equal(found, value)))
            }
            Self::Prefix { path, prefix } => path.any(document, &mut |found| {
                found.as_str().is_some_and(|text| text.starts_with(prefix.as_str()))
            }),
            Self::Exists { path } => path.any(document, &mut |_| true),
            Self::All(parts) => parts.iter().all(|part| part.matches(document)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(document)),
            Self::Not(of) => !of.matches(document),
            Self::Element { path, of } => path.any(document, &mut |found| of.matches(found)),
        }
    }
}

impl Comparison {
    /// Whether a value compares so with another, which except for equality must be of its kind.
    fn holds(self, found: &Value, value: &Value) -> bool {
        let order = || (kind(found) == kind(value)).then(|| compare(found, value));
        match self {
            Self::Eq => equal(found, value),
            Self::Ne => !equal(found, value),
            Self::Lt => order().is_some_and(|order| order.is_lt()),
            Self::Le => order().is_some_and(|order| order.is_le()),
            Self::Gt => order().is_some_and(|order| order.is_gt()),
            Self::Ge => order().is_some_and(|order| order.is_ge()),
        }
    }
}
