//! [`IndexFailure`], which an error of the index on disk carries.

/// A failure inside the backing store, without the engine's own types.
///
/// ```
/// fn explain(error: &ifmatch::Error) -> String {
///     match error {
///         ifmatch::Error::IndexUnavailable(why) => format!("the index failed, try again: {why}"),
///         other => other.to_string(),
///     }
/// }
/// assert_eq!(explain(&ifmatch::Error::Closed), "the store is closed; open it again");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct IndexFailure {
    message: String,
}

impl IndexFailure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
