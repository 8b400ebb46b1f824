//! Reading several items at one moment.

use super::{Found, OPTIMISTIC_READS};
use crate::engine::{Engine, Version};
use crate::values::error::Result;
use crate::values::key::ItemKey;

impl Engine {
    /// The current versions of several items, as of one moment between batches.
    pub(crate) fn read_many(&self, keys: &[ItemKey]) -> Result<Vec<Option<Version>>> {
        let stripes = || keys.iter().map(|key| self.stripes.of(key.as_bytes()));
        for _ in 0..OPTIMISTIC_READS {
            let sequences: Vec<u64> = stripes().map(|stripe| stripe.begin_read()).collect();
            let found: Vec<Found> = keys.iter().map(|key| self.find(key)).collect::<Result<_>>()?;
            if stripes().zip(&sequences).any(|(stripe, seen)| !stripe.is_unchanged(*seen)) {
                continue;
            }
            if let Some(versions) = self.versions_found(keys, found)? {
                return Ok(versions);
            }
        }
        let _locked = self.stripes.lock(keys.iter().map(ItemKey::as_bytes));
        let now_ms = self.clock.now_ms();
        let read = |key| Ok(self.read_locked(key)?.filter(|version| version.is_live(now_ms)));
        keys.iter().map(read).collect()
    }

    /// The live versions that were found; `None` when one of them lay in a segment that
    /// compaction has removed since.
    fn versions_found(
        &self,
        keys: &[ItemKey],
        found: Vec<Found>,
    ) -> Result<Option<Vec<Option<Version>>>> {
        let now_ms = self.clock.now_ms();
        let mut versions = Vec::with_capacity(keys.len());
        for (key, found) in keys.iter().zip(found) {
            versions.push(match found {
                Found::Cached(version) => Some(version).filter(|v| v.is_live(now_ms)),
                Found::At(head) if head.is_live(now_ms) => match self.version_at(key, &head)? {
                    Some(version) => Some(version),
                    None => return Ok(None),
                },
                Found::At(_) | Found::Nothing => None,
            });
        }
        Ok(Some(versions))
    }
}
