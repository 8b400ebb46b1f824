//! Keeps two stores in two folders alike through their change feeds, in both directions. Both sides
//! continue to write. A note that both have changed is merged field by field.
//!
//! Run it with `cargo run --example sync`. `docs/sync.md` explains how it works.

use std::collections::BTreeSet;
use std::path::Path;

use ifmatch::{
    Batch, ChangeKind, Collection, Cursor, ETag, Error, HistoryPolicy, Options, Precondition,
    Snapshot, Store,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Note = Map<String, Value>;

/// A store, and its collection that is synchronised.
struct Side {
    name: &'static str,
    store: Store,
    notes: Collection<Note>,
}

/// The versions of a note that were last alike on both sides; `None` where there is no note.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Link {
    here: Option<ETag>,
    there: Option<ETag>,
}

/// Keeps two sides alike. Its links and cursors are stored in the store `here`.
struct Mirror {
    here: Side,
    there: Side,
    links: Collection<Link>,
    cursors: Collection<Cursor>,
}

#[derive(Debug, Default)]
struct Tally {
    changes: u32,
    echoes: u32,
    written: u32,
    merged: u32,
    listed: u32,
}

impl Side {
    fn open(name: &'static str, path: &Path) -> Outcome<Self> {
        // The base of a merge is a superseded version, so the store keeps some.
        let options = Options::new().history(HistoryPolicy::new().versions(20));
        let store = options.open(path)?;
        Ok(Self { name, notes: store.collection("notes")?, store })
    }

    /// Writes or removes a note if its version is still the one that was seen. Returns the new tag.
    fn put(
        &self,
        key: &[u8],
        note: Option<&Note>,
        seen: Option<ETag>,
    ) -> Result<Option<ETag>, Error> {
        match (note, seen) {
            (Some(note), seen) => {
                let unchanged = Precondition::if_unchanged(seen);
                self.notes.upsert(key, note, unchanged).map(|meta| Some(meta.etag()))
            }
            (None, Some(seen)) => self.notes.delete(key, seen).map(|_| None),
            (None, None) => Ok(None),
        }
    }

    fn all(&self) -> Outcome<Vec<(Vec<u8>, Note)>> {
        let note = |item: ifmatch::Item<Note>| (item.key().to_vec(), item.value);
        Ok(self.notes.iter()?.map(|item| item.map(note)).collect::<Result<_, _>>()?)
    }
}

impl Mirror {
    fn open(folder: &Path) -> Outcome<Self> {
        let here = Side::open("here", &folder.join("here.ifm"))?;
        let there = Side::open("there", &folder.join("there.ifm"))?;
        let links = here.store.collection("sync links")?;
        let cursors = here.store.collection("sync cursors")?;
        Ok(Self { here, there, links, cursors })
    }

    fn close(self) -> Outcome {
        self.here.store.close()?;
        self.there.store.close()?;
        Ok(())
    }

    /// Reads both feeds until neither has a new change.
    fn sync(&self) -> Outcome<Tally> {
        let mut tally = Tally::default();
        for _ in 0..10 {
            let before = tally.changes;
            for side in [&self.here, &self.there] {
                self.follow(side, usize::MAX, &mut tally)?;
            }
            if tally.changes == before {
                println!("  synced: {tally:?}");
                return Ok(tally);
            }
        }
        Err("the sides do not converge".into())
    }

    /// Applies the changes of one side's feed, starting at that side's cursor.
    fn follow(&self, side: &Side, at_most: usize, tally: &mut Tally) -> Outcome {
        let kept = self.cursors.get(side.name)?;
        let cursor = kept.map_or(Cursor::START, |cursor| cursor.value);
        match self.follow_from(side, cursor, at_most, tally) {
            // The feed no longer holds every removal, or the store has another history: compare
            // everything.
            Err(Error::Compacted | Error::Diverged) => {
                self.list(side, &side.store.snapshot(), tally)
            }
            followed => Ok(followed?),
        }
    }

    fn follow_from(
        &self,
        side: &Side,
        cursor: Cursor,
        at_most: usize,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let mut place = cursor;
        for change in side.notes.changes(cursor)?.take(at_most) {
            let change = change?;
            tally.changes += 1;
            place = change.cursor();
            if change.kind() == ChangeKind::Cleared {
                self.follow_clear(side, place, tally)?;
                continue;
            }
            let link = self.links.get(change.key())?.map(|link| link.value).unwrap_or_default();
            let known = if side.name == "here" { link.here } else { link.there };
            if known == Some(change.etag()) {
                tally.echoes += 1; // our own write came back
                continue;
            }
            // The cursor is written in the batch of the link, so neither is ahead of the other.
            let batch = self.cursors_batch(side, place);
            self.reconcile(change.key(), batch, tally)?.commit()?;
        }
        if place != cursor {
            self.cursors_batch(side, place).commit()?;
        }
        Ok(())
    }

    /// A clear names no key: every note that was ever alike may have gone with it.
    fn follow_clear(&self, side: &Side, place: Cursor, tally: &mut Tally) -> Result<(), Error> {
        for link in self.links.iter()? {
            self.reconcile(link?.key(), self.here.store.batch(), tally)?.commit()?;
        }
        self.cursors_batch(side, place).commit()?;
        Ok(())
    }

    fn cursors_batch(&self, side: &Side, place: Cursor) -> Batch {
        self.here.store.batch().upsert(&self.cursors, side.name, &place, Precondition::Always)
    }

    /// Reconciles every note of the snapshot and of the links, and continues from the snapshot.
    fn list(&self, side: &Side, snapshot: &Snapshot, tally: &mut Tally) -> Outcome {
        println!("  the feed of {:?} cannot continue, so its notes are listed", side.name);
        let mut keys = BTreeSet::new();
        for item in snapshot.collection(&side.notes).iter()? {
            keys.insert(item?.key().to_vec());
        }
        for item in self.links.iter()? {
            keys.insert(item?.key().to_vec());
        }
        for key in keys {
            tally.listed += 1;
            self.reconcile(&key, self.here.store.batch(), tally)?.commit()?;
        }
        self.cursors_batch(side, snapshot.cursor()?).commit()?;
        Ok(())
    }

    /// Makes one note alike on both sides, and adds the new link to the batch. It is idempotent: it
    /// can be interrupted anywhere and repeated.
    fn reconcile(&self, key: &[u8], batch: Batch, tally: &mut Tally) -> Result<Batch, Error> {
        let (here, there) = (self.here.notes.get(key)?, self.there.notes.get(key)?);
        let kept = self.links.get(key)?;
        let link = kept.as_ref().map(|link| link.value).unwrap_or_default();
        let tags = Link {
            here: here.as_ref().map(|item| item.etag()),
            there: there.as_ref().map(|item| item.etag()),
        };
        let (here, there) = (here.map(|item| item.value), there.map(|item| item.value));
        let wanted = match (tags.here != link.here, tags.there != link.there) {
            (false, false) => return Ok(batch),
            _ if here == there => here.clone(),
            (true, false) => here.clone(),
            (false, true) => there.clone(),
            (true, true) => {
                tally.merged += 1;
                // The last version that both sides held, from either history.
                let base = match link.there {
                    Some(tag) => self.there.notes.get_version(key, &tag)?,
                    None => None,
                };
                let base = base.map(|item| item.value).unwrap_or_default();
                merge(&base, here.as_ref(), there.as_ref())
            }
        };
        let mut made = tags;
        let mut put = |side: &Side, is: &Option<Note>, tag: &mut Option<ETag>| {
            if *is != wanted {
                *tag = side.put(key, wanted.as_ref(), *tag)?;
                tally.written += 1;
            }
            Ok(())
        };
        let written = put(&self.there, &there, &mut made.there)
            .and_then(|()| put(&self.here, &here, &mut made.here));
        match written {
            // Another write came first. Its change is still to come in its feed.
            Err(
                Error::PreconditionFailed(_) | Error::AlreadyExists(_) | Error::NotFound { .. },
            ) => {
                return Ok(batch);
            }
            written => written?,
        }
        Ok(match kept {
            Some(_) if made == Link::default() => {
                batch.delete(&self.links, key, Precondition::Always)
            }
            None if made == Link::default() => batch,
            _ => batch.upsert(&self.links, key, &made, Precondition::Always),
        })
    }

    fn are_alike(&self) -> Outcome<bool> {
        Ok(self.here.all()? == self.there.all()?)
    }
}

/// Three-way merge: each field is taken from the side that changed it. If both sides changed it,
/// `here` wins. If one side removed the note and the other changed it, the change wins.
fn merge(base: &Note, here: Option<&Note>, there: Option<&Note>) -> Option<Note> {
    let (Some(here), Some(there)) = (here, there) else { return here.or(there).cloned() };
    let mut merged = Note::new();
    for field in here.keys().chain(there.keys()).collect::<BTreeSet<_>>() {
        let (was, ours, theirs) = (base.get(field), here.get(field), there.get(field));
        if ours != was && theirs != was && ours != theirs {
            println!("  {field}: was {was:?}, {ours:?} here wins over {theirs:?} there");
        }
        let kept = if ours == was { theirs } else { ours };
        merged.extend(kept.map(|value| (field.clone(), value.clone())));
    }
    Some(merged)
}

fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mirror = Mirror::open(folder.path())?;
    println!("Each side writes its own notes.");
    for (key, text) in [("milk", "2 l"), ("bread", "dark"), ("eggs", "six")] {
        mirror.here.notes.create(key, &note(json!({ "text": text, "done": false })))?;
    }
    for (key, text) in [("tea", "green"), ("rice", "1 kg"), ("soap", "two")] {
        mirror.there.notes.create(key, &note(json!({ "text": text, "done": false })))?;
    }
    let tally = mirror.sync()?;
    check(mirror.are_alike()? && mirror.here.notes.len()? == 6, "both sides hold all six notes")?;
    check(tally.written == 6 && tally.echoes == 6, "each write came back once and was recognised")?;

    println!("Both sides write without a connection.");
    let done = |note: &mut Note| drop(note.insert("done".to_owned(), json!(true)));
    let say = |text: &'static str| {
        move |note: &mut Note| drop(note.insert("text".to_owned(), json!(text)))
    };
    mirror.here.notes.update("milk", done)?;
    mirror.there.notes.update("milk", say("3 l"))?;
    mirror.here.notes.update("bread", say("white"))?;
    mirror.there.notes.update("bread", say("rye"))?;
    mirror.here.notes.delete("eggs", Precondition::Always)?;
    mirror.there.notes.update("eggs", say("ten"))?;
    mirror.here.notes.delete("tea", Precondition::Always)?;
    mirror.there.notes.delete("rice", Precondition::Always)?;
    mirror.here.notes.delete("soap", Precondition::Always)?;
    mirror.there.notes.delete("soap", Precondition::Always)?;
    mirror.there.notes.create("salt", &note(json!({ "text": "a bit" })))?;

    println!("The program ends in the middle of a sync, and is started again.");
    let mut tally = Tally::default();
    mirror.follow(&mirror.here, 2, &mut tally)?;
    mirror.close()?;
    let mirror = Mirror::open(folder.path())?;
    let rest = mirror.sync()?;
    check(tally.merged + rest.merged == 3, "three notes were changed by both sides")?;
    check(mirror.are_alike()?, "both sides hold the same notes")?;
    let read = |key| mirror.here.notes.get(key).map(|item| item.map(|item| item.value));
    let milk = Some(note(json!({ "text": "3 l", "done": true })));
    check(read("milk")? == milk, "each side changed one field, and both changes are kept")?;
    let bread = Some(note(json!({ "text": "white", "done": false })));
    check(read("bread")? == bread, "both sides changed one field, and `here` wins")?;
    check(read("eggs")?.is_some(), "a note that one side removed and the other changed is kept")?;
    let gone = [read("tea")?, read("rice")?, read("soap")?];
    check(gone.iter().all(Option::is_none), "removed notes are absent on both sides")?;

    end_quietly(mirror, folder.path())
}

/// Checks that an idle sync writes nothing, and that a lost side can be restored.
fn end_quietly(mirror: Mirror, folder: &Path) -> Outcome {
    let before = (mirror.here.store.revision(), mirror.there.store.revision());
    mirror.sync()?;
    let after = (mirror.here.store.revision(), mirror.there.store.revision());
    check(before == after, "a sync without changes writes nothing")?;

    println!("One side is lost, and restored from its backup.");
    let (copy, place) = (folder.join("copy.ifm"), folder.join("there.ifm"));
    mirror.there.store.backup(&copy)?;
    mirror.here.notes.update("salt", |note| drop(note.insert("done".to_owned(), json!(true))))?;
    mirror.close()?;
    std::fs::remove_dir_all(&place)?;
    Store::restore(&copy, &place)?.close()?;
    let mirror = Mirror::open(folder)?;
    let tally = mirror.sync()?;
    check(tally.listed > 0 && tally.written == 1, "only the change since the backup was written")?;
    check(mirror.are_alike()?, "both sides hold the same notes again")?;
    for (key, note) in mirror.there.all()? {
        println!("  {}: {}", String::from_utf8_lossy(&key), Value::from(note));
    }

    println!("One side removes all notes at once, while the other changes one.");
    check(mirror.there.notes.clear()? == 4, "four notes are removed by one change")?;
    mirror.here.notes.update("salt", |note| drop(note.insert("text".to_owned(), json!("lots"))))?;
    mirror.sync()?;
    let left = mirror.there.all()?;
    check(mirror.are_alike()? && left.len() == 1, "only the note that was changed is kept")?;
    mirror.close()
}

fn note(value: Value) -> Note {
    if let Value::Object(fields) = value { fields } else { Note::new() }
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
