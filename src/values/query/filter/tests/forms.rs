//! The text and the JSON form.

use proptest::prelude::*;
use serde_json::json;

use super::filters;
use crate::values::query::filter::Filter;

#[test]
fn a_text_is_read_as_what_it_says() {
    let (a, b, c) = (Filter::exists("/a"), Filter::exists("/b"), Filter::exists("/c"));
    for (text, filter) in [
        ("/a=1", Filter::eq("/a", 1)),
        ("  /a   !=  -1.5e3 ", Filter::ne("/a", -1.5e3)),
        ("/a<=\"x\"", Filter::le("/a", "x")),
        ("/a>[1, {\"b\": null}]", Filter::gt("/a", json!([1, {"b": null}]))),
        ("/a>=true", Filter::ge("/a", true)),
        ("/a<null", Filter::lt("/a", ())),
        ("/a BETWEEN 1 AND 5 AND /b EXISTS", Filter::all([Filter::between("/a", 1, 5), b.clone()])),
        (
            "/a in [1,2] or /b in []",
            Filter::any([Filter::is_in("/a", [1, 2]), Filter::is_in("/b", Vec::<u8>::new())]),
        ),
        ("/a prefix \"\\u00e9\\\"\"", Filter::prefix("/a", "é\"")),
        ("/tags contains \"work\"", Filter::eq("/tags/*", "work")),
        ("\"/first name\" = \"Ada\"", Filter::eq("/first name", "Ada")),
        ("\"\" = 1", Filter::eq("", 1)),
        ("/ = 1", Filter::eq("/", 1)),
        ("/and = 1", Filter::eq("/and", 1)),
        ("not/a exists", Filter::not(a.clone())),
        ("not not /a exists", Filter::not(Filter::not(a.clone()))),
        (
            "/a exists and /b exists or /c exists",
            Filter::any([Filter::all([a.clone(), b.clone()]), c.clone()]),
        ),
        (
            "/a exists and(/b exists or/c exists)",
            Filter::all([a.clone(), Filter::any([b.clone(), c.clone()])]),
        ),
        ("not /a exists and /b exists", Filter::all([Filter::not(a.clone()), b.clone()])),
        ("((/a exists))", a.clone()),
        ("/a exists\n  and /b exists", Filter::all([a.clone(), b.clone()])),
        ("/x/* has (/a exists and /b exists)", Filter::element("/x/*", Filter::all([a, b]))),
        ("true", Filter::all([])),
        ("not false", Filter::not(Filter::any([]))),
    ] {
        assert_eq!(text.parse().as_ref(), Ok(&filter), "{text}");
        assert_eq!(filter.to_string().parse(), Ok(filter), "{text}");
    }
}

#[test]
fn an_error_points_at_its_place() {
    for (text, line, column, reason) in [
        ("", 1, 1, "a condition is expected"),
        ("/a", 1, 3, "after a path"),
        ("/a = ", 1, 6, "a JSON value is expected"),
        ("/a = work", 1, 6, "a JSON value is expected"),
        ("/a = \"work", 1, 10, "the JSON value cannot be read: EOF while parsing a string"),
        ("/a = 1 /b = 2", 1, 8, "`and`, `or` or the end is expected"),
        ("price < 50", 1, 1, "a condition is expected"),
        ("/a = 1 and", 1, 11, "a condition is expected"),
        ("(/a = 1", 1, 8, "a ) is expected"),
        ("/a = 1)", 1, 7, "`and`, `or` or the end is expected"),
        ("/é = 1 and /b ~ 2", 1, 15, "after a path"),
        ("/a = 1\nand /b = x", 2, 10, "a JSON value is expected"),
        ("/a exists and /~2 = 1", 1, 15, "\"/~2\" is not a JSON Pointer"),
        ("/a between 1", 1, 13, "`and` and the upper bound are expected"),
        ("/a between 1 and \"x\"", 1, 1, "the two bounds are of different kinds"),
        ("/a in 5", 1, 7, "a list of values in [ ] is expected"),
        ("/a prefix 5", 1, 11, "a string is expected"),
        ("/a has /b = 1", 1, 8, "a ( is expected"),
        ("/a = [1, x]", 1, 10, "the JSON value cannot be read"),
    ] {
        let error = text.parse::<Filter>().unwrap_err();
        assert_eq!((error.line(), error.column()), (line, column), "{text:?}: {error}");
        assert!(error.reason().contains(reason), "{text:?}: {error}");
    }
    let long = format!("{} /b = 1", vec!["/a exists and"; 100].join(" "));
    let error = format!("{long} ?").parse::<Filter>().unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].len() <= 123, "{error}");
    assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('?'), "{error}");
    let deep = format!("{}/a exists{}", "(".repeat(40), ")".repeat(40));
    assert!(deep.parse::<Filter>().unwrap_err().reason().contains("32 levels"));
    assert!(format!("/a = \"{}\"", "x".repeat(64 << 10)).parse::<Filter>().is_err());
}

#[test]
fn a_json_form_is_read_as_documented_and_nothing_else_is() {
    let form = json!({"op": "contains", "path": "/tags", "value": "work"});
    assert_eq!(serde_json::from_value::<Filter>(form).unwrap(), Filter::eq("/tags/*", "work"));
    for wrong in [
        json!({"op": "eq", "path": "a", "value": 1}),
        json!({"op": "eq", "path": "/a"}),
        json!({"op": "like", "path": "/a", "value": 1}),
        json!({"op": "exists", "path": "/a", "extra": 1}),
        json!({"op": "between", "path": "/a", "low": 1, "high": "x"}),
        json!([]),
    ] {
        assert!(serde_json::from_value::<Filter>(wrong.clone()).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_filter(filter in filters()) {
        let text = filter.to_string();
        prop_assert_eq!(text.parse(), Ok(filter.clone()), "{}", text);
        let json = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Filter>(&json).unwrap(), &filter, "{}", json);
    }

    #[test]
    fn any_text_is_read_without_a_panic(
        text in prop_oneof!["\\PC*", "([ /a=<>!\"()\\[\\],1é]|and|or|not|in|has){0,12}"],
    ) {
        match text.parse::<Filter>() {
            Ok(filter) => prop_assert_eq!(filter.to_string().parse(), Ok(filter)),
            Err(error) => prop_assert!(error.column() <= text.chars().count() + 1),
        }
    }
}
