//! Limits that more than one layer keeps.

/// The largest value in bytes: 64 MiB.
///
/// ```
/// # fn main() -> Result<(), ifmatch::Error> {
/// use ifmatch::{Error, MAX_VALUE_BYTES};
///
/// let blobs = ifmatch::Store::in_memory().raw("blobs")?;
/// let refused = blobs.create("a", &vec![0; MAX_VALUE_BYTES + 1].into());
/// assert!(matches!(refused, Err(Error::TooLarge { .. })));
/// # Ok(()) }
/// ```
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// The most bytes of keys and values in one batch: 64 MiB.
pub(crate) const MAX_BATCH_BYTES: u64 = 64 << 20;

/// Values of up to this length are copied where they are kept in memory, and for a reader; of longer
/// ones the handle is shared.
pub(crate) const SHORT_VALUE_BYTES: usize = 512;
