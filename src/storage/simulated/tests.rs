#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::*;
use crate::storage::conformance;

/// Images drawn for a claim about all of them, or about some.
const IMAGES: u64 = 400;

fn images(disk: &SimulatedDisk) -> impl Iterator<Item = SimulatedDisk> {
    (0..IMAGES).map(|seed| disk.crash(&mut fastrand::Rng::with_seed(seed)))
}

/// All that a file is in some image; `None` where it is gone.
fn outcomes(disk: &SimulatedDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    images(disk).map(|image| image.read_file(path)).collect()
}

fn file(disk: &SimulatedDisk, path: &str) -> Arc<dyn DiskFile> {
    let path = Path::new(path);
    let exists = disk.state().media.names.exists(path);
    disk.open(path, !exists).unwrap()
}

/// A file that is durable, name and all.
pub(super) fn durable_file(disk: &SimulatedDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    disk.write_file(path, bytes).unwrap();
    file(disk, path)
}

pub(super) fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

pub(super) fn bytes(value: &[u8]) -> Option<Vec<u8>> {
    Some(value.to_vec())
}

#[test]
fn the_simulated_disk_conforms() {
    conformance::check(&SimulatedDisk::new(), Path::new("/store"));
}

#[test]
fn synced_bytes_survive_every_image() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("store")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let written = file(&disk, "store/a");
    written.write_all_at(&[7; 10_000], 0).unwrap();
    written.set_len(9_000).unwrap();
    written.sync_data().unwrap();
    disk.sync_dir(Path::new("store")).unwrap();
    assert_eq!(disk.unsynced_changes(), 0);
    assert_eq!(outcomes(&disk, "store/a"), [bytes(&[7; 9_000])].into());
}

#[test]
fn unsynced_bytes_are_lost_in_some_images_and_kept_in_others() {
    let disk = SimulatedDisk::new();
    durable_file(&disk, "a", b"old").write_all_at(b"new", 0).unwrap();
    assert_eq!(outcomes(&disk, "a"), [bytes(b"old"), bytes(b"new")].into());
}

#[test]
fn unsynced_growth_may_keep_its_length_without_its_bytes() {
    let disk = SimulatedDisk::new();
    durable_file(&disk, "a", b"").write_all_at(b"new", 0).unwrap();
    assert_eq!(outcomes(&disk, "a"), [bytes(b""), bytes(b"\0\0\0"), bytes(b"new")].into());

    let disk = SimulatedDisk::new();
    durable_file(&disk, "a", b"abc").set_len(1).unwrap();
    assert_eq!(outcomes(&disk, "a"), [bytes(b"abc"), bytes(b"a")].into());
}

#[test]
fn writes_are_reordered_and_a_lost_one_before_a_kept_one_reads_as_zero() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"");
    written.write_all_at(b"first", 0).unwrap();
    written.write_all_at(b"second", 5).unwrap();
    let seen = outcomes(&disk, "a");
    for expected in [&b""[..], b"first", b"\0\0\0\0\0second", b"firstsecond"] {
        assert!(seen.contains(&bytes(expected)));
    }
    assert!(!seen.contains(&bytes(b"second")));
}

#[test]
fn overlapping_writes_that_are_both_kept_keep_their_order() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"....");
    written.write_all_at(b"11", 0).unwrap();
    written.write_all_at(b"22", 1).unwrap();
    let expected = [&b"...."[..], b"11..", b".22.", b"122."].map(bytes);
    assert_eq!(outcomes(&disk, "a"), expected.into());
}

#[test]
fn writes_are_torn_at_sectors_and_nowhere_else() {
    let disk = SimulatedDisk::new();
    durable_file(&disk, "a", &[0; 20_000]).write_all_at(&[1; 9_000], 300).unwrap();
    let (mut with_512, mut with_4096, mut holes) = (0, 0, 0);
    for image in images(&disk) {
        let bytes = image.read_file("a").unwrap();
        let cuts: Vec<usize> = (1..bytes.len()).filter(|at| bytes[at - 1] != bytes[*at]).collect();
        let inner: Vec<usize> = cuts.into_iter().filter(|at| ![300, 9_300].contains(at)).collect();
        assert!(inner.iter().all(|at| at % 512 == 0), "torn within a sector: {inner:?}");
        with_512 += usize::from(inner.iter().any(|at| at % 4096 != 0));
        with_4096 += usize::from(!inner.is_empty() && inner.iter().all(|at| at % 4096 == 0));
        holes += usize::from(inner.len() > 2);
    }
    assert!(with_512 > 0 && with_4096 > 0 && holes > 0);
}

#[test]
fn some_image_is_a_prefix_of_time_over_all_files() {
    let disk = SimulatedDisk::new();
    let files = ["a", "b"].map(|name| durable_file(&disk, name, &[b'.'; 20]));
    for step in 0..20 {
        files[step % 2].write_all_at(b"x", step as u64).unwrap();
    }
    let prefixes = images(&disk).filter(|image| {
        let (a, b) = (image.read_file("a").unwrap(), image.read_file("b").unwrap());
        let kept: Vec<bool> = (0..20).map(|at| [&a, &b][at % 2][at] == b'x').collect();
        kept[0] && !kept[19] && kept.is_sorted_by_key(|kept| !kept)
    });
    assert!(prefixes.count() > 10);
}

#[test]
fn a_synced_file_in_an_unsynced_directory_can_vanish() {
    let disk = SimulatedDisk::new();
    let written = file(&disk, "a");
    written.write_all_at(b"synced", 0).unwrap();
    written.sync_all().unwrap();
    assert_eq!(outcomes(&disk, "a"), [None, bytes(b"synced")].into());
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(outcomes(&disk, "a"), [bytes(b"synced")].into());
}

#[test]
fn a_directory_whose_parent_was_not_synced_can_vanish_with_what_is_in_it() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("outer/inner")).unwrap();
    file(&disk, "outer/inner/a").sync_all().unwrap();
    disk.sync_dir(Path::new("outer/inner")).unwrap();
    disk.sync_dir(Path::new("outer")).unwrap();
    assert_eq!(outcomes(&disk, "outer/inner/a"), [None, bytes(b"")].into());
    assert!(images(&disk).all(|image| {
        let exists = |path: &str| image.exists(Path::new(path)).unwrap();
        exists("outer") == exists("outer/inner/a")
    }));
}

#[test]
fn an_unsynced_removal_can_come_back_until_the_directory_is_synced() {
    let disk = SimulatedDisk::new();
    drop(durable_file(&disk, "a", b"old"));
    disk.remove_file(Path::new("a")).unwrap();
    assert_eq!(outcomes(&disk, "a"), [None, bytes(b"old")].into());
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(outcomes(&disk, "a"), [None].into());
    assert!(disk.state().media.files.is_empty(), "a file that is gone for good is freed");
}

#[test]
fn an_unsynced_rename_happened_or_not_and_never_loses_both_names() {
    let disk = SimulatedDisk::new();
    drop(durable_file(&disk, "target", b"old"));
    drop(durable_file(&disk, "temporary", b"new"));
    disk.rename(Path::new("temporary"), Path::new("target")).unwrap();
    file(&disk, "temporary").sync_all().unwrap();
    let seen: BTreeSet<_> = images(&disk)
        .map(|image| (image.read_file("temporary"), image.read_file("target")))
        .collect();
    let expected =
        [(bytes(b"new"), bytes(b"old")), (None, bytes(b"new")), (bytes(b""), bytes(b"new"))];
    assert_eq!(seen, expected.into());
}

#[test]
fn syncing_the_directory_of_a_rename_brings_the_creation_with_it() {
    let disk = SimulatedDisk::new();
    disk.create_dir_all(Path::new("one")).unwrap();
    disk.create_dir_all(Path::new("two")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    drop(file(&disk, "one/a"));
    disk.rename(Path::new("one/a"), Path::new("two/a")).unwrap();
    disk.sync_dir(Path::new("two")).unwrap();
    assert!(images(&disk).all(|image| image.file_names() == [Path::new("two/a")]));
}

#[test]
fn names_that_keep_their_order_are_lost_from_the_youngest_on() {
    let disk = SimulatedDisk::new();
    disk.keep_names_in_order();
    disk.create_dir_all(Path::new("one")).unwrap();
    let first = file(&disk, "one/a");
    first.sync_all().unwrap();
    for name in ["one/b", "c", "one/d"] {
        drop(file(&disk, name));
    }
    disk.sync_dir(Path::new("one")).unwrap();
    disk.remove_file(Path::new("one/a")).unwrap();
    let exists = |image: &SimulatedDisk, path| image.read_file(path).is_some();
    let seen: BTreeSet<_> = images(&disk)
        .map(|image| ["one/b", "c", "one/d", "one/a"].map(|path| exists(&image, path)))
        .collect();
    let prefixes = (0..4).map(|made| [made > 0, made > 1, made > 2, true]);
    assert_eq!(seen, prefixes.chain([[true, true, true, false]]).collect());

    disk.rename(Path::new("c"), Path::new("e")).unwrap();
    let renamed = ["e", "one/b", "one/d"].map(Path::new);
    assert!(images(&disk).all(|image| image.file_names() == renamed));
}

#[test]
fn pages_of_a_failed_sync_are_not_made_durable_by_a_later_one() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"......");
    written.write_all_at(b"1111", 0).unwrap();
    disk.inject(FaultPlan::after(0, Fault::Eio).only(Operation::Sync));
    assert_eq!(written.sync_data().unwrap_err().kind(), eio().kind());
    written.write_all_at(b"22", 3).unwrap();
    written.sync_data().unwrap();
    assert_eq!(disk.read_file("a"), bytes(b"11122."));
    assert_eq!(outcomes(&disk, "a"), [bytes(b"...22."), bytes(b"11122.")].into());

    written.write_all_at(b"111", 0).unwrap();
    written.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a"), [bytes(b"11122.")].into());
}

#[test]
fn a_kill_keeps_everything_and_leaves_it_unsynced() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"old");
    written.write_all_at(b"new", 0).unwrap();
    drop(file(&disk, "b"));
    let _lock = disk.lock(Path::new("LOCK")).unwrap().unwrap();

    let killed = disk.kill();
    assert_eq!(killed.file_names(), disk.file_names());
    assert_eq!(killed.read_file("a"), bytes(b"new"));
    assert!(killed.lock(Path::new("LOCK")).unwrap().is_some(), "locks end with the process");
    assert_eq!(killed.unsynced_changes(), disk.unsynced_changes());
    assert_eq!(outcomes(&killed, "a"), [bytes(b"old"), bytes(b"new")].into());
    assert_eq!(outcomes(&killed, "b"), [None, bytes(b"")].into());

    file(&killed, "a").sync_data().unwrap();
    assert_eq!(outcomes(&killed, "a"), [bytes(b"new")].into());
}

#[test]
fn images_and_their_disk_do_not_share_later_writes() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"before");
    let (image, killed) = (disk.crash(&mut fastrand::Rng::with_seed(1)), disk.kill());
    written.write_all_at(b"AFTER", 0).unwrap();
    file(&image, "a").write_all_at(b"image", 0).unwrap();
    assert_eq!(disk.read_file("a"), bytes(b"AFTERe"));
    assert_eq!(image.read_file("a"), bytes(b"imagee"));
    assert_eq!(killed.read_file("a"), bytes(b"before"));
}

#[test]
fn an_image_has_nothing_pending_and_no_faults() {
    let disk = SimulatedDisk::new();
    file(&disk, "a").write_all_at(&[1; 5_000], 0).unwrap();
    let _lock = disk.lock(Path::new("LOCK")).unwrap().unwrap();
    disk.set_capacity(Some(0));
    disk.inject(FaultPlan::after(0, Fault::Eio).persistent());
    for image in images(&disk) {
        assert_eq!(image.unsynced_changes(), 0);
        assert!(image.lock(Path::new("LOCK")).unwrap().is_some());
        file(&image, "b").write_all_at(b"x", 0).unwrap();
        assert_eq!(image.crash(&mut fastrand::Rng::new()).read_file("a"), image.read_file("a"));
    }
}

#[test]
fn equal_seeds_give_equal_images() {
    let drawn = || {
        let disk = SimulatedDisk::new();
        for name in ["a", "b", "c"] {
            let written = file(&disk, name);
            written.write_all_at(name.repeat(9_000).as_bytes(), 0).unwrap();
            written.write_all_at(&[0; 100], 4_000).unwrap();
        }
        disk.rename(Path::new("a"), Path::new("b")).unwrap();
        let content = |image: SimulatedDisk| {
            image.file_names().into_iter().map(|name| image.read_file(name)).collect::<Vec<_>>()
        };
        images(&disk).map(content).collect::<Vec<_>>()
    };
    let (first, second) = (drawn(), drawn());
    assert_eq!(first, second);
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 100);
}

#[test]
fn injected_damage_is_durable() {
    let disk = SimulatedDisk::new();
    let written = file(&disk, "a");
    written.write_all_at(b"before", 0).unwrap();
    disk.write_file("a", b"damaged").unwrap();
    disk.write_file("new/b", b"b").unwrap();
    drop(file(&disk, "c"));
    disk.remove_file_durably("c").unwrap();
    assert!(images(&disk).all(|image| {
        image.file_names() == [Path::new("a"), Path::new("new/b")]
            && image.read_file("a") == bytes(b"damaged")
    }));
    let mut buf = [0; 7];
    written.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"damaged");
    assert_eq!(disk.calls(), 4);
    assert_eq!(kind(disk.remove_file_durably("c")), ErrorKind::NotFound);
}
