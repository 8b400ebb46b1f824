//! The check that no number without a JSON form is written.

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

const REFUSED: &str = "a non-finite number has no JSON form";

/// Writes a value as JSON and fails on NaN and infinity.
pub(crate) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(128);
    value.serialize(Finite(&mut serde_json::Serializer::new(&mut bytes)))?;
    Ok(bytes)
}

/// Hands everything to the serializer `S`, and fails on a float that is NaN or infinite anywhere
/// inside the value: `serde_json` would write `null`, which is another value, or none that can be
/// read again.
pub(crate) struct Finite<S>(pub(crate) S);

/// A value inside the value, to be written through [`Finite`] too.
struct Inner<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Inner<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Finite(serializer))
    }
}

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<S::Ok, S::Error> {
            self.0.$method($($argument),*)
        })*
    };
}

macro_rules! hand_on_open {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $compound:ident;)*) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<Self::$compound, S::Error> {
            self.0.$method($($argument),*).map(Finite)
        })*
    };
}

impl<S: Serializer> Serializer for Finite<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Finite<S::SerializeSeq>;
    type SerializeTuple = Finite<S::SerializeTuple>;
    type SerializeTupleStruct = Finite<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Finite<S::SerializeTupleVariant>;
    type SerializeMap = Finite<S::SerializeMap>;
    type SerializeStruct = Finite<S::SerializeStruct>;
    type SerializeStructVariant = Finite<S::SerializeStructVariant>;

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if value.is_finite() { self.0.serialize_f32(value) } else { Err(S::Error::custom(REFUSED)) }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_finite() { self.0.serialize_f64(value) } else { Err(S::Error::custom(REFUSED)) }
    }

    hand_on! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Inner(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Inner(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &Inner(value))
    }

    hand_on_open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant;
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! hand_on_elements {
    ($($compound:ident: $method:ident($($key:ident)?);)*) => {
        $(impl<C: $compound> $compound for Finite<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), C::Error> {
                self.0.$method($($key,)? &Inner(value))
            }

            $(fn skip_field(&mut self, $key: &'static str) -> Result<(), C::Error> {
                self.0.skip_field($key)
            })?

            fn end(self) -> Result<C::Ok, C::Error> {
                self.0.end()
            }
        })*
    };
}

hand_on_elements! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(key);
    SerializeStructVariant: serialize_field(key);
}

impl<C: SerializeMap> SerializeMap for Finite<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.0.serialize_key(&Inner(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_value(&Inner(value))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        self.0.serialize_entry(&Inner(key), &Inner(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::codec::{Codec, Json};
    use crate::error::Error as CrateError;

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
            Err(CrateError::Codec { source }) => {
                assert!(source.to_string().contains(REFUSED), "{value:?}: {source}");
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
            assert!(error.to_string().contains(REFUSED), "{error}");
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
}
