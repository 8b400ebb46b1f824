//! Random work on a store, entered into a [`Ledger`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Codec, Collection, Durability, Error, Filter, Index, Item, Json, Meta, Patch};
use ifmatch::{Precondition, Raw, Snapshot, Store};
use serde_json::{Value, json};

use crate::expected_commits::{Commit, Key, Ledger, State, Version};
use crate::random_activity::Wide;

const KEYS: u8 = 12;
const DOCUMENTS: u8 = 2;
const NAMES: [&str; 3] = ["a", "b", "documents"];

/// A value of up to 20 KB, most of them short, now and then one that fills a segment.
fn random_value(rng: &mut fastrand::Rng) -> Bytes {
    let len = match rng.u16(0..400) {
        0 => 300_000,
        1..16 => rng.usize(0..20_000),
        16..60 => rng.usize(0..3_000),
        _ => rng.usize(0..120),
    };
    let mut bytes = vec![0; len];
    // Enough to tell values apart, and cheap.
    let stamp = rng.u64(..).to_le_bytes();
    for chunk in bytes.chunks_mut(997) {
        let count = chunk.len().min(8);
        chunk[..count].copy_from_slice(&stamp[..count]);
    }
    bytes.into()
}

fn random_document(rng: &mut fastrand::Rng) -> Value {
    json!({ "n": rng.u32(..), "text": "x".repeat(rng.usize(0..60)) })
}

fn key_bytes(key: u8) -> Vec<u8> {
    // Short and long ones, with bytes that need escaping.
    let mut bytes = vec![key; 1 + usize::from(key) * 7 % 40];
    bytes.push(key);
    bytes
}

/// Which item a collection's name and a key are of.
pub(crate) fn key_of(collection: &str, key: &[u8]) -> Key {
    assert_eq!(key, key_bytes(key[0]), "a key that nobody wrote");
    (number_of(collection), key[0])
}

/// Which collection a name is of.
pub(crate) fn number_of(collection: &str) -> u8 {
    let number = NAMES.iter().position(|name| *name == collection).unwrap();
    u8::try_from(number).unwrap()
}

/// Bytes by which two documents compare.
fn document_bytes(document: &Value) -> Bytes {
    serde_json::to_vec(document).unwrap().into()
}

/// A store's collections, written to at random.
pub(crate) struct Writer {
    store: Store,
    raw: [Collection<Bytes, Raw>; 2],
    documents: Collection<Value, Json>,
    durability: Durability,
    wide: Option<Wide>,
}

impl Writer {
    pub(crate) fn new(store: Store, durability: Durability) -> Result<Self, Error> {
        let raw = [store.raw(NAMES[0])?, store.raw(NAMES[1])?];
        let documents = store.collection(NAMES[2])?;
        Ok(Self { store, raw, documents, durability, wide: None })
    }

    /// A writer that also does what only a simulated store can show, and compacts now and then,
    /// so that a part of the journal does not tell any more what the store held at its end.
    pub(crate) fn wide(self, sim: &Simulation) -> Self {
        Self { wide: Some(Wide::new(sim)), ..self }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Closes the store; its collections are gone with it.
    pub(crate) fn close(self) -> Result<(), Error> {
        self.store.close()
    }

    /// Lets the documents have a unique index from here on. What is written at random breaks it as good
    /// as never.
    pub(crate) fn index(&self) -> Result<(), Error> {
        self.documents.ensure_index(Index::on("/n").unique()).map(drop)
    }

    /// An index that is built leads to what it should.
    fn check_index(&self) -> Result<(), Error> {
        // Rows that are lost with a leaf are not given back one by one: the next find reads the items.
        match self.compare_index() {
            Err(Error::IndexUnavailable(_)) => self.compare_index(),
            compared => compared,
        }
    }

    fn compare_index(&self) -> Result<(), Error> {
        let indexes = self.documents.indexes()?;
        if !indexes.iter().any(|index| index.built) {
            return Ok(());
        }
        let found = || self.documents.find(Filter::exists("/n")).sort("/n");
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for item in found().iter()? {
            keys.push(item?.key().to_vec());
        }
        keys.sort_unstable();
        let all = self.documents.keys()?.collect::<Result<Vec<_>, _>>()?;
        assert!(keys.iter().eq(all.iter()), "an index leads to {keys:?}, and there is {all:?}");
        Ok(())
    }

    /// Everything that the store holds.
    pub(crate) fn read(&self) -> Result<State, Error> {
        self.check_index()?;
        let mut state = State::new();
        for (name, raw) in NAMES.iter().zip(&self.raw) {
            gather(&mut state, name, raw.iter()?, Bytes::clone)?;
        }
        gather(&mut state, NAMES[2], self.documents.iter()?, document_bytes)?;
        Ok(state)
    }

    /// Everything that a snapshot shows.
    pub(crate) fn read_snapshot(&self, snapshot: &Snapshot) -> Result<State, Error> {
        let mut state = State::new();
        for (name, raw) in NAMES.iter().zip(&self.raw) {
            gather(&mut state, name, snapshot.collection(raw).iter()?, Bytes::clone)?;
        }
        let documents = snapshot.collection(&self.documents).iter()?;
        gather(&mut state, NAMES[2], documents, document_bytes)?;
        Ok(state)
    }

    /// Each item's history begins with the item, and goes back from it.
    pub(crate) fn look_at_history(&self, ledger: &Ledger) -> Result<(), Error> {
        for (collection, key) in ledger.now().keys() {
            let key = key_bytes(*key);
            match self.raw.get(usize::from(*collection)) {
                Some(raw) => check_history(raw, &key)?,
                None => check_history(&self.documents, &key)?,
            }
        }
        Ok(())
    }

    /// One version, by its key.
    pub(crate) fn get(&self, (collection, key): Key) -> Result<Option<Version>, Error> {
        let key = key_bytes(key);
        Ok(match self.raw.get(usize::from(collection)) {
            Some(raw) => raw.get(key)?.map(|item| Version::new(item.value.clone(), item.meta())),
            None => {
                let item = self.documents.get(key)?;
                item.map(|item| Version::new(document_bytes(&item.value), item.meta()))
            }
        })
    }

    /// Does something at random and enters it into the ledger.
    pub(crate) fn step(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), Error> {
        if let Some(wide) = self.wide.as_ref().filter(|_| rng.u8(0..3) == 0) {
            return wide.step(self, rng, ledger);
        }
        match rng.u8(0..24) {
            0 => {
                self.store.sync()?;
                ledger.all_durable();
                Ok(())
            }
            1 => {
                Simulation::checkpoint(&self.store)?;
                ledger.all_durable();
                Ok(())
            }
            2 if self.wide.is_some() => self.compact(ledger),
            2..6 => self.batch(rng, ledger),
            6 => self.refused(rng, ledger),
            7 if rng.u8(0..3) == 0 => self.clear(rng.u8(0..=DOCUMENTS), ledger),
            _ => self.single(rng, ledger),
        }
    }

    /// Compacts the whole journal, after which the index must be what the journal says.
    pub(crate) fn compact(&self, ledger: &mut Ledger) -> Result<(), Error> {
        self.store.compact()?;
        // Sealing the active segment syncs it; without anything dead in it nothing is promised.
        self.store.sync()?;
        ledger.all_durable();
        let difference = Simulation::differs_from_journal(&self.store)?;
        assert_eq!(difference, None, "a rebuild would give another index");
        Ok(())
    }

    /// One write of one item.
    pub(crate) fn single(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), Error> {
        let key = (rng.u8(0..=DOCUMENTS), rng.u8(0..KEYS));
        let before = ledger.now().get(&key).cloned();
        let (outcome, value) = if key.0 == DOCUMENTS {
            self.write_document(rng, key.1, before.as_ref())
        } else {
            self.write_bytes(rng, key, before.as_ref())
        };
        self.enter(ledger, key, value, outcome)
    }

    /// An item that lives for a second.
    pub(crate) fn expiring(&self, ledger: &mut Ledger) -> Result<(), Error> {
        let (raw, value) = (&self.raw[1], Bytes::from_static(b"fleeting"));
        let fleeting = raw.clone().with_ttl(Duration::from_secs(1));
        let outcome = fleeting.upsert(key_bytes(1), &value, Precondition::Always);
        self.enter(ledger, (1, 1), Some(value), outcome)
    }

    /// A value that the active segment has no room for, as long as that is the first.
    pub(crate) fn roll(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), Error> {
        let value = Bytes::from(vec![rng.u8(..); 300_000]);
        let outcome = self.raw[0].upsert(key_bytes(0), &value, Precondition::Always);
        self.enter(ledger, (0, 0), Some(value), outcome)
    }

    fn enter(
        &self,
        ledger: &mut Ledger,
        key: Key,
        value: Option<Bytes>,
        outcome: Result<Meta, Error>,
    ) -> Result<(), Error> {
        let (meta, acknowledged) = match outcome {
            Ok(meta) => (meta, Ok(())),
            Err(Error::CommitUnknown { meta, source, cause }) => {
                (*meta, Err(Error::CommitUnknown { meta, source, cause }))
            }
            Err(error) => return Err(error),
        };
        ledger.take_revision(meta.revision().0);
        match ledger.now().get(&key) {
            Some(before) => assert_eq!(meta.parent(), before.etag),
            None => assert!(meta.parent().is_none() || ledger.is_fleeting(key)),
        }
        let commit = Commit { changes: vec![(key, value.map(|value| Version::new(value, &meta)))] };
        match &acknowledged {
            Ok(()) => ledger.acknowledge(commit, self.durability),
            Err(_) => ledger.push(commit),
        }
        acknowledged
    }

    fn write_bytes(
        &self,
        rng: &mut fastrand::Rng,
        (collection, key): Key,
        before: Option<&Version>,
    ) -> (Result<Meta, Error>, Option<Bytes>) {
        let raw = &self.perhaps_fleeting(&self.raw[usize::from(collection)], 0, rng).0;
        let (key, value) = (key_bytes(key), random_value(rng));
        let tag = before.and_then(|before| before.etag);
        let outcome = match (tag, rng.u8(0..5)) {
            (None, 0) => raw.upsert(key, &value, Precondition::Always),
            (None, 1) => raw.upsert(key, &value, Precondition::if_unchanged(None)),
            (None, _) => raw.create(key, &value),
            (Some(tag), 0) => return (raw.delete(key, tag), None),
            (Some(_), 1) => raw.upsert(key, &value, Precondition::Always),
            (Some(tag), _) => raw.replace(key, &value, tag),
        };
        (outcome, Some(value))
    }

    fn write_document(
        &self,
        rng: &mut fastrand::Rng,
        key: u8,
        before: Option<&Version>,
    ) -> (Result<Meta, Error>, Option<Bytes>) {
        let documents = self.perhaps_fleeting(&self.documents, 0, rng).0;
        let (key, mut document) = (key_bytes(key), random_document(rng));
        let outcome = match (before, rng.u8(0..4)) {
            (None, _) => documents.create(key, &document),
            (Some(_), 0) => return (documents.delete(key, Precondition::Always), None),
            (Some(before), 1) => {
                let text = document["text"].clone();
                document = serde_json::from_slice(&before.value).unwrap();
                document["text"] = text.clone();
                let patch = Patch::new().set("/text", text);
                documents.patch(key, &patch, Precondition::Always).map(|item| *item.meta())
            }
            (Some(_), 2) => {
                let new = document.clone();
                documents.update(key, |old| *old = new.clone()).map(|item| *item.meta())
            }
            (Some(_), _) => documents.replace(key, &document, Precondition::Always),
        };
        (outcome, Some(document_bytes(&document)))
    }

    /// A collection by a handle whose items expire, now and then; and after how long.
    fn perhaps_fleeting<T, C: Codec<T>>(
        &self,
        collection: &Collection<T, C>,
        least_ms: u64,
        rng: &mut fastrand::Rng,
    ) -> (Collection<T, C>, Option<u64>) {
        if self.wide.is_none() || rng.u8(0..4) != 0 {
            return (collection.clone(), None);
        }
        let most_ms = if rng.bool() { 40 } else { 4_000 };
        let ttl_ms = rng.u64(least_ms..=most_ms);
        (collection.clone().with_ttl(Duration::from_millis(ttl_ms)), Some(ttl_ms))
    }

    /// A batch of 1 to 50 operations, several on one key among them.
    fn batch(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), Error> {
        let mut after: BTreeMap<Key, Option<(Bytes, Option<u64>)>> = BTreeMap::new();
        let mut batch = self.store.batch();
        let most = if rng.u8(0..4) == 0 { 50 } else { 6 };
        for _ in 0..rng.u8(1..=most) {
            let at @ (collection, key) = (rng.u8(0..=DOCUMENTS), rng.u8(0..KEYS));
            let key = key_bytes(key);
            let present = match after.get(&at) {
                Some(value) => value.is_some(),
                None => ledger.now().contains_key(&at),
            };
            let remove = present && rng.u8(0..4) == 0;
            let (value, ttl_ms) = if let Some(raw) = self.raw.get(usize::from(collection)) {
                let value = random_value(rng);
                let (raw, ttl_ms) = &self.perhaps_fleeting(raw, 1, rng);
                batch = match (present, remove) {
                    (_, true) => batch.delete(raw, key, Precondition::Always),
                    (true, _) => batch.replace(raw, key, &value, Precondition::Always),
                    (false, _) => batch.create(raw, key, &value),
                };
                (value, *ttl_ms)
            } else {
                let value = random_document(rng);
                batch = match remove {
                    true => batch.delete(&self.documents, key, Precondition::Always),
                    false => batch.upsert(&self.documents, key, &value, Precondition::Always),
                };
                (document_bytes(&value), None)
            };
            // A write keeps the item's own expiry unless it names one.
            let kept_ms = match after.get(&at) {
                Some(written) => written.as_ref().and_then(|(_, expires_ms)| *expires_ms),
                None => ledger.now().get(&at).and_then(|before| before.expires_ms),
            };
            let expires_ms = ttl_ms.map(|ttl_ms| ledger.now_ms() + ttl_ms).or(kept_ms);
            after.insert(at, (!remove).then_some((value, expires_ms)));
        }
        after.retain(|key, value| value.is_some() || ledger.now().contains_key(key));
        let (revision, mut failure) = match batch.commit() {
            Ok(_) if after.is_empty() => return Ok(()),
            Ok(done) => (done.revision(), None),
            Err(Error::CommitUnknown { meta, source, cause }) => {
                (meta.revision(), Some(Error::CommitUnknown { meta, source, cause }))
            }
            Err(error) => return Err(error),
        };
        ledger.take_revision(revision.0);
        let acknowledged = failure.is_none();
        let mut changes = Vec::new();
        for (key, value) in after {
            let parent = ledger.now().get(&key).and_then(|before| before.etag);
            let mut parent = (!ledger.is_fleeting(key)).then_some(parent);
            let mut etag = None;
            // An acknowledged batch gives no tags, so they are read; one refused call is survived.
            if failure.is_none() && value.is_some() {
                match self.get(key).or_else(|_| self.get(key)) {
                    Ok(version) => {
                        etag = version.as_ref().and_then(|version| version.etag);
                        parent = parent.or(version.and_then(|version| version.parent));
                    }
                    Err(error) => failure = Some(error),
                }
            }
            let revision = revision.0;
            let new = |(value, expires_ms)| Version { value, revision, etag, parent, expires_ms };
            changes.push((key, value.map(new)));
        }
        match acknowledged {
            true => ledger.acknowledge(Commit { changes }, self.durability),
            false => ledger.push(Commit { changes }),
        }
        failure.map_or(Ok(()), Err)
    }

    /// Removes all items of a collection.
    pub(crate) fn clear(&self, collection: u8, ledger: &mut Ledger) -> Result<(), Error> {
        let outcome = match self.raw.get(usize::from(collection)) {
            Some(raw) => raw.clear(),
            None => self.documents.clear(),
        };
        let (revision, acknowledged) = match outcome {
            Ok(0) => {
                assert!(!ledger.now().keys().any(|key| key.0 == collection), "items were left");
                return Ok(());
            }
            // Nobody else writes.
            Ok(_) => (self.store.revision(), Ok(())),
            Err(Error::CommitUnknown { meta, source, cause }) => {
                (meta.revision(), Err(Error::CommitUnknown { meta, source, cause }))
            }
            Err(error) => return Err(error),
        };
        ledger.take_revision(revision.0);
        let cleared = ledger.now().keys().filter(|key| key.0 == collection);
        let commit = Commit { changes: cleared.map(|key| (*key, None)).collect() };
        match &acknowledged {
            Ok(()) => ledger.acknowledge(commit, self.durability),
            Err(_) => ledger.push(commit),
        }
        acknowledged
    }

    /// Something that must be refused and change nothing.
    fn refused(&self, rng: &mut fastrand::Rng, ledger: &Ledger) -> Result<(), Error> {
        let Some((key, version)) = ledger.now().iter().find(|(key, _)| key.0 < DOCUMENTS) else {
            return Ok(());
        };
        let raw = &self.raw[usize::from(key.0)];
        let (bytes, value) = (key_bytes(key.1), random_value(rng));
        let outcome = match version.parent.flatten().filter(|_| rng.bool()) {
            Some(stale) => raw.replace(bytes, &value, stale).map(drop),
            None => {
                let batch = self.store.batch().upsert(raw, "new", &value, Precondition::Always);
                batch.create(raw, bytes, &value).commit().map(drop)
            }
        };
        match outcome {
            Err(Error::PreconditionFailed(_) | Error::Batch { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => panic!("a write with a stale tag was taken"),
        }
    }
}

/// Enters what an iterator gives into a state.
fn gather<T>(
    state: &mut State,
    collection: &str,
    items: impl Iterator<Item = Result<Item<T>, Error>>,
    bytes: impl Fn(&T) -> Bytes,
) -> Result<(), Error> {
    for item in items {
        let item = item?;
        let version = Version::new(bytes(&item.value), item.meta());
        let before = state.insert(key_of(collection, item.key()), version);
        assert!(before.is_none(), "a key twice");
    }
    Ok(())
}

fn check_history<T, C: Codec<T>>(items: &Collection<T, C>, key: &[u8]) -> Result<(), Error> {
    let history: Vec<Item<T>> = items.history(key)?.into_iter().collect::<Result<_, _>>()?;
    let newest = items.get(key)?.map(|item| item.etag());
    assert_eq!(history.first().map(Item::etag), newest, "a history of something else");
    assert!(history.windows(2).all(|pair| pair[0].revision() > pair[1].revision()), "no order");
    Ok(())
}
