//! Killed processes: a child writes and says what was acknowledged, while it also compacts, backs
//! up, sweeps and takes snapshots; the parent kills it at some moment and looks whether what was
//! acknowledged is there. `IFMATCH_KILLS=n` kills so many.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ifmatch::simulation::{Simulation, open_quietly};
use ifmatch::{Collection, Durability, Error, HistoryPolicy, Index, Options, Precondition};
use ifmatch::{Raw, Store};
use serde_json::{Value, json};

use crate::store_files::{Folder, Place};
use crate::{Repeat, from_environment, thinned};

const STORE: &str = "IFMATCH_KILLED_STORE";
const START: &str = "IFMATCH_KILLED_START";
const THREADS: u64 = 2;
/// Keys of each thread that are written one at a time.
const KEYS: u64 = 20;
const BATCHES: [u64; 3] = [1, 100, 10_000];

#[test]
fn no_kill_loses_a_synced_write() {
    kill_often(Durability::Immediate);
}

#[test]
fn no_kill_loses_a_write_that_was_not_synced() {
    kill_often(Durability::Eventual);
}

/// The writes of one thread are numbered; an item's value begins with the number of its write.
type Numbers = BTreeMap<Vec<u8>, u64>;

/// What must be there: the number of each key's last acknowledged write, and of any thread's.
#[derive(Default)]
struct Acknowledged {
    numbers: Numbers,
    last: [u64; THREADS as usize],
}

fn kill_often(durability: Durability) {
    let kills = from_environment("IFMATCH_KILLS").unwrap_or(thinned(12, 104)).div_ceil(2);
    let seed = from_environment("IFMATCH_SEED").unwrap_or(durability as u64);
    let _repeat = Repeat::new("kills", seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut folder, mut known, mut writes) = (Folder::new(), Acknowledged::default(), 0);
    for kill in 0..kills {
        if kill % 13 == 12 {
            (folder, known) = (Folder::new(), Acknowledged::default());
        }
        let mut child = start(&folder.path(), &known, durability, rng.u64(..));
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        // After this number of commits and a moment, or just after a moment, while it is opening.
        let commits = if rng.u8(0..4) == 0 { 0 } else { rng.u64(1..24) };
        let before = writes;
        while writes < before + commits {
            match lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => writes += u64::from(known.enter(&line)),
                Err(error) => panic!("the child says nothing: {error}"),
            }
        }
        let most_us = if commits == 0 { 150_000 } else { 5_000 };
        thread::sleep(Duration::from_micros(rng.u64(0..most_us)));
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap().unwrap();
        writes += lines.iter().map(|line| u64::from(known.enter(&line))).sum::<u64>();
        // In a copy, so that the next child meets what this one left; or there itself.
        let is_there = folder.path().exists();
        let copied = (is_there && rng.bool()).then(|| Folder::holding(&folder.files()));
        known.check(&copied.as_ref().unwrap_or(&folder).path());
        check_backup(&backup_beside(&folder.path()));
    }
    println!("{kills} kills after {writes} acknowledged commits, {durability:?}");
}

fn start(path: &Path, known: &Acknowledged, durability: Durability, seed: u64) -> Child {
    let start = known.last.iter().max().unwrap() + 1;
    Command::new(std::env::current_exe().unwrap())
        .args(["kills::child", "--exact", "--ignored", "--nocapture"])
        .env(STORE, path)
        .env(START, format!("{start} {seed} {}", u8::from(durability == Durability::Eventual)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Acknowledged {
    /// Takes a line of the child's, if it is one about a commit and whole.
    fn enter(&mut self, line: &str) -> bool {
        let mut words = line.split(' ');
        if words.next() != Some("done") || words.next_back() != Some(".") {
            return false;
        }
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let (thread, first, count, written) = (number(), number(), number(), number());
        for key in first..first + count {
            self.numbers.insert(key_of(thread, first, count, key), written);
        }
        self.last[thread as usize] = written;
        true
    }

    /// Opens the store and goes on from what it holds.
    fn check(&mut self, path: &Path) {
        // Quietly: what is compared below must not change meanwhile.
        let opened = open_quietly(path, &Options::new());
        let store = opened.expect("a store whose process was killed opens");
        let mut found = Numbers::new();
        for item in store.raw("items").unwrap().iter().unwrap() {
            let item = item.unwrap();
            found.insert(item.key().to_vec(), number_in(&item.value));
        }
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        check_cleared(&store);
        // Every entry of the index against its document, and no number twice.
        store.verify().unwrap();
        store.close().unwrap();
        for (key, acknowledged) in &self.numbers {
            let stored = found.get(key).unwrap_or_else(|| panic!("{} is lost", show(key)));
            let fits = stored == acknowledged || *stored > self.last[thread_of(key)];
            assert!(fits, "{}: {stored}, acknowledged {acknowledged}", show(key));
        }
        // A thread has one commit under way at most.
        let mut under_way = [None; THREADS as usize];
        for (key, number) in found.iter().filter(|(key, n)| **n > self.last[thread_of(key)]) {
            let only = *under_way[thread_of(key)].get_or_insert(*number);
            assert_eq!(only, *number, "{} was never acknowledged", show(key));
        }
        self.check_batches(&found);
        let all = found.iter();
        all.for_each(|(key, number)| {
            let last = &mut self.last[thread_of(key)];
            *last = (*last).max(*number);
        });
        self.numbers = found;
    }

    /// All items of a batch carry one number.
    fn check_batches(&self, found: &Numbers) {
        for (thread, size) in (0..THREADS).flat_map(|thread| BATCHES.map(|size| (thread, size))) {
            let keys = (KEYS..KEYS + size).map(|key| key_of(thread, KEYS, size, key));
            let numbers: Vec<_> = keys.map(|key| found.get(&key)).collect();
            let torn = numbers.windows(2).any(|pair| pair[0] != pair[1]);
            assert!(!torn, "a batch of {size} was torn: {numbers:?}");
        }
    }
}

/// What is written by one batch and cleared at once is whole or gone.
fn check_cleared(store: &Store) {
    for thread in 0..THREADS {
        let len = store.raw(&scratch(thread)).unwrap().len().unwrap();
        assert!(len == 0 || len == BATCHES[1], "{len} of {} cleared items are left", BATCHES[1]);
    }
}

/// A collection that is filled and cleared in turn.
fn scratch(thread: u64) -> String {
    format!("scratch {thread}")
}

/// Documents with a unique index, in which each thread moves numbers of its own about.
fn move_numbers(store: &Store, thread: u64, rng: &mut fastrand::Rng) {
    let numbers = store.collection::<Value>("numbers").unwrap();
    numbers.ensure_index(Index::on("/n").unique()).unwrap();
    let key = |slot: u64| format!("{thread} {slot}");
    let document = |n: u64| json!({ "n": n * THREADS + thread });
    let shift = rng.u64(0..9);
    let batch = (0..4).fold(store.batch(), |batch, slot| {
        let document = document((slot + shift) % 7);
        batch.upsert(&numbers, key(slot), &document, Precondition::Always)
    });
    batch.commit().unwrap();
    let taken = numbers.create(key(9), &document(shift % 7));
    assert!(matches!(taken, Err(Error::NotUnique { .. })), "{taken:?}");
}

fn fill_or_clear(store: &Store, thread: u64) {
    let scratch = store.raw(&scratch(thread)).unwrap();
    if scratch.clear().unwrap() == 0 {
        let value = value_of(1, 100);
        let fill =
            |batch: ifmatch::Batch, key: u64| batch.create(&scratch, key.to_be_bytes(), &value);
        (0..BATCHES[1]).fold(store.batch(), fill).commit().unwrap();
    }
}

/// Where the child backs its store up to.
fn backup_beside(store: &Path) -> PathBuf {
    store.with_file_name("copy")
}

/// A backup that was cut short is none; any other is whole.
fn check_backup(path: &Path) {
    if !path.exists() {
        return;
    }
    match open_quietly(path, &Options::new().create(false)) {
        Ok(copy) => {
            copy.verify().unwrap();
            assert_eq!(Simulation::differs_from_journal(&copy).unwrap(), None);
        }
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => panic!("a backup that was cut short: {error:?}"),
    }
}

fn thread_of(key: &[u8]) -> usize {
    usize::from(key[0] - b'0')
}

fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// `first` and `count` name the batch; single writes are of one key below `KEYS`.
fn key_of(thread: u64, first: u64, count: u64, key: u64) -> Vec<u8> {
    let batch = if first < KEYS { 0 } else { count };
    format!("{thread}/{batch}/{key}").into_bytes()
}

fn value_of(number: u64, len: usize) -> Bytes {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + len, number as u8);
    value.into()
}

/// The number in a value, all of which must be of one write.
fn number_in(value: &[u8]) -> u64 {
    let (number, filler) = value.split_first_chunk().expect("a value is cut off");
    let number = u64::from_le_bytes(*number);
    assert!(filler.iter().all(|byte| *byte == number as u8), "a value is mixed");
    number
}

/// What the parent runs, and kills.
#[test]
#[ignore = "run by the tests that kill it"]
fn child() {
    let Some(path) = std::env::var_os(STORE).map(PathBuf::from) else { return };
    let start = std::env::var(START).unwrap();
    let [number, seed, eventual] =
        start.split(' ').map(|word| word.parse::<u64>().unwrap()).collect::<Vec<_>>()[..]
    else {
        return;
    };
    let durability = if eventual == 1 { Durability::Eventual } else { Durability::Immediate };
    let history = HistoryPolicy::new().tombstones(Duration::ZERO);
    let options = Options::new().durability(durability).sync_interval(Duration::from_millis(5));
    let options = options.history(history);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut numbers = [number; THREADS as usize];
    loop {
        let store = options.open(&path).unwrap();
        for _ in 0..rng.u8(1..4) {
            thread::scope(|scope| {
                for (thread, number) in (0..).zip(&mut numbers) {
                    let (store, mut rng) = (store.clone(), rng.fork());
                    scope.spawn(move || write_some(&store, thread, number, &mut rng));
                }
                if rng.bool() {
                    Simulation::checkpoint(&store).unwrap();
                }
                look_after(&store, &path, &mut rng);
            });
        }
        store.close().unwrap();
    }
}

/// What a store does beside writing: it compacts, sweeps, is backed up and read.
fn look_after(store: &Store, path: &Path, rng: &mut fastrand::Rng) {
    let items: Collection<Bytes, Raw> = store.raw("items").unwrap();
    let passing = store.raw("passing").unwrap().with_ttl(Duration::from_millis(rng.u64(0..20)));
    let snapshot = rng.bool().then(|| store.snapshot());
    for _ in 0..rng.u8(0..6) {
        passing.upsert([rng.u8(0..9)], &value_of(1, 2_000), Precondition::Always).unwrap();
    }
    match rng.u8(0..8) {
        0..3 => drop(store.compact().unwrap()),
        3 => drop(Simulation::sweep(store).unwrap()),
        4 => {
            let backup = backup_beside(path);
            if backup.exists() {
                std::fs::remove_dir_all(&backup).unwrap();
            }
            store.backup(backup).unwrap();
        }
        _ => {}
    }
    if let Some(snapshot) = snapshot {
        for item in snapshot.collection(&items).iter().unwrap() {
            number_in(&item.unwrap().value);
        }
    }
}

fn write_some(store: &Store, thread: u64, number: &mut u64, rng: &mut fastrand::Rng) {
    let items: Collection<Bytes, Raw> = store.raw("items").unwrap();
    for _ in 0..rng.u8(0..40) {
        if rng.u8(0..8) == 0 {
            fill_or_clear(store, thread);
            move_numbers(store, thread, rng);
        }
        let (first, count) = match rng.u8(0..120) {
            0 => (KEYS, BATCHES[2]),
            1..12 => (KEYS, BATCHES[1]),
            12..20 => (KEYS, BATCHES[0]),
            _ => (rng.u64(0..KEYS), 1),
        };
        if first < KEYS {
            let len = if rng.u8(0..30) == 0 { rng.usize(0..1 << 20) } else { rng.usize(0..400) };
            let key = key_of(thread, first, count, first);
            items.upsert(key, &value_of(*number, len), Precondition::Always).unwrap();
        } else {
            let mut batch = store.batch();
            for key in first..first + count {
                let key = key_of(thread, first, count, key);
                batch = batch.upsert(&items, key, &value_of(*number, 9), Precondition::Always);
            }
            batch.commit().unwrap();
        }
        // One write for the whole line, so that a kill does not leave half of one.
        let line = format!("done {thread} {first} {count} {number} .\n");
        let mut output = std::io::stdout().lock();
        output.write_all(line.as_bytes()).unwrap();
        output.flush().unwrap();
        *number += 1;
    }
}
