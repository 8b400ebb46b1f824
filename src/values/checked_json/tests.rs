//! Whatever JSON cannot hold is refused in every kind of value; the rest is as serde_json writes it.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::values::codec::{Codec, Json};
use crate::values::error::Error as CrateError;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype<F>(F);
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair<F>(u8, F);
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat<F> {
    own: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, F>,
}

/// A map that is written key by key and value by value.
struct Entries<K, V>(Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Entries<K, V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.0 {
            map.serialize_key(key)?;
            map.serialize_value(value)?;
        }
        map.end()
    }
}

/// One variant for each way in which a value can hold another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape<F> {
    Newtype(F),
    Tuple(u8, F),
    Struct { before: bool, inner: F },
    Seq(Vec<F>),
    Array([F; 2]),
    Option(Option<F>),
    Map(BTreeMap<String, F>),
    NewtypeStruct(Newtype<F>),
    TupleStruct(Pair<F>),
    Flat(Flat<F>),
    Deep(Vec<BTreeMap<u16, Option<Pair<F>>>>),
}

fn shapes<F: Copy>(inner: F) -> Vec<Shape<F>> {
    let map = BTreeMap::from([("k".to_owned(), inner)]);
    vec![
        Shape::Newtype(inner),
        Shape::Tuple(1, inner),
        Shape::Struct { before: true, inner },
        Shape::Seq(vec![inner]),
        Shape::Array([inner, inner]),
        Shape::Option(Some(inner)),
        Shape::Map(map.clone()),
        Shape::NewtypeStruct(Newtype(inner)),
        Shape::TupleStruct(Pair(1, inner)),
        Shape::Flat(Flat { own: 1, rest: map }),
        Shape::Deep(vec![BTreeMap::from([(7, Some(Pair(1, inner)))])]),
    ]
}

#[track_caller]
fn refused<T: Serialize + for<'de> Deserialize<'de> + std::fmt::Debug>(value: &T) {
    match Json::encode(value) {
        Err(CrateError::Codec(error)) => {
            assert!(error.to_string().contains(NOT_FINITE), "{value:?}: {error}");
        }
        other => panic!("{value:?} gave {other:?}"),
    }
}

#[track_caller]
fn same_as_serde_json<T: Serialize + for<'de> Deserialize<'de> + std::fmt::Debug>(value: &T) {
    let plain = serde_json::to_vec(value).unwrap();
    assert_eq!(Json::encode(value).unwrap(), plain, "{value:?}");
}

#[test]
fn a_non_finite_number_is_refused_in_every_kind_of_value() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refused(&bad);
        shapes(bad).iter().for_each(refused);
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(&bad);
        shapes(bad).iter().for_each(refused);
    }
}

#[test]
fn a_map_written_in_pieces_is_checked_too() {
    let fine = Entries(vec![("a", 1.0), ("b", -0.0)]);
    assert_eq!(to_vec(&fine).unwrap(), br#"{"a":1.0,"b":-0.0}"#);
    let bad_value = to_vec(&Entries(vec![("a", 1.0), ("b", f64::NAN)])).unwrap_err();
    let bad_key = to_vec(&Entries(vec![(f64::INFINITY, 1)])).unwrap_err();
    for error in [bad_value, bad_key] {
        assert!(error.to_string().contains(NOT_FINITE), "{error}");
    }
}

#[test]
fn other_values_are_written_as_serde_json_writes_them() {
    for fine in [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, 5e-324] {
        shapes(fine).iter().for_each(same_as_serde_json);
    }
    shapes(0.1_f32).iter().for_each(same_as_serde_json);
    shapes(i8::MIN).iter().for_each(same_as_serde_json);
    shapes(u128::MAX).iter().for_each(same_as_serde_json);
    shapes(i128::MIN).iter().for_each(same_as_serde_json);
    shapes('é').iter().for_each(same_as_serde_json);
    shapes(()).iter().for_each(same_as_serde_json);
    same_as_serde_json(&Unit);
    same_as_serde_json(&None::<f64>);
    same_as_serde_json(&(true, i16::MIN, i32::MIN, i64::MIN, u8::MAX, u16::MAX, u64::MAX));
    same_as_serde_json(&"quote \" and \u{1} control".to_owned());
    same_as_serde_json(&bytes::Bytes::from_static(b"\x00\xff"));
    same_as_serde_json(&std::net::Ipv4Addr::LOCALHOST);
    same_as_serde_json(&serde_json::json!({"a": [1, 2.5, null, {"b": "c"}]}));
}

/// One variant for each way to nest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Nest {
    End,
    /// Not nested any further, and yet one level.
    Bytes(bytes::Bytes),
    Newtype(Box<Nest>),
    Tuple(u8, Box<Nest>),
    Struct {
        inner: Box<Nest>,
    },
    Seq(Vec<Nest>),
    Map(BTreeMap<String, Nest>),
    Option(Option<Box<Nest>>),
    Wrapped(Newtype<Box<Nest>>),
    Pair(Box<Pair<Box<Nest>>>),
}

#[test]
fn what_is_written_can_be_read_again_however_it_nests() {
    let boxed = |inner: &Nest| Box::new(inner.clone());
    let nests: [&dyn Fn(&Nest) -> Nest; 8] = [
        &|inner| Nest::Newtype(boxed(inner)),
        &|inner| Nest::Tuple(1, boxed(inner)),
        &|inner| Nest::Struct { inner: boxed(inner) },
        &|inner| Nest::Seq(vec![inner.clone()]),
        &|inner| Nest::Map(BTreeMap::from([("k".to_owned(), inner.clone())])),
        &|inner| Nest::Option(Some(boxed(inner))),
        &|inner| Nest::Wrapped(Newtype(boxed(inner))),
        &|inner| Nest::Pair(Box::new(Pair(1, boxed(inner)))),
    ];
    let ends = [Nest::End, Nest::Bytes(bytes::Bytes::from_static(b"\x01\xff"))];
    let cases = nests.iter().flat_map(|nest| ends.each_ref().map(|end| (nest, end)));
    // Each is some ten thousand levels in all, which is an hour under Miri.
    for (nest, end) in cases.step_by(if cfg!(miri) { 15 } else { 1 }) {
        let mut value = end.clone();
        let mut levels = 0;
        while let Ok(bytes) = Json::encode(&value) {
            assert_eq!(<Json as Codec<Nest>>::decode(bytes).unwrap(), value);
            value = nest(&value);
            levels += 1;
        }
        // Neither refused before what can be read is at its end.
        let text = serde_json::to_vec(&value).unwrap();
        assert!(serde_json::from_slice::<Nest>(&text).is_err(), "{levels} levels");
        let error = Json::encode(&value).unwrap_err();
        assert!(matches!(&error, CrateError::Codec(error) if error.to_string().contains(TOO_DEEP)));
    }
}
