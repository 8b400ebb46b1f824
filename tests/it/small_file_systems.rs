//! File systems of the tests' own: one that is full, and one that cannot be written. Skipped where
//! nothing can be mounted. `IFMATCH_FULL_CYCLES=n` fills and frees one so often.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use ifmatch::{Durability, Error, Options, Precondition, Store};

use crate::backup::{io_kind, raw, upsert};
use crate::{Case, Repeat, from_environment, is_thorough, thinned};

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        mount.stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    /// Lets nothing be written there any more.
    fn seal(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached at once, gone when the last file in it is closed.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_file_system_is_read_and_opened() {
    let Some(mounted) = Mounted::tmpfs("24m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let path = mounted.0.path().join("store");
    let spare = mounted.0.path().join("spare");
    std::fs::write(&spare, vec![1; 3 << 20]).unwrap();
    let store = Store::open(&path).unwrap();
    let items = store.raw("items").unwrap();
    for key in 0..100_u8 {
        items.create([key], &vec![key; 500].into()).unwrap();
    }
    let mut written = 100_u8;
    let large = Bytes::from(vec![7; 200_000]);
    let error = loop {
        match items.create([written], &large) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.http_status(), 507, "{error:?}");
    fill(&mounted.0.path().join("filler"));
    drop(store.close());

    let store = Store::open(&path).unwrap();
    let items = store.raw("items").unwrap();
    assert_eq!(items.len().unwrap(), u64::from(written));
    assert_eq!(items.get([99]).unwrap().unwrap().value, vec![99; 500]);
    let error = (0..20).find_map(|_| items.upsert("x", &large, Precondition::Always).err());
    assert_eq!(error.expect("a full disk").http_status(), 507);
    std::fs::remove_file(spare).unwrap();
    drop((items, store));
    let store = Store::open(&path).unwrap();
    store.raw("items").unwrap().create("small", &large.slice(..10)).unwrap();
    store.close().unwrap();
}

#[test]
fn a_copy_on_media_that_cannot_be_written_is_restored() {
    let Some(media) = Mounted::tmpfs("8m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (copy, opened) = (media.0.path().join("copy"), media.0.path().join("opened"));
    let store = Store::in_memory();
    let meta = upsert(&store);
    store.backup(&copy).unwrap();
    Store::restore(&copy, &opened).unwrap().close().unwrap();
    media.seal();
    let restored = Store::restore(&copy, folder.path().join("restored")).unwrap();
    assert_eq!(*raw(&restored).get("same").unwrap().unwrap().meta(), meta);
    // A store that may be open on another machine cannot be locked there.
    let refused = Store::restore(&opened, folder.path().join("other"));
    assert_eq!(io_kind(refused), ErrorKind::ReadOnlyFilesystem);
}

/// Fills a file system of its own with values of one size.
struct Filling {
    store: Store,
    written: u64,
    value: Bytes,
}

impl Filling {
    fn key(number: u64) -> [u8; 8] {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
    }

    fn write(&mut self) -> Result<(), Error> {
        let items = self.store.raw("items")?;
        items.create(Self::key(self.written), &self.value)?;
        self.written += 1;
        Ok(())
    }

    /// Writes until there is no space, which must be all that a write fails with.
    fn fill(&mut self) {
        loop {
            match self.write() {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.http_status(), 507, "{error:?}");
                    assert_eq!(io_kind::<()>(Err(error)), ErrorKind::StorageFull);
                    return;
                }
            }
        }
    }

    fn check(&self) {
        let items = self.store.raw("items").unwrap();
        for number in 0..self.written {
            let item = items.get(Self::key(number)).unwrap().expect("an acknowledged write");
            assert_eq!(item.value.len(), self.value.len());
        }
        assert_eq!(items.len().unwrap(), self.written);
        assert_eq!(items.keys().unwrap().count() as u64, self.written);
        assert!(self.store.stats().unwrap().poison_cause.is_none());
    }
}

/// A regression: an idle checkpoint on the full disk ended the index, and with it reads and writes.
#[test]
fn a2_a_disk_that_fills_up_ends_neither_reads_nor_later_writes() {
    side_by_side([(5_000, "20m"), (200_000, "20m")], |bytes, mounted| {
        let spare = mounted.0.path().join("spare");
        std::fs::write(&spare, vec![1; 6 << 20]).unwrap();
        let path = mounted.0.path().join("store");
        let store = Options::new().durability(Durability::Eventual).open(&path).unwrap();
        let mut filling = Filling { store, written: 0, value: Bytes::from(vec![7; bytes]) };
        filling.fill();
        filling.check();
        // Upkeep takes its checkpoint, or tries to.
        std::thread::sleep(Duration::from_millis(2_500));
        filling.check();
        filling.fill();
        filling.check();

        std::fs::remove_file(&spare).unwrap();
        let before = filling.written;
        filling.fill();
        assert!(filling.written > before, "{bytes}: no write after there was space again");
        filling.check();

        filling.store.clone().close().unwrap();
        filling.store = Store::open(&path).unwrap();
        filling.check();
    });
}

/// Runs the same for several sizes of values at once, each on a file system of its own, as each
/// waits for upkeep; how many were run, none where nothing can be mounted.
fn side_by_side<const N: usize>(
    sizes: [(usize, &str); N],
    run: impl Fn(usize, &Mounted) + Sync,
) -> u64 {
    let mounted: Vec<Mounted> = sizes.iter().map_while(|(_, size)| Mounted::tmpfs(size)).collect();
    if mounted.len() < N {
        println!("skipped: no file system can be mounted here");
        return 0;
    }
    std::thread::scope(|scope| {
        let run = &run;
        for ((bytes, _), mounted) in sizes.iter().zip(&mounted) {
            scope.spawn(move || run(*bytes, mounted));
        }
    });
    N as u64
}

/// A store with the default options on a file system of its own, filled and freed again and again.
struct Churning {
    store: Store,
    alive: BTreeSet<u64>,
    /// Their keys are used again, or the disk would be full of tombstones.
    dead: BTreeSet<u64>,
    value: Bytes,
}

impl Churning {
    /// Creates items until there is no space; how many.
    fn fill(&mut self) -> u64 {
        let items = self.store.raw("items").unwrap();
        let before = self.alive.len();
        loop {
            let new = (self.alive.len() + self.dead.len()) as u64;
            let number = self.dead.first().copied().unwrap_or(new);
            match items.create(Filling::key(number), &self.value) {
                Ok(_) => {
                    self.dead.remove(&number);
                    self.alive.insert(number);
                }
                Err(error) => {
                    assert_eq!(error.http_status(), 507, "{error:?}");
                    assert_eq!(io_kind::<()>(Err(error)), ErrorKind::StorageFull);
                    return (self.alive.len() - before) as u64;
                }
            }
        }
    }

    fn compact(&self) {
        if let Err(error) = self.store.compact() {
            let list = Command::new("ls").arg("-lsR").arg(self.store.path().unwrap()).output();
            let list = String::from_utf8_lossy(&list.unwrap().stdout).into_owned();
            panic!("compaction works on a full disk: {error}\n{:?}\n{list}", self.store.stats());
        }
    }

    /// Deletes two of three items. Where there is no space for that, compaction makes some.
    fn thin_out(&mut self, rng: &mut fastrand::Rng) -> u64 {
        let compactions = self.remove(self.alive.len().div_ceil(3) * 2, rng);
        self.compact();
        compactions + 1
    }

    /// Deletes this number of items, chosen at random. Returns how often compaction had to make
    /// space for that.
    fn remove(&mut self, count: usize, rng: &mut fastrand::Rng) -> u64 {
        let items = self.store.raw("items").unwrap();
        let mut compactions = 0;
        let mut chosen: Vec<u64> = self.alive.iter().copied().collect();
        rng.shuffle(&mut chosen);
        for number in chosen.into_iter().take(count) {
            for attempt in 0.. {
                match items.delete(Filling::key(number), Precondition::Always) {
                    Ok(_) => break,
                    Err(error) => {
                        assert_eq!(error.http_status(), 507, "{error:?}");
                        assert!(attempt < 3, "compaction makes no space for a removal");
                        self.compact();
                        compactions += 1;
                    }
                }
            }
            self.alive.remove(&number);
            self.dead.insert(number);
        }
        compactions
    }

    fn check(&self) {
        let items = self.store.raw("items").unwrap();
        for number in &self.alive {
            let item = items.get(Filling::key(*number)).unwrap().expect("an acknowledged item");
            assert_eq!(item.value.len(), self.value.len());
        }
        assert_eq!(items.keys().unwrap().count(), self.alive.len());
        assert!(self.store.stats().unwrap().poison_cause.is_none());
    }
}

/// A regression: the index on disk, which sled never makes smaller, took the space that was freed from
/// outside, and writes were refused though most of what it held was dead.
#[test]
fn a2_a_write_on_a_full_disk_takes_the_space_of_a_bloated_index() {
    side_by_side([(300, "16m")], |bytes, mounted| {
        let store = Store::open(mounted.0.path().join("store")).unwrap();
        let items = store.raw("items").unwrap();
        let value = Bytes::from(vec![7; bytes]);
        let write = |number| items.upsert(Filling::key(number), &value, Precondition::Always);
        let index_bytes = || store.stats().unwrap().index_bytes;
        for round in 0.. {
            (0..3_000).for_each(|number| assert!(write(number).is_ok()));
            // Takes a checkpoint.
            store.compact().unwrap();
            assert!(round < 10_000, "the index stays at {} bytes", index_bytes());
            if index_bytes() > 4 << 20 {
                break;
            }
        }
        let bloated_bytes = index_bytes();
        // Everything else is taken.
        let mut other = File::create(mounted.0.path().join("other")).unwrap();
        for step in [1 << 16, 1 << 12] {
            while other.write_all(&vec![1; step]).is_ok() {}
        }
        // Half of what the index took.
        for number in 3_000..8_000 {
            write(number).unwrap();
        }
        assert!(index_bytes() < bloated_bytes, "{} bytes", index_bytes());
        assert_eq!(items.len().unwrap(), 8_000);
        store.close().unwrap();
    });
}

/// A regression: deletes and compaction were refused on a full disk, and it could be freed from
/// outside only.
#[test]
fn a2_a_full_disk_is_freed_from_inside_and_from_outside_again_and_again() {
    let cycles = from_environment("IFMATCH_FULL_CYCLES").unwrap_or(1);
    let seed = from_environment("IFMATCH_SEED").unwrap_or(0);
    let _repeat = Repeat::new("small_file_systems::a2_", seed);
    let sizes = if is_thorough() { [100, 300, 4_096] } else { [3_000, 5_000, 8_000] };
    let sizes = sizes.map(|bytes| (bytes, "10m"));
    let freed = side_by_side(sizes, |bytes, mounted| {
        let spare = mounted.0.path().join("spare");
        let path = mounted.0.path().join("store");
        let (store, value) = (Store::open(&path).unwrap(), Bytes::from(vec![7; bytes]));
        let mut churning = Churning { store, alive: BTreeSet::new(), dead: BTreeSet::new(), value };
        for cycle in 0..cycles {
            let _case = Case(format!("{bytes} bytes, cycle {cycle}"));
            let mut rng = fastrand::Rng::with_seed(seed << 32 | cycle);
            // Something else takes space for a while.
            let mut other = File::create(&spare).unwrap();
            let _ = other.write_all(&vec![1; 2 << 20]);
            drop(other);
            let first = churning.fill();
            churning.check();
            // Upkeep takes its checkpoint, or tries to.
            let idle_ms = if cycle == 0 { 3_000 } else { 50 };
            std::thread::sleep(Duration::from_millis(idle_ms));
            churning.check();
            churning.fill();
            std::fs::remove_file(&spare).unwrap();
            let outside = churning.fill();
            assert!(outside > 0, "no write after there was space from outside");
            churning.check();
            let compactions = churning.thin_out(&mut rng);
            churning.check();
            let inside = churning.fill();
            assert!(inside > 0, "no write after there was space from inside");
            churning.check();
            churning.thin_out(&mut rng);
            println!(
                "{bytes} bytes: {first}, {outside}, {inside} writes; {compactions} compactions"
            );
        }
        churning.store.clone().close().unwrap();
        churning.store = Store::open(&path).unwrap();
        churning.check();
    });
    println!("{} full disks were freed", 2 * freed * cycles);
}

/// A regression: upkeep merged small segments with those of one large value each, and for a moment
/// its copy took the space that removals had freed. A write was refused, and the next one was not.
#[test]
fn a2_large_values_come_and_go_on_a_full_disk() {
    let cycles = from_environment("IFMATCH_FULL_CYCLES").unwrap_or(thinned(3, 100));
    let seed = from_environment("IFMATCH_SEED").unwrap_or(0);
    let _repeat = Repeat::new("small_file_systems::a2_large", seed);
    let freed = side_by_side([(1_000_000, "16m")], |bytes, mounted| {
        let path = mounted.0.path().join("store");
        let (store, value) = (Store::open(&path).unwrap(), Bytes::from(vec![7; bytes]));
        let mut churning = Churning { store, alive: BTreeSet::new(), dead: BTreeSet::new(), value };
        let first = churning.fill();
        for cycle in 0..cycles {
            let mut rng = fastrand::Rng::with_seed(seed << 32 | cycle);
            let _case = Case(format!("cycle {cycle}"));
            let removed = rng.usize(1..churning.alive.len());
            churning.remove(removed, &mut rng);
            churning.compact();
            churning.check();
            std::thread::sleep(Duration::from_millis(rng.u64(0..4) * 30));
            let created = churning.fill();
            println!("of {first} large values {removed} were removed, and {created} came back");
            if created < removed as u64 {
                // Small segments may have taken the space of one value by now. What was rewritten
                // must not, nor may space be left that a value fits into.
                let spare = mounted.0.path().join("spare");
                fill(&spare);
                let free = std::fs::metadata(&spare).unwrap().len();
                std::fs::remove_file(&spare).unwrap();
                let files = std::fs::read_dir(path.join("journal")).unwrap();
                let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
                let large = sizes.filter(|size| *size >= bytes as u64).count();
                assert_eq!(created + 1, removed as u64, "created of removed");
                assert!(large <= churning.alive.len(), "{large} segments of large values");
                assert!(free < bytes as u64 + (128 << 10), "{free} bytes are free");
            }
            churning.check();
        }
        churning.store.clone().close().unwrap();
        churning.store = Store::open(&path).unwrap();
        churning.check();
    });
    println!("{} full disks were freed", freed * cycles);
}
