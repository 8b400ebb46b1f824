//! Where a store lies while its files are damaged: on a simulated disk, or in a folder.

use std::path::{Path, PathBuf};
use std::{fs, io};

use ifmatch::simulation::{STORE, Simulation};
use ifmatch::{Error, Options, Store};

/// Files by their path below the store's directory.
pub(crate) type Files = Vec<(PathBuf, Vec<u8>)>;

pub(crate) trait Place {
    fn open(&self, options: &Options) -> Result<Store, Error>;
    fn files(&self) -> Files;
    fn write(&self, path: &Path, bytes: &[u8]);
    fn remove(&self, path: &Path);
    /// The files as the end of the process leaves them, and an index that fits or none.
    fn copy(&self, rng: &mut fastrand::Rng) -> Box<dyn Place>;
}

impl Place for Simulation {
    fn open(&self, options: &Options) -> Result<Store, Error> {
        self.open(options)
    }

    fn files(&self) -> Files {
        let names = self.disk().file_names().into_iter();
        let file = |path: PathBuf| {
            let bytes = self.disk().read_file(&path).unwrap();
            (path.strip_prefix(STORE).unwrap().to_owned(), bytes)
        };
        names.map(file).collect()
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        self.disk().write_file(Path::new(STORE).join(path), bytes).unwrap();
    }

    fn remove(&self, path: &Path) {
        self.disk().remove_file_durably(Path::new(STORE).join(path)).unwrap();
    }

    fn copy(&self, rng: &mut fastrand::Rng) -> Box<dyn Place> {
        let mut copy = self.kill(rng);
        if rng.bool() {
            copy.remove_index();
        }
        Box::new(copy)
    }
}

/// A folder of the operating system's, in memory where there is such a file system.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let shared_memory = Path::new("/dev/shm");
        let folder = match shared_memory.is_dir() {
            true => tempfile::tempdir_in(shared_memory),
            false => tempfile::tempdir(),
        };
        Self(folder.unwrap())
    }

    pub(crate) fn holding(files: &Files) -> Self {
        let folder = Self::new();
        // The one folder that may be empty.
        fs::create_dir_all(folder.path().join("journal")).unwrap();
        for (path, bytes) in files {
            folder.write(path, bytes);
        }
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join(STORE)
    }
}

impl Place for Folder {
    fn open(&self, options: &Options) -> Result<Store, Error> {
        options.open(self.path())
    }

    fn files(&self) -> Files {
        let mut files = Files::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    // Windows lets nobody read a file that is locked; this one is empty.
                    let is_lock = path.ends_with("LOCK");
                    let bytes = match fs::read(&path) {
                        _ if is_lock => Vec::new(),
                        // A store that is open may remove it meanwhile.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        bytes => bytes.unwrap(),
                    };
                    files.push((path.strip_prefix(self.path()).unwrap().to_owned(), bytes));
                }
            }
        }
        files.sort();
        files
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn remove(&self, path: &Path) {
        fs::remove_file(self.path().join(path)).unwrap();
    }

    fn copy(&self, _: &mut fastrand::Rng) -> Box<dyn Place> {
        Box::new(Self::holding(&self.files()))
    }
}
