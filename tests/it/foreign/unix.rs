//! Links in a store's directory, and who may read its files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use ifmatch::{Error, OnDamage, Options, Precondition, Store};

use super::contents;
use crate::{Case, is_thorough, thinned};

fn write(store: &Store) -> Result<(), Error> {
    let items = store.raw("items")?;
    for number in 0..3_u8 {
        items.upsert("a", &Bytes::from(vec![number; 150_000]), Precondition::Always)?;
    }
    store.compact().map(drop)
}

/// A regression: a file of another owner was overwritten through WATERMARK, one was made through
/// LOCK.
#[test]
fn b10_no_link_in_a_store_is_followed() {
    let names = [
        "LOCK",
        "WATERMARK",
        "MANIFEST",
        "MANIFEST.new",
        "UNFINISHED",
        "journal",
        "journal/0000000001.seg",
        "journal/0000000002.seg",
        "journal/0000000003.seg",
        "damaged",
        "index-0",
        "index-1",
        "index-0/db",
        "index-0/conf",
        "index-0/blobs",
    ];
    let mut refused = 0;
    for (number, name) in names.into_iter().enumerate() {
        let mut states = vec![(false, true), (true, false), (true, true), (false, false)];
        if !is_thorough() {
            // Two of them for each name.
            states.rotate_left(number % 2 * 2);
            states.truncate(2);
        }
        for (dangling, closed) in states {
            let case = Case(format!("{name}, dangling: {dangling}, closed: {closed}"));
            let folder = tempfile::tempdir().unwrap();
            let (path, victims) = (folder.path().join("store"), folder.path().join("victims"));
            fs::create_dir(&victims).unwrap();
            let store = Store::open(&path).unwrap();
            write(&store).unwrap();
            store.close().unwrap();
            if !closed {
                // Without its mark an index is proven and may be rebuilt.
                fs::write(path.join("index-0/other"), "").unwrap();
            }
            let victim = victims.join("victim");
            let linked = path.join(name);
            match linked.symlink_metadata() {
                Ok(_) => fs::rename(&linked, &victim).unwrap(),
                Err(_) if ["damaged", "index-1"].contains(&name) => {
                    fs::create_dir(&victim).unwrap();
                    fs::write(victim.join("0000000001.seg"), "mine").unwrap();
                }
                Err(_) => fs::write(&victim, "mine").unwrap(),
            }
            if dangling {
                match victim.is_dir() {
                    true => fs::remove_dir_all(&victim).unwrap(),
                    false => fs::remove_file(&victim).unwrap(),
                }
            }
            std::os::unix::fs::symlink(&victim, &linked).unwrap();
            let before = contents(&victims);
            for on_damage in [OnDamage::Refuse, OnDamage::KeepPrefix] {
                let opened = Options::new().on_damage(on_damage).open(&path);
                refused += u32::from(opened.is_err());
                if let Ok(store) = opened {
                    let _ = write(&store);
                    drop(store);
                }
                assert_eq!(contents(&victims), before, "a link was followed");
            }
            drop(case);
        }
    }
    assert!(refused > thinned(14, 30) as u32, "{refused}");
}

/// What a store holds is its owner's to show.
#[test]
fn d9_files_and_folders_are_made_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some/where/store");
    let store = Store::open(&path).unwrap();
    write(&store).unwrap();
    store.backup(folder.path().join("copy")).unwrap();
    store.close().unwrap();
    for root in [path, folder.path().join("copy")] {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        for (found, bytes) in contents(&root) {
            let is_in_index = found.components().any(|part| {
                part.as_os_str().to_str().is_some_and(|name| name.starts_with("index-"))
            });
            match bytes {
                None if !is_in_index => assert_eq!(mode(&found), 0o700, "{found:?}"),
                Some(_) if !is_in_index => assert_eq!(mode(&found), 0o600, "{found:?}"),
                // sled's own lie in a folder that nobody else can enter.
                _ => {}
            }
        }
        let indexes = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
        let indexes = indexes.filter(|path| path.to_str().unwrap().contains("/index-"));
        indexes.for_each(|index| assert_eq!(mode(&index), 0o700));
    }
}
