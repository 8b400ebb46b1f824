//! The order of codes is the order of values.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Number, Value, json};

use super::{numbers, values};
use crate::values::query::encoding::{CUT_BYTES, Decoder, Encoder, is_cut};
use crate::values::query::number::Exact;
use crate::values::query::order::{compare, equal};

fn encode(fields: &[(Option<&Value>, bool)]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    fields.iter().for_each(|(value, descending)| encoder.field(*value, *descending));
    encoder.finish()
}

fn code(value: &Value) -> Vec<u8> {
    encode(&[(Some(value), false)])
}

/// From the least to the greatest; those in one list are equal.
fn ladder() -> Vec<Vec<Value>> {
    let float = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    vec![
        vec![json!(null)],
        vec![json!(false)],
        vec![json!(true)],
        vec![json!(f64::MIN)],
        vec![json!(i64::MIN), float("-9223372036854775808.0")],
        vec![json!(-9_007_199_254_740_993_i64)],
        vec![json!(-9_007_199_254_740_992_i64), json!(-9_007_199_254_740_992.0)],
        vec![json!(-2)],
        vec![json!(-1), json!(-1.0)],
        vec![json!(-0.5)],
        vec![json!(-5e-324)],
        vec![json!(0), json!(-0.0), json!(0.0)],
        vec![json!(5e-324)],
        vec![json!(f64::MIN_POSITIVE)],
        vec![json!(0.5)],
        vec![json!(1), json!(1.0)],
        vec![json!(1.5)],
        vec![json!(2)],
        vec![json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_992.0)],
        vec![json!(9_007_199_254_740_993_u64)],
        vec![json!(9_007_199_254_740_994_u64)],
        vec![json!(i64::MAX)],
        vec![json!(9_223_372_036_854_775_808_u64), json!(9_223_372_036_854_775_808.0)],
        vec![json!(u64::MAX)],
        vec![json!(18_446_744_073_709_551_616.0)],
        vec![json!(f64::MAX)],
        vec![json!("")],
        vec![json!("\0")],
        vec![json!("\0\0")],
        vec![json!("\0a")],
        vec![json!("\u{1}")],
        vec![json!("a")],
        vec![json!("a\0")],
        vec![json!("aa")],
        vec![json!("é")],
        vec![json!("\u{e000}")],
        vec![json!("\u{10ffff}")],
        vec![json!([])],
        vec![json!([null])],
        vec![json!([1]), json!([1.0])],
        vec![json!([1, null])],
        vec![json!(["a"])],
        vec![json!([[]])],
        vec![json!({})],
        vec![json!({"": 1})],
        vec![json!({"a": 1})],
        vec![json!({"a": 1, "b": 0})],
        vec![json!({"a": 2})],
        vec![json!({"aa": 0})],
        vec![json!({"b": 0})],
    ]
}

#[test]
fn values_and_their_codes_are_in_the_order_of_the_page() {
    let ladder = ladder();
    for (low, a) in ladder.iter().enumerate() {
        for (high, b) in ladder.iter().enumerate() {
            for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
                assert_eq!(compare(a, b), low.cmp(&high), "{a} and {b}");
                assert_eq!(code(a).cmp(&code(b)), low.cmp(&high), "codes of {a} and {b}");
            }
        }
    }
}

#[test]
fn codes_are_as_documented() {
    for (value, expected) in [
        (json!(null), &[0x02][..]),
        (json!(false), &[0x03]),
        (json!(true), &[0x04]),
        (json!(0), &[0x06]),
        (json!(1), &[0x07, 0x04, 0x32, 0x00]),
        (json!(3), &[0x07, 0x04, 0x33, 0x80]),
        (json!(-1), &[0x05, 0xfb, 0xcd, 0xff]),
        (json!("a\0"), &[0x08, 0x61, 0x00, 0xff, 0x00, 0x00]),
        (json!([true]), &[0x09, 0x04, 0x00]),
        (json!({"a": null}), &[0x0a, 0x08, 0x61, 0x00, 0x00, 0x02, 0x00]),
    ] {
        assert_eq!(code(&value), expected, "{value}");
    }
}

#[test]
fn a_missing_field_is_less_than_every_value() {
    let missing = encode(&[(None, false)]);
    let missing_descending = encode(&[(None, true)]);
    for value in ladder().into_iter().flatten() {
        assert!(missing < code(&value));
        assert!(missing_descending > encode(&[(Some(&value), true)]));
    }
}

#[test]
fn a_long_value_is_cut_and_a_short_one_is_not() {
    let text = |len: usize| json!("x".repeat(len));
    assert_eq!(code(&text(252)).len(), 255);
    assert!(!is_cut(&code(&text(252))));
    assert!(is_cut(&code(&text(253))) && is_cut(&code(&text(254))));
    assert_eq!(code(&text(1 << 20)).len(), CUT_BYTES);
    assert!(code(&text(252)) < code(&text(254)));
    assert_eq!(code(&text(300)), code(&text(301)));
}

#[test]
fn bytes_that_are_no_code_are_none() {
    let deep = vec![0x09; 4_096];
    for bytes in [&[][..], &[0x00], &[0x0b], &[0x07, 0xff, 0xff, 0x00], &[0x08, 0x61], &deep] {
        assert_eq!(Decoder::new(bytes).field(false), None, "{bytes:?}");
    }
}

/// The order of two numbers as the exact decimals that they are.
fn plain_order(a: &Number, b: &Number) -> Ordering {
    let integer = |n: &Number| n.as_i64().map(i128::from).or(n.as_u64().map(i128::from));
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (None, None) => a.as_f64().unwrap().partial_cmp(&b.as_f64().unwrap()).unwrap(),
        (Some(a), None) => integer_and_float(a, b.as_f64().unwrap()),
        (None, Some(b)) => integer_and_float(b, a.as_f64().unwrap()).reverse(),
    }
}

fn integer_and_float(integer: i128, float: f64) -> Ordering {
    // An i128 holds the whole part of every float that is not far beyond 64 bits.
    let whole = float.trunc() as i128;
    integer.cmp(&whole).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap())
}

proptest! {
    #[test]
    fn numbers_are_ordered_exactly(a in numbers(), b in numbers()) {
        prop_assert_eq!(Exact::of(&a).cmp(&Exact::of(&b)), plain_order(&a, &b));
    }

    #[test]
    fn a_number_comes_back(number in numbers()) {
        let back = Exact::of(&number).to_number().unwrap();
        prop_assert_eq!(plain_order(&number, &back), Ordering::Equal);
    }

    #[test]
    fn codes_are_ordered_as_their_fields(
        a in prop::array::uniform2(prop::option::weighted(0.9, values())),
        b in prop::array::uniform2(prop::option::weighted(0.9, values())),
        descending: [bool; 2],
    ) {
        let fields = |values: &[Option<Value>; 2]| {
            encode(&[(values[0].as_ref(), descending[0]), (values[1].as_ref(), descending[1])])
        };
        let order = |at: usize| {
            let order = match (&a[at], &b[at]) {
                (Some(a), Some(b)) => compare(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            };
            if descending[at] { order.reverse() } else { order }
        };
        let (code_a, code_b) = (fields(&a), fields(&b));
        let expected = order(0).then_with(|| order(1));
        if is_cut(&code_a) || is_cut(&code_b) {
            // What is cut keeps its order, or is equal.
            prop_assert!(code_a == code_b || code_a.cmp(&code_b) == expected);
        } else {
            prop_assert_eq!(code_a.cmp(&code_b), expected);
            prop_assert!(code_a == code_b || !code_a.starts_with(&code_b));
        }
    }

    #[test]
    fn a_code_that_is_not_cut_is_read_as_what_was_written(value in values(), descending: bool) {
        let code = encode(&[(Some(&value), descending), (None, descending)]);
        prop_assume!(!is_cut(&code));
        let mut decoder = Decoder::new(&code);
        let read = decoder.field(descending).unwrap().unwrap();
        prop_assert!(equal(&read, &value), "{} became {}", value, read);
        let mut passed = Decoder::new(&code);
        prop_assert_eq!(passed.skip(descending), Some(()));
        prop_assert_eq!(passed.rest(), decoder.rest());
        prop_assert_eq!(passed.skip(descending), decoder.field(descending).map(drop));
        prop_assert!(decoder.rest().is_empty() && passed.rest().is_empty());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, descending: bool) {
        let mut decoder = Decoder::new(&bytes);
        while decoder.field(descending).is_some() {}
        let mut decoder = Decoder::new(&bytes);
        while decoder.skip(descending).is_some() {}
    }
}
