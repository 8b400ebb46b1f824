//! Power cuts of stores in real folders, the index's files included: the system calls of a process
//! are recorded with strace, and from what they had made durable at some moment, and what not,
//! images are built that a cut at that moment may leave. Each is opened and must hold a prefix of
//! the commits that includes every durable one, be whole, and go on.
//!
//! A recording is a chain of lives: a process that ends, in order or like a killed one, is followed
//! by another on the same files, or on an image that a cut has left.
//!
//! `IFMATCH_RECORDED_IMAGES=n` opens so many images, `IFMATCH_RECORDED_FIRST=n` begins with another
//! chain. What threads do differs from run to run, so a recording that fails is kept, and
//! `IFMATCH_RECORDING=folder IFMATCH_SEED=n` draws the same images from it again.

mod child;
mod disk;
mod history;
mod image;
mod trace;

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ifmatch::simulation::{STORE, Simulation, open_quietly};
use ifmatch::{Durability, Precondition, Store};

use self::child::{ITEMS, Plan};
use self::disk::{Disk, Tree};
use self::history::{History, State, Version, options, read};
use self::trace::{Event, can_record, record};
use crate::store_files::Folder;
use crate::{Case, from_environment};

/// Moments of a life at which the power goes, and images of each.
const CUTS: usize = 40;
const IMAGES: usize = 2;

#[test]
#[ignore = "needs strace; run by scripts/proof/recorded-cuts"]
fn no_cut_of_a_real_folder_loses_a_synced_write() {
    draw("synced writes", Durability::Immediate, 0);
}

#[test]
#[ignore = "needs strace; run by scripts/proof/recorded-cuts"]
fn no_cut_of_a_real_folder_leaves_a_hole_in_what_was_not_synced() {
    draw("unsynced writes", Durability::Eventual, 1 << 32);
}

/// Half of the images each: the two tests run side by side.
fn draw(what: &str, durability: Durability, first_seed: u64) {
    assert!(can_record(), "strace is missing, or must not watch processes here");
    let wanted = from_environment("IFMATCH_RECORDED_IMAGES").unwrap_or(400).div_ceil(2);
    if let Some(seed) = from_environment("IFMATCH_SEED") {
        Chain::new(durability, seed).live(u64::MAX);
        return;
    }
    let first_seed = first_seed + from_environment("IFMATCH_RECORDED_FIRST").unwrap_or(0);
    let (mut images, mut kept, mut seed) = (0, 0, first_seed);
    while images < wanted {
        let chain = Chain::new(durability, seed).live(wanted - images);
        images += chain.images;
        kept += chain.kept_indexes;
        seed += 1;
    }
    let chains = seed - first_seed;
    println!("{images} images of recorded {what} opened, from {chains} chains");
    println!("{kept} of these opened with the index as it was");
}

/// The folder of a chain's recordings, kept when the test fails.
struct Recording {
    folder: PathBuf,
    temporary: Option<tempfile::TempDir>,
    seed: u64,
}

impl Recording {
    fn new(seed: u64) -> Self {
        let kept = std::env::var_os("IFMATCH_RECORDING").map(PathBuf::from);
        let temporary = kept.is_none().then(|| tempfile::tempdir().unwrap());
        let folder = kept.or_else(|| Some(temporary.as_ref()?.path().to_owned()));
        // Without links, as strace tells paths.
        Self { folder: folder.unwrap().canonicalize().unwrap(), temporary, seed }
    }

    fn is_replayed(&self) -> bool {
        self.temporary.is_none()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (folder, seed) = (self.folder.display(), self.seed);
            eprintln!(
                "to repeat: IFMATCH_RECORDING={folder} IFMATCH_SEED={seed} cargo test --release \
                 --test it recorded_cuts -- --ignored, and of these the same test alone"
            );
            drop(self.temporary.take().map(tempfile::TempDir::keep));
        }
    }
}

/// What a cut has left, and a later life begins with.
struct Heir {
    tree: Tree,
    found: State,
    history: History,
}

struct Chain {
    durability: Durability,
    rng: fastrand::Rng,
    recording: Recording,
    disk: Disk,
    history: History,
    /// The folder that is recorded.
    root: PathBuf,
    images: u64,
    /// How many of them opened with the index that was there; others built it anew.
    kept_indexes: u64,
    /// Images that were opened already, with what was promised by then.
    seen: HashSet<u64>,
    heir: Option<Heir>,
}

impl Chain {
    fn new(durability: Durability, seed: u64) -> Self {
        let recording = Recording::new(seed);
        Self {
            durability,
            rng: fastrand::Rng::with_seed(seed),
            disk: Disk::holding(&Tree::new()),
            history: History::new(durability),
            root: recording.folder.join("0"),
            recording,
            images: 0,
            kept_indexes: 0,
            seen: HashSet::new(),
            heir: None,
        }
    }

    /// Records lives and cuts them, until there were enough images.
    fn live(mut self, wanted: u64) -> Self {
        for life in 0..self.rng.u64(1..=4) {
            if self.images >= wanted || (life > 0 && !self.succeed(life)) {
                break;
            }
            self.one(life, wanted);
        }
        self
    }

    fn one(&mut self, life: u64, wanted: u64) {
        let log = self.recording.folder.join(format!("{life}.log"));
        let report = self.recording.folder.join("report");
        let plan =
            Plan { durability: self.durability, seed: self.rng.u64(..), first_number: life << 32 };
        if !log.exists() {
            fs::create_dir_all(&self.root).unwrap();
            record(&self.root.join(STORE), &report, plan, &log);
        }
        let events = trace::read(&log, &self.root, &report);
        self.history.learn(events.iter().filter_map(|event| match event {
            Event::Said(line) => Some(line.as_str()),
            _ => None,
        }));
        let count = events.len();
        for (at, event) in events.into_iter().enumerate() {
            match event {
                Event::Begin(number, call) => self.disk.begin(number, call),
                Event::End(number, result) => self.disk.end(number, result),
                Event::Said(line) => self.history.pass(&line),
            }
            if self.rng.usize(0..count) < CUTS && self.images < wanted {
                for image in 0..IMAGES {
                    self.image(&format!("life {life}, event {at} of {count}, image {image}"));
                }
            }
        }
        if !self.disk.is_busy() && !self.recording.is_replayed() {
            let differs = differs(&self.disk.current(), &self.root);
            assert_eq!(differs, None, "what was recorded is not what was done");
        }
    }

    /// Begins another life with what the last one or a cut has left, if it is known what that is.
    fn succeed(&mut self, life: u64) -> bool {
        self.seen.clear();
        let from_image = self.rng.bool();
        match self.heir.take() {
            Some(Heir { tree, found, history }) if from_image || self.disk.is_busy() => {
                self.root = self.recording.folder.join(life.to_string());
                if !self.recording.is_replayed() {
                    write(&tree, &self.root);
                }
                self.disk = Disk::holding(&tree);
                self.history = history;
                self.history.settle(found);
            }
            _ if self.disk.is_busy() => return false,
            _ => self.disk.process_ended(),
        }
        true
    }

    /// Opens what a cut at this moment may leave.
    fn image(&mut self, which: &str) {
        let (tree, mode) = self.disk.image(&mut self.rng);
        let _case = Case(format!("{which}, {mode:?}"));
        let mut hasher = DefaultHasher::new();
        (&tree, self.history.obligation()).hash(&mut hasher);
        let rng = &mut self.rng.fork();
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let folder = Folder::new();
        write(&tree, folder.path().parent().unwrap());
        let opened = open_quietly(folder.path(), &options(self.durability));
        let store = opened.expect("what a cut has left opens");
        assert_eq!(store.damage(), None);
        let indexes = indexes(&folder.path());
        assert_eq!(indexes.len(), 1, "no index on disk, or one too many: {indexes:?}");
        self.kept_indexes += u64::from(tree.contains_key(&Path::new(STORE).join(&indexes[0])));
        let found = read(&store);
        self.history.check(&found);
        store.verify().unwrap();
        assert_eq!(Simulation::differs_from_journal(&store).unwrap(), None);
        self.go_on(store, &folder.path(), &found, rng);
        self.images += 1;
        if self.rng.u64(0..self.images) == 0 {
            self.heir = Some(Heir { tree, found, history: self.history.clone() });
        }
    }

    /// A store that was opened after a cut takes writes, and holds them when it is opened again.
    fn go_on(&self, store: Store, path: &Path, found: &State, rng: &mut fastrand::Rng) {
        let mut expected = found.clone();
        let items = store.raw(ITEMS).unwrap();
        for (number, key) in [b"after", b"later"].into_iter().enumerate() {
            let mut version = Version { number: number as u64, len: 9, revision: 0, etag: None };
            let value: Bytes = version.value();
            let meta = items.upsert(key, &value, Precondition::Always).unwrap();
            let told = self.history.told();
            assert!(meta.revision().0 > told, "a revision is given again: {meta:?}, {told}");
            (version.revision, version.etag) = (meta.revision().0, Some(meta.etag()));
            expected.insert(key.to_vec(), version);
            match rng.u8(0..8) {
                0 => drop(store.compact().unwrap()),
                1 => Simulation::checkpoint(&store).unwrap(),
                _ => {}
            }
        }
        drop(items);
        store.close().unwrap();
        let store = open_quietly(path, &options(self.durability)).unwrap();
        assert!(read(&store) == expected, "what was written after a cut is not there");
        store.close().unwrap();
    }
}

fn write(tree: &Tree, root: &Path) {
    fs::create_dir_all(root).unwrap();
    // A folder comes before what it holds.
    for (path, bytes) in tree {
        let path = root.join(path);
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::create_dir(path).unwrap(),
        }
    }
}

/// The folders of a store's indexes.
fn indexes(store: &Path) -> Vec<String> {
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("index-")).collect()
}

/// A path at which a folder is not this tree.
fn differs(tree: &Tree, root: &Path) -> Option<PathBuf> {
    let mut found = Tree::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = path.is_file().then(|| fs::read(&path).unwrap());
            found.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
            folders.extend(path.is_dir().then_some(path));
        }
    }
    let mut paths = tree.keys().chain(found.keys());
    paths.find(|path| tree.get(*path) != found.get(*path)).cloned()
}
