//! What a filter says, once it is known to be whole.

use serde_json::Value;

use crate::values::query::pointer::Pointer;

/// A filter that is whole: its paths are paths, and it is within its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Compare {
        path: Pointer,
        comparison: Comparison,
        value: Value,
    },
    Between {
        path: Pointer,
        low: Value,
        high: Value,
    },
    In {
        path: Pointer,
        values: Vec<Value>,
    },
    Prefix {
        path: Pointer,
        prefix: String,
    },
    Exists {
        path: Pointer,
    },
    /// Not one of one, and none of its parts is such a group itself.
    All(Vec<Condition>),
    /// As `All`.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Element {
        path: Pointer,
        of: Box<Condition>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// How large a condition is.
pub(super) struct Size {
    pub(super) depth: usize,
    pub(super) parts: usize,
}

impl Condition {
    /// Each part is within the limits already, so this recurses at most one level beyond them.
    pub(super) fn size(&self, above: usize) -> Size {
        let depth = above + 1;
        let of = |parts: &[Self]| {
            parts.iter().fold(Size { depth, parts: 1 }, |size, part| {
                let inner = part.size(depth);
                Size { depth: size.depth.max(inner.depth), parts: size.parts + inner.parts }
            })
        };
        match self {
            Self::All(parts) | Self::Any(parts) => of(parts),
            Self::Not(of_one) | Self::Element { of: of_one, .. } => {
                of(std::slice::from_ref(&**of_one))
            }
            Self::In { values, .. } => Size { depth, parts: 1 + values.len() },
            _ => Size { depth, parts: 1 },
        }
    }
}
