#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
//! Encoding, order, entries and definitions, against plain rules.

mod encoding;
mod index;
mod partial;
mod plan;

use proptest::prelude::*;
use serde_json::{Number, Value};

/// Numbers that lie close together, at the edges of the types that hold them, and any.
pub(super) fn numbers() -> impl Strategy<Value = Number> {
    let edges: Vec<Number> = [0.0, -0.0, 0.5, 1.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN]
        .into_iter()
        .chain([9_007_199_254_740_992.0, 9_223_372_036_854_775_808.0, 18_446_744_073_709_551_616.0])
        .map(|float| Number::from_f64(float).unwrap())
        .collect();
    let near = |center: i128| {
        (-3_i128..=3).prop_filter_map("beyond 64 bits", move |by| {
            let integer = center + by;
            let signed = i64::try_from(integer).map(Number::from);
            signed.or_else(|_| u64::try_from(integer).map(Number::from)).ok()
        })
    };
    prop_oneof![
        (-4_i64..=4).prop_map(Number::from),
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        prop::sample::select(edges),
        near(1 << 53),
        near(-(1 << 53)),
        near(1 << 63),
        near(-(1 << 63)),
        near(1 << 64),
        (prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO)
            .prop_map(|float| Number::from_f64(float).unwrap()),
    ]
}

/// Values of every kind, small ones that often meet.
pub(super) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Number),
        "[a\u{0}\u{1}é\u{10ffff}]{0,3}".prop_map(Value::String),
        ("[ab]{250,260}").prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[ab\u{0}]{0,2}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
