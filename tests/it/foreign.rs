//! Files that are not the store's: what lies in its directory and was never its own, and what links
//! in its directory lead to.

#[cfg(unix)]
mod unix;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ifmatch::{Error, OnDamage, Options, Store};

use crate::Case;

/// All files and folders below a folder, with their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                found.push((path.clone(), None));
                folders.push(path);
            } else {
                let bytes = fs::read(&path).ok();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

/// A regression: the folders were removed with all that was in them.
#[test]
fn b7_a_directory_without_a_manifest_is_not_touched_unless_it_is_plainly_ours() {
    let cases: [&[(&str, &str)]; 10] = [
        &[("index-1/legs", "four"), ("index-2/legs", "three")],
        &[("damaged/goods", "return them")],
        &[("journal/2026-11-26", "dear diary")],
        &[("journal/0000000001.seg", "a segment of something")],
        &[("LOCK", "1234")],
        &[("WATERMARK", "a water mark")],
        &[("MANIFEST.new", "a new manifest")],
        &[("UNFINISHED", "a symphony"), ("journal/0000000001.seg", "a segment of something")],
        &[("UNFINISHED", ""), ("WATERMARK", "a water mark")],
        &[("LOCK", ""), ("index-0/db", "a row"), ("WATERMARK", "")],
    ];
    for files in cases {
        let case = Case(format!("{files:?}"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        for (name, text) in files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let before = contents(&path);
        let refused = |opened: Result<Store, Error>| match opened {
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), ErrorKind::AlreadyExists),
            other => panic!("taken for a store's: {other:?}"),
        };
        for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
            refused(Options::new().on_damage(on_damage).open(&path));
            assert_eq!(contents(&path), before, "not left alone");
        }
        if !matches!(files[0], ("UNFINISHED", "")) && files[0].0 != "LOCK" {
            let backup = Store::in_memory().backup(&path);
            assert!(matches!(backup, Err(Error::Io { .. })), "{backup:?}");
            assert_eq!(contents(&path), before, "not left alone");
        }
        drop(case);
    }
}
