//! The examples of RFC 7396: section 3 and the table of appendix A.

use super::*;

#[test]
fn every_row_of_the_table_gives_what_the_rfc_prints() {
    for (document, merged, expected) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let result = patched(&Patch::merge(json(merged)), &json(document));
        assert_eq!(result, Ok(json(expected)), "{merged} on {document}");
    }
}

#[test]
fn the_example_of_section_3_gives_what_the_rfc_prints() {
    let document = r#"{
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged"
    }"#;
    let merged = r#"{
        "title": "Hello!",
        "phoneNumber": "+01-123-456-7890",
        "author": {"familyName": null},
        "tags": ["example"]
    }"#;
    let expected = r#"{
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890"
    }"#;
    assert_eq!(patched(&Patch::merge(json(merged)), &json(document)), Ok(json(expected)));
}

#[test]
fn a_merge_into_a_part_leaves_the_rest() {
    assert_patched(
        r#"{"a": {"x": 1, "y": 2}, "b": 3}"#,
        r#"[{"op": "merge", "path": "/a", "value": {"x": null, "z": 4}}]"#,
        r#"{"a": {"y": 2, "z": 4}, "b": 3}"#,
    );
    let result = outcome("{}", r#"[{"op": "merge", "path": "/a", "value": {}}]"#);
    assert_eq!(result, Err(PatchError::PathNotFound { index: 0, path: "/a".to_owned() }));
}

#[test]
fn a_merge_goes_on_with_other_operations_in_order() {
    let patch = Patch::merge(json(r#"{"a": 1, "b": null}"#)).incr("/a", 1).test("/a", 2);
    assert_eq!(patched(&patch, &json(r#"{"b": 0}"#)), Ok(json(r#"{"a": 2}"#)));
}
