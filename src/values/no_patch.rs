//! In the place of [`patch`](crate::values::patch) where the feature `json-patch` is left out:
//! nothing makes a patch, and so nothing applies one.

#[path = "patch/error.rs"]
mod error;

pub use self::error::PatchError;

/// A patch that cannot be made.
#[derive(Debug)]
pub(crate) enum Patch {}

impl Patch {
    pub(crate) fn spliced(&self, _: &[u8]) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn apply_to_bytes(&self, _: &[u8]) -> Result<Vec<u8>, PatchError> {
        match *self {}
    }
}
