//! The builder, the JSON form, and what both refuse.

use std::collections::HashMap;

use serde::Serialize;

use super::*;

#[test]
fn the_builder_and_the_text_make_the_same_patch() {
    let built = Patch::new()
        .add("/a", 1)
        .remove("/b")
        .replace("/c", "x")
        .move_to("/d", "/e")
        .copy_to("/f", "/g")
        .test("/h", None::<u8>)
        .set("/i", [1.5])
        .incr("/j", -1);
    let text = concat!(
        r#"[{"op":"add","path":"/a","value":1},{"op":"remove","path":"/b"},"#,
        r#"{"op":"replace","path":"/c","value":"x"},{"op":"move","from":"/d","path":"/e"},"#,
        r#"{"op":"copy","from":"/f","path":"/g"},{"op":"test","path":"/h","value":null},"#,
        r#"{"op":"set","path":"/i","value":[1.5]},{"op":"incr","path":"/j","value":-1}]"#
    );
    assert_eq!(read(text).as_ref(), Ok(&built));
    assert_eq!(serde_json::to_string(&built).unwrap(), text);
    assert_eq!(serde_json::from_str::<Patch>(text).unwrap(), built);
    assert_eq!(serde_json::from_value::<Patch>(json(text)).unwrap(), built);
    assert_eq!(built.len(), 8);
}

#[test]
fn a_merge_patch_is_written_and_read_as_itself() {
    for value in ["null", "[]", r#"{"a": null}"#, r#"[{"op": "remove", "path": "/a"}]"#] {
        let patch = Patch::merge(json(value));
        let text = serde_json::to_string(&patch).unwrap();
        assert_eq!(read(&text), Ok(patch));
    }
}

#[test]
fn what_is_no_array_is_no_patch() {
    for text in ["", "1", "null", r#""[]""#, "[] []", "[]]"] {
        let result = read(text);
        assert!(matches!(result, Err(PatchError::NotAPatch { .. })), "{text}: {result:?}");
        assert_eq!(result.unwrap_err().http_status(), 400);
        assert!(serde_json::from_str::<Patch>(text).is_err(), "{text}");
    }
}

#[test]
fn an_object_is_refused_with_a_word_about_merge() {
    for text in ["{}", r#"{"price": 5}"#] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, PatchError::NotAPatch { .. }), "{error:?}");
        assert!(error.to_string().contains("Patch::merge"), "{error}");
    }
}

#[test]
fn what_is_no_operation_is_refused_with_its_index() {
    for bad in [
        "1",
        "[]",
        "null",
        "{}",
        r#"{"path": "/a", "value": 1}"#,
        r#"{"op": "add", "value": 1}"#,
        r#"{"op": "spam", "path": "/a", "value": 1}"#,
        r#"{"op": "ADD", "path": "/a", "value": 1}"#,
        r#"{"op": null, "path": "/a", "value": 1}"#,
        r#"{"op": "add", "path": 1, "value": 1}"#,
        r#"{"op": "add", "path": null, "value": 1}"#,
        r#"{"op": "add", "path": "/a"}"#,
        r#"{"op": "replace", "path": "/a"}"#,
        r#"{"op": "test", "path": "/a"}"#,
        r#"{"op": "set", "path": "/a"}"#,
        r#"{"op": "incr", "path": "/a"}"#,
        r#"{"op": "merge", "path": "/a"}"#,
        r#"{"op": "move", "path": "/a"}"#,
        r#"{"op": "copy", "path": "/a"}"#,
        r#"{"op": "copy", "path": "/a", "from": null}"#,
        r#"{"op": "remove", "path": "/a", "path": "/b"}"#,
        r#"{"op": "add", "path": "/a", "value": 1e999}"#,
        r#"{"op": "add", "path": "/a", "value": NaN}"#,
        r#"{"op": "add""#,
    ] {
        let result = read(&format!(r#"[{{"op": "remove", "path": "/a"}}, {bad}]"#));
        let error = result.expect_err(bad);
        assert!(matches!(error, PatchError::InvalidOperation { index: 1, .. }), "{bad}: {error:?}");
        assert_eq!((error.index(), error.http_status()), (Some(1), 400));
    }
}

#[test]
fn what_is_no_pointer_is_refused_by_text_and_builder() {
    for bad in ["a", "a/b", "#/a", "/~", "/~2", "/a~b", "/a/~", " /a"] {
        let expected = PatchError::InvalidPointer { index: 1, path: bad.to_owned() };
        assert_eq!(expected.http_status(), 400);
        let other = r#"{"op": "remove", "path": "/a"}"#;
        for operation in [
            format!(r#"{{"op": "add", "path": "{bad}", "value": 1}}"#),
            format!(r#"{{"op": "move", "path": "/a", "from": "{bad}"}}"#),
        ] {
            assert_eq!(read(&format!("[{other}, {operation}]")), Err(expected.clone()));
        }
        let first = Patch::new().set("/a", 1);
        for patch in [
            first.clone().set(bad, 1),
            first.clone().incr(bad, 1).remove("/b").set("also bad", 1),
            first.clone().copy_to(bad, "/a"),
            first.clone().move_to("/a", bad),
        ] {
            assert_eq!(patched(&patch, &json("{}")), Err(expected.clone()));
        }
    }
}

#[test]
fn a_value_that_cannot_be_written_is_reported_when_the_patch_is_used() {
    fn failing<T, S: serde::Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
    #[derive(Serialize)]
    struct Failing {
        #[serde(serialize_with = "failing")]
        field: u8,
    }

    let mut deep = serde_json::Value::Null;
    for _ in 0..128 {
        deep = Value::Array(vec![deep]);
    }
    let first = Patch::new().set("/x", 1);
    for (patch, word) in [
        (first.clone().set("/bad", f64::NAN), "non-finite"),
        (first.clone().add("/bad", [f32::INFINITY]), "non-finite"),
        (first.clone().incr("/bad", f64::NEG_INFINITY), "non-finite"),
        (first.clone().test("/bad", Failing { field: 1 }), "not today"),
        (first.clone().replace("/bad", HashMap::from([((1, 2), 3)])), "key"),
        (first.clone().set("/bad", u128::MAX), "exactly"),
        (first.clone().set("/bad", deep), "deeper"),
        (first.clone().incr("/bad", "1"), "number"),
        (first.clone().incr("/bad", None::<u8>), "number"),
    ] {
        let error = patched(&patch, &json("{}")).unwrap_err();
        assert!(matches!(error, PatchError::InvalidValue { index: 1, .. }), "{error:?}");
        assert_eq!((error.index(), error.path()), (Some(1), Some("/bad")));
        assert!(error.to_string().contains(word), "{error}");
        assert!(serde_json::to_string(&patch).is_err(), "a patch with an error is not written");
        assert_eq!(patch.len(), 2);
    }
}

#[test]
fn an_error_of_the_builder_goes_before_one_of_the_document() {
    let patch = Patch::new().test("/missing", 1).set("/bad", f64::NAN);
    let error = patched(&patch, &json("{}")).unwrap_err();
    assert!(matches!(error, PatchError::InvalidValue { index: 1, .. }), "{error:?}");
}

#[test]
fn an_f32_is_the_number_that_a_document_holds_for_it() {
    #[derive(Serialize)]
    struct Document {
        price: f32,
    }
    let stored = serde_json::to_vec(&Document { price: 0.1 }).unwrap();
    let patch = Patch::new().test("/price", 0.1_f32).set("/other", 0.1_f32);
    let bytes = patch.apply_to_bytes(&stored).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), r#"{"other":0.1,"price":0.1}"#);
}

#[test]
fn a_number_that_would_be_changed_is_refused_in_the_text() {
    let text = r#"[{"op": "set", "path": "/a", "value": 18446744073709551616}]"#;
    assert!(matches!(read(text), Err(PatchError::NotAPatch { .. })));
}
