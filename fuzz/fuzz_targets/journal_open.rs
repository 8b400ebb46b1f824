//! Opens stores whose files were damaged in any way: never a panic, a hang, a wild allocation or
//! wrong data. What is read is what was once written, or an error; and what was opened to be
//! repaired can be written, closed and opened again. Where checksums were made right again what is
//! read may be anything: still no panic, no hang, no wild allocation.
#![no_main]

mod checksums;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use bytes::Bytes;
use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{
    Collection, Cursor, Durability, ETag, Error, OnDamage, Options, Precondition, Raw, Store,
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    base: Base,
    without_index: bool,
    repair: Repair,
    checksums_corrected: bool,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Repair {
    No,
    KeepPrefix,
    SkipDamaged,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Base {
    Nothing,
    Closed,
    Killed,
}

/// A change of the file with this number.
#[derive(Debug, Arbitrary)]
enum Edit {
    Flip {
        file: u8,
        at: u16,
        bit: u8,
    },
    Write {
        file: u8,
        at: u32,
        bytes: Vec<u8>,
    },
    Zero {
        file: u8,
        at: u16,
        len: u16,
    },
    Move {
        file: u8,
        from: u16,
        to: u16,
        len: u16,
    },
    Truncate {
        file: u8,
        len: u16,
    },
    Lengthen {
        file: u8,
        by: u16,
    },
    /// Gives one file the contents of another.
    Replace {
        file: u8,
        with: u8,
    },
    Remove {
        file: u8,
    },
    Make {
        name: u8,
        bytes: Vec<u8>,
    },
}

const NAMES: [&str; 5] =
    ["MANIFEST", "WATERMARK", "journal/0000000001.seg", "journal/0000000002.seg", "journal/x"];

type Version = (Vec<u8>, ETag, Vec<u8>);

struct Bases {
    closed: Simulation,
    killed: Simulation,
    /// Every version that was ever written.
    versions: HashSet<Version>,
}

static BASES: LazyLock<Bases> = LazyLock::new(|| {
    let mut versions = HashSet::new();
    let mut rng = fastrand::Rng::with_seed(1);
    let first = Simulation::new(1);
    let options = Options::new().durability(Durability::Eventual);
    write(&first.open(&options).unwrap(), 0, &mut versions);
    // The next run begins another segment.
    let second = first.kill(&mut rng);
    let store = second.open(&options).unwrap();
    write(&store, 1, &mut versions);
    Simulation::checkpoint(&store).unwrap();
    write(&store, 2, &mut versions);
    let killed = second.kill(&mut rng);
    let closed = second.clone();
    store.close().unwrap();
    Bases { closed, killed, versions }
});

fn write(store: &Store, round: u8, versions: &mut HashSet<Version>) {
    let raw = store.raw("raw").unwrap();
    for key in 0..4 {
        let (key, value) = ([b'k', key], vec![round; usize::from(key) * 20]);
        let meta = raw.upsert(key, &value.clone().into(), Precondition::Always).unwrap();
        versions.insert((key.to_vec(), meta.etag(), value));
    }
    let batch = store.batch().delete(&raw, [b'k', 0], Precondition::Always);
    batch.upsert(&raw, b"both", &Bytes::from(vec![round]), Precondition::Always).commit().unwrap();
    let both = raw.get(b"both").unwrap().unwrap();
    versions.insert((b"both".to_vec(), both.etag(), vec![round]));
}

fuzz_target!(|input: Input| {
    let bases = &*BASES;
    let rng = &mut fastrand::Rng::with_seed(2);
    let mut simulation = match input.base {
        Base::Nothing => Simulation::new(3),
        Base::Closed => bases.closed.kill(rng),
        Base::Killed => bases.killed.kill(rng),
    };
    if input.without_index {
        simulation.remove_index();
    }
    for edit in input.edits.iter().take(20) {
        edit.apply(&simulation);
    }
    if input.checksums_corrected {
        correct_checksums(&simulation);
    }
    let on_damage = match input.repair {
        Repair::No => OnDamage::Refuse,
        Repair::KeepPrefix => OnDamage::KeepPrefix,
        Repair::SkipDamaged => OnDamage::SkipDamaged,
    };
    let options = Options::new().cache_bytes(1 << 16).on_damage(on_damage);
    let Ok(store) = simulation.open(&options) else { return };
    let Ok(raw) = store.raw("raw") else { return };
    if input.checksums_corrected {
        return use_anything(store, &raw, &simulation);
    }
    read(&raw, &bases.versions);
    if input.repair == Repair::No {
        // What is damaged keeps none of these from going on, or from saying so.
        drop(store.changes(Cursor::START).map(|mut changes| changes.nth(100)));
        drop(store.backup("copy"));
        drop(store.compact());
        return read(&raw, &bases.versions);
    }
    if input.repair == Repair::SkipDamaged {
        store.verify().expect("nothing damaged is left");
    }
    let new = raw.upsert("new", &Bytes::from_static(b"new"), Precondition::Always).unwrap();
    drop(raw);
    store.close().unwrap();
    let store = simulation.open(&Options::new()).expect("what was repaired opens");
    let raw = store.raw("raw").unwrap();
    assert_eq!(raw.get("new").unwrap().unwrap().etag(), new.etag());
});

fn correct_checksums(simulation: &Simulation) {
    let disk = simulation.disk();
    for path in disk.file_names() {
        if let Some(mut bytes) = disk.read_file(&path) {
            checksums::correct(&path, &mut bytes);
            disk.write_file(&path, &bytes).unwrap();
        }
    }
}

/// Reads, writes, checks, compacts and opens again, whatever comes of it.
fn use_anything(store: Store, raw: &Collection<Bytes, Raw>, simulation: &Simulation) {
    if let Ok(items) = raw.iter() {
        for item in items.take(100).flatten() {
            drop(raw.get(item.key()));
            drop(raw.history(item.key()));
        }
    }
    drop(store.changes(Cursor::START).map(|mut changes| changes.nth(100)));
    drop(store.verify());
    drop(raw.upsert("new", &Bytes::from_static(b"new"), Precondition::Always));
    drop(raw.delete([b'k', 1], Precondition::Always));
    drop(store.compact());
    drop(store.stats());
    drop(store.close());
    if let Ok(store) = simulation.open(&Options::new()) {
        drop(store.close());
    }
}

/// Reads everything; what is read was written, all of it.
fn read(raw: &Collection<Bytes, Raw>, versions: &HashSet<Version>) {
    for item in raw.iter().unwrap().take(1_000) {
        match item {
            Ok(item) => {
                let version = (item.key().to_vec(), item.etag(), item.value.to_vec());
                assert!(versions.contains(&version), "nobody wrote {item:?}");
                drop(raw.get(item.key()));
            }
            Err(Error::Corrupt { .. } | Error::IndexUnavailable(_) | Error::Io { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl Edit {
    fn apply(&self, simulation: &Simulation) {
        let disk = simulation.disk();
        let names = disk.file_names();
        let named = |file: u8| names.get(usize::from(file) % names.len().max(1)).cloned();
        let change = |file: u8, change: &dyn Fn(&mut Vec<u8>)| {
            let Some(name) = named(file) else { return };
            // An earlier edit may have removed it.
            let Some(mut bytes) = disk.read_file(&name) else { return };
            change(&mut bytes);
            drop(disk.write_file(&name, &bytes));
        };
        match self {
            Self::Flip { file, at, bit } => change(*file, &|bytes| {
                if let Some(byte) = bytes.get_mut(usize::from(*at)) {
                    *byte ^= 1 << (bit % 8);
                }
            }),
            Self::Write { file, at, bytes: new } => change(*file, &|bytes| {
                let at = *at as usize % (bytes.len() + 1);
                let end = (at + new.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&new[..end - at]);
            }),
            Self::Zero { file, at, len } => change(*file, &|bytes| {
                let range = usize::from(*at)..usize::from(*at) + usize::from(*len);
                if let Some(part) = bytes.get_mut(range) {
                    part.fill(0);
                }
            }),
            Self::Move { file, from, to, len } => change(*file, &|bytes| {
                let (from, to, len) = (usize::from(*from), usize::from(*to), usize::from(*len));
                if from.max(to) + len <= bytes.len() {
                    bytes.copy_within(from..from + len, to);
                }
            }),
            Self::Truncate { file, len } => {
                change(*file, &|bytes| bytes.truncate(usize::from(*len)));
            }
            Self::Lengthen { file, by } => {
                change(*file, &|bytes| bytes.resize(bytes.len() + usize::from(*by), 0));
            }
            Self::Replace { file, with } => {
                let with = named(*with).and_then(|name| disk.read_file(name));
                change(*file, &|bytes| {
                    if let Some(with) = &with {
                        bytes.clone_from(with)
                    }
                });
            }
            Self::Remove { file } => {
                drop(named(*file).map(|name| disk.remove_file_durably(name)));
            }
            Self::Make { name, bytes } => {
                let name = NAMES[usize::from(*name) % NAMES.len()];
                drop(disk.write_file(PathBuf::from(STORE).join(name), bytes));
            }
        }
    }
}
