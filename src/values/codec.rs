//! How documents become bytes: [`Json`], [`Bincode`] and [`Raw`], and [`Stored`] to see those.

#[cfg(feature = "bincode")]
mod binary;
mod stored;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::values::error::{BoxError, CodecError, CodecStep, Error, Result};

#[cfg(feature = "bincode")]
pub use binary::Bincode;
pub use stored::Stored;

/// How a collection turns its documents into stored bytes and back.
///
/// The first write of a collection records the codec. To open the collection with another codec
/// later returns [`Error::CodecMismatch`]. The trait is sealed: the recorded codecs must be known
/// to every version of this crate that opens the store.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Bincode, Codec, Json};
///
/// let point = (1.5_f64, 300_u32);
/// assert_eq!(&*<Json as Codec<_>>::encode(&point)?, b"[1.5,300]");
/// assert_eq!(<Bincode as Codec<_>>::encode(&point)?.len(), 8 + 3);
/// # Ok(()) }
/// ```
pub trait Codec<T>: sealed::Sealed + Send + Sync + 'static {
    /// Turns a document into the bytes that are stored.
    ///
    /// # Errors
    /// [`Error::Codec`] when the document cannot be written in this form.
    fn encode(value: &T) -> Result<Bytes>;

    /// Turns stored bytes back into a document.
    ///
    /// # Errors
    /// [`Error::Codec`] when the bytes are not a document of this type.
    fn decode(bytes: Bytes) -> Result<T>;
}

mod sealed {
    /// Keeps [`Codec`](super::Codec) to this crate's own forms, and names them as recorded.
    pub trait Sealed {
        const ID: CodecId;
    }

    /// The recorded name of a codec; the numbers are part of the format.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum CodecId {
        Json = 1,
        Bincode = 2,
        Raw = 3,
    }
}
pub(crate) use sealed::CodecId;

impl CodecId {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Json, Self::Bincode, Self::Raw].into_iter().find(|id| *id as u8 == byte)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bincode => "bincode",
            Self::Raw => "raw",
        }
    }

    /// Decodes bytes of this codec, whichever it is.
    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: Bytes) -> Result<T> {
        match self {
            Self::Json => decode_json(&bytes, CodecStep::Decode),
            #[cfg(feature = "bincode")]
            Self::Bincode => binary::decode(&bytes),
            #[cfg(not(feature = "bincode"))]
            Self::Bincode => Err(undecodable(
                "this program leaves out the feature `bincode` of ifmatch; build it with that",
            )),
            Self::Raw => T::deserialize(BytesDeserializer(bytes)).map_err(undecodable),
        }
    }
}

/// Documents as JSON: readable anywhere, patchable, tolerant of added fields. The default.
///
/// Floats are written and read without loss. A write refuses non-finite floats, which have no JSON
/// form. It also refuses maps whose keys are not strings, numbers, booleans, characters or unit
/// variants, and arrays and objects that nest deeper than 127 levels, which could not be read
/// again.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let prices = ifmatch::Store::in_memory().collection::<f64>("prices")?;
/// prices.create("apple", &0.5)?;
/// assert!(matches!(prices.create("free", &f64::NAN), Err(ifmatch::Error::Codec { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Json {}

impl sealed::Sealed for Json {
    const ID: CodecId = CodecId::Json;
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn encode(value: &T) -> Result<Bytes> {
        crate::values::checked_json::to_vec(value).map(Bytes::from).map_err(unencodable)
    }

    fn decode(bytes: Bytes) -> Result<T> {
        decode_json(&bytes, CodecStep::Decode)
    }
}

/// Bytes as they are.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// let blobs = ifmatch::Store::in_memory().raw("blobs")?;
/// blobs.create("icon", &vec![0x89, 0x50].into())?;
/// assert_eq!(blobs.get("icon")?.map(|item| item.value.len()), Some(2));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Raw {}

impl sealed::Sealed for Raw {
    const ID: CodecId = CodecId::Raw;
}

impl Codec<Bytes> for Raw {
    /// Copies: a handle to the caller's buffer would keep all of that alive in the cache, and
    /// drop it under the store's locks.
    fn encode(value: &Bytes) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(bytes: Bytes) -> Result<Bytes> {
        Ok(bytes)
    }
}

pub(crate) fn decode_json<T: DeserializeOwned>(bytes: &[u8], step: CodecStep) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| codec_error(step, error))
}

pub(crate) fn codec_error(step: CodecStep, source: impl Into<BoxError>) -> Error {
    Error::Codec(Box::new(CodecError::new(step, source)))
}

fn unencodable(source: impl Into<BoxError>) -> Error {
    codec_error(CodecStep::Encode, source)
}

fn undecodable(source: impl Into<BoxError>) -> Error {
    codec_error(CodecStep::Decode, source)
}

/// Deserializes bytes into any type that can be made of bytes: `Bytes`, byte buffers.
struct BytesDeserializer(Bytes);

impl<'de> serde::Deserializer<'de> for BytesDeserializer {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_byte_buf(self.0.into())
    }

    fn deserialize_seq<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(self.0.into_iter()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}
