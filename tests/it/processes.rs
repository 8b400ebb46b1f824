//! Two processes and one directory: while a child has the store and writes to it, every open here
//! is refused and harms nothing; when the child is gone, the store opens with all it wrote.
//!
//! `IFMATCH_OPENS=n` tries to open so often.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::Bytes;
use ifmatch::{Error, OnDamage, Options, Precondition, Store};

use crate::store_files::Folder;
use crate::{from_environment, thinned};

const STORE: &str = "IFMATCH_SHARED_STORE";

#[test]
fn a_store_that_another_process_has_open_is_locked_and_not_harmed() {
    let opens = from_environment("IFMATCH_OPENS").unwrap_or(thinned(20, 60));
    let folder = Folder::new();
    let mut refused = 0;
    let mut acknowledged = 0;
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["processes::child", "--exact", "--ignored", "--nocapture"])
            .env(STORE, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut numbers = output.lines().map(Result::unwrap).filter_map(|line| number_in(&line));
        acknowledged = numbers.next().expect("the child writes");
        for _ in 0..opens.div_ceil(4) {
            let on_damage = if round % 2 == 0 { OnDamage::Refuse } else { OnDamage::KeepPrefix };
            let opened = Options::new().on_damage(on_damage).open(folder.path());
            assert!(matches!(opened, Err(Error::Locked { .. })), "{opened:?}");
            refused += 1;
        }
        // It went on meanwhile.
        acknowledged = numbers.next().unwrap().max(acknowledged);
        child.kill().unwrap();
        acknowledged = numbers.last().unwrap_or(acknowledged);
        child.wait().unwrap();
        check(folder.path(), acknowledged);
    }
    println!("{refused} opens were refused, beside {acknowledged} writes");
}

fn number_in(line: &str) -> Option<u64> {
    line.strip_prefix("wrote ")?.strip_suffix(" .")?.parse().ok()
}

fn check(path: PathBuf, acknowledged: u64) {
    let store = Store::open(path).expect("a store whose process was killed opens");
    assert!(store.damage().is_none());
    store.verify().unwrap();
    let items = store.raw("items").unwrap();
    for number in 1..=acknowledged {
        let item = items.get(number.to_be_bytes()).unwrap();
        assert_eq!(item.expect("an acknowledged write").value, number.to_le_bytes()[..]);
    }
    store.close().unwrap();
}

/// What has the store open.
#[test]
#[ignore = "run by the test that kills it"]
fn child() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = Store::open(PathBuf::from(path)).unwrap();
    let items = store.raw("items").unwrap();
    let mut number = items.len().unwrap();
    loop {
        number += 1;
        let value = Bytes::copy_from_slice(&number.to_le_bytes());
        items.upsert(number.to_be_bytes(), &value, Precondition::Always).unwrap();
        let mut output = std::io::stdout().lock();
        writeln!(output, "wrote {number} .").unwrap();
        output.flush().unwrap();
    }
}
