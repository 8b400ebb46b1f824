#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod bounds;
mod forms;
mod model;
mod own;
mod rfc6902;
mod rfc7396;
mod suite;

use serde_json::Value;

use super::{Patch, PatchError};
use crate::values::error::Error;

pub(super) fn read(text: &str) -> Result<Patch, PatchError> {
    Patch::from_json(text).map_err(|error| match error {
        Error::Patch(error) => error,
        other => panic!("{other:?}"),
    })
}

pub(super) fn patched(patch: &Patch, document: &Value) -> Result<Value, PatchError> {
    let stored = serde_json::to_vec(document).unwrap();
    let bytes = patch.apply_to_bytes(&stored)?;
    let result = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(patch.apply(document.clone()).as_ref(), Ok(&result), "the two ways agree");
    Ok(result)
}

pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Reads and applies a patch, both as text.
pub(super) fn outcome(document: &str, patch: &str) -> Result<Value, PatchError> {
    let patch = read(patch)?;
    let text = serde_json::to_string(&patch).unwrap();
    assert_eq!(read(&text).as_ref(), Ok(&patch), "a patch is read as it was written");
    patched(&patch, &json(document))
}

#[track_caller]
pub(super) fn assert_patched(document: &str, patch: &str, expected: &str) {
    assert_eq!(outcome(document, patch), Ok(json(expected)), "{patch} on {document}");
}
