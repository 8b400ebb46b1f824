//! What every disk must do, as one suite.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile, EntryKind};

/// Panics unless the disk keeps the contract of [`Disk`] and [`DiskFile`]. Works in `root`, which
/// may be missing, and needs it to be empty.
pub(super) fn check(disk: &dyn Disk, root: &Path) {
    directories_are_made_with_their_parents(disk, root);
    opening_demands_what_it_says(disk, root);
    reads_end_at_the_end(disk, root);
    writes_leave_zeros_in_gaps(disk, root);
    cut_bytes_do_not_come_back(disk, root);
    handles_share_one_file(disk, root);
    renames_replace(disk, root);
    removed_files_stay_readable_while_open(disk, root);
    lists_are_sorted_and_of_one_directory(disk, root);
    locks_exclude(disk, root);
    random_operations_match_a_vector(disk, root);
    #[cfg(not(loom))]
    threads_write_by_position(disk, root);
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

fn bytes_of(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn file_with(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, true).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn directories_are_made_with_their_parents(disk: &dyn Disk, root: &Path) {
    let deep = root.join("one/two");
    assert!(!disk.exists(&deep).unwrap());
    disk.create_dir_all(&deep).unwrap();
    disk.create_dir_all(&deep).unwrap();
    assert!(disk.exists(&deep).unwrap());
    assert!(disk.exists(root).unwrap());
    assert!(disk.list(&deep).unwrap().is_empty());
    disk.sync_dir(&root.join("one")).unwrap();
    disk.sync_dir(root).unwrap();
    assert_eq!(kind(disk.sync_dir(&root.join("missing"))), ErrorKind::NotFound);

    drop(disk.open(&root.join("plain"), true).unwrap());
    assert!(disk.create_dir_all(&root.join("plain")).is_err());
    assert!(disk.create_dir_all(&root.join("plain/below")).is_err());
    assert!(disk.open(&deep, false).is_err());
    assert!(disk.remove_file(&deep).is_err());
    assert!(disk.exists(&deep).unwrap());
}

fn opening_demands_what_it_says(disk: &dyn Disk, root: &Path) {
    let path = root.join("opened");
    assert_eq!(kind(disk.open(&path, false)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&root.join("missing/file"), true)), ErrorKind::NotFound);
    assert!(!disk.exists(&path).unwrap());
    let file = file_with(disk, &path, b"kept");
    assert!(disk.exists(&path).unwrap());
    assert_eq!(kind(disk.open(&path, true)), ErrorKind::AlreadyExists);
    assert_eq!(bytes_of(&*file), b"kept");
    file.sync_data().unwrap();
    file.sync_all().unwrap();
}

fn reads_end_at_the_end(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("read"), b"0123456789");
    let mut buf = [9; 4];
    assert_eq!(file.read_at(&mut buf, 3).unwrap(), 4);
    assert_eq!(&buf, b"3456");
    assert_eq!(file.read_at(&mut buf, 8).unwrap(), 2);
    assert_eq!(&buf, b"8956");
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    file.read_exact_at(&mut buf, 6).unwrap();
    assert_eq!(&buf, b"6789");
    assert_eq!(kind(file.read_exact_at(&mut buf, 7)), ErrorKind::UnexpectedEof);
}

fn writes_leave_zeros_in_gaps(disk: &dyn Disk, root: &Path) {
    let file = disk.open(&root.join("gaps"), true).unwrap();
    assert_eq!(file.len().unwrap(), 0);
    assert_eq!(file.write_at(b"", 100).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 0);
    file.write_all_at(b"end", 5).unwrap();
    assert_eq!(bytes_of(&*file), b"\0\0\0\0\0end");
    file.write_all_at(b"ab", 1).unwrap();
    assert_eq!(bytes_of(&*file), b"\0ab\0\0end");

    let large: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&large, 7).unwrap();
    assert_eq!(file.len().unwrap(), 300_007);
    assert_eq!(bytes_of(&*file)[7..], large);
}

fn cut_bytes_do_not_come_back(disk: &dyn Disk, root: &Path) {
    let file = file_with(disk, &root.join("cut"), b"0123456789");
    file.set_len(4).unwrap();
    assert_eq!(bytes_of(&*file), b"0123");
    file.set_len(6).unwrap();
    assert_eq!(bytes_of(&*file), b"0123\0\0");
    file.set_len(0).unwrap();
    file.write_all_at(b"x", 8).unwrap();
    assert_eq!(bytes_of(&*file), b"\0\0\0\0\0\0\0\0x");

    // Space that is reserved reads as zeros and takes writes.
    let file = file_with(disk, &root.join("reserved"), b"abc");
    file.allocate(3, 100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_003);
    let mut bytes = vec![1; 100_003];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..3], b"abc");
    assert!(bytes[3..].iter().all(|byte| *byte == 0));
    file.write_all_at(b"d", 50_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_003);
}

fn handles_share_one_file(disk: &dyn Disk, root: &Path) {
    let path = root.join("shared");
    let first = file_with(disk, &path, b"first");
    let second = disk.open(&path, false).unwrap();
    assert_eq!(bytes_of(&*second), b"first");
    second.write_all_at(b"SECOND", 2).unwrap();
    assert_eq!(bytes_of(&*first), b"fiSECOND");
}

fn renames_replace(disk: &dyn Disk, root: &Path) {
    let (from, to) = (root.join("from"), root.join("to"));
    assert_eq!(kind(disk.rename(&from, &to)), ErrorKind::NotFound);
    drop(file_with(disk, &to, b"old"));
    drop(file_with(disk, &from, b"new"));
    disk.rename(&from, &to).unwrap();
    assert!(!disk.exists(&from).unwrap());
    assert_eq!(bytes_of(&*disk.open(&to, false).unwrap()), b"new");
    disk.rename(&to, &from).unwrap();
    assert!(!disk.exists(&to).unwrap());
    assert_eq!(bytes_of(&*disk.open(&from, false).unwrap()), b"new");
    assert!(disk.rename(&from, &root.join("missing/to")).is_err());
    assert!(disk.exists(&from).unwrap());
}

fn removed_files_stay_readable_while_open(disk: &dyn Disk, root: &Path) {
    let path = root.join("removed");
    assert_eq!(kind(disk.remove_file(&path)), ErrorKind::NotFound);
    let file = file_with(disk, &path, b"still here");
    disk.remove_file(&path).unwrap();
    assert_eq!(bytes_of(&*file), b"still here");
    file.write_all_at(b"S", 0).unwrap();
    assert_eq!(bytes_of(&*file), b"Still here");
    drop(file);
    assert!(!disk.exists(&path).unwrap());
    disk.sync_dir(root).unwrap();
    let again = disk.open(&path, true).unwrap();
    assert_eq!(again.len().unwrap(), 0);
}

fn lists_are_sorted_and_of_one_directory(disk: &dyn Disk, root: &Path) {
    let dir = root.join("listed");
    assert_eq!(kind(disk.list(&dir)), ErrorKind::NotFound);
    disk.create_dir_all(&dir.join("directory/inner")).unwrap();
    for name in ["b", "10", "a", "9", "directory/deep"] {
        drop(disk.open(&dir.join(name), true).unwrap());
    }
    assert_eq!(disk.list(&dir).unwrap(), ["10", "9", "a", "b", "directory"]);
    assert_eq!(disk.list(&dir.join("directory")).unwrap(), ["deep", "inner"]);
    assert_eq!(disk.kind(&dir).unwrap(), Some(EntryKind::Directory));
    assert_eq!(disk.kind(&dir.join("directory/deep")).unwrap(), Some(EntryKind::File));
    assert_eq!(disk.kind(&dir.join("missing")).unwrap(), None);
    assert_eq!(disk.kind(&dir.join("missing/too")).unwrap(), None);
}

fn locks_exclude(disk: &dyn Disk, root: &Path) {
    let path = root.join("LOCK");
    let first = disk.lock(&path).unwrap();
    assert!(first.as_ref().unwrap().is_at_path().unwrap());
    assert!(disk.lock(&path).unwrap().is_none());
    assert!(disk.lock(&path).unwrap().is_none(), "a refusal must not release the lock");
    assert!(disk.lock(&root.join("OTHER")).unwrap().is_some());
    drop(first);
    assert!(disk.exists(&path).unwrap(), "the file stays");
    let again = disk.lock(&path).unwrap();
    assert!(again.is_some());
    drop(again);
    assert_eq!(kind(disk.lock(&root.join("missing/LOCK"))), ErrorKind::NotFound);
}

fn random_operations_match_a_vector(disk: &dyn Disk, root: &Path) {
    let mut rng = fastrand::Rng::with_seed(7);
    let file = disk.open(&root.join("random"), true).unwrap();
    let mut model: Vec<u8> = Vec::new();
    for step in 0..if cfg!(loom) { 40 } else { 600 } {
        let offset = rng.usize(0..70_000);
        match rng.u8(0..8) {
            0 => {
                let len = rng.usize(0..80_000);
                file.set_len(len as u64).unwrap();
                model.resize(len, 0);
            }
            1..4 => {
                let bytes = vec![rng.u8(..); rng.usize(1..20_000)];
                file.write_all_at(&bytes, offset as u64).unwrap();
                model.resize(model.len().max(offset + bytes.len()), 0);
                model[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            4 => file.sync_data().unwrap(),
            _ => {
                let mut buf = vec![1; rng.usize(0..20_000)];
                let available = model.get(offset..).unwrap_or_default();
                let expected = &available[..available.len().min(buf.len())];
                let count = file.read_at(&mut buf, offset as u64).unwrap();
                assert_eq!(&buf[..count], expected, "step {step}");
            }
        }
    }
    assert_eq!(bytes_of(&*file), model);
}

#[cfg(not(loom))]
fn threads_write_by_position(disk: &dyn Disk, root: &Path) {
    const PART: usize = 5_000;
    let file = disk.open(&root.join("threads"), true).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                let start = usize::from(part) * PART;
                for at in (start..start + PART).step_by(100) {
                    file.write_all_at(&[part + 1; 100], at as u64).unwrap();
                }
            });
        }
    });
    let expected: Vec<u8> = (1..=4).flat_map(|part| [part; PART]).collect();
    assert_eq!(bytes_of(&*file), expected);
}
