//! `set` and `incr`.

use serde_json::json;

use super::*;

const MAX: u64 = u64::MAX;
const MIN: i64 = i64::MIN;

fn at(path: &str) -> (usize, String) {
    (0, path.to_owned())
}

#[test]
fn set_writes_whether_the_field_is_there_or_not() {
    for (document, path, expected) in [
        (json!({}), "/a", json!({"a": "v"})),
        (json!({"a": 1}), "/a", json!({"a": "v"})),
        (json!({"a": {"b": null}}), "/a/b", json!({"a": {"b": "v"}})),
        (json!({"a/b": 1}), "/a~1b", json!({"a/b": "v"})),
        (json!({}), "/-", json!({"-": "v"})),
        (json!({}), "/", json!({"": "v"})),
        (json!([1, 2]), "/0", json!(["v", 2])),
        (json!([1, 2]), "/1", json!([1, "v"])),
        (json!([1, 2]), "/-", json!([1, 2, "v"])),
        (json!([]), "/-", json!(["v"])),
        (json!({"a": 1}), "", json!("v")),
    ] {
        assert_eq!(patched(&Patch::new().set(path, "v"), &document), Ok(expected), "{path}");
    }
}

#[test]
fn set_fails_without_a_parent_or_an_element() {
    for (document, path) in [
        (json!({}), "/a/b"),
        (json!({"a": 1}), "/a/b"),
        (json!("text"), "/0"),
        (json!([1]), "/1"),
        (json!([1]), "/01"),
        (json!([1]), "/+0"),
        (json!([1]), "/a"),
        (json!([]), "/0"),
        (json!([[1]]), "/-/0"),
    ] {
        let result = patched(&Patch::new().set(path, "v"), &document);
        let (index, path) = at(path);
        assert_eq!(result, Err(PatchError::PathNotFound { index, path }), "on {document}");
    }
}

#[test]
fn incr_adds_and_keeps_integers_integers() {
    for (document, by, expected) in [
        (json!(1), json!(2), json!(3)),
        (json!(1), json!(-2), json!(-1)),
        (json!(MIN), json!(MAX), json!(9_223_372_036_854_775_807_u64)),
        (json!(MAX), json!(MIN), json!(9_223_372_036_854_775_807_u64)),
        (json!(MAX - 1), json!(1), json!(MAX)),
        (json!(MIN + 1), json!(-1), json!(MIN)),
        (json!(1), json!(0.5), json!(1.5)),
        (json!(0.5), json!(1), json!(1.5)),
        (json!(1.5), json!(0.5), json!(2.0)),
        (json!(MAX), json!(0.0), json!(18_446_744_073_709_551_616.0)),
        (json!(f64::MAX), json!(-f64::MAX), json!(0.0)),
    ] {
        for (document, path, expected) in [
            (json!({"n": document}), "/n", json!({"n": expected})),
            (json!([document]), "/0", json!([expected])),
            (document, "", expected),
        ] {
            let result = patched(&Patch::new().incr(path, &by), &document).unwrap();
            // In text 2 is not 2.0.
            assert_eq!(result.to_string(), expected.to_string(), "{document} + {by}");
        }
    }
}

#[test]
fn incr_of_a_missing_member_starts_at_0() {
    let patch = Patch::new().incr("/a", 5).incr("/b", -0.5).incr("/c/d", MAX);
    let result = patched(&patch, &json!({"c": {}})).unwrap();
    assert_eq!(result, json!({"a": 5, "b": -0.5, "c": {"d": MAX}}));
}

#[test]
fn incr_of_a_missing_parent_or_element_fails() {
    for (document, path) in [
        (json!({}), "/a/b"),
        (json!({"a": 1}), "/a/b"),
        (json!([]), "/0"),
        (json!([1]), "/-"),
        (json!([1]), "/1"),
        (json!([1]), "/00"),
    ] {
        let result = patched(&Patch::new().incr(path, 1), &document);
        let (index, path) = at(path);
        assert_eq!(result, Err(PatchError::PathNotFound { index, path }), "on {document}");
    }
}

#[test]
fn incr_of_something_else_than_a_number_fails() {
    for other in [json!(null), json!("1"), json!(true), json!([1]), json!({"a": 1})] {
        let result = patched(&Patch::new().incr("/a", 1), &json!({"a": other}));
        let (index, path) = at("/a");
        assert_eq!(result, Err(PatchError::NotANumber { index, path }));
    }
}

#[test]
fn incr_beyond_64_bits_fails() {
    for (number, by) in [
        (json!(MAX), json!(1)),
        (json!(MAX), json!(MAX)),
        (json!(MIN), json!(-1)),
        (json!(MIN), json!(MIN)),
    ] {
        let result = patched(&Patch::new().incr("/a", by), &json!({"a": number}));
        let (index, path) = at("/a");
        assert_eq!(result, Err(PatchError::Overflow { index, path }));
    }
}

#[test]
fn incr_to_infinity_fails() {
    for by in [f64::MAX, f64::MIN] {
        let result = patched(&Patch::new().incr("/a", by), &json!({"a": by}));
        let (index, path) = at("/a");
        assert_eq!(result, Err(PatchError::NotFinite { index, path }));
    }
}

#[test]
fn an_error_names_the_operation_and_its_status() {
    let start = Patch::new().set("/a", 1).incr("/a", 1);
    let document = json!({"s": ""});
    for (patch, status) in [
        (start.clone().test("/s", "x"), 409),
        (start.clone().incr("/s", 1), 422),
        (start.clone().set("/s/x", 1), 422),
        (start.clone().remove("/x"), 422),
    ] {
        let error = patched(&patch, &document).unwrap_err();
        assert_eq!((error.index(), error.http_status()), (Some(2), status), "{error}");
        assert!(error.path().is_some_and(|path| error.to_string().contains(path)));
    }
}
