//! [`Bincode`]: documents in a compact form.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sealed::{CodecId, Sealed};
use super::{Codec, undecodable, unencodable};
use crate::values::checked_json::limited;
use crate::values::depth::Document;
use crate::values::error::Result;

/// Documents in bincode's standard form: compact and fast, bound to the exact type, not patchable.
///
/// Fields are distinguished by position alone: adding, removing or reordering one makes older
/// documents unreadable, and `#[serde(flatten)]`, `untagged` and `skip_serializing_if` do not work.
///
/// A document nests at most 255 levels: structs, sequences, maps, newtypes and `Some` are a level
/// each, variants with several fields two. A deeper one is [`Error::Codec`](crate::Error::Codec)
/// when it is written and when it is read; it could overflow the stack of a reader.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Bincode, Error, Store};
///
/// let store = Store::in_memory();
/// let points = store.collection_with::<(f64, f64), Bincode>("points")?;
/// points.create("origin", &(0.0, 0.0))?;
/// let as_json = store.collection::<(f64, f64)>("points");
/// assert!(matches!(as_json, Err(Error::CodecMismatch { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Bincode {}

impl Sealed for Bincode {
    const ID: CodecId = CodecId::Bincode;
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    fn encode(value: &T) -> Result<Bytes> {
        let bytes = bincode::serde::encode_to_vec(limited(value), bincode::config::standard());
        bytes.map(Bytes::from).map_err(unencodable)
    }

    fn decode(bytes: Bytes) -> Result<T> {
        decode(&bytes)
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A length in damaged or foreign bytes must not become an allocation: no container can hold
    // more than what a value may occupy. A number counts with its full width, up to 16 bytes, and
    // may have been written in one.
    let config =
        bincode::config::standard().with_limit::<{ 16 * crate::values::limits::MAX_VALUE_BYTES }>();
    let (Document(value), used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(undecodable)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(undecodable("there are bytes after the document"))
    }
}
