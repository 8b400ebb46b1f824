#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use tempfile::TempDir;

use super::*;
use crate::seams::thinned;
use crate::values::etag::ETag;
use crate::values::head::Head;

const CACHE_BYTES: u64 = 1 << 20;

fn dir_and_backings() -> (TempDir, SledBackings) {
    let dir = tempfile::tempdir().unwrap();
    let backings = SledBackings::new(dir.path().to_owned(), CACHE_BYTES);
    (dir, backings)
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

fn count(backing: &dyn Backing) -> Result<usize> {
    let mut pairs = 0;
    backing.scan(None, usize::MAX, &mut |_, _| pairs += 1)?;
    Ok(pairs)
}

/// A closed backing store of 4 000 heads, each overwritten twice, in several of its segments.
fn closed_backing() -> (TempDir, SledBackings) {
    let (dir, backings) = dir_and_backings();
    let backing = backings.open(1).unwrap();
    for revision in 0..12_000_u64 {
        backing.insert(&(revision * 7919 % 4_000).to_be_bytes(), &head(revision)).unwrap();
    }
    backing.flush().unwrap();
    let len = backings.dir(1).join("db").metadata().unwrap().len();
    assert!(len > SEGMENT_BYTES as u64, "{len}");
    (dir, backings)
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

/// sled kept all that a load had written, and its memory grew with the store: 40 MiB of a million items.
#[cfg(target_os = "linux")]
#[test]
fn most_of_what_was_written_leaves_memory() {
    const CHILD: &str = "IFMATCH_TEST_SLED_MEMORY";
    const PAIR_BYTES: usize = 4 << 10;
    const PAIRS: u64 = 12_000;
    // In a process of its own, whose memory no other test takes.
    if std::env::var_os(CHILD).is_none() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = std::thread::current().name().unwrap().to_owned();
        let child = child.args([&name, "--exact", "--nocapture"]).env(CHILD, "1");
        assert!(child.status().unwrap().success());
        return;
    }
    let resident_bytes = || {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
    };
    let (_dir, backings) = dir_and_backings();
    let backing = backings.open(1).unwrap();
    let before = resident_bytes();
    for piece in 0..PAIRS / 100 {
        // As checkpoints of a load do: in descending order, above what is there.
        for key in (piece * 100..piece * 100 + 100).rev() {
            backing.insert(&key.to_be_bytes(), &[key as u8; PAIR_BYTES]).unwrap();
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    let written = PAIRS as usize * PAIR_BYTES;
    println!("{} MiB of {}", grown >> 20, written >> 20);
    assert!(grown < written * 3 / 4, "{} MiB of {}", grown >> 20, written >> 20);
}

#[test]
fn a_dropped_backing_store_opens_again_at_once_with_its_pairs() {
    let (_dir, backings) = dir_and_backings();
    for round in 0..thinned(50, 200_u64) {
        let backing = backings.open(1).unwrap();
        assert_eq!(count(&*backing).unwrap(), round as usize);
        backing.insert(&round.to_be_bytes(), &head(round)).unwrap();
        if round % 3 == 0 {
            backing.flush().unwrap();
        }
    }
}

#[test]
fn a_backing_store_that_is_open_cannot_be_opened_twice() {
    let (_dir, backings) = dir_and_backings();
    let backing = backings.open(1).unwrap();
    assert!(is_locked(&backings.dir(1).join("db")));
    assert!(matches!(backings.open(1), Err(Error::IndexUnavailable(_))));
    backing.insert(b"k", b"the first one is not harmed").unwrap();
    drop(backing);
    assert!(!is_locked(&backings.dir(1).join("db")));
}

/// sled keeps up to 17 pairs on a page, and a page over a quarter of its segment size becomes a blob
/// file.
#[test]
fn leaves_never_become_blob_files() {
    let (_dir, backings) = dir_and_backings();
    let backing = backings.open(1).unwrap();
    // The longest pair keys there are, which differ in their last bytes only, and the longest
    // leaves, of bytes that do not compress.
    let mut key = vec![0xff; 640];
    let mut rng = fastrand::Rng::with_seed(1);
    let mut leaf = vec![0; MAX_ENCODED_BYTES];
    for number in 0..3_000_u64 {
        key[632..].copy_from_slice(&(number * 7919 % 1_500).to_be_bytes());
        rng.fill(&mut leaf);
        backing.insert(&key, &leaf).unwrap();
    }
    backing.flush().unwrap();
    assert_eq!(fs::read_dir(backings.dir(1).join("blobs")).unwrap().count(), 0);
    assert!(backing.size_on_disk_bytes().unwrap() > 0);
}

#[test]
fn an_empty_backing_store_takes_less_than_64_kib() {
    let (_dir, backings) = dir_and_backings();
    let backing = backings.open(1).unwrap();
    backing.flush().unwrap();
    drop(backing);
    let bytes: u64 =
        files(&backings.dir(1)).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < 64 << 10, "{bytes}");
}

#[test]
fn only_folders_of_other_backings_are_removed() {
    let (dir, backings) = dir_and_backings();
    let others = ["index-", "index-01", "index-+1", "index-x", "index-1.old", "journal", "index"];
    for name in others.iter().chain(&["index-1", "index-2", "index-3"]) {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    backings.remove_all_but(2).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    let mut expected = others.to_vec();
    expected.push("index-2");
    expected.sort_unstable();
    assert_eq!(left, expected);
}

/// Damages a copy of a closed backing store and uses what is left of it.
fn use_damaged(seed: u64, damage: impl Fn(&mut Vec<u8>, &mut fastrand::Rng)) -> Vec<bool> {
    let (whole, _) = closed_backing();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut works = Vec::new();
    for _ in 0..thinned(20, 50) {
        let (dir, backings) = dir_and_backings();
        copy_dir(whole.path(), dir.path());
        let files = files(&backings.dir(1));
        // Mostly the data, and now and then the settings or the snapshot.
        let db = backings.dir(1).join("db");
        let file = if rng.u8(..4) > 0 { &db } else { &files[rng.usize(..files.len())] };
        let mut bytes = fs::read(file).unwrap();
        damage(&mut bytes, &mut rng);
        fs::write(file, bytes).unwrap();
        works.push(use_backing(&backings).is_ok());
    }
    works
}

fn use_backing(backings: &SledBackings) -> Result<()> {
    let backing = backings.open(1)?;
    count(&*backing)?;
    backing.insert(b"new", &head(1))?;
    backing.remove(&5_u64.to_be_bytes())?;
    backing.get(b"new")?;
    backing.flush()
}

#[test]
fn flipped_bytes_give_an_error_or_a_working_backing_store() {
    let works = use_damaged(1, |bytes, rng| {
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= rng.u8(1..);
        }
    });
    assert!(works.contains(&true) && works.contains(&false), "{works:?}");
}

#[test]
fn a_truncated_file_gives_an_error_or_a_working_backing_store() {
    let works = use_damaged(2, |bytes, rng| bytes.truncate(rng.usize(..bytes.len())));
    assert!(works.contains(&true), "{works:?}");
}

#[test]
fn garbage_in_place_of_the_backing_store_gives_an_error() {
    let (dir, backings) = dir_and_backings();
    fs::write(dir.path().join("index-1"), "a file, not a folder").unwrap();
    assert!(matches!(backings.open(1), Err(Error::IndexUnavailable(_))));
    fs::create_dir_all(dir.path().join("index-2/db")).unwrap();
    assert!(matches!(backings.open(2), Err(Error::IndexUnavailable(_))));
}
