//! One operation, and the JSON form of an array of them.

use std::fmt;

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
};
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::PatchError;

/// An operation that is whole: its pointers are pointers and its value is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Operation {
    Set {
        path: PointerBuf,
        value: Value,
    },
    Incr {
        path: PointerBuf,
        #[serde(rename = "value")]
        by: Number,
    },
    Merge {
        path: PointerBuf,
        value: Value,
    },
    #[serde(untagged)]
    Standard(PatchOperation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verb {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
    Set,
    Incr,
    Merge,
}

/// An operation as it is given, in the builder or as JSON: members may be missing or wrong.
///
/// A member that the verb does not define is ignored, as RFC 6902 §4 demands; a repeated one is
/// an error.
#[derive(Debug, Deserialize)]
pub(super) struct Draft {
    pub(super) op: Verb,
    pub(super) path: String,
    #[serde(default, deserialize_with = "present")]
    pub(super) from: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) value: Option<Value>,
}

/// Keeps `null` apart from a missing member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Draft {
    pub(super) fn check(self, index: usize) -> Result<Operation, PatchError> {
        let Self { op, path: text, from, value } = self;
        let path = pointer(index, &text)?;
        let missing = |member: &str| {
            let reason = format!("the member `{member}` is missing");
            PatchError::InvalidOperation { index, reason }
        };
        let value = || value.ok_or_else(|| missing("value"));
        let from = || match from {
            Some(Value::String(from)) => pointer(index, &from),
            Some(_) => {
                let reason = "the member `from` is not a string".to_owned();
                Err(PatchError::InvalidOperation { index, reason })
            }
            None => Err(missing("from")),
        };
        let standard = match op {
            Verb::Add => PatchOperation::Add(AddOperation { path, value: value()? }),
            Verb::Remove => PatchOperation::Remove(RemoveOperation { path }),
            Verb::Replace => PatchOperation::Replace(ReplaceOperation { path, value: value()? }),
            Verb::Move => PatchOperation::Move(MoveOperation { from: from()?, path }),
            Verb::Copy => PatchOperation::Copy(CopyOperation { from: from()?, path }),
            Verb::Test => PatchOperation::Test(TestOperation { path, value: value()? }),
            Verb::Set => return Ok(Operation::Set { path, value: value()? }),
            Verb::Merge => return Ok(Operation::Merge { path, value: value()? }),
            Verb::Incr => {
                let Value::Number(by) = value()? else {
                    let reason = "`incr` takes a number".to_owned();
                    return Err(PatchError::InvalidValue { index, path: text, reason });
                };
                return Ok(Operation::Incr { path, by });
            }
        };
        Ok(Operation::Standard(standard))
    }
}

fn pointer(index: usize, text: &str) -> Result<PointerBuf, PatchError> {
    let invalid = |_| PatchError::InvalidPointer { index, path: text.to_owned() };
    PointerBuf::parse(text).map_err(invalid)
}

/// Reads an array of operations, and keeps the typed error in addition to the deserializer's own.
pub(super) struct Operations<'a> {
    pub(super) fault: &'a mut Option<PatchError>,
}

impl Operations<'_> {
    fn fail<T, E: serde::de::Error>(self, fault: PatchError) -> Result<T, E> {
        let error = E::custom(&fault);
        *self.fault = Some(fault);
        Err(error)
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = Vec<Operation>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of patch operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut operations = Vec::new();
        loop {
            let index = operations.len();
            let checked = match elements.next_element::<Draft>() {
                Ok(Some(draft)) => draft.check(index),
                Ok(None) => return Ok(operations),
                Err(error) => {
                    Err(PatchError::InvalidOperation { index, reason: error.to_string() })
                }
            };
            match checked {
                Ok(operation) => operations.push(operation),
                Err(fault) => return self.fail(fault),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom("an object may be a merge patch, which `Patch::merge` takes"))
    }
}
