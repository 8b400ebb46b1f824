//! Stores written by the first version of the format, which every later version reads for ever.
//!
//! `tests/golden/v1` holds their files as hexadecimal text, without what is zero and without the
//! index, which is derived: `*.store`. Beside them stands what is in them, `*.items`,
//! and what one that was compacted tells of the past: `compacted.past`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use ifmatch::{
    Bincode, Change, ChangeKind, Cursor, Error, HistoryPolicy, Index, Item, OnDamage, Options,
    Precondition, Store,
};
use serde_json::{Value, json};

use crate::store_files::{Files, Folder, Place};

const LINE_BYTES: usize = 32;
const STORES: [&str; 5] = ["closed", "killed", COMPACTED, CLEARED, UNIQUE];
const COMPACTED: &str = "compacted";
const CLEARED: &str = "cleared";
/// Killed, with a unique index that binds.
const UNIQUE: &str = "unique";
/// No test should fail because it is late.
const MILLENNIA: Duration = Duration::from_secs(7_000 * 365 * 24 * 60 * 60);

fn golden(name: &str, extension: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    folder.join(name).with_extension(extension)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn to_text(files: &Files) -> String {
    let mut text = String::new();
    let kept = |path: &Path| {
        let name = path.to_str().unwrap();
        !name.starts_with("index-") && name != "INDEX"
    };
    for (path, bytes) in files.iter().filter(|(path, _)| kept(path)) {
        writeln!(text, "file {} {}", path.to_str().unwrap(), bytes.len()).unwrap();
        for (index, line) in bytes.chunks(LINE_BYTES).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                writeln!(text, "{:x} {}", index * LINE_BYTES, hex(line)).unwrap();
            }
        }
    }
    text
}

fn from_text(text: &str) -> Files {
    let mut files = Files::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["file", path, len] => files.push((path.into(), vec![0; len.parse().unwrap()])),
            [offset, bytes] => {
                let at = usize::from_str_radix(offset, 16).unwrap();
                let bytes = unhex(bytes);
                files.last_mut().unwrap().1[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            _ => panic!("not a line of a golden store: {line}"),
        }
    }
    files
}

/// A long value is told by its length and hash.
fn brief(value: &[u8]) -> String {
    match value.len() {
        0..100 => hex(value),
        len => format!("{len}:{:08x}", crc32fast::hash(value)),
    }
}

/// Everything that a version of an item is, one line each.
fn list(store: &Store) -> String {
    fn line<T>(text: &mut String, collection: &str, item: &Item<T>, value: &[u8]) {
        let value = brief(value);
        let parent = item.parent().map_or("-".to_owned(), |tag| tag.to_string());
        let (key, tag, revision) = (hex(item.key()), item.etag(), item.revision());
        let modified = item.modified().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        writeln!(text, "{collection} {key} {revision} {tag} {parent} {modified} {value}").unwrap();
    }
    let mut text = String::new();
    for item in store.raw("bytes").unwrap().iter().unwrap() {
        let item = item.unwrap();
        line(&mut text, "bytes", &item, &item.value);
    }
    for item in store.collection::<Value>("documents").unwrap().iter().unwrap() {
        let item = item.unwrap();
        line(&mut text, "documents", &item, item.value.to_string().as_bytes());
    }
    let points = store.collection_with::<(i64, String), Bincode>("points").unwrap();
    for item in points.iter().unwrap() {
        let item = item.unwrap();
        line(&mut text, "points", &item, format!("{:?}", item.value).as_bytes());
    }
    text
}

fn options() -> Options {
    Options::new().history(HistoryPolicy::new().versions(3))
}

/// The whole feed, what follows a cursor that was kept, and every version that is kept.
fn list_past(store: &Store, kept: Cursor) -> String {
    let mut text = format!("cursor {kept}\n");
    let line = |change: Change| {
        let value = change.value().map_or("-".to_owned(), |value| brief(value));
        let parent = change.parent().map_or("-".to_owned(), |tag| tag.to_string());
        let (kind, collection, key) = (change.kind(), change.collection(), hex(change.key()));
        let (revision, tag, expires) = (change.revision(), change.etag(), change.expires());
        let expires = expires.map(|at| at.duration_since(std::time::UNIX_EPOCH).unwrap());
        let expires = expires.map_or("-".to_owned(), |at| at.as_millis().to_string());
        format!("{kind:?} {collection} {key} {revision} {tag} {parent} {expires} {value}")
    };
    for (what, cursor) in [("all", Cursor::START), ("after", kept)] {
        for change in store.changes(cursor).unwrap() {
            writeln!(text, "{what} {}", line(change.unwrap())).unwrap();
        }
    }
    let notes = store.raw("notes").unwrap();
    for key in notes.keys().unwrap() {
        let key = key.unwrap();
        for version in notes.history(&key).unwrap().into_iter().map(Result::unwrap) {
            let found = notes.get_version(&key, &version.etag()).unwrap();
            assert_eq!(found.as_ref(), Some(&version));
            let (key, value) = (hex(&key), hex(&version.value));
            writeln!(text, "kept {key} {} {value}", version.etag()).unwrap();
        }
    }
    text
}

#[test]
fn a_compacted_store_of_the_first_format_tells_the_past_as_it_did() {
    let files = from_text(&fs::read_to_string(golden(COMPACTED, "store")).unwrap());
    let expected = fs::read_to_string(golden(COMPACTED, "past")).unwrap();
    let words: Vec<&str> = expected.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let kinds = ["cursor", "all", "after", "kept"];
    assert!(kinds.iter().all(|kind| words.contains(kind)), "a past without all of these");
    let cursor = expected.lines().next().unwrap().strip_prefix("cursor ").unwrap();
    let cursor: Cursor = cursor.parse().unwrap();
    for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
        let place = Folder::holding(&files);
        let store = place.open(&options().on_damage(on_damage)).unwrap();
        assert_eq!(list_past(&store, cursor), expected);
        // Nothing of it is lost by another compaction: tombstones are not looked at.
        store.verify().unwrap();
        let items = list(&store);
        store.compact().unwrap();
        assert_eq!(list(&store), items);
        store.close().unwrap();
    }
}

#[test]
fn stores_of_the_first_format_hold_what_they_held() {
    for name in STORES {
        let files = from_text(&fs::read_to_string(golden(name, "store")).unwrap());
        let expected = fs::read_to_string(golden(name, "items")).unwrap();
        assert!(expected.lines().count() > 20, "a golden store without items proves nothing");
        for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
            let place = Folder::holding(&files);
            let options = options().on_damage(on_damage);
            let store = place.open(&options).unwrap();
            assert!(store.damage().is_none());
            assert_eq!(list(&store), expected, "{name}");
            let kinds = store.changes(Cursor::START).unwrap().map(|change| change.unwrap().kind());
            let cleared = kinds.filter(|kind| *kind == ChangeKind::Cleared).count();
            assert_eq!(cleared, if name == CLEARED { 2 } else { 0 });
            if name == UNIQUE {
                check_unique(&store);
            }
            store.raw("bytes").unwrap().create("new", &Bytes::new()).unwrap();
            store.close().unwrap();
            let store = place.open(&options).unwrap();
            let lines = list(&store).lines().count();
            assert_eq!(lines, expected.lines().count() + 1, "{name}, written to");
        }
    }
}

/// Writes the golden stores that are missing. Only ever for a new format version, in a folder of
/// its own.
#[test]
#[ignore = "the stores are written once"]
fn make_golden() {
    let mut place = Folder::new();
    for (round, name) in (0_u8..).zip(STORES) {
        let store = match name {
            COMPACTED => {
                let (restored, store, kept) = write_a_past();
                place = restored;
                write_new(name, "past", &list_past(&store, kept));
                store
            }
            CLEARED => {
                place = Folder::new();
                let store = place.open(&Options::new()).unwrap();
                write_everything(&store, round);
                clear_some(&store);
                store
            }
            UNIQUE => {
                place = Folder::new();
                let store = place.open(&Options::new()).unwrap();
                write_everything(&store, round);
                let documents = store.collection::<Value>("documents").unwrap();
                documents.ensure_index(Index::on_desc("/n").unique()).unwrap();
                store
            }
            _ => {
                let store = place.open(&Options::new()).unwrap();
                write_everything(&store, round);
                store
            }
        };
        let items = list(&store);
        if !["killed", UNIQUE].contains(&name) {
            store.close().unwrap();
        }
        let text = to_text(&place.files());
        assert!(text.len() < 40 << 10, "{} bytes for {name}", text.len());
        write_new(name, "store", &text);
        write_new(name, "items", &items);
    }
}

/// Both indexes of the documents are there, and the unique one binds.
fn check_unique(store: &Store) {
    let documents = store.collection::<Value>("documents").unwrap();
    let indexes = documents.indexes().unwrap();
    let definitions: Vec<String> = indexes.iter().map(|status| status.index.to_string()).collect();
    assert_eq!(definitions, ["/n,-/t", "unique -/n"]);
    assert!(indexes.iter().all(|status| status.built && status.entries == 11));
    let refused = documents.create("second", &json!({"n": 9}));
    assert!(matches!(refused, Err(Error::NotUnique { .. })), "{refused:?}");
    store.verify().unwrap();
}

/// Clears one collection, which is used again, and drops another.
fn clear_some(store: &Store) {
    let documents = store.collection::<Value>("documents").unwrap();
    assert!(documents.clear().unwrap() > 0);
    for n in 0..10_u8 {
        documents.create([n], &json!({ "n": n })).unwrap();
    }
    assert!(store.drop_collection("points").unwrap());
}

fn write_new(name: &str, extension: &str, text: &str) {
    let path = golden(name, extension);
    if !path.exists() {
        fs::write(path, text).unwrap();
    }
}

/// A store that was compacted, backed up, restored and compacted again, so that one segment holds
/// entries of two incarnations, with segments that are retired and not dropped; items that expire
/// and one that has expired, superseded versions, a dropped tombstone and a kept one. Gives a
/// cursor in the middle of a batch, too.
fn write_a_past() -> (Folder, Store, Cursor) {
    let (first, copy, restored) = (Folder::new(), Folder::new(), Folder::new());
    let forgetful = Options::new().history(HistoryPolicy::new().tombstones(Duration::ZERO));
    let store = first.open(&forgetful).unwrap();
    write_everything(&store, 7);
    write_notes(&store, "first");
    store.backup(copy.path()).unwrap();
    drop(store);
    drop(Store::restore(copy.path(), restored.path()).unwrap());
    let store = restored.open(&forgetful).unwrap();
    write_notes(&store, "second");
    assert!(store.compact().unwrap().purged_tombstones > 0);
    store.close().unwrap();

    let store = restored.open(&options()).unwrap();
    write_notes(&store, "third");
    let before = store.cursor().unwrap();
    let notes = store.raw("notes").unwrap();
    let mut batch = store.batch();
    for key in ["x", "y", "z"] {
        batch = batch.create(&notes, key, &key.into());
    }
    batch.commit().unwrap();
    let kept = store.changes(before).unwrap().next().unwrap().unwrap().cursor();
    // Retired segments stay while a snapshot may read them.
    let snapshot = store.snapshot();
    let compaction = store.compact().unwrap();
    assert!(compaction.segments > 1 && compaction.reclaimed_bytes > 0, "{compaction:?}");
    drop((notes, snapshot));
    (restored, store, kept)
}

fn write_notes(store: &Store, stamp: &str) {
    let notes = store.raw("notes").unwrap();
    let lasting = notes.clone().with_ttl(MILLENNIA);
    for round in 0..4 {
        for key in ["a", "b", "c"] {
            let text = format!("{stamp} {round} {key}");
            notes.upsert(key, &text.clone().into(), Precondition::Always).unwrap();
            lasting.upsert(format!("{key} lasts"), &text.into(), Precondition::Always).unwrap();
        }
    }
    notes.delete("c", Precondition::Always).unwrap();
    let fleeting = notes.clone().with_ttl(Duration::ZERO);
    fleeting.upsert("gone", &stamp.to_owned().into(), Precondition::Always).unwrap();
}

/// Every verb, kind of entry and codec; keys of all lengths; a batch; more than one segment.
fn write_everything(store: &Store, round: u8) {
    let bytes = store.raw("bytes").unwrap();
    let documents = store.collection::<Value>("documents").unwrap();
    let points = store.collection_with::<(i64, String), Bincode>("points").unwrap();
    for key in 0..12_u8 {
        let len = usize::from(key) * 3;
        let key = vec![key.wrapping_mul(23); 1 + len];
        bytes.upsert(&key, &vec![round + 1; len].into(), Precondition::Always).unwrap();
        documents
            .upsert(&key, &json!({ "n": len, "f": 0.1, "t": "é" }), Precondition::Always)
            .unwrap();
    }
    documents.ensure_index(Index::on("/n").then_desc("/t")).unwrap();
    bytes.upsert(vec![255; 511], &Bytes::new(), Precondition::Always).unwrap();
    // Zeros take no room in the text; this one begins a segment.
    let zeros = Bytes::from(vec![0; 300_000]);
    let large = bytes.upsert("large", &zeros, Precondition::Always).unwrap();
    bytes.replace("large", &zeros.slice(1..), large.etag()).unwrap();
    bytes.delete([0], Precondition::Always).unwrap();
    documents.delete([0], Precondition::Always).unwrap();
    documents.create([0], &json!(null)).unwrap();
    let mut batch = store.batch();
    for key in 0..5_u8 {
        batch = batch.upsert(
            &points,
            [key],
            &(-1 << key, "p".repeat(usize::from(key))),
            Precondition::Always,
        );
    }
    batch.delete(&points, [1], Precondition::Always).commit().unwrap();
}
