//! Whether a document meets a condition.

use serde_json::Value;

use super::{Comparison, Condition};
use crate::values::query::order::{compare, equal, kind};
use crate::values::query::partial::Wanted;
use crate::values::query::pointer::Pointer;

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

impl Condition {
    /// Adds the paths that decide whether a document meets it.
    pub(crate) fn add_paths(&self, wanted: &mut Wanted) {
        self.add_paths_below(None, wanted);
    }

    /// `scope` is the path of the value that it is about.
    fn add_paths_below(&self, scope: Option<&Pointer>, wanted: &mut Wanted) {
        let mut add = |path: &Pointer| match scope {
            None => wanted.add(path),
            Some(scope) => wanted.add(scope.join(path).as_ref().unwrap_or(scope)),
        };
        match self {
            Self::Compare { path, .. }
            | Self::Between { path, .. }
            | Self::In { path, .. }
            | Self::Prefix { path, .. }
            | Self::Exists { path } => add(path),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.add_paths_below(scope, wanted));
            }
            Self::Not(of) => of.add_paths_below(scope, wanted),
            // Where the joined path is too long, the elements are wanted as they are.
            Self::Element { path, of } => {
                let joined = scope.map_or_else(|| Some(path.clone()), |scope| scope.join(path));
                match joined {
                    Some(joined) => {
                        wanted.add_presence(&joined);
                        of.add_paths_below(Some(&joined), wanted);
                    }
                    None => add(path),
                }
            }
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
