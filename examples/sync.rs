//! Two stores in two folders that are kept alike through their change feeds, in both directions:
//! both sides go on writing, and what both have changed is merged field by field.
//!
//! Run it with `cargo run --example sync`. How it works is told in `docs/sync.md`.

use std::collections::BTreeSet;
use std::path::Path;

use ifmatch::{
    Batch, Collection, Cursor, ETag, Error, HistoryPolicy, Options, Precondition, Snapshot, Store,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Note = Map<String, Value>;

/// A store, and the collection of it that is kept in step.
struct Side {
    name: &'static str,
    store: Store,
    notes: Collection<Note>,
}

/// The versions of a note that were found, or made, alike; `None` where there is no note.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Link {
    here: Option<ETag>,
    there: Option<ETag>,
}

/// Keeps two sides in step. What it remembers lies in the store `here`.
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
        // The base of a merge is a superseded version, so some are kept.
        let options = Options::new().history(HistoryPolicy::new().versions(20));
        let store = options.open(path)?;
        Ok(Self { name, notes: store.collection("notes")?, store })
    }

    /// Writes or removes a note, if it is still what was seen; gives its new tag.
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

    /// Goes through both feeds until neither tells anything new.
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
        Err("the sides do not come to rest".into())
    }

    /// Takes in what one side's feed tells, from where the last call stopped.
    fn follow(&self, side: &Side, at_most: usize, tally: &mut Tally) -> Outcome {
        let kept = self.cursors.get(side.name)?;
        let cursor = kept.map_or(Cursor::START, |cursor| cursor.value);
        match self.follow_from(side, cursor, at_most, tally) {
            // The feed cannot tell of every removal any more, or the store has another history:
            // everything is compared.
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
            let link = self.links.get(change.key())?.map(|link| link.value).unwrap_or_default();
            let known = if side.name == "here" { link.here } else { link.there };
            if known == Some(change.etag()) {
                tally.echoes += 1; // our own write, come back
                continue;
            }
            // The cursor goes into the same batch as the link, so neither is ahead of the other.
            let batch = self.cursors_batch(side, place);
            self.reconcile(change.key(), batch, tally)?.commit()?;
        }
        if place != cursor {
            self.cursors_batch(side, place).commit()?;
        }
        Ok(())
    }

    fn cursors_batch(&self, side: &Side, place: Cursor) -> Batch {
        self.here.store.batch().upsert(&self.cursors, side.name, &place, Precondition::Always)
    }

    /// Looks at every note that either side of the link may have, and goes on from the snapshot.
    fn list(&self, side: &Side, snapshot: &Snapshot, tally: &mut Tally) -> Outcome {
        println!("  the feed of {:?} cannot go on: its notes are listed", side.name);
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

    /// Makes one note alike on both sides, and adds the link that says so to the batch. Whatever
    /// was done before it was cut short, doing it again comes to the same.
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
                // The last version that both had, from the history of either.
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
            // Somebody wrote meanwhile: that change is still to come, in its feed.
            Err(Error::PreconditionFailed(_) | Error::AlreadyExists(_) | Error::NotFound) => {
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

/// Three-way: of each field the side that has changed it. Where both have, `here` wins; where one
/// has removed what the other has changed, the change wins.
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
    println!("Each side writes notes of its own.");
    for (key, text) in [("milk", "2 l"), ("bread", "dark"), ("eggs", "six")] {
        mirror.here.notes.create(key, &note(json!({ "text": text, "done": false })))?;
    }
    for (key, text) in [("tea", "green"), ("rice", "1 kg"), ("soap", "two")] {
        mirror.there.notes.create(key, &note(json!({ "text": text, "done": false })))?;
    }
    let tally = mirror.sync()?;
    check(mirror.are_alike()? && mirror.here.notes.len()? == 6, "both hold all six notes")?;
    check(tally.written == 6 && tally.echoes == 6, "what was written came back, and was known")?;

    println!("Both go on, without each other.");
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

    println!("The program ends in the middle of a sync, and begins again.");
    let mut tally = Tally::default();
    mirror.follow(&mirror.here, 2, &mut tally)?;
    mirror.close()?;
    let mirror = Mirror::open(folder.path())?;
    let rest = mirror.sync()?;
    check(tally.merged + rest.merged == 3, "three notes were changed by both sides")?;
    check(mirror.are_alike()?, "both sides hold the same notes")?;
    let read = |key| mirror.here.notes.get(key).map(|item| item.map(|item| item.value));
    let milk = Some(note(json!({ "text": "3 l", "done": true })));
    check(read("milk")? == milk, "of one note each side changed a field, and both changes stay")?;
    let bread = Some(note(json!({ "text": "white", "done": false })));
    check(read("bread")? == bread, "the same field of one note was changed by both")?;
    check(read("eggs")?.is_some(), "a note that one removed and the other changed is kept")?;
    let gone = [read("tea")?, read("rice")?, read("soap")?];
    check(gone.iter().all(Option::is_none), "what was removed is gone")?;

    end_quietly(mirror, folder.path())
}

/// When nothing happens nothing is written, and a side that was lost is brought back.
fn end_quietly(mirror: Mirror, folder: &Path) -> Outcome {
    let before = (mirror.here.store.revision(), mirror.there.store.revision());
    mirror.sync()?;
    let after = (mirror.here.store.revision(), mirror.there.store.revision());
    check(before == after, "nothing goes back and forth when nothing happens")?;

    println!("One side is lost, and restored from its backup.");
    let (copy, place) = (folder.join("copy.ifm"), folder.join("there.ifm"));
    mirror.there.store.backup(&copy)?;
    mirror.here.notes.update("salt", |note| drop(note.insert("done".to_owned(), json!(true))))?;
    mirror.close()?;
    std::fs::remove_dir_all(&place)?;
    Store::restore(&copy, &place)?.close()?;
    let mirror = Mirror::open(folder)?;
    let tally = mirror.sync()?;
    check(tally.listed > 0 && tally.written == 1, "only what had changed since was written")?;
    check(mirror.are_alike()?, "both sides hold the same notes again")?;
    for (key, note) in mirror.there.all()? {
        println!("  {}: {}", String::from_utf8_lossy(&key), Value::from(note));
    }
    mirror.close()
}

fn note(value: Value) -> Note {
    if let Value::Object(fields) = value { fields } else { Note::new() }
}

fn check(held: bool, claim: &str) -> Outcome {
    println!("{}: {claim}.", if held { "Checked" } else { "FAILED" });
    if held { Ok(()) } else { Err(claim.into()) }
}
