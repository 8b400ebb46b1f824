//! The revisions that an unclean open skips, so that none is used twice.

use crate::journal::dual_slot::MAX_STORED;

/// Revisions that an unclean open skips, so that none that was used before the crash is used again.
pub(crate) const REVISION_SKIP: u64 = 1 << 20;

/// A revision to continue after: above `last_revision` by a multiple of the skip, and above
/// `highest`, the highest that may have been used, by at least one skip.
pub(crate) fn skip_beyond(last_revision: u64, highest: u64) -> u64 {
    let skips = highest.saturating_sub(last_revision).div_ceil(REVISION_SKIP) + 1;
    (last_revision + skips * REVISION_SKIP).min(MAX_STORED)
}
