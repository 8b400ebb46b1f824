//! Random work on a store, entered into a [`Ledger`].

use std::collections::BTreeMap;

use bytes::Bytes;
use ifmatch::simulation::Simulation;
use ifmatch::{Collection, Durability, Error, Json, Meta, Patch, Precondition, Raw, Store};
use serde_json::{Value, json};

use crate::ledger::{Commit, Key, Ledger, State, Version};

const KEYS: u8 = 12;
const DOCUMENTS: u8 = 2;

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
    compacts: bool,
}

impl Writer {
    pub(crate) fn new(store: Store, durability: Durability) -> Result<Self, Error> {
        let raw = [store.raw("a")?, store.raw("b")?];
        let documents = store.collection("documents")?;
        Ok(Self { store, raw, documents, durability, compacts: false })
    }

    /// A writer that compacts now and then, so that a part of the journal does not tell any more
    /// what the store held at its end.
    pub(crate) fn compacting(self) -> Self {
        Self { compacts: true, ..self }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Closes the store; its collections are gone with it.
    pub(crate) fn close(self) -> Result<(), Error> {
        self.store.close()
    }

    /// Everything that the store holds.
    pub(crate) fn read(&self) -> Result<State, Error> {
        let mut state = State::new();
        let mut add = |collection: u8, key: &[u8], value: Bytes, meta: &Meta| {
            assert_eq!(key, key_bytes(key[0]), "a key that nobody wrote");
            let version = Version::new(value, meta);
            assert!(state.insert((collection, key[0]), version).is_none(), "a key twice");
        };
        for (collection, raw) in (0..).zip(&self.raw) {
            for item in raw.iter()? {
                let item = item?;
                add(collection, item.key(), item.value.clone(), item.meta());
            }
        }
        for item in self.documents.iter()? {
            let item = item?;
            add(DOCUMENTS, item.key(), document_bytes(&item.value), item.meta());
        }
        Ok(state)
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
            2 if self.compacts => self.compact(ledger),
            2..6 => self.batch(rng, ledger),
            6 => self.refused(rng, ledger),
            _ => self.single(rng, ledger),
        }
    }

    /// Compacts the whole journal, after which the table must be what the journal says.
    pub(crate) fn compact(&self, ledger: &mut Ledger) -> Result<(), Error> {
        self.store.compact()?;
        // Sealing the active segment syncs it; without anything dead in it nothing is promised.
        self.store.sync()?;
        ledger.all_durable();
        let difference = Simulation::differs_from_journal(&self.store)?;
        assert_eq!(difference, None, "a rebuild would give another table");
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
            Err(Error::CommitUnknown { meta, source }) => {
                (*meta, Err(Error::CommitUnknown { meta, source }))
            }
            Err(error) => return Err(error),
        };
        ledger.take_revision(meta.revision().0);
        assert_eq!(meta.parent(), ledger.now().get(&key).and_then(|before| before.etag));
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
        let raw = &self.raw[usize::from(collection)];
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
        let (key, mut document) = (key_bytes(key), random_document(rng));
        let outcome = match (before, rng.u8(0..4)) {
            (None, _) => self.documents.create(key, &document),
            (Some(_), 0) => return (self.documents.delete(key, Precondition::Always), None),
            (Some(before), 1) => {
                let text = document["text"].clone();
                document = serde_json::from_slice(&before.value).unwrap();
                document["text"] = text.clone();
                let patch = Patch::new().set("/text", text);
                self.documents.patch(key, &patch, Precondition::Always).map(|item| *item.meta())
            }
            (Some(_), 2) => {
                let new = document.clone();
                self.documents.update(key, |old| *old = new.clone()).map(|item| *item.meta())
            }
            (Some(_), _) => self.documents.replace(key, &document, Precondition::Always),
        };
        (outcome, Some(document_bytes(&document)))
    }

    /// A batch of 1 to 50 operations, several on one key among them.
    fn batch(&self, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), Error> {
        let mut after: BTreeMap<Key, Option<Bytes>> = BTreeMap::new();
        let mut batch = self.store.batch();
        let most = if rng.u8(0..4) == 0 { 50 } else { 6 };
        for _ in 0..rng.u8(1..=most) {
            let at @ (collection, key) = (rng.u8(0..=DOCUMENTS), rng.u8(0..KEYS));
            let key = key_bytes(key);
            let before = ledger.now().get(&at).map(|version| version.value.clone());
            let present = after.get(&at).unwrap_or(&before).is_some();
            let remove = present && rng.u8(0..4) == 0;
            let value = if let Some(raw) = self.raw.get(usize::from(collection)) {
                let value = random_value(rng);
                batch = match (present, remove) {
                    (_, true) => batch.delete(raw, key, Precondition::Always),
                    (true, _) => batch.replace(raw, key, &value, Precondition::Always),
                    (false, _) => batch.create(raw, key, &value),
                };
                value
            } else {
                let value = random_document(rng);
                batch = match remove {
                    true => batch.delete(&self.documents, key, Precondition::Always),
                    false => batch.upsert(&self.documents, key, &value, Precondition::Always),
                };
                document_bytes(&value)
            };
            after.insert(at, (!remove).then_some(value));
        }
        after.retain(|key, value| value.is_some() || ledger.now().contains_key(key));
        let (revision, failure) = match batch.commit() {
            Ok(_) if after.is_empty() => return Ok(()),
            Ok(revision) => (revision, None),
            Err(Error::CommitUnknown { meta, source }) => {
                (meta.revision(), Some(Error::CommitUnknown { meta, source }))
            }
            Err(error) => return Err(error),
        };
        ledger.take_revision(revision.0);
        let (acknowledged, mut failure) = (failure.is_none(), failure);
        let mut changes = Vec::new();
        for (key, value) in after {
            let parent = ledger.now().get(&key).and_then(|before| before.etag);
            let mut etag = None;
            // An acknowledged batch gives no tags, so they are read; one refused call is survived.
            if failure.is_none() && value.is_some() {
                match self.get(key).or_else(|_| self.get(key)) {
                    Ok(version) => etag = version.and_then(|version| version.etag),
                    Err(error) => failure = Some(error),
                }
            }
            let new = |value| Version { value, revision: revision.0, etag, parent };
            changes.push((key, value.map(new)));
        }
        match acknowledged {
            true => ledger.acknowledge(Commit { changes }, self.durability),
            false => ledger.push(Commit { changes }),
        }
        failure.map_or(Ok(()), Err)
    }

    /// Something that must be refused and change nothing.
    fn refused(&self, rng: &mut fastrand::Rng, ledger: &Ledger) -> Result<(), Error> {
        let Some((key, version)) = ledger.now().iter().find(|(key, _)| key.0 < DOCUMENTS) else {
            return Ok(());
        };
        let raw = &self.raw[usize::from(key.0)];
        let (bytes, value) = (key_bytes(key.1), random_value(rng));
        let outcome = match version.parent.filter(|_| rng.bool()) {
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
