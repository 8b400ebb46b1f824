//! A filter as text: how it is written. `parser.rs` reads it.

use std::fmt;

use serde_json::Value;

use super::{Comparison, Condition, Filter};
use crate::values::query::pointer::Pointer;

/// What ends a path that is not written as a JSON string.
pub(super) fn ends_path(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "()[]{},\"=<>!".contains(c)
}

/// Writes the filter's text form; of a filter that keeps an error, that error in brackets.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.condition() {
            Ok(condition) => write!(f, "{condition}"),
            Err(error) => write!(f, "[{error}]"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

struct Path<'a>(&'a Pointer);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        if text.is_empty() || text.contains(ends_path) {
            write!(f, "{}", Value::from(text))
        } else {
            f.write_str(text)
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare { path, comparison, value } => {
                write!(f, "{} {comparison} {value}", Path(path))
            }
            Self::Between { path, low, high } => {
                write!(f, "{} between {low} and {high}", Path(path))
            }
            Self::In { path, values } => {
                write!(f, "{} in [", Path(path))?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Prefix { path, prefix } => {
                write!(f, "{} prefix {}", Path(path), Value::from(prefix.as_str()))
            }
            Self::Exists { path } => write!(f, "{} exists", Path(path)),
            Self::All(parts) if parts.is_empty() => f.write_str("true"),
            Self::Any(parts) if parts.is_empty() => f.write_str("false"),
            Self::All(parts) => {
                // `or` binds less than `and`.
                join(f, parts, " and ", |part| matches!(part, Self::Any(of) if !of.is_empty()))
            }
            Self::Any(parts) => join(f, parts, " or ", |_| false),
            Self::Not(of) => write!(f, "not {}", Grouped(of)),
            Self::Element { path, of } => write!(f, "{} has ({of})", Path(path)),
        }
    }
}

/// A condition in parentheses, if it is several.
struct Grouped<'a>(&'a Condition);

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Condition::All(parts) | Condition::Any(parts) if !parts.is_empty() => {
                write!(f, "({})", self.0)
            }
            one => write!(f, "{one}"),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    parts: &[Condition],
    word: &str,
    in_parentheses: fn(&Condition) -> bool,
) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        f.write_str(if at > 0 { word } else { "" })?;
        if in_parentheses(part) {
            write!(f, "({part})")?;
        } else {
            write!(f, "{part}")?;
        }
    }
    Ok(())
}
