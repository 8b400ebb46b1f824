//! Patches against a second implementation, which follows the path by recursion.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::seams::thinned;

#[derive(Debug, Clone)]
enum Op {
    Add(Value),
    Remove,
    Replace(Value),
    Set(Value),
    Incr(i64),
}

#[derive(Debug, PartialEq)]
struct Refused;

/// Applies one operation to the value that the rest of the path begins at.
fn model(value: Value, path: &[&str], op: &Op) -> Result<Value, Refused> {
    let Some((name, below)) = path.split_first() else { return whole(value, op) };
    match value {
        Value::Object(members) => object(members, name, below, op).map(Value::Object),
        Value::Array(elements) => array(&elements, name, below, op).map(Value::Array),
        _ => Err(Refused),
    }
}

fn whole(value: Value, op: &Op) -> Result<Value, Refused> {
    match op {
        Op::Add(new) | Op::Replace(new) | Op::Set(new) => Ok(new.clone()),
        Op::Remove => Err(Refused),
        Op::Incr(by) => value.as_i64().map(|old| json!(old + by)).ok_or(Refused),
    }
}

fn object(
    mut members: Map<String, Value>,
    name: &str,
    below: &[&str],
    op: &Op,
) -> Result<Map<String, Value>, Refused> {
    let old = members.remove(name);
    let new = match (op, old) {
        (_, Some(old)) if !below.is_empty() => Some(model(old, below, op)?),
        (_, None) if !below.is_empty() => return Err(Refused),
        (Op::Add(new) | Op::Set(new), _) | (Op::Replace(new), Some(_)) => Some(new.clone()),
        (Op::Remove, Some(_)) => None,
        (Op::Incr(by), None) => Some(json!(by)),
        (Op::Incr(_), Some(old)) => Some(whole(old, op)?),
        (Op::Remove | Op::Replace(_), None) => return Err(Refused),
    };
    members.extend(new.map(|new| (name.to_owned(), new)));
    Ok(members)
}

fn array(elements: &[Value], name: &str, below: &[&str], op: &Op) -> Result<Vec<Value>, Refused> {
    let at = match name {
        "-" if below.is_empty() && matches!(op, Op::Add(_) | Op::Set(_)) => elements.len(),
        _ => name.parse().ok().filter(|at: &usize| at.to_string() == name).ok_or(Refused)?,
    };
    let before = elements.get(..at).ok_or(Refused)?;
    let (old, after) = match elements[at..].split_first() {
        Some((old, after)) => (Some(old.clone()), after),
        None => (None, &[][..]),
    };
    let middle = match (op, old) {
        (_, Some(old)) if !below.is_empty() => vec![model(old, below, op)?],
        (_, None) if !below.is_empty() => return Err(Refused),
        (Op::Add(new), old) => std::iter::once(new.clone()).chain(old).collect(),
        (Op::Set(new), None) if name == "-" => vec![new.clone()],
        (Op::Remove, Some(_)) => vec![],
        (_, Some(old)) => vec![whole(old, op)?],
        (_, None) => return Err(Refused),
    };
    Ok([before, &middle, after].concat())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        3 => (-3..4_i64).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!("text")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(names(), inner, 0..3)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn names() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "0", "/~", ""]).prop_map(str::to_owned)
}

fn paths() -> impl Strategy<Value = Vec<&'static str>> {
    let name = prop::sample::select(vec!["a", "a", "b", "0", "0", "1", "-", "01", "/~", ""]);
    prop::collection::vec(name, 0..4)
}

fn operations() -> impl Strategy<Value = (Vec<&'static str>, Op)> {
    let op = prop_oneof![
        values().prop_map(Op::Add),
        Just(Op::Remove),
        values().prop_map(Op::Replace),
        values().prop_map(Op::Set),
        (-2..3_i64).prop_map(Op::Incr),
    ];
    (paths(), op)
}

fn pointer(path: &[&str]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

fn build(operations: &[(Vec<&str>, Op)]) -> Patch {
    operations.iter().fold(Patch::new(), |patch, (path, op)| {
        let path = &pointer(path);
        match op {
            Op::Add(value) => patch.add(path, value),
            Op::Remove => patch.remove(path),
            Op::Replace(value) => patch.replace(path, value),
            Op::Set(value) => patch.set(path, value),
            Op::Incr(by) => patch.incr(path, by),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(thinned(400, 2_000)))]

    #[test]
    fn a_patch_does_what_the_model_does_or_fails_where_it_fails(
        document in values(),
        operations in prop::collection::vec(operations(), 1..5),
    ) {
        let patch = build(&operations);
        let mut expected = Ok(document.clone());
        let mut done = 0;
        for (path, op) in &operations {
            expected = expected.and_then(|value| model(value, path, op));
            done += usize::from(expected.is_ok());
        }
        match (patched(&patch, &document), expected) {
            (Ok(result), Ok(expected)) => prop_assert_eq!(result, expected),
            (Err(error), Err(Refused)) => prop_assert_eq!(error.index(), Some(done)),
            (result, expected) => prop_assert!(false, "{result:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_patch_that_fails_at_its_end_has_done_nothing_at_all(
        document in values(),
        operations in prop::collection::vec(operations(), 0..5),
    ) {
        let stored = serde_json::to_vec(&document).unwrap();
        let before = stored.clone();
        let patch = build(&operations).test("", "what no document here is");
        prop_assert!(patch.apply_to_bytes(&stored).is_err());
        prop_assert_eq!(&stored, &before);
        prop_assert_eq!(Patch::new().apply_to_bytes(&stored), Ok(before));
    }

    #[test]
    fn what_no_operation_names_is_not_changed(
        document in values(),
        untouched in values(),
        float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
        operations in prop::collection::vec(operations(), 1..5),
    ) {
        let around = json!({"kept": [untouched, float], "part": document});
        let inside: Vec<_> = operations
            .into_iter()
            .map(|(path, op)| ([&["part"], path.as_slice()].concat(), op))
            .collect();
        if let Ok(result) = patched(&build(&inside), &around) {
            prop_assert_eq!(result["kept"].to_string(), around["kept"].to_string());
            let maintenance = result.as_object().unwrap().keys().all(|key| key == "kept" || key == "part");
            prop_assert!(maintenance, "{result}");
        }
    }

    #[test]
    fn a_patch_is_read_as_it_was_written(operations in prop::collection::vec(operations(), 0..5)) {
        let patch = build(&operations);
        let text = serde_json::to_string(&patch).unwrap();
        prop_assert_eq!(read(&text), Ok(patch));
    }
}
