#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use tempfile::TempDir;

use super::*;
use crate::seams::thinned;
use crate::values::etag::ETag;
use crate::values::head::Head;

const CACHE_BYTES: u64 = 1 << 20;

fn dir_and_tables() -> (TempDir, SledBackings) {
    let dir = tempfile::tempdir().unwrap();
    let tables = SledBackings::new(dir.path().to_owned(), CACHE_BYTES);
    (dir, tables)
}

fn head(revision: u64) -> Vec<u8> {
    let head = Head {
        etag: ETag([revision as u8; 16]),
        revision,
        segment: 1,
        offset: revision as u32,
        len_bytes: 400,
        checksum: 0,
        modified_ms: 1_800_000_000_000,
        expires_ms: None,
        deleted: false,
    };
    let mut bytes = Vec::new();
    head.encode_to(&mut bytes);
    bytes
}

fn count(table: &dyn Backing) -> Result<usize> {
    let mut rows = 0;
    table.scan(None, usize::MAX, &mut |_, _| rows += 1)?;
    Ok(rows)
}

/// A closed table of 4 000 heads, each overwritten twice, in several of its segments.
fn closed_table() -> (TempDir, SledBackings) {
    let (dir, tables) = dir_and_tables();
    let table = tables.open(1).unwrap();
    for revision in 0..12_000_u64 {
        table.insert(&(revision * 7919 % 4_000).to_be_bytes(), &head(revision)).unwrap();
    }
    table.flush().unwrap();
    let len = tables.dir(1).join("db").metadata().unwrap().len();
    assert!(len > SEGMENT_BYTES as u64, "{len}");
    (dir, tables)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn a_dropped_table_opens_again_at_once_with_its_rows() {
    let (_dir, tables) = dir_and_tables();
    for round in 0..thinned(50, 200_u64) {
        let table = tables.open(1).unwrap();
        assert_eq!(count(&*table).unwrap(), round as usize);
        table.insert(&round.to_be_bytes(), &head(round)).unwrap();
        if round % 3 == 0 {
            table.flush().unwrap();
        }
    }
}

#[test]
fn a_table_that_is_open_cannot_be_opened_twice() {
    let (_dir, tables) = dir_and_tables();
    let table = tables.open(1).unwrap();
    assert!(is_locked(&tables.dir(1).join("db")));
    assert!(matches!(tables.open(1), Err(Error::Table(_))));
    table.insert(b"k", b"the first one is not harmed").unwrap();
    drop(table);
    assert!(!is_locked(&tables.dir(1).join("db")));
}

/// sled keeps up to 17 rows on a page, and a page over a quarter of its segment size becomes a blob
/// file.
#[test]
fn leaves_never_become_blob_files() {
    let (_dir, tables) = dir_and_tables();
    let table = tables.open(1).unwrap();
    // The longest row keys there are, which differ in their last bytes only, and the longest
    // leaves, of bytes that do not compress.
    let mut key = vec![0xff; 640];
    let mut rng = fastrand::Rng::with_seed(1);
    let mut leaf = vec![0; MAX_ENCODED_BYTES];
    for number in 0..3_000_u64 {
        key[632..].copy_from_slice(&(number * 7919 % 1_500).to_be_bytes());
        rng.fill(&mut leaf);
        table.insert(&key, &leaf).unwrap();
    }
    table.flush().unwrap();
    assert_eq!(fs::read_dir(tables.dir(1).join("blobs")).unwrap().count(), 0);
    assert!(table.size_on_disk_bytes().unwrap() > 0);
}

#[test]
fn an_empty_table_takes_less_than_64_kib() {
    let (_dir, tables) = dir_and_tables();
    let table = tables.open(1).unwrap();
    table.flush().unwrap();
    drop(table);
    let bytes: u64 = files(&tables.dir(1)).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 64 << 10, "{bytes}");
}

#[test]
fn only_folders_of_other_tables_are_removed() {
    let (dir, tables) = dir_and_tables();
    let others = ["index-", "index-01", "index-+1", "index-x", "index-1.old", "journal", "index"];
    for name in others.iter().chain(&["index-1", "index-2", "index-3"]) {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    tables.remove_all_but(2).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    let mut expected = others.to_vec();
    expected.push("index-2");
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// Damages a copy of a closed table and uses what is left of it.
fn use_damaged(seed: u64, damage: impl Fn(&mut Vec<u8>, &mut fastrand::Rng)) -> Vec<bool> {
    let (whole, _) = closed_table();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut works = Vec::new();
    for _ in 0..thinned(20, 50) {
        let (dir, tables) = dir_and_tables();
        copy_dir(whole.path(), dir.path());
        let files = files(&tables.dir(1));
        // Mostly the data, and now and then the settings or the snapshot.
        let db = tables.dir(1).join("db");
        let file = if rng.u8(..4) > 0 { &db } else { &files[rng.usize(..files.len())] };
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes, &mut rng);
        fs::write(file, bytes).unwrap();
        works.push(use_table(&tables).is_ok());
    }
    works
}

fn use_table(tables: &SledBackings) -> Result<()> {
    let table = tables.open(1)?;
    count(&*table)?;
    table.insert(b"new", &head(1))?;
    table.remove(&5_u64.to_be_bytes())?;
    table.get(b"new")?;
    table.flush()
}

#[test]
fn flipped_bytes_give_an_error_or_a_working_table() {
    let works = use_damaged(1, |bytes, rng| {
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= rng.u8(1..);
        }
    });
    assert!(works.contains(&true) && works.contains(&false), "{works:?}");
}

#[test]
fn a_truncated_file_gives_an_error_or_a_working_table() {
    let works = use_damaged(2, |bytes, rng| bytes.truncate(rng.usize(..bytes.len())));
    assert!(works.contains(&true), "{works:?}");
}

#[test]
fn garbage_in_place_of_the_table_gives_an_error() {
    let (dir, tables) = dir_and_tables();
    fs::write(dir.path().join("index-1"), "a file, not a folder").unwrap();
    assert!(matches!(tables.open(1), Err(Error::Table(_))));
    fs::create_dir_all(dir.path().join("index-2/db")).unwrap();
    assert!(matches!(tables.open(2), Err(Error::Table(_))));
}
