//! Stores written by the first version of the format, which every later version reads for ever.
//!
//! `tests/golden/v1` holds their files as hexadecimal text, without what is zero and without the
//! table, which is no part of the format: `*.store`. Beside them stands what is in them: `*.items`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ifmatch::{Bincode, Item, OnDamage, Options, Precondition, Store};
use serde_json::{Value, json};

use crate::place::{Files, Folder, Place};

const LINE_BYTES: usize = 32;
const STORES: [&str; 2] = ["closed", "killed"];

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
    let kept = |path: &Path| !path.to_str().unwrap().starts_with("table-");
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

/// Everything that a version of an item is, one line each; long values by their length and hash.
fn list(store: &Store) -> String {
    fn line<T>(text: &mut String, collection: &str, item: &Item<T>, value: &[u8]) {
        let value = match value.len() {
            0..100 => hex(value),
            len => format!("{len}:{:08x}", crc32fast::hash(value)),
        };
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

#[test]
fn stores_of_the_first_format_hold_what_they_held() {
    for name in STORES {
        let files = from_text(&fs::read_to_string(golden(name, "store")).unwrap());
        let expected = fs::read_to_string(golden(name, "items")).unwrap();
        assert!(expected.lines().count() > 20, "a golden store without items proves nothing");
        for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
            let place = Folder::holding(&files);
            let options = Options::new().on_damage(on_damage);
            let store = place.open(&options).unwrap();
            assert!(store.damage().is_none());
            assert_eq!(list(&store), expected, "{name}");
            store.raw("bytes").unwrap().create("new", &Bytes::new()).unwrap();
            store.close().unwrap();
            let store = place.open(&options).unwrap();
            let lines = list(&store).lines().count();
            assert_eq!(lines, expected.lines().count() + 1, "{name}, written to");
        }
    }
}

/// Writes the golden stores. Only ever for a new format version, in a folder of its own.
#[test]
#[ignore = "the stores are written once"]
fn make_golden() {
    let place = Folder::new();
    for (round, name) in (0_u8..).zip(STORES) {
        let store = place.open(&Options::new()).unwrap();
        write_everything(&store, round);
        let items = list(&store);
        if name == "closed" {
            store.close().unwrap();
        }
        let text = to_text(&place.files());
        assert!(text.len() < 40 << 10, "{} bytes for {name}", text.len());
        fs::write(golden(name, "store"), text).unwrap();
        fs::write(golden(name, "items"), items).unwrap();
    }
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
