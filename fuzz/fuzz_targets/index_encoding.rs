//! Any two lists of JSON values as an index's codes: the codes are ordered as the values, one that
//! is not cut is read as what was written, and any bytes are read without a panic.
#![no_main]

use std::cmp::Ordering;

use arbitrary::{Arbitrary, Unstructured};
use ifmatch::simulation::{
    compare_values, index_code, index_code_field, index_entries, split_index_entry,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Number, Value};

#[derive(Debug, Arbitrary)]
struct Input {
    a: [Option<Json>; 2],
    b: [Option<Json>; 2],
    descending: [bool; 2],
    index: String,
    key: Vec<u8>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Json(Value);

impl<'a> Arbitrary<'a> for Json {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        value(input, 3).map(Json)
    }
}

fn value(input: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<Value> {
    Ok(match input.int_in_range(0..=if depth == 0 { 7 } else { 9 })? {
        0 => Value::Null,
        1 => Value::Bool(input.arbitrary()?),
        2 => Value::from(input.arbitrary::<i64>()?),
        3 => Value::from(input.arbitrary::<u64>()?),
        4 => Number::from_f64(input.arbitrary()?).map_or(Value::Null, Value::Number),
        // A float that is near an integer.
        5 => Value::from(input.arbitrary::<i64>()? as f64),
        6 => Value::from(input.arbitrary::<String>()?),
        7 => Value::from(
            input.arbitrary::<char>()?.to_string().repeat(input.arbitrary::<u8>()?.into()),
        ),
        8 => {
            let len = input.int_in_range(0..=3)?;
            Value::Array((0..len).map(|_| value(input, depth - 1)).collect::<Result<_, _>>()?)
        }
        _ => {
            let len = input.int_in_range(0..=3)?;
            let member = |_| Ok((input.arbitrary()?, value(input, depth - 1)?));
            Value::Object((0..len).map(member).collect::<Result<Map<_, _>, _>>()?)
        }
    })
}

fuzz_target!(|input: Input| {
    let Input { a, b, descending, index, key, bytes } = &input;
    let fields = |values: &[Option<Json>; 2]| {
        let field = |at: usize| (values[at].as_ref().map(|json| json.0.clone()), descending[at]);
        [field(0), field(1)]
    };
    let (a, b) = (fields(a), fields(b));
    let code = |fields: &[(Option<Value>, bool); 2]| {
        index_code(&[(fields[0].0.as_ref(), fields[0].1), (fields[1].0.as_ref(), fields[1].1)])
    };
    let ((code_a, cut_a), (code_b, cut_b)) = (code(&a), code(&b));
    let expected = order(&a[0], &b[0]).then_with(|| order(&a[1], &b[1]));
    if cut_a || cut_b {
        assert!(code_a == code_b || code_a.cmp(&code_b) == expected);
    } else {
        assert_eq!(code_a.cmp(&code_b), expected);
    }
    if !cut_a {
        let mut rest = &code_a[..];
        for (value, descending) in &a {
            let (read, after) = index_code_field(rest, *descending).expect("a whole code");
            assert_eq!(order(&(read, *descending), &(value.clone(), *descending)), Ordering::Equal);
            rest = after;
        }
        assert!(rest.is_empty());
    }
    if let Some(document) = &a[0].0 {
        for code in index_entries(index, document).into_iter().flatten() {
            let entry = [&code[..], key].concat();
            assert_eq!(split_index_entry(index, &entry), Some((&code[..], &key[..])));
        }
    }
    let mut rest = &bytes[..];
    while let Some((_, after)) = index_code_field(rest, descending[0]) {
        rest = after;
    }
    let _ = split_index_entry(index, bytes);
});

/// The order of two fields, of which a missing one is less than every value.
fn order(a: &(Option<Value>, bool), b: &(Option<Value>, bool)) -> Ordering {
    let order = match (&a.0, &b.0) {
        (Some(a), Some(b)) => compare_values(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    };
    if a.1 { order.reverse() } else { order }
}
