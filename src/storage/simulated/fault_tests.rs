#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;

use super::tests::{bytes, durable_file, kind};
use super::*;

#[test]
fn the_nth_call_fails_exactly_once() {
    for passing in 0..5 {
        let disk = SimulatedDisk::new();
        disk.inject(FaultPlan::after(passing, Fault::Error(ErrorKind::StorageFull)));
        let results: Vec<bool> =
            (0..6).map(|_| disk.create_dir_all(Path::new("a")).is_ok()).collect();
        let expected: Vec<bool> = (0..6).map(|call| call != passing).collect();
        assert_eq!(results, expected);
        assert_eq!((disk.calls(), disk.faults_struck()), (6, 1));
    }
}

#[test]
fn a_plan_for_one_operation_leaves_the_others_alone() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"");
    let plan = FaultPlan::after(1, Fault::Eio).only(Operation::Write).persistent();
    disk.inject(plan);
    written.write_all_at(b"x", 0).unwrap();
    written.sync_data().unwrap();
    for _ in 0..3 {
        assert!(written.write_all_at(b"y", 0).is_err());
    }
    assert_eq!(written.read_at(&mut [0], 0).unwrap(), 1);
    assert_eq!((disk.calls_of(Operation::Write), disk.faults_struck()), (4, 3));
    disk.clear_faults();
    written.write_all_at(b"y", 0).unwrap();
}

#[test]
fn every_operation_can_be_failed_and_then_changes_nothing() {
    use Operation::*;
    let all = [Open, Read, Write, SetLen, Sync, Rename, Remove, SyncDir, List, CreateDir, Lock];
    for operation in all {
        let disk = SimulatedDisk::new();
        let opened = durable_file(&disk, "a", b"old");
        disk.inject(FaultPlan::after(0, Fault::Eio).only(operation).persistent());
        let (a, b) = (Path::new("a"), Path::new("b"));
        let failed = match operation {
            Open => disk.open(b, true).is_err(),
            Read => opened.read_at(&mut [0; 3], 0).is_err() && opened.len().is_err(),
            Write => opened.write_at(b"new", 0).is_err(),
            SetLen => opened.set_len(0).is_err(),
            Sync => opened.sync_data().is_err() && opened.sync_all().is_err(),
            Rename => disk.rename(a, b).is_err(),
            Remove => disk.remove_file(a).is_err(),
            SyncDir => disk.sync_dir(Path::new("")).is_err(),
            List => disk.list(Path::new("")).is_err() && disk.exists(a).is_err(),
            CreateDir => disk.create_dir_all(b).is_err(),
            Lock => disk.lock(b).is_err(),
        };
        assert!(failed, "{operation:?}");
        assert_eq!(disk.file_names(), [a]);
        assert_eq!(disk.read_file("a"), bytes(b"old"));
        assert_eq!(disk.unsynced_changes(), 0);
    }
}

#[test]
fn short_and_interrupted_calls_are_continued() {
    for fault in [Fault::Short, Fault::Interrupted] {
        let disk = SimulatedDisk::new();
        let written = durable_file(&disk, "a", b"");
        disk.inject(FaultPlan::after(0, fault).only(Operation::Write).persistent());
        written.write_all_at(b"0123456789", 0).unwrap();
        assert_eq!(disk.read_file("a"), bytes(b"0123456789"));
        disk.inject(FaultPlan::after(0, fault).only(Operation::Read).persistent());
        let mut buf = [0; 10];
        written.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"0123456789");
        assert!(disk.faults_struck() >= 2);
    }
}

#[test]
fn a_torn_write_leaves_a_part_and_is_an_error() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"");
    disk.inject(FaultPlan::after(0, Fault::Torn).only(Operation::Write));
    assert!(written.write_all_at(b"0123456789", 0).is_err());
    assert_eq!(disk.read_file("a"), bytes(b"01234"));
}

#[test]
fn a_full_disk_refuses_to_grow_and_overwrites_in_place() {
    let disk = SimulatedDisk::new();
    drop(durable_file(&disk, "b", &[0; 50]));
    let written = durable_file(&disk, "a", b"0123456789");
    disk.set_capacity(Some(64));
    assert_eq!(kind(written.write_all_at(b"12345", 10)), ErrorKind::StorageFull);
    assert_eq!(kind(written.set_len(15)), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("a"), bytes(b"0123456789"));
    written.write_all_at(b"abcd", 10).unwrap();
    written.write_all_at(b"ABCDEFGHIJ", 0).unwrap();
    assert_eq!(disk.total_len_bytes(), 64);
    written.set_len(4).unwrap();
    written.set_len(14).unwrap();

    disk.set_capacity(None);
    written.write_all_at(&[1; 1_000], 0).unwrap();
}

#[test]
fn a_full_disk_may_take_the_part_that_fits() {
    let disk = SimulatedDisk::new();
    let written = durable_file(&disk, "a", b"01234");
    disk.set_capacity(Some(8));
    disk.fill_up_before_full(true);
    assert_eq!(kind(written.write_all_at(b"abcdef", 4)), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("a"), bytes(b"0123abcd"));
    assert_eq!(kind(written.write_all_at(b"x", 9)), ErrorKind::StorageFull);
}
