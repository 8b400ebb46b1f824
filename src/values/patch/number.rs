//! Numbers: which of them a [`Value`] holds exactly, their sums, and when two are equal.

use serde_json::{Number, Value};

/// Why bytes could not be made a [`Value`].
pub(super) enum Unreadable {
    NotJson(serde_json::Error),
    Inexact(String),
}

/// Reads JSON, and refuses a number that would come out of a [`Value`] as another one.
pub(super) fn parse(json: &[u8]) -> Result<Value, Unreadable> {
    let value = serde_json::from_slice(json).map_err(Unreadable::NotJson)?;
    inexact(json).map_or(Ok(value), |number| Err(Unreadable::Inexact(number)))
}

/// The first number in a JSON text that a [`Value`] does not hold exactly, cut to 40 characters.
///
/// `serde_json` makes a float of an integer beyond 64 bits, without a word. What the user's type
/// makes of such a number (a `u128`, a decimal) is not known here, so it is refused.
pub(super) fn inexact(json: &[u8]) -> Option<String> {
    let mut rest = json;
    loop {
        let start = rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
        let (_, from) = rest.split_at_checked(start)?;
        if from.starts_with(b"\"") {
            rest = after_string(from)?;
            continue;
        }
        let in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let len = from.iter().position(|byte| !in_number(byte)).unwrap_or(from.len());
        let (number, after) = from.split_at_checked(len)?;
        if !is_exact(number) {
            return Some(number.iter().take(40).map(|byte| char::from(*byte)).collect());
        }
        rest = after;
    }
}

/// What follows the JSON string that the text begins with.
fn after_string(text: &[u8]) -> Option<&[u8]> {
    let (_, mut rest) = text.split_first()?;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest)?;
        let (found, after) = rest.split_at_checked(at)?.1.split_first()?;
        if *found == b'"' {
            return Some(after);
        }
        (_, rest) = after.split_first()?;
    }
}

fn is_exact(number: &[u8]) -> bool {
    // Most numbers are integers that are far from the limits of 64 bits.
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(number) else { return false };
    if !text.contains(['.', 'e', 'E']) {
        return text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    }
    // Up to 15 digits distinguish two f64 that are neither huge nor tiny.
    if text.len() <= 16 && !text.contains(['e', 'E']) {
        return true;
    }
    // As it would be written again: of two shortest decimals each printer takes its own.
    let held = text.parse().ok().and_then(Number::from_f64);
    held.is_some_and(|held| decimal(text) == decimal(&held.to_string()))
}

/// What a decimal number says, however it is written: its sign, its digits without zeros at either
/// end, and the power of ten of the last. `None` for a power beyond all bounds.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some((negative, String::new(), 0));
    }
    let dropped = digits.len() - kept.len();
    let power = power.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
    let power = power.checked_add(dropped as i64)?;
    Some((negative, kept.trim_start_matches('0').to_owned(), power))
}

enum Numeric {
    Integer(i128),
    Float(f64),
}

fn numeric(number: &Number) -> Option<Numeric> {
    let signed = number.as_i64().map(i128::from);
    let integer = signed.or_else(|| number.as_u64().map(i128::from));
    integer.map(Numeric::Integer).or_else(|| number.as_f64().map(Numeric::Float))
}

/// What is wrong with a sum.
pub(super) enum NoSum {
    Overflow,
    NotFinite,
}

/// The sum of two numbers: an integer if both are, else a float.
pub(super) fn sum(a: &Number, b: &Number) -> Result<Number, NoSum> {
    let float = match (numeric(a), numeric(b)) {
        (Some(Numeric::Integer(a)), Some(Numeric::Integer(b))) => {
            // Both are within 64 bits, so the sum is far from the limits of an i128.
            let sum = a + b;
            let signed = i64::try_from(sum).map(Number::from);
            let number = signed.or_else(|_| u64::try_from(sum).map(Number::from));
            return number.map_err(|_| NoSum::Overflow);
        }
        (Some(a), Some(b)) => a.to_float() + b.to_float(),
        _ => f64::NAN,
    };
    Number::from_f64(float).ok_or(NoSum::NotFinite)
}

impl Numeric {
    fn to_float(&self) -> f64 {
        match self {
            // Rounds: the nearest float is what adding an integer to a float means.
            Self::Integer(integer) => *integer as f64,
            Self::Float(float) => *float,
        }
    }
}

/// Equality as RFC 6902 §4.6 defines it: of numbers by numeric value, so 1 equals 1.0, where
/// `Value` itself distinguishes them.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => equal_numbers(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a)| b.get(key).is_some_and(|b| equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => a == b,
    }
}

fn equal_numbers(a: &Number, b: &Number) -> bool {
    match (numeric(a), numeric(b)) {
        (Some(Numeric::Integer(a)), Some(Numeric::Integer(b))) => a == b,
        (Some(Numeric::Float(a)), Some(Numeric::Float(b))) => a == b,
        (Some(Numeric::Integer(integer)), Some(Numeric::Float(float)))
        | (Some(Numeric::Float(float)), Some(Numeric::Integer(integer))) => {
            is_integer(float, integer)
        }
        _ => a == b,
    }
}

/// Compares without rounding the integer: 2^53 + 1 is not a float, and equals none. A float beyond
/// an `i128` becomes its limit, which no 64-bit integer equals.
fn is_integer(float: f64, integer: i128) -> bool {
    float.fract() == 0.0 && float as i128 == integer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_a_value_would_change_is_found() {
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "340282366920938463463374607431768211455",
            "100000000000000000000",
            "0.1234567890123456789",
            "1.23456789012345678e5",
            "-123456789012345678.5",
            "0.10000000000000001",
            "1e-400",
            "-1e-400",
            "4.9406564584124654e-324",
        ] {
            for text in [
                number.to_owned(),
                format!("[{number}]"),
                format!("{{\"a\\\\\":\"1\\\"\",\"b\" : {number}\n}}"),
            ] {
                assert_eq!(inexact(text.as_bytes()).as_deref(), Some(number), "{text}");
                assert!(matches!(parse(text.as_bytes()), Err(Unreadable::Inexact(_))));
            }
        }
    }

    #[test]
    fn a_number_that_a_value_holds_is_let_through() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "0.30000000000000004",
            "-2.2250738585072014e-308",
            "1.7976931348623157e308",
            "0.00000000000000000000000001",
            "1000000000000000000000000.0",
            "0e99999999999999999999",
            "1E+2",
            "0.10000000000000000000000",
            "5e-324",
            "100e-2",
            "-0.0",
            r#""18446744073709551616""#,
            r#"{"18446744073709551616":"\\","a":"\"18446744073709551616"}"#,
            "null",
        ] {
            assert_eq!(inexact(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value() {
        for (a, b) in [
            (json!(1), json!(1.0)),
            (json!(-0.0), json!(0)),
            (json!(1e2), json!(100)),
            (json!({"a": [1, {"b": 2.0}]}), json!({"a": [1.0, {"b": 2}]})),
            (json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_992.0)),
        ] {
            assert!(equal(&a, &b) && equal(&b, &a), "{a} {b}");
        }
        for (a, b) in [
            (json!(1), json!(1.5)),
            (json!(1), json!("1")),
            (json!(0), json!(null)),
            (json!(0), json!(false)),
            (json!([1]), json!([1, 1])),
            (json!({"a": 1}), json!({"b": 1})),
            (json!({"a": 1}), json!({"a": 1, "b": 1})),
            (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0)),
            (json!(u64::MAX), json!(18_446_744_073_709_551_616.0)),
            (json!(u64::MAX), json!(1e300)),
        ] {
            assert!(!equal(&a, &b) && !equal(&b, &a), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn a_number_that_serde_json_writes_from_64_bits_passes_and_comes_back(
            float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
            single in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL,
            signed: i64,
            unsigned: u64,
        ) {
            type Row = (f64, f32, i64, u64);
            let row: Row = (float, single, signed, unsigned);
            let text = serde_json::to_string(&row).unwrap();
            let Ok(value) = parse(text.as_bytes()) else { panic!("refused {text}") };
            let again = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Row>(&again).unwrap(), row);
        }

        #[test]
        fn an_integer_beyond_64_bits_never_passes(integer: u128) {
            prop_assume!(integer > u128::from(u64::MAX));
            let text = format!("[{integer}]");
            prop_assert!(inexact(text.as_bytes()).is_some());
        }
    }
}
