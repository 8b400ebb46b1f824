//! [`Stored`]: documents as the bytes that a codec stores.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

#[cfg(feature = "bincode")]
use super::Bincode;
use super::sealed::{CodecId, Sealed};
use super::{Codec, CodecStep, Json, decode_json};
use crate::values::error::Result;

/// The documents of a collection that is stored as `C`, as the bytes that are stored: for tools
/// that do not know the documents' type, such as exports and inspections.
///
/// [`CollectionInfo::codec`](crate::CollectionInfo::codec) names a collection's codec:
/// `Stored<Json>` opens one that is stored as `json`, `Stored<Bincode>` one that is stored as
/// `bincode`, and [`Raw`](crate::Raw) needs no other view. Every verb works, and tags, history and
/// feed are the same, because the collection is.
///
/// Reading copies and decodes nothing. Writing stores the bytes as they are: `Stored<Json>` checks
/// that they are one JSON text that nests at most 127 levels and whose numbers fit a 64-bit integer
/// or a finite float, at the cost of one pass over it. `Stored<Bincode>` cannot check anything:
/// bincode names no types, so bytes that are not a document of the program's type are found only
/// when the program reads them, as [`Error::Codec`](crate::Error::Codec).
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Error, Json, Store, Stored};
///
/// let store = Store::in_memory();
/// store.collection::<(f64, u32)>("points")?.create("a", &(1.5, 300))?;
///
/// let stored = store.collection_with::<bytes::Bytes, Stored<Json>>("points")?;
/// let item = stored.get("a")?.ok_or(Error::not_found("points", "a"))?;
/// assert_eq!(&*item.value, b"[1.5,300]");
/// stored.replace("a", &"[2,7]".into(), item.etag())?;
/// assert!(matches!(stored.create("b", &"[2,".into()), Err(Error::Codec(_))));
/// # Ok(()) }
/// ```
pub struct Stored<C> {
    codec: PhantomData<C>,
}

impl<C> fmt::Debug for Stored<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored")
    }
}

impl Sealed for Stored<Json> {
    const ID: CodecId = CodecId::Json;
}

#[cfg(feature = "bincode")]
impl Sealed for Stored<Bincode> {
    const ID: CodecId = CodecId::Bincode;
}

impl Codec<Bytes> for Stored<Json> {
    fn encode(value: &Bytes) -> Result<Bytes> {
        decode_json::<Checked>(value, CodecStep::Encode)?;
        Ok(value.to_vec().into())
    }

    fn decode(bytes: Bytes) -> Result<Bytes> {
        Ok(bytes)
    }
}

#[cfg(feature = "bincode")]
impl Codec<Bytes> for Stored<Bincode> {
    fn encode(value: &Bytes) -> Result<Bytes> {
        Ok(value.to_vec().into())
    }

    fn decode(bytes: Bytes) -> Result<Bytes> {
        Ok(bytes)
    }
}

/// Any JSON document, looked at and forgotten. Unlike `IgnoredAny` it is read value by value, so
/// that the limits on depth and numbers hold.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor)
    }
}

struct CheckedVisitor;

macro_rules! accept {
    ($($method:ident: $kind:ty),*) => {
        $(fn $method<E>(self, _: $kind) -> Result<Checked, E> {
            Ok(Checked)
        })*
    };
}

impl<'de> Visitor<'de> for CheckedVisitor {
    type Value = Checked;

    accept!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON document")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Checked, A::Error> {
        while elements.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Checked, A::Error> {
        while members.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn is_accepted(text: impl Into<Bytes>) -> bool {
        let text = text.into();
        let written = <Stored<Json> as Codec<Bytes>>::encode(&text);
        let readable = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
        assert_eq!(written.is_ok(), readable, "{text:?}");
        readable
    }

    #[test]
    fn what_is_written_as_stored_json_can_be_read_as_json() {
        for text in
            ["null", " [1, -2, 3.5e-300] ", r#"{"a":{"b":"\u00e9"},"a":[]}"#, "\"\\ud83d\\ude00\""]
        {
            assert!(is_accepted(text), "{text}");
        }
        for text in ["", "[1,", "{}{}", "nul", "1e999", "{1:2}", "\"\\ud83d\"", "NaN"] {
            assert!(!is_accepted(text), "{text}");
        }
        assert!(!is_accepted(vec![b'"', 0xff, b'"']));
    }

    #[test]
    fn stored_json_nests_no_deeper_than_a_reader_bears() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_accepted(nested(127)));
        assert!(!is_accepted(nested(128)));
    }

    #[test]
    fn a_stored_document_is_what_its_type_wrote() {
        let point = (1.5_f64, 300_u32);
        let bytes = <Bincode as Codec<_>>::encode(&point).unwrap();
        let as_stored = <Stored<Bincode> as Codec<Bytes>>::decode(bytes.clone()).unwrap();
        assert_eq!(<Stored<Bincode> as Codec<Bytes>>::encode(&as_stored).unwrap(), bytes);
    }
}
