//! A document read in part shows at its paths what the whole one shows.

use proptest::prelude::*;
use serde_json::Value;

use super::plan;
use crate::values::query::filter::Filter;
use crate::values::query::partial::Wanted;
use crate::values::query::pointer::Pointer;

const PATHS: [&str; 13] = [
    "", "/a", "/b", "/a/b", "/a/*", "/*", "/*/a", "/a/*/b", "/0", "/a/1", "/0/*", "/b/a/c",
    "/a/*/*",
];

fn documents() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        "[a\"\\\\é]{0,3}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        let members = prop::collection::btree_map("[ab01]", inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn led(document: &Value, path: &Pointer) -> Vec<Value> {
    let mut led = Vec::new();
    path.any(document, &mut |value| {
        led.push(value.clone());
        false
    });
    led
}

proptest! {
    #[test]
    fn a_filter_finds_in_the_part_what_it_finds_in_the_whole(
        whole in plan::documents(), filter in plan::filters()
    ) {
        let mut wanted = Wanted::default();
        filter.condition().unwrap().add_paths(&mut wanted);
        let part = wanted.read(whole.to_string().as_bytes()).unwrap();
        prop_assert_eq!(filter.matches(&part).unwrap(), filter.matches(&whole).unwrap());
    }

    /// Seeded bug: `partial-elements-lose-their-places`.
    #[test]
    fn every_wanted_path_leads_where_it_leads_in_the_whole_document(
        whole in documents(),
        paths in prop::collection::vec(prop::sample::select(&PATHS[..]), 1..4),
    ) {
        let paths: Vec<Pointer> =
            paths.into_iter().map(|path| Pointer::parse(path).unwrap()).collect();
        let partial = Wanted::of(&paths).read(whole.to_string().as_bytes()).unwrap();
        for path in &paths {
            prop_assert_eq!(led(&partial, path), led(&whole, path), "{}", path);
        }
    }
}

/// Seeded bug: `an-element-is-wanted-without-what-is-asked-of-it`.
#[test]
fn what_is_asked_of_an_element_is_wanted_too() {
    let filter = Filter::element("/a/*", Filter::eq("/x", 1));
    let mut wanted = Wanted::default();
    filter.condition().unwrap().add_paths(&mut wanted);
    let part = wanted.read(br#"{"a":[{"x":0},{"x":1,"y":2}],"b":2}"#).unwrap();
    assert!(filter.matches(&part).unwrap(), "{part}");
}

#[test]
fn what_an_element_has_to_be_is_wanted_even_where_any_will_do() {
    let any_element = Filter::element("/a/*", Filter::all([]));
    let mut wanted = Wanted::default();
    any_element.condition().unwrap().add_paths(&mut wanted);
    let part = wanted.read(br#"{"a":[1],"b":2}"#).unwrap();
    assert!(any_element.matches(&part).unwrap());
    assert!(part.get("b").is_none());
}

#[test]
fn what_is_not_wanted_is_not_there() {
    let path = Pointer::parse("/tags/*").unwrap();
    let json = br#"{"text":"long","tags":["a",{"b":[1,"c"]}],"at":[{"tags":1}]}"#;
    let expected: Value = serde_json::from_str(r#"{"tags":["a",{"b":[1,"c"]}]}"#).unwrap();
    assert_eq!(Wanted::of([&path]).read(json).unwrap(), expected);
}

#[test]
fn of_two_members_of_one_name_the_last_counts() {
    let path = Pointer::parse("/a").unwrap();
    let json = br#"{"a":1,"b":0,"\u0061":2}"#;
    assert_eq!(Wanted::of([&path]).read(json).unwrap()["a"], 2);
}

#[test]
fn what_is_no_json_is_refused() {
    let wanted = Wanted::of([&Pointer::parse("/a").unwrap()]);
    for json in ["", "{", r#"{"a":1"#, r#"{"b":[1,}"#, r#"{"a":1} x"#, r#"{"b":"x}"#] {
        assert!(wanted.read(json.as_bytes()).is_err(), "{json}");
    }
}
