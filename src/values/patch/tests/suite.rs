//! What the public conformance suites for JSON Patch ask beyond the RFC's own examples.

use super::*;

#[test]
fn what_is_allowed_works() {
    for (document, patch, expected) in [
        // No operation, no change, whatever the document.
        ("{}", "[]", "{}"),
        ("[]", "[]", "[]"),
        ("7", "[]", "7"),
        (r#"[{"b": 1, "a": 2}]"#, "[]", r#"[{"a": 2, "b": 1}]"#),
        // The whole document, of any type.
        (r#""old""#, r#"[{"op": "replace", "path": "", "value": "new"}]"#, r#""new""#),
        ("{}", r#"[{"op": "add", "path": "", "value": []}]"#, "[]"),
        ("[]", r#"[{"op": "add", "path": "", "value": {"k": 1}}]"#, r#"{"k": 1}"#),
        (r#"{"k": 1}"#, r#"[{"op": "test", "path": "", "value": {"k": 1}}]"#, r#"{"k": 1}"#),
        (r#"{"k": [1]}"#, r#"[{"op": "copy", "from": "/k", "path": ""}]"#, "[1]"),
        (r#"{"k": [1]}"#, r#"[{"op": "move", "from": "/k", "path": ""}]"#, "[1]"),
        // An add over a member replaces it; in an array it never does.
        (r#"{"k": null}"#, r#"[{"op": "add", "path": "/k", "value": 1}]"#, r#"{"k": 1}"#),
        ("[1, 2]", r#"[{"op": "add", "path": "/0", "value": 0}]"#, "[0, 1, 2]"),
        ("[1, 2]", r#"[{"op": "add", "path": "/2", "value": 3}]"#, "[1, 2, 3]"),
        ("[]", r#"[{"op": "add", "path": "/-", "value": [1]}]"#, "[[1]]"),
        ("[1, [2, [3]]]", r#"[{"op": "add", "path": "/1/1/-", "value": 4}]"#, "[1, [2, [3, 4]]]"),
        ("[1, 2]", r#"[{"op": "replace", "path": "/1", "value": [3, 4]}]"#, "[1, [3, 4]]"),
        // An empty name is a name; digits and a hyphen may be one.
        ("{}", r#"[{"op": "add", "path": "/", "value": 1}]"#, r#"{"": 1}"#),
        (r#"{"k": {}}"#, r#"[{"op": "add", "path": "/k/", "value": 1}]"#, r#"{"k": {"": 1}}"#),
        ("{}", r#"[{"op": "add", "path": "/0", "value": 1}]"#, r#"{"0": 1}"#),
        ("{}", r#"[{"op": "add", "path": "/01", "value": 1}]"#, r#"{"01": 1}"#),
        ("{}", r#"[{"op": "add", "path": "/-", "value": 1}]"#, r#"{"-": 1}"#),
        (r#"{"1e0": 1}"#, r#"[{"op": "test", "path": "/1e0", "value": 1}]"#, r#"{"1e0": 1}"#),
        (r#"{"__proto__": 1}"#, r#"[{"op": "remove", "path": "/__proto__"}]"#, "{}"),
        // null is a value like others.
        (r#"{"k": null}"#, r#"[{"op": "test", "path": "/k", "value": null}]"#, r#"{"k": null}"#),
        (r#"{"k": null}"#, r#"[{"op": "remove", "path": "/k"}]"#, "{}"),
        (r#"{"k": null}"#, r#"[{"op": "replace", "path": "/k", "value": 1}]"#, r#"{"k": 1}"#),
        (r#"{"k": null}"#, r#"[{"op": "move", "from": "/k", "path": "/l"}]"#, r#"{"l": null}"#),
        (r#"{"k": 1}"#, r#"[{"op": "add", "path": "/k", "value": null}]"#, r#"{"k": null}"#),
        // Moves and copies.
        (r#"{"k": 1}"#, r#"[{"op": "move", "from": "/k", "path": "/k"}]"#, r#"{"k": 1}"#),
        (r#"{"k": 1}"#, r#"[{"op": "move", "from": "", "path": ""}]"#, r#"{"k": 1}"#),
        (r#"{"a": {"b": 1}}"#, r#"[{"op": "move", "from": "/a/b", "path": "/a"}]"#, r#"{"a": 1}"#),
        (r#"{"a": 1}"#, r#"[{"op": "move", "from": "/a", "path": "/ab"}]"#, r#"{"ab": 1}"#),
        (r#"[{"a": 1}]"#, r#"[{"op": "move", "from": "/0/a", "path": "/1"}]"#, "[{}, 1]"),
        (
            r#"{"a": {"b": 1}}"#,
            r#"[{"op": "copy", "from": "/a", "path": "/a/c"}]"#,
            r#"{"a": {"b": 1, "c": {"b": 1}}}"#,
        ),
        // Operations see what those before them did.
        (
            "[1, 2, 3, 4]",
            r#"[{"op": "remove", "path": "/1"}, {"op": "remove", "path": "/2"}]"#,
            "[1, 3]",
        ),
        // Members that the operation does not define are ignored, of whatever type.
        (
            r#"{"k": 1}"#,
            r#"[{"op": "remove", "path": "/k", "from": 5, "value": {}, "x": []}]"#,
            "{}",
        ),
    ] {
        assert_patched(document, patch, expected);
    }
}

#[test]
fn every_character_can_be_part_of_a_name() {
    let document = r#"{"a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7,
        "m~n": 8, "é": 9, "~1": 10}"#;
    let patch = r#"[{"op": "test", "path": "/a~1b", "value": 1},
        {"op": "test", "path": "/c%d", "value": 2}, {"op": "test", "path": "/e^f", "value": 3},
        {"op": "test", "path": "/g|h", "value": 4}, {"op": "test", "path": "/i\\j", "value": 5},
        {"op": "test", "path": "/k\"l", "value": 6}, {"op": "test", "path": "/ ", "value": 7},
        {"op": "test", "path": "/m~0n", "value": 8}, {"op": "test", "path": "/é", "value": 9},
        {"op": "test", "path": "/~01", "value": 10}]"#;
    assert_patched(document, patch, document);
}

#[test]
fn what_is_not_there_is_not_found() {
    for (document, op, path) in [
        ("[1, 2]", "add", "/3"),
        ("[1, 2]", "add", "/-1"),
        ("[1, 2]", "add", "/+1"),
        ("[1, 2]", "add", "/01"),
        ("[1, 2]", "add", "/1e0"),
        ("[1, 2]", "add", "/k"),
        ("[1, 2]", "add", "/"),
        ("[1, 2]", "add", "/99999999999999999999999"),
        ("[[1], 2]", "add", "/-/0"),
        (r#"{"k": 1}"#, "add", "/l/m"),
        (r#"{"k": 1}"#, "add", "/k/m"),
        (r#"{"k": "text"}"#, "add", "/k/0"),
        ("{}", "remove", "/k"),
        ("[1]", "remove", "/1"),
        ("[1]", "remove", "/-"),
        ("[1]", "remove", "/00"),
        ("[1, 2]", "remove", "/1e0"),
        (r#"[{"k": 1}]"#, "remove", "/0e0/k"),
        ("{}", "replace", "/k"),
        ("[1]", "replace", "/1"),
        ("[1]", "replace", "/-"),
        ("[1, 2]", "replace", "/01"),
        (r#"{"k": 1}"#, "replace", "/l/m"),
    ] {
        let patch = format!(r#"[{{"op": "{op}", "path": "{path}", "value": 0}}]"#);
        let expected = PatchError::PathNotFound { index: 0, path: path.to_owned() };
        assert_eq!(outcome(document, &patch), Err(expected), "{op} {path} on {document}");
    }
}

#[test]
fn what_a_move_or_copy_reads_must_be_there() {
    for op in ["move", "copy"] {
        for (document, from) in
            [("{}", "/k"), ("[1]", "/1"), ("[1]", "/-"), ("[1, 2]", "/01"), ("[1, 2]", "/1e0")]
        {
            for path in ["/x", from] {
                let patch = format!(r#"[{{"op": "{op}", "from": "{from}", "path": "{path}"}}]"#);
                let expected = PatchError::PathNotFound { index: 0, path: from.to_owned() };
                assert_eq!(outcome(document, &patch), Err(expected), "{patch} on {document}");
            }
        }
        let patch = format!(r#"[{{"op": "{op}", "from": "/k", "path": "/l/m"}}]"#);
        let expected = PatchError::PathNotFound { index: 0, path: "/l/m".to_owned() };
        assert_eq!(outcome(r#"{"k": 1}"#, &patch), Err(expected));
    }
}

#[test]
fn a_test_of_what_is_missing_or_different_fails() {
    for (document, path, value) in [
        ("{}", "/k", "null"),
        ("[1, 2]", "/00", "1"),
        ("[1, 2]", "/1e0", "2"),
        ("[1, 2]", "/-", "2"),
        (r#"{"k": [1, 2]}"#, "/k", "[1]"),
        (r#"{"k": [1, 2]}"#, "/k", "[2, 1]"),
        (r#"{"k": 1}"#, "", "{}"),
        ("null", "", "false"),
    ] {
        let patch = format!(r#"[{{"op": "test", "path": "{path}", "value": {value}}}]"#);
        let expected = PatchError::TestFailed { index: 0, path: path.to_owned() };
        assert_eq!(outcome(document, &patch), Err(expected), "{patch} on {document}");
    }
}

#[test]
fn numbers_are_tested_by_their_value() {
    for (document, value) in [("1", "1.0"), ("1.0", "1"), ("100", "1e2"), ("[0]", "[-0.0]")] {
        let patch = format!(r#"[{{"op": "test", "path": "", "value": {value}}}]"#);
        assert_patched(document, &patch, document);
    }
}

#[test]
fn a_value_cannot_be_moved_into_itself() {
    for (from, path) in [("/a", "/a/b"), ("/a", "/a/b/c"), ("", "/a")] {
        let patch = format!(r#"[{{"op": "move", "from": "{from}", "path": "{path}"}}]"#);
        let expected = PatchError::MovedIntoItself { index: 0, path: path.to_owned() };
        assert_eq!(outcome(r#"{"a": {"b": {}}}"#, &patch), Err(expected), "{patch}");
    }
}

#[test]
fn the_whole_document_cannot_be_removed() {
    let result = outcome("{}", r#"[{"op": "remove", "path": ""}]"#);
    assert_eq!(result, Err(PatchError::RemovesDocument { index: 0 }));
}
