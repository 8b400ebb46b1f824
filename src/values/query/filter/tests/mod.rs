#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
//! Filters: what they match, and their forms.

mod forms;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::build::{MAX_DEPTH, MAX_PARTS};
use super::{Condition, Filter, FilterError};
use crate::values::query::order::compare;
use crate::values::query::tests::values;

/// Filters on the few paths that documents of [`documents`] have.
pub(super) fn filters() -> impl Strategy<Value = Filter> {
    let path = || prop::sample::select(vec!["", "/a", "/b", "/a/*", "/*", "/a/0", "/a b", "/é~1"]);
    let leaf = prop_oneof![
        (path(), values()).prop_map(|(path, value)| Filter::eq(path, value)),
        (path(), values()).prop_map(|(path, value)| Filter::ne(path, value)),
        (path(), values()).prop_map(|(path, value)| Filter::lt(path, value)),
        (path(), values()).prop_map(|(path, value)| Filter::le(path, value)),
        (path(), values()).prop_map(|(path, value)| Filter::gt(path, value)),
        (path(), values()).prop_map(|(path, value)| Filter::ge(path, value)),
        (path(), any::<[i8; 2]>()).prop_map(|(path, [a, b])| Filter::between(path, a, b)),
        (path(), prop::collection::vec(values(), 0..3))
            .prop_map(|(path, values)| Filter::is_in(path, values)),
        (path(), "[ab\"\\\\\u{0}]{0,2}").prop_map(|(path, text)| Filter::prefix(path, text)),
        path().prop_map(Filter::exists),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let several = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            several.clone().prop_map(Filter::all),
            several.prop_map(Filter::any),
            inner.clone().prop_map(Filter::not),
            (path(), inner).prop_map(|(path, filter)| Filter::element(path, filter)),
        ]
    })
}

fn documents() -> impl Strategy<Value = Value> {
    let values =
        || prop_oneof![values(), prop::collection::vec(values(), 0..3).prop_map(Value::from)];
    prop_oneof![
        values(),
        (values(), values()).prop_map(|(a, b)| json!({"a": a, "b": b})),
        values().prop_map(|a| json!({"a": a})),
    ]
}

#[test]
fn a_condition_holds_as_the_table_says() {
    let document = json!({
        "n": 5, "half": 0.5, "null": null, "yes": true, "text": "abc", "tags": ["a", "b"],
        "empty": [], "items": [{"k": 1, "n": 10}, {"k": 2, "n": 20}], "deep": {"x": {"y": [1, [2]]}}
    });
    let holds = [
        Filter::eq("/n", 5.0),
        Filter::eq("/tags/*", "b"),
        Filter::eq("/tags/1", "b"),
        Filter::eq("/tags", ["a", "b"]),
        Filter::eq("/null", ()),
        Filter::eq("/deep/x/y/*/*", 2),
        Filter::contains("/tags", "a"),
        Filter::ne("/n", 6),
        Filter::ne("/n", "5"),
        Filter::ne("/tags/*", "c"),
        Filter::lt("/n", 6),
        Filter::lt("/half", 1),
        Filter::le("/n", 5),
        Filter::gt("/n", 4.5),
        Filter::ge("/n", 5),
        Filter::gt("/yes", false),
        Filter::lt("/text", "abd"),
        Filter::between("/n", 5, 5),
        Filter::between("/n", 1, 9.5),
        Filter::is_in("/n", [json!("x"), json!(5)]),
        Filter::is_in("/tags/*", ["x", "a"]),
        Filter::prefix("/text", "ab"),
        Filter::prefix("/text", ""),
        Filter::prefix("/tags/*", "b"),
        Filter::exists("/null"),
        Filter::exists(""),
        Filter::exists("/tags/*"),
        Filter::all([]),
        Filter::all([Filter::eq("/tags/*", "a"), Filter::eq("/tags/*", "b")]),
        Filter::any([Filter::eq("/n", 1), Filter::eq("/n", 5)]),
        Filter::not(Filter::eq("/missing", 1)),
        Filter::not(Filter::exists("/empty/*")),
        Filter::element("/items/*", Filter::all([Filter::eq("/k", 2), Filter::gt("/n", 15)])),
        Filter::element("/tags/*", Filter::eq("", "a")),
        Filter::element("/deep", Filter::exists("/x/y")),
    ];
    for filter in holds {
        assert_eq!(filter.matches(&document), Ok(true), "{filter}");
        assert_eq!(Filter::not(filter.clone()).matches(&document), Ok(false), "not {filter}");
    }
    let fails = [
        Filter::eq("/n", "5"),
        Filter::eq("/missing", ()),
        Filter::ne("/n", 5.0),
        Filter::ne("/missing", 1),
        Filter::ne("/tags/*", "a"),
        Filter::lt("/n", 5),
        Filter::lt("/null", 5),
        Filter::gt("/text", 5),
        Filter::ge("/missing", 0),
        Filter::lt("/yes", 1),
        Filter::between("/n", 6, 9),
        Filter::between("/n", 9, 1),
        Filter::is_in("/n", Vec::<i32>::new()),
        Filter::prefix("/n", ""),
        Filter::prefix("/text", "b"),
        Filter::exists("/missing"),
        Filter::exists("/empty/*"),
        Filter::any([]),
        Filter::element("/items/*", Filter::all([Filter::eq("/k", 1), Filter::gt("/n", 15)])),
        Filter::element("/missing", Filter::all([])),
    ];
    for filter in fails {
        assert_eq!(filter.matches(&document), Ok(false), "{filter}");
    }
}

#[test]
fn what_is_wrong_with_a_filter_is_kept_and_told() {
    let wrong = Filter::eq("a", 1);
    for filter in [
        wrong.clone(),
        Filter::not(wrong.clone()),
        Filter::all([Filter::exists("/x"), wrong.clone()]),
        Filter::element("/x", wrong),
    ] {
        let error = filter.check().unwrap_err();
        assert!(matches!(&error, FilterError::InvalidPath { path, .. } if path == "a"), "{error}");
        assert_eq!(filter.matches(&json!(1)), Err(error));
        assert!(serde_json::to_string(&filter).is_err());
    }
    let kinds = Filter::between("/a", 1, "1").check();
    assert!(matches!(kinds, Err(FilterError::InvalidValue { .. })));
    let infinite = Filter::eq("/a", f64::INFINITY).check();
    assert!(matches!(infinite, Err(FilterError::InvalidValue { .. })));
}

#[test]
fn a_filter_is_taken_up_to_its_limits() {
    let nested = |levels: usize| (1..levels).fold(Filter::exists("/a"), |f, _| Filter::not(f));
    assert_eq!(nested(MAX_DEPTH).check(), Ok(()));
    assert_eq!(nested(MAX_DEPTH + 1).check(), Err(FilterError::TooDeep));
    let many = |n: usize| Filter::any((0..n).map(|n| Filter::eq("/a", n)));
    assert_eq!(many(MAX_PARTS - 1).check(), Ok(()));
    assert_eq!(many(MAX_PARTS).check(), Err(FilterError::TooLarge));
    assert_eq!(Filter::is_in("/a", 0..MAX_PARTS - 1).check(), Ok(()));
    assert_eq!(Filter::is_in("/a", 0..).check(), Err(FilterError::TooLarge));
    let long = format!("/{}", "x".repeat(1_024));
    assert!(matches!(Filter::exists(&long).check(), Err(FilterError::InvalidPath { .. })));
}

/// A plain reading of a condition: lists of values in place of a walk that ends early.
fn plain(condition: &Condition, document: &Value) -> bool {
    let at = |path: &crate::values::query::pointer::Pointer| {
        let mut found = Vec::new();
        path.any(document, &mut |value| {
            found.push(value.clone());
            false
        });
        found
    };
    let name = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let same = |a: &Value, b: &Value| name(a) == name(b);
    match condition {
        Condition::Compare { path, comparison, value } => {
            let found = at(path);
            let any = |test: &dyn Fn(&Value) -> bool| found.iter().any(test);
            use super::Comparison::{Eq, Ge, Gt, Le, Lt, Ne};
            match comparison {
                Eq => any(&|v| compare(v, value).is_eq()),
                Ne => !found.is_empty() && found.iter().all(|v| compare(v, value).is_ne()),
                Lt => any(&|v| same(v, value) && compare(v, value).is_lt()),
                Le => any(&|v| same(v, value) && compare(v, value).is_le()),
                Gt => any(&|v| same(v, value) && compare(v, value).is_gt()),
                Ge => any(&|v| same(v, value) && compare(v, value).is_ge()),
            }
        }
        Condition::Between { path, low, high } => at(path)
            .iter()
            .any(|v| same(v, low) && compare(v, low).is_ge() && compare(v, high).is_le()),
        Condition::In { path, values } => {
            at(path).iter().any(|v| values.iter().any(|value| compare(v, value).is_eq()))
        }
        Condition::Prefix { path, prefix } => at(path).iter().any(|v| match v {
            Value::String(text) => text.as_bytes().get(..prefix.len()) == Some(prefix.as_bytes()),
            _ => false,
        }),
        Condition::Exists { path } => !at(path).is_empty(),
        Condition::All(parts) => !parts.iter().any(|part| !plain(part, document)),
        Condition::Any(parts) => parts.iter().any(|part| plain(part, document)),
        Condition::Not(of) => !plain(of, document),
        Condition::Element { path, of } => at(path).iter().any(|value| plain(of, value)),
    }
}

proptest! {
    #[test]
    fn a_filter_matches_as_a_plain_reading_does(filter in filters(), document in documents()) {
        let expected = plain(filter.condition().unwrap(), &document);
        prop_assert_eq!(filter.matches(&document), Ok(expected), "{} of {}", filter, document);
    }
}
