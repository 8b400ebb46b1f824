//! Stripes: the locks under which preconditions are decided and versions applied.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ptr;

use crate::seams::sync::{
    AtomicU64, Mutex, MutexGuard, Ordering, await_unlocked, fence, lock_soon,
};
use crate::values::Few;
#[cfg(not(all(test, loom)))]
use crate::values::short_hash::short_hash;

/// How many stripes a store has. Two keys share one by chance; they then wait for each other.
#[cfg(not(all(test, loom)))]
const STRIPES: usize = 1_024;
/// In models two, so that both sharing and not sharing are explored.
#[cfg(all(test, loom))]
const STRIPES: usize = 2;

/// A fixed set of locks, each for the keys that hash to it.
///
/// **Lock order:** stripes in ascending order of index, then the journal's state. A commit holds
/// the stripes of all its keys from before it decides until after it is applied, and those of the
/// values that it changes in unique indexes, which are keys of their own here. Stripes that are
/// found to be needed when others are held are only tried; where one is taken, all are released and
/// locked in order.
#[derive(Debug)]
pub(crate) struct Stripes {
    stripes: Vec<Stripe>,
    /// Random, so that nobody can choose keys that all have one stripe.
    seed: u64,
}

/// One lock, with a sequence number that is odd while a commit is being applied under it.
///
/// Readers take no lock: they read between two equal, even readings of the number (a seqlock), so
/// they see all of a commit or nothing of it, and a version's head never with another's value.
#[derive(Debug)]
pub(crate) struct Stripe {
    lock: Mutex<()>,
    sequence: AtomicU64,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let stripe = |_| Stripe { lock: Mutex::new(()), sequence: AtomicU64::new(0) };
        Self { stripes: (0..STRIPES).map(stripe).collect(), seed: RandomState::new().hash_one(0) }
    }

    /// The hash of a key, which chooses its stripe.
    #[inline]
    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        hash_of(self.seed, key)
    }

    /// The index of a key's stripe.
    pub(crate) fn index_of(&self, key: &[u8]) -> usize {
        index_by_hash(self.hash_of(key))
    }

    pub(crate) fn of(&self, key: &[u8]) -> &Stripe {
        self.of_hash(self.hash_of(key))
    }

    /// The stripe of the keys that have this hash.
    #[inline]
    pub(crate) fn of_hash(&self, hash: u64) -> &Stripe {
        self.at(index_by_hash(hash))
    }

    #[expect(clippy::indexing_slicing, reason = "index_of returns an index below STRIPES")]
    pub(crate) fn at(&self, index: usize) -> &Stripe {
        &self.stripes[index]
    }

    /// Locks the stripes of these keys, each once, in ascending order.
    pub(crate) fn lock<'a, 'k>(&'a self, keys: impl Iterator<Item = &'k [u8]>) -> Locked<'a> {
        let mut indexes: Few<usize> = keys.map(|key| self.index_of(key)).collect();
        indexes.sort_unstable();
        indexes.dedup();
        self.lock_at(indexes.into_iter())
    }

    /// Locks all stripes, in ascending order: no commit is under way then, and none begins.
    pub(crate) fn lock_all(&self) -> Locked<'_> {
        self.lock_at(0..STRIPES)
    }

    /// Locks the stripes of these indexes, which ascend.
    fn lock_at(&self, indexes: impl Iterator<Item = usize>) -> Locked<'_> {
        let lock = |index| {
            let stripe = self.at(index);
            (stripe, lock_soon(&stripe.lock))
        };
        Locked { stripes: indexes.map(lock).collect(), applying: false }
    }
}

impl Stripe {
    /// Waits out a commit that is being applied, and returns the number to compare after reading.
    pub(crate) fn begin_read(&self) -> u64 {
        loop {
            if let Some(sequence) = self.try_begin_read() {
                return sequence;
            }
            // The commit holds the lock for as long as the number is odd.
            drop(self.lock.lock());
        }
    }

    /// As [`begin_read`](Self::begin_read), without waiting; `None` while a commit is being applied.
    pub(crate) fn try_begin_read(&self) -> Option<u64> {
        let sequence = self.sequence.load(Ordering::Acquire);
        sequence.is_multiple_of(2).then_some(sequence)
    }

    /// Lets the writer finish that holds the stripe, for some microseconds at most.
    pub(crate) fn await_writer(&self) {
        await_unlocked(&self.lock);
    }

    /// Whether nothing was applied under this stripe since [`begin_read`](Self::begin_read).
    pub(crate) fn is_unchanged(&self, sequence: u64) -> bool {
        fence(Ordering::Acquire);
        self.sequence.load(Ordering::Relaxed) == sequence
    }

    /// Locks the stripe, for a read that lost too many races and for filling the cache.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }
}

/// Some stripes, locked; released when dropped.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    stripes: Few<(&'a Stripe, MutexGuard<'a, ()>)>,
    applying: bool,
}

impl<'a> Locked<'a> {
    /// Locks the stripes of these keys in addition, until one of them is taken by another thread;
    /// returns whether all are locked now. Never waits, so the order does not matter.
    pub(crate) fn try_extend<'k>(
        &mut self,
        all: &'a Stripes,
        keys: impl Iterator<Item = &'k [u8]>,
    ) -> bool {
        let mut held: HashSet<*const Stripe> =
            self.stripes.iter().map(|(stripe, _)| ptr::from_ref(*stripe)).collect();
        for key in keys {
            let stripe = all.of(key);
            if held.insert(ptr::from_ref(stripe)) {
                let Some(guard) = stripe.lock.try_lock() else { return false };
                self.stripes.push((stripe, guard));
            }
        }
        true
    }

    /// Makes readers wait: from here until the release the commit is being applied.
    pub(crate) fn begin_apply(&mut self) {
        self.applying = true;
        for (stripe, _) in &self.stripes {
            stripe.sequence.fetch_add(1, Ordering::AcqRel);
        }
        fence(Ordering::Release);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.applying) {
            // All become even before any lock is released, and each only after all was applied: a
            // reader that has seen one change of a commit waits for the others.
            for (stripe, _) in &self.stripes {
                stripe.sequence.fetch_add(1, Ordering::Release);
            }
        }
    }
}

/// A number below [`STRIPES`]. The highest bits of the hash are the best.
#[inline]
fn index_by_hash(hash: u64) -> usize {
    (((hash >> 32) * STRIPES as u64) >> 32) as usize
}

#[cfg(not(all(test, loom)))]
#[inline]
fn hash_of(seed: u64, key: &[u8]) -> u64 {
    short_hash(seed, key)
}

/// Models choose by a key's last byte the stripe that it has.
#[cfg(all(test, loom))]
fn hash_of(_: u64, key: &[u8]) -> u64 {
    key.last().copied().map_or(0, u64::from) % 2 << 63
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use crate::values::short_hash::KEY_FORMS;

    #[test]
    fn keys_of_every_form_spread_over_the_stripes() {
        let stripes = Stripes::new();
        for form in KEY_FORMS {
            let mut keys = vec![0_u32; STRIPES];
            for n in 0..16 * STRIPES as u64 {
                keys[stripes.index_of(&form(n))] += 1;
            }
            let most = keys.iter().max().copied();
            assert!(most < Some(80), "{most:?} of 16 expected, for {:?}", form(1));
        }
    }

    #[test]
    fn who_lets_a_writer_finish_does_not_wait_for_long() {
        let stripes = Stripes::new();
        let locked = stripes.lock(std::iter::once(&b"key"[..]));
        stripes.of(b"key").await_writer();
        drop(locked);
        stripes.of(b"key").await_writer();
    }
}
