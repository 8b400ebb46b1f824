//! A line of JSON Lines: a document with its key and version.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use ifmatch::Item;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::documents::Form;
use crate::failure::{Failure, Outcome};
use crate::json::{Layout, lay_out};
use crate::output::time_text;

const MAX_KEY_BYTES: usize = 511;

/// A document as a line is written: keys that are no text, and values that are no JSON, as
/// hexadecimal.
#[derive(Serialize)]
pub(crate) struct ItemLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
    etag: String,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl<'a> ItemLine<'a> {
    pub(crate) fn new(
        collection: Option<&'a str>,
        item: &'a Item<Bytes>,
        form: Form,
    ) -> Outcome<Self> {
        let key = item.key_str();
        let is_json = form == Form::Json;
        Ok(Self {
            collection,
            key,
            key_hex: key.is_none().then(|| hex::encode(item.key())),
            value: is_json.then(|| raw(&item.value)).transpose()?,
            value_hex: (!is_json).then(|| hex::encode(&item.value)),
            codec: (!is_json).then(|| form.name()),
            etag: item.etag().to_string(),
            modified: time_text(item.modified()),
            expires: item.expires().map(time_text),
        })
    }

    pub(crate) fn text(&self) -> Outcome<String> {
        serde_json::to_string(self)
            .map_err(|error| Failure::Input(format!("a document cannot be written: {error}")))
    }
}

/// Stored JSON as it is; line breaks between its tokens, which a program may have stored, go.
pub(crate) fn raw(value: &[u8]) -> Outcome<Box<RawValue>> {
    let not_json = |error: &dyn std::fmt::Display| {
        Failure::Input(format!("a stored document is not JSON: {error}"))
    };
    let text = std::str::from_utf8(value).map_err(|error| not_json(&error))?;
    let text =
        if text.contains(['\n', '\r']) { lay_out(text, Layout::Compact) } else { text.to_owned() };
    RawValue::from_string(text).map_err(|error| not_json(&error))
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line<'a> {
    collection: Option<String>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    key_hex: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    value_hex: Option<String>,
    codec: Option<String>,
    expires: Option<String>,
}

/// Text that is a part of the line, unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A member that is there, also when it is `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A document to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) collection: Option<String>,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// How the line says that it is stored, where the collection is not there yet.
    pub(crate) form: Form,
    /// Whether the value was given as JSON.
    pub(crate) is_json: bool,
    pub(crate) expires: Option<SystemTime>,
}

impl Record {
    /// Reads a line. Key and value are parts of it where they can be.
    ///
    /// # Errors
    /// A text that says what is wrong with the line.
    pub(crate) fn parse(text: &Bytes) -> Result<Self, String> {
        let line: Line<'_> =
            serde_json::from_slice(text.trim_ascii()).map_err(|error| error.to_string())?;
        let bytes = |text: &str| hex::decode(text).map_err(|error| format!("{text:?}: {error}"));
        let key = match (line.key, line.key_hex) {
            (Some(Text(Cow::Borrowed(key))), None) => text.slice_ref(key.as_bytes()),
            (Some(Text(Cow::Owned(key))), None) => key.into_bytes().into(),
            (None, Some(key)) => bytes(&key)?.into(),
            _ => return Err("there must be one of \"key\" and \"key_hex\"".to_owned()),
        };
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return Err(format!("the key has {} bytes; a key has 1 to {MAX_KEY_BYTES}", key.len()));
        }
        let (value, is_json) = match (line.value, &line.value_hex) {
            (Some(value), None) => (text.slice_ref(value.get().as_bytes()), true),
            (None, Some(value)) => (bytes(value)?.into(), false),
            _ => return Err("there must be one of \"value\" and \"value_hex\"".to_owned()),
        };
        let form = match line.codec.as_deref() {
            None => {
                if is_json {
                    Form::Json
                } else {
                    Form::Raw
                }
            }
            Some(name) => {
                Form::from_name(name).ok_or_else(|| format!("there is no codec {name:?}"))?
            }
        };
        let expires = line.expires.map(|text| {
            let time: Result<Timestamp, _> = text.parse();
            time.and_then(SystemTime::try_from).map_err(|error| format!("\"expires\": {error}"))
        });
        let expires = expires.transpose()?;
        Ok(Self { collection: line.collection, key, value, form, is_json, expires })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_document_is_kept_to_the_letter() {
        let parse = |line: &'static [u8]| Record::parse(&Bytes::from_static(line)).unwrap();
        let record = parse(br#"{"value":{"b":1.0,"a":[2e5]},"key":"k\u00e9"}"#);
        assert_eq!(record.key, "k\u{e9}");
        assert_eq!(record.value, r#"{"b":1.0,"a":[2e5]}"#);
        assert_eq!((record.form, record.expires), (Form::Json, None));
        assert_eq!(parse(br#" {"key":"k","value":null}"#).value, "null");
        let bytes = parse(br#"{"key_hex":"00ff","value_hex":"","codec":"bincode"}"#);
        assert_eq!(
            (bytes.key, bytes.value.len(), bytes.form),
            (vec![0, 255].into(), 0, Form::Bincode)
        );
    }

    #[test]
    fn a_line_without_key_or_value_or_with_two_is_refused() {
        for line in [
            &b"{}"[..],
            br#"{"key":"k"}"#,
            br#"{"value":1}"#,
            br#"{"key":"k","value":1,"value_hex":"00"}"#,
            br#"{"key":"k","key_hex":"00","value":1}"#,
            br#"{"key":"k","value":1,"expires":"soon"}"#,
            br#"{"key":"k","value":1,"codec":"xml"}"#,
            br#"{"key":"k","value":1"#,
            br#"{"key":"","value":1}"#,
            b"[]",
        ] {
            let line = Bytes::from_static(line);
            assert!(Record::parse(&line).is_err(), "{}", String::from_utf8_lossy(&line));
        }
    }
}
