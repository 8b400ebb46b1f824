//! The check that nothing is written that could not be read again: numbers that JSON has no form
//! for, and documents that nest too deeply.

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

#[cfg(feature = "bincode")]
use crate::values::depth;

/// How deeply arrays and objects may nest: what `serde_json` reads.
pub(crate) const MAX_DEPTH: usize = 127;

const NOT_FINITE: &str = "a non-finite number has no JSON form; store it as null or as a string";
const TOO_DEEP: &str = "arrays and objects nest deeper than 127 levels";

/// Writes a value as JSON; fails on NaN, on infinity, and on one that nests too deeply.
pub(crate) fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(128);
    let serializer = &mut serde_json::Serializer::new(&mut bytes);
    value.serialize(Readable { inner: serializer, depth: 0, rules: &JSON })?;
    Ok(bytes)
}

/// A value that fails when it nests deeper than [`depth`](crate::values::depth) lets it be read
/// again.
#[cfg(feature = "bincode")]
pub(crate) fn limited<T: Serialize + ?Sized>(value: &T) -> impl Serialize {
    Nested { value, depth: 0, rules: &BINCODE }
}

/// What one form can hold.
#[derive(Debug)]
struct Rules {
    max_depth: usize,
    too_deep: &'static str,
    /// Whether NaN and infinity can be written.
    non_finite: bool,
    /// The levels of `Some` and of a newtype around what they hold.
    wrapper_levels: usize,
}

/// JSON shows no wrapper: `Some(5)` is `5`.
static JSON: Rules =
    Rules { max_depth: MAX_DEPTH, too_deep: TOO_DEEP, non_finite: false, wrapper_levels: 0 };

#[cfg(feature = "bincode")]
static BINCODE: Rules = Rules {
    max_depth: depth::MAX_DEPTH,
    too_deep: depth::TOO_DEEP,
    non_finite: true,
    wrapper_levels: 1,
};

/// Hands everything to the serializer `inner`, and fails on what that would write without a word
/// though it cannot be read again: in JSON a float that is NaN or infinite, for which `serde_json`
/// writes `null`, and arrays and objects beyond the depth that is read.
struct Readable<S> {
    inner: S,
    /// How many levels it is inside of.
    depth: usize,
    rules: &'static Rules,
}

impl<S> Readable<S> {
    /// The depth inside this number of further levels.
    fn deeper<E: Error>(&self, levels: usize) -> Result<usize, E> {
        let depth = self.depth + levels;
        if depth > self.rules.max_depth { Err(E::custom(self.rules.too_deep)) } else { Ok(depth) }
    }

    fn nested<'a, T: ?Sized>(&self, value: &'a T) -> Nested<'a, T> {
        Nested { value, depth: self.depth, rules: self.rules }
    }

    fn wrapped<'a, T: ?Sized, E: Error>(&self, value: &'a T) -> Result<Nested<'a, T>, E> {
        let depth = self.deeper(self.rules.wrapper_levels)?;
        Ok(Nested { value, depth, rules: self.rules })
    }
}

/// A value inside the value, to be written through [`Readable`] too.
struct Nested<'a, T: ?Sized> {
    value: &'a T,
    depth: usize,
    rules: &'static Rules,
}

impl<T: Serialize + ?Sized> Serialize for Nested<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (depth, rules) = (self.depth, self.rules);
        self.value.serialize(Readable { inner: serializer, depth, rules })
    }
}

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        })*
    };
}

macro_rules! hand_on_open {
    ($($method:ident($($argument:ident: $kind:ty),*) -> $compound:ident, $levels:literal;)*) => {
        $(fn $method(self, $($argument: $kind),*) -> Result<Self::$compound, S::Error> {
            let (depth, rules) = (self.deeper($levels)?, self.rules);
            Ok(Readable { inner: self.inner.$method($($argument),*)?, depth, rules })
        })*
    };
}

impl<S: Serializer> Serializer for Readable<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Readable<S::SerializeSeq>;
    type SerializeTuple = Readable<S::SerializeTuple>;
    type SerializeTupleStruct = Readable<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Readable<S::SerializeTupleVariant>;
    type SerializeMap = Readable<S::SerializeMap>;
    type SerializeStruct = Readable<S::SerializeStruct>;
    type SerializeStructVariant = Readable<S::SerializeStructVariant>;

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if value.is_finite() || self.rules.non_finite {
            self.inner.serialize_f32(value)
        } else {
            Err(S::Error::custom(NOT_FINITE))
        }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_finite() || self.rules.non_finite {
            self.inner.serialize_f64(value)
        } else {
            Err(S::Error::custom(NOT_FINITE))
        }
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
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    /// In JSON an array of numbers.
    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        self.deeper(1)?;
        self.inner.serialize_bytes(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.wrapped(value)?;
        self.inner.serialize_some(&value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.wrapped(value)?;
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let inner = Nested { value, depth: self.deeper(1)?, rules: self.rules };
        self.inner.serialize_newtype_variant(name, index, variant, &inner)
    }

    hand_on_open! {
        serialize_seq(len: Option<usize>) -> SerializeSeq, 1;
        serialize_tuple(len: usize) -> SerializeTuple, 1;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct, 1;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeTupleVariant, 2;
        serialize_map(len: Option<usize>) -> SerializeMap, 1;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct, 1;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize)
            -> SerializeStructVariant, 2;
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! hand_on_elements {
    ($($compound:ident: $method:ident($($key:ident)?);)*) => {
        $(impl<C: $compound> $compound for Readable<C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<(), C::Error> {
                self.inner.$method($($key,)? &self.nested(value))
            }

            $(fn skip_field(&mut self, $key: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field($key)
            })?

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
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

impl<C: SerializeMap> SerializeMap for Readable<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.inner.serialize_key(&self.nested(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&self.nested(value))
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        self.inner.serialize_entry(&self.nested(key), &self.nested(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

#[cfg(test)]
mod tests;
