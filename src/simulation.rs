//! Stores on a simulated disk, for this crate's own tests, fuzz targets and benches.
//!
//! Not part of the public interface: nothing here is covered by semantic versioning.

use std::cmp::Ordering as Order;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::store::Store;
use crate::engine::environment::Environment;
use crate::index::MemoryBackings;
use crate::journal::frame_reader::{CommitFrame, FrameReader};
use crate::seams::clock::instant;
use crate::seams::entropy::Entropy;
pub use crate::storage::{Fault, FaultPlan, Operation, SimulatedDisk};
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::options::Options;
#[cfg(feature = "json-patch")]
use crate::values::patch::{Patch, PatchError};
use crate::values::query::encoding::{Decoder, Encoder, is_cut};
use crate::values::query::entries::{entries, split};
use crate::values::query::order::compare;

/// The store's directory on a simulated disk.
pub const STORE: &str = "store";

/// A disk, an index and a clock that a test rules over.
#[derive(Debug, Clone)]
pub struct Simulation {
    disk: SimulatedDisk,
    backings: MemoryBackings,
    now_ms: Arc<AtomicU64>,
    seed: u64,
    path: PathBuf,
}

/// Opens a store in a folder of the file system, without a background thread: nothing happens by
/// itself.
///
/// # Errors
/// As [`Options::open`].
pub fn open_quietly(path: impl AsRef<Path>, options: &Options) -> Result<Store> {
    let (environment, path) = Environment::on_disk(path.as_ref())?;
    Store::open_in(Environment { background: false, ..environment }, &path, options)
}

impl Simulation {
    /// An empty disk. The same seed and the same calls give the same bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimulatedDisk::new(),
            backings: MemoryBackings::simulated(),
            now_ms: Arc::new(AtomicU64::new(1_700_000_000_000)),
            seed,
            path: STORE.into(),
        }
    }

    /// Another directory of the same disk, under the same clock, with an index of its own, which is
    /// empty. A crash or kill copies the whole disk and only this index, so in the copy the index
    /// of every other directory is lost.
    #[must_use]
    pub fn at(&self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let seed = blake3::hash(path.as_os_str().as_encoded_bytes());
        let seed = seed
            .as_bytes()
            .iter()
            .fold(self.seed, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte));
        Self { backings: MemoryBackings::simulated(), seed, path, ..self.clone() }
    }

    /// Opens the store in this directory, without a background thread: nothing happens by itself.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(&self, options: &Options) -> Result<Store> {
        Store::open_in(self.environment(), &self.path, options)
    }

    /// As [`open`](Self::open), with the background threads that every other store has.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open_with_background(&self, options: &Options) -> Result<Store> {
        let environment = Environment { background: true, ..self.environment() };
        Store::open_in(environment, &self.path, options)
    }

    /// Restores a store of this disk to this directory, and opens it.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub fn restore(&self, from: impl AsRef<Path>, options: &Options) -> Result<Store> {
        Store::restore_in(self.environment(), from.as_ref(), &self.path, options)
    }

    fn environment(&self) -> Environment {
        let now_ms = Arc::clone(&self.now_ms);
        Environment {
            disk: Arc::new(self.disk.clone()),
            backings: Arc::new(self.backings.clone()),
            time: Arc::new(move || instant(now_ms.load(Ordering::SeqCst))),
            entropy: Entropy::seeded(self.seed),
            backup_disk: None,
            background: false,
        }
    }

    /// What a loss of power may leave: see [`SimulatedDisk::crash`]. The index is by chance as it
    /// was flushed, older, ahead of the journal, torn or gone. This disk stays as it was.
    #[must_use]
    pub fn crash(&self, rng: &mut fastrand::Rng) -> Self {
        Self { disk: self.disk.crash(rng), backings: self.backings.crash(rng), ..self.next(rng) }
    }

    /// What a kill of the process leaves: every byte written, and an index that lost some of its
    /// last changes.
    #[must_use]
    pub fn kill(&self, rng: &mut fastrand::Rng) -> Self {
        Self { disk: self.disk.kill(), backings: self.backings.kill(rng), ..self.next(rng) }
    }

    /// Another process of the same boot that uses the same path, with backings of its own.
    #[must_use]
    pub fn other_process(&self) -> Self {
        Self { disk: self.disk.other_process(), ..self.at(self.path.clone()) }
    }

    /// Ends this process by a kill, as [`SimulatedDisk::end_process`] does, and returns the next
    /// one: of the same boot and on the same disk, with an index that lost some of its last
    /// changes.
    #[must_use]
    pub fn restart(&self, rng: &mut fastrand::Rng) -> Self {
        self.disk.end_process();
        let disk = self.disk.other_process();
        Self { disk, backings: self.backings.kill(rng), ..self.next(rng) }
    }

    fn next(&self, rng: &mut fastrand::Rng) -> Self {
        let now_ms = Arc::new(AtomicU64::new(self.now_ms.load(Ordering::SeqCst)));
        Self { seed: rng.u64(..), now_ms, ..self.clone() }
    }

    /// The disk, for faults and damage.
    #[must_use]
    pub fn disk(&self) -> &SimulatedDisk {
        &self.disk
    }

    /// Makes the index's calls fail from the given number on, counted from now.
    pub fn fail_index_after(&self, calls: u64) {
        self.backings.fail_after(calls);
    }

    /// Throws away what the index has on disk.
    pub fn remove_index(&mut self) {
        self.backings = MemoryBackings::simulated();
    }

    /// Sets the system clock, in milliseconds since 1970; it may go back.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// How many heads are kept in memory for snapshots.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn saved_heads(store: &Store) -> Result<u64> {
        Ok(store.engine()?.snapshots.saved_heads())
    }

    /// Gives up the oldest snapshot, as compaction does when disk space is short. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn give_up_oldest_snapshot(store: &Store) -> Result<bool> {
        Ok(store.engine()?.snapshots.give_up_oldest())
    }

    /// Bytes of the entries that the heads of items point to, counted one by one.
    ///
    /// # Errors
    /// What reading the index fails with.
    pub fn live_bytes_by_heads(store: &Store) -> Result<u64> {
        let (heads, _) = store.engine()?.walk_heads(None, usize::MAX)?;
        let live = heads.iter().filter(|(_, head)| !head.deleted);
        Ok(live.map(|(_, head)| head.footprint_bytes()).sum())
    }

    /// What the index occupies in memory, as it counts.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn index_memory_bytes(store: &Store) -> Result<u64> {
        Ok(store.engine()?.index.memory_bytes())
    }

    /// Takes a checkpoint, as the background thread does after a segment was sealed.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn checkpoint(store: &Store) -> Result<()> {
        store.engine()?.checkpoint()
    }

    /// Gives up the index on disk and makes another, as a checkpoint does when the backing store
    /// has failed.
    ///
    /// # Errors
    /// As a checkpoint.
    pub fn replace_index(store: &Store) -> Result<()> {
        store.engine()?.replace_index()
    }

    /// Keeps compaction from removing anything from the journal, as a backup in progress does,
    /// until the returned guard is dropped.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn guard_journal(store: &Store) -> Result<impl Drop + use<>> {
        Ok(store.engine()?.journal.guard_copy().0)
    }

    /// Whether an index built from the journal would be the index that there is, head for head: the
    /// first key at which it would not. Tombstones that only one of them has do not count, but a
    /// head that points into a segment which does not exist does. A head may point to the same
    /// version in a segment that compaction has retired and not dropped yet.
    ///
    /// # Errors
    /// What reading the journal fails with.
    pub fn differs_from_journal(store: &Store) -> Result<Option<Vec<u8>>> {
        let engine = store.engine()?;
        engine.journal.write_out();
        let segments = engine.journal.segments();
        let mut expected: BTreeMap<Vec<u8>, Head> = BTreeMap::new();
        let mut visit = |commit: &CommitFrame<'_>| {
            commit.for_each_entry(&mut |found| {
                if found.clears() {
                    expected.retain(|key, _| !key.starts_with(found.key.as_bytes()));
                }
                expected.insert(found.key.as_bytes().to_vec(), found.head());
                Ok(())
            })?;
            Ok(ControlFlow::Continue(()))
        };
        let up_to = engine.journal.applied();
        let mut reader = FrameReader::after(0);
        reader.read_over_damage(&engine.journal, up_to, &mut visit, &mut |_| Ok(()))?;
        let (heads, _) = engine.walk_heads(None, usize::MAX)?;
        let heads = heads.into_iter().map(|(key, head)| (key.as_bytes().to_vec(), head));
        let mut found: BTreeMap<Vec<u8>, Head> = heads.collect();
        if let Some((key, _)) = found.iter().find(|(_, head)| segments.get(head.segment).is_none())
        {
            return Ok(Some(key.clone()));
        }
        let retired = engine.journal.retired_segments();
        for (key, head) in &mut found {
            if retired.iter().any(|retired| retired.number == head.segment)
                && let Some(expected) = expected.get(key)
            {
                let Head { segment, offset, len_bytes, checksum, .. } = *expected;
                *head = Head { segment, offset, len_bytes, checksum, ..*head };
            }
        }
        // A purge may have been cut short between journal and index.
        let purge_floor = engine.journal.purged().newest;
        let half_purged = |head: &Head| head.deleted && head.revision <= purge_floor;
        let only_found: HashSet<Vec<u8>> =
            found.keys().filter(|key| !expected.contains_key(*key)).cloned().collect();
        expected.retain(|key, head| !head.deleted || found.contains_key(key));
        found.retain(|key, head| !half_purged(head) || !only_found.contains(key));
        let keys = expected.keys().chain(found.keys());
        Ok(keys.into_iter().find(|key| expected.get(*key) != found.get(*key)).cloned())
    }

    /// Sweeps: takes away every item that is expired, as the background thread does; returns how
    /// many there were.
    ///
    /// # Errors
    /// As [`Collection::delete`](crate::Collection::delete).
    pub fn sweep(store: &Store) -> Result<u64> {
        store.shared().sweep()
    }

    /// What the store's clock says, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub fn clock_ms(store: &Store) -> Result<u64> {
        Ok(store.engine()?.clock.now_ms())
    }
}

/// Whether these bytes, if they are a head of the index at all, are the same head again after they
/// are read, written and read once more.
#[must_use]
pub fn head_round_trip(bytes: &[u8]) -> bool {
    Head::decode(bytes).is_none_or(|head| {
        let mut encoded = Vec::new();
        head.encode_to(&mut encoded);
        encoded == bytes
    })
}

/// What a patch makes of a document, given and returned as they are stored.
///
/// # Errors
/// As `Collection::patch`, with nothing of a store in between.
#[cfg(feature = "json-patch")]
pub fn patch_stored(patch: &Patch, stored_json: &[u8]) -> Result<Vec<u8>, PatchError> {
    patch.apply_to_bytes(stored_json)
}

/// The order of two JSON values by which filters compare and indexes are sorted.
#[must_use]
pub fn compare_values(a: &serde_json::Value, b: &serde_json::Value) -> Order {
    compare(a, b)
}

/// The code of an index's entry with these fields, each with whether it is descending, and whether
/// it may have been cut.
#[must_use]
pub fn index_code(fields: &[(Option<&serde_json::Value>, bool)]) -> (Vec<u8>, bool) {
    let mut encoder = Encoder::default();
    fields.iter().for_each(|(value, descending)| encoder.field(*value, *descending));
    let code = encoder.finish();
    let cut = is_cut(&code);
    (code, cut)
}

/// The first field of an index's code, `Some(None)` for a missing one, and what follows it; `None`
/// where the bytes are not a code.
#[must_use]
pub fn index_code_field(
    code: &[u8],
    descending: bool,
) -> Option<(Option<serde_json::Value>, &[u8])> {
    let mut decoder = Decoder::new(code);
    let field = decoder.field(descending)?;
    Some((field, decoder.rest()))
}

/// The codes of a document's entries in the index with this text; `None` where the text is not
/// a definition, or the entries are too many.
#[must_use]
pub fn index_entries(index: &str, document: &serde_json::Value) -> Option<BTreeSet<Vec<u8>>> {
    entries(&index.parse().ok()?, document).ok()
}

/// The code and the key of an entry in the index with this text.
#[must_use]
pub fn split_index_entry<'a>(index: &str, entry: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    split(&index.parse().ok()?, entry)
}
