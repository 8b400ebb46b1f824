//! The order of JSON values, by which filters compare and indexes are sorted.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::number::Exact;

/// Orders two values: null, false, true, numbers, strings, arrays, objects.
///
/// Numbers are ordered by their exact value, whichever type holds them; strings by their bytes in
/// UTF-8; arrays element by element; objects by their members in the order of the names, name before
/// value. What begins like another and ends sooner is less.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Exact::of(a).cmp(&Exact::of(b)),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differ = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            differ.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => compare_members(a, b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Whether two values are equal: 1 and 1.0 are.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b).is_eq()
}

fn compare_members(a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
    let (a, b) = (sorted_members(a), sorted_members(b));
    let pairs = a.iter().zip(&b);
    let differ = pairs
        .map(|((name_a, a), (name_b, b))| name_a.cmp(name_b).then_with(|| compare(a, b)))
        .find(|order| order.is_ne());
    differ.unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// The members in the order of their names, which a map need not have: a dependent may have asked
/// `serde_json` for another.
pub(super) fn sorted_members(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    members
}

/// The kind of a value: values of one kind are compared by `<` and its like.
pub(crate) fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 1,
        other => rank(other),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}
