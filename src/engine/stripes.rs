//! Stripes: the locks under which preconditions are decided and versions applied.

use std::hash::BuildHasher;
#[cfg(not(all(test, loom)))]
use std::hash::RandomState;

use crate::seams::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence, lock_soon};

/// How many stripes a store has. Two keys share one by chance; they then wait for each other.
#[cfg(not(all(test, loom)))]
const STRIPES: usize = 1_024;
/// In models two, so that both sharing and not sharing are explored.
#[cfg(all(test, loom))]
const STRIPES: usize = 2;

/// A fixed set of locks, each for the keys that hash to it.
///
/// **Lock order:** stripes in ascending order of index, then the journal's state. A commit holds
/// the stripes of all its keys from before it decides until after it is applied.
#[derive(Debug)]
pub(crate) struct Stripes {
    stripes: Vec<Stripe>,
    hasher: RandomState,
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
        Self { stripes: (0..STRIPES).map(stripe).collect(), hasher: RandomState::default() }
    }

    /// The index of a key's stripe.
    pub(crate) fn index_of(&self, key: &[u8]) -> usize {
        self.hasher.hash_one(key) as usize % STRIPES
    }

    pub(crate) fn of(&self, key: &[u8]) -> &Stripe {
        self.at(self.index_of(key))
    }

    #[expect(clippy::indexing_slicing, reason = "index_of gives an index below STRIPES")]
    pub(crate) fn at(&self, index: usize) -> &Stripe {
        &self.stripes[index]
    }

    /// Locks the stripes of these keys, each once, in ascending order.
    pub(crate) fn lock<'a, 'k>(&'a self, keys: impl Iterator<Item = &'k [u8]>) -> Locked<'a> {
        let mut indexes: Vec<usize> = keys.map(|key| self.index_of(key)).collect();
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
            let sequence = self.sequence.load(Ordering::Acquire);
            if sequence.is_multiple_of(2) {
                return sequence;
            }
            // The commit holds the lock for as long as the number is odd.
            drop(self.lock.lock());
        }
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
    stripes: Vec<(&'a Stripe, MutexGuard<'a, ()>)>,
    applying: bool,
}

impl Locked<'_> {
    /// Tells readers to wait: from here until the release the commit is being applied.
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
            // All become even before any lock is released, and each only after all was applied:
            // who has seen one change of a commit waits for the others.
            for (stripe, _) in &self.stripes {
                stripe.sequence.fetch_add(1, Ordering::Release);
            }
        }
    }
}

/// Stands in for std's in models, which choose by a key's last byte the stripe that it has.
#[cfg(all(test, loom))]
type RandomState = std::hash::BuildHasherDefault<LastByte>;

#[cfg(all(test, loom))]
#[derive(Debug, Default)]
struct LastByte(u64);

#[cfg(all(test, loom))]
impl std::hash::Hasher for LastByte {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.last().copied().map_or(self.0, u64::from);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
