//! Partial changes to JSON documents: RFC 6902, RFC 7396, `set` and `incr`.

/// Why a patch could not be read or applied.
#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct PatchError(());
impl PatchError {
    pub(crate) fn http_status(&self) -> u16 {
        422
    }
}
