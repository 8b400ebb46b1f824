//! What a patch leaves alone, and what it must not make.

use serde_json::json;

use super::*;
use crate::values::checked_json::MAX_DEPTH;
use crate::values::limits::MAX_VALUE_BYTES;

/// This number of arrays in one another, around null.
fn nested(levels: usize) -> String {
    format!("{}null{}", "[".repeat(levels), "]".repeat(levels))
}

fn too_deep(path: &str) -> PatchError {
    PatchError::TooDeep { index: 0, path: path.to_owned() }
}

fn text_of(patch: &Patch, stored: &str) -> Result<String, PatchError> {
    patch.apply_to_bytes(stored.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn untouched_numbers_come_back_as_they_were() {
    let numbers = "[0.1,-0.0,5e-324,1.7976931348623157e+308,18446744073709551615,\
        -9223372036854775808,9007199254740993,0.30000000000000004,1.0]";
    let stored = format!(r#"{{"n":{numbers},"x":1}}"#);
    let result = text_of(&Patch::new().incr("/x", 1), &stored).unwrap();
    assert_eq!(result, format!(r#"{{"n":{numbers},"x":2}}"#));
}

#[test]
fn a_document_with_a_number_that_would_change_is_refused() {
    for number in ["18446744073709551616", "-9223372036854775809", "0.12345678901234567891"] {
        let stored = format!(r#"{{"n":[{number}],"x":1}}"#);
        let expected = PatchError::InexactNumber { number: number.to_owned() };
        assert_eq!(text_of(&Patch::new().set("/x", 2), &stored), Err(expected));
    }
}

#[test]
fn of_a_repeated_member_the_last_one_is_kept() {
    let result = text_of(&Patch::new().set("/x", 2), r#"{"a":1,"a":2}"#);
    assert_eq!(result.as_deref(), Ok(r#"{"a":2,"x":2}"#));
}

#[test]
fn bytes_that_are_not_json_are_refused() {
    for stored in ["", "{", "nul", "{} {}", "NaN", "1e999", &nested(MAX_DEPTH + 1)] {
        let error = text_of(&Patch::new(), stored).unwrap_err();
        assert!(matches!(error, PatchError::InvalidDocument { .. }), "{stored}: {error:?}");
        assert_eq!(error.http_status(), 500);
    }
    assert!(Patch::new().apply_to_bytes(b"\"\xff\"").is_err());
}

#[test]
fn the_depth_limit_is_the_one_that_json_is_read_with() {
    assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH)).is_ok());
    assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH + 1)).is_err());
    assert_eq!(text_of(&Patch::new(), &nested(MAX_DEPTH)), Ok(nested(MAX_DEPTH)));
}

#[test]
fn no_operation_makes_a_document_that_is_too_deep_to_read() {
    let value = |levels| json(&nested(levels));
    let document = |levels| json!({"a": value(levels), "b": {"c": 0}});
    let most = MAX_DEPTH - 2;
    for make in [
        |value: Value| Patch::new().add("/b/c", value),
        |value| Patch::new().replace("/b/c", value),
        |value| Patch::new().set("/b/c", value),
        |value| {
            let text = json!([{"op": "merge", "path": "/b/c", "value": value}]);
            serde_json::from_value(text).unwrap()
        },
    ] {
        assert!(patched(&make(value(most)), &document(0)).is_ok());
        assert_eq!(patched(&make(value(most + 1)), &document(0)), Err(too_deep("/b/c")));
    }
    for patch in [Patch::new().move_to("/a", "/b/c"), Patch::new().copy_to("/a", "/b/c")] {
        assert!(patched(&patch, &document(most)).is_ok());
        assert_eq!(patched(&patch, &document(most + 1)), Err(too_deep("/b/c")));
    }
    let whole = Patch::merge(json!({"k": value(MAX_DEPTH)}));
    assert_eq!(patched(&whole, &json!({})), Err(too_deep("")));
    assert!(patched(&Patch::merge(json!({"k": value(MAX_DEPTH - 1)})), &json!({})).is_ok());
    let deeper_path = "/0".repeat(MAX_DEPTH + 1);
    let patch = Patch::new().set(&deeper_path, 1);
    assert_eq!(patched(&patch, &json!([])), Err(too_deep(&deeper_path)));
}

#[test]
fn copies_of_the_document_into_itself_end_at_the_depth_limit() {
    let mut patch = Patch::new();
    let mut path = String::new();
    for _ in 0..1_000 {
        path.push_str("/a");
        patch = patch.copy_to("", &path);
    }
    let error = patched(&patch, &json!({})).unwrap_err();
    assert!(matches!(error, PatchError::TooDeep { .. }), "{error:?}");
}

#[test]
fn copies_that_double_the_document_forty_times_are_refused() {
    let copies = |mut patch: Patch| {
        for _ in 0..40 {
            patch = patch.copy_to("/a", "/a/-");
        }
        patch
    };
    let expected = Err(PatchError::TooLarge { limit: MAX_VALUE_BYTES });
    let long = "x".repeat(1 << 20);
    assert_eq!(patched(&copies(Patch::new()), &json!({"a": [long]})), expected);
    // Also when what is copied came with the patch.
    let patch = copies(Patch::new().set("/a", [long]));
    assert_eq!(patched(&patch, &json!({})), expected);
}

#[test]
fn copies_may_be_many_if_the_document_stays_small() {
    let mut patch = Patch::new();
    for _ in 0..100 {
        patch = patch.copy_to("/a", "/b");
    }
    let document = json!({"a": "x".repeat(1 << 20)});
    let result = patched(&patch, &document).unwrap();
    assert_eq!(result["b"], document["a"]);
}

#[test]
fn a_result_is_refused_from_the_first_byte_over_the_limit() {
    // Numbers are most of it: to write a byte of a string takes many times longer.
    let numbers = vec![u64::MAX; MAX_VALUE_BYTES / 21 - 10];
    let document = |len| json!({"a": "x".repeat(len), "b": numbers});
    let room = MAX_VALUE_BYTES - document(0).to_string().len();
    let with = |len| Patch::merge(document(len)).apply_to_bytes(b"{}");
    assert_eq!(with(room).map(|bytes| bytes.len()), Ok(MAX_VALUE_BYTES));
    assert_eq!(with(room + 1), Err(PatchError::TooLarge { limit: MAX_VALUE_BYTES }));
}
