//! The examples of RFC 6902, appendix A.

use super::*;

#[test]
fn the_examples_that_succeed_give_what_the_rfc_prints() {
    for (name, document, patch, expected) in [
        (
            "A.1",
            r#"{"foo": "bar"}"#,
            r#"[{"op": "add", "path": "/baz", "value": "qux"}]"#,
            r#"{"baz": "qux", "foo": "bar"}"#,
        ),
        (
            "A.2",
            r#"{"foo": ["bar", "baz"]}"#,
            r#"[{"op": "add", "path": "/foo/1", "value": "qux"}]"#,
            r#"{"foo": ["bar", "qux", "baz"]}"#,
        ),
        (
            "A.3",
            r#"{"baz": "qux", "foo": "bar"}"#,
            r#"[{"op": "remove", "path": "/baz"}]"#,
            r#"{"foo": "bar"}"#,
        ),
        (
            "A.4",
            r#"{"foo": ["bar", "qux", "baz"]}"#,
            r#"[{"op": "remove", "path": "/foo/1"}]"#,
            r#"{"foo": ["bar", "baz"]}"#,
        ),
        (
            "A.5",
            r#"{"baz": "qux", "foo": "bar"}"#,
            r#"[{"op": "replace", "path": "/baz", "value": "boo"}]"#,
            r#"{"baz": "boo", "foo": "bar"}"#,
        ),
        (
            "A.6",
            r#"{"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}"#,
            r#"[{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]"#,
            r#"{"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}"#,
        ),
        (
            "A.7",
            r#"{"foo": ["all", "grass", "cows", "eat"]}"#,
            r#"[{"op": "move", "from": "/foo/1", "path": "/foo/3"}]"#,
            r#"{"foo": ["all", "cows", "eat", "grass"]}"#,
        ),
        (
            "A.8",
            r#"{"baz": "qux", "foo": ["a", 2, "c"]}"#,
            r#"[{"op": "test", "path": "/baz", "value": "qux"},
                {"op": "test", "path": "/foo/1", "value": 2}]"#,
            r#"{"baz": "qux", "foo": ["a", 2, "c"]}"#,
        ),
        (
            "A.10",
            r#"{"foo": "bar"}"#,
            r#"[{"op": "add", "path": "/child", "value": {"grandchild": {}}}]"#,
            r#"{"foo": "bar", "child": {"grandchild": {}}}"#,
        ),
        (
            "A.11",
            r#"{"foo": "bar"}"#,
            r#"[{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}]"#,
            r#"{"foo": "bar", "baz": "qux"}"#,
        ),
        (
            "A.14",
            r#"{"/": 9, "~1": 10}"#,
            r#"[{"op": "test", "path": "/~01", "value": 10}]"#,
            r#"{"/": 9, "~1": 10}"#,
        ),
        (
            "A.16",
            r#"{"foo": ["bar"]}"#,
            r#"[{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}]"#,
            r#"{"foo": ["bar", ["abc", "def"]]}"#,
        ),
    ] {
        assert_eq!(outcome(document, patch), Ok(json(expected)), "{name}");
    }
}

#[test]
fn a9_a_test_of_another_value_fails() {
    let result =
        outcome(r#"{"baz": "qux"}"#, r#"[{"op": "test", "path": "/baz", "value": "bar"}]"#);
    assert_eq!(result, Err(PatchError::TestFailed { index: 0, path: "/baz".to_owned() }));
}

#[test]
fn a12_an_add_below_something_missing_fails() {
    let result =
        outcome(r#"{"foo": "bar"}"#, r#"[{"op": "add", "path": "/baz/bat", "value": "qux"}]"#);
    assert_eq!(result, Err(PatchError::PathNotFound { index: 0, path: "/baz/bat".to_owned() }));
}

#[test]
fn a13_an_operation_with_two_names_is_refused() {
    let result = read(r#"[{"op": "add", "path": "/baz", "value": "qux", "op": "remove"}]"#);
    assert!(matches!(result, Err(PatchError::InvalidOperation { index: 0, .. })), "{result:?}");
}

#[test]
fn a15_a_string_is_not_equal_to_a_number() {
    let result =
        outcome(r#"{"/": 9, "~1": 10}"#, r#"[{"op": "test", "path": "/~01", "value": "10"}]"#);
    assert_eq!(result, Err(PatchError::TestFailed { index: 0, path: "/~01".to_owned() }));
}
