//! Reading entries by position: which segments there are, and a bounded set of open handles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::journal::segment::segment_path;

/// The most segment files that reading keeps open at a time.
const MAX_OPEN_FILES: usize = 16;

/// The segments of a store, as readers see them.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    store: PathBuf,
    known: RwLock<BTreeMap<u32, Arc<KnownSegment>>>,
    /// Most recently used last.
    open: Mutex<Vec<(u32, Arc<dyn DiskFile>)>>,
}

/// What reading an entry needs to know of its segment.
#[derive(Debug)]
pub(crate) struct KnownSegment {
    pub(crate) incarnations: Vec<[u8; 16]>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: &Path) -> Self {
        let (known, open) = (RwLock::default(), Mutex::default());
        Self { disk, store: store.to_owned(), known, open }
    }

    pub(crate) fn add(&self, number: u32, incarnations: Vec<[u8; 16]>) {
        self.known.write().insert(number, Arc::new(KnownSegment { incarnations }));
    }

    /// How many segments there are.
    pub(crate) fn count(&self) -> usize {
        self.known.read().len()
    }

    /// The lengths of all segment files together.
    pub(crate) fn total_bytes(&self) -> Result<u64> {
        let numbers: Vec<u32> = self.known.read().keys().copied().collect();
        let len = |number: u32| {
            let path = segment_path(&self.store, number);
            self.file(number)?.len().map_err(Error::io("reading the length of", &path))
        };
        numbers.into_iter().map(len).sum()
    }

    pub(crate) fn get(&self, number: u32) -> Result<Arc<KnownSegment>> {
        self.known.read().get(&number).cloned().ok_or_else(|| {
            let path = segment_path(&self.store, number);
            Error::corrupt(&path, 0, "a head points into a segment that does not exist")
        })
    }

    /// The open file of a segment, opened if need be.
    pub(crate) fn file(&self, number: u32) -> Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock();
        if let Some(index) = open.iter().position(|(held, _)| *held == number) {
            let entry = open.remove(index);
            let file = Arc::clone(&entry.1);
            open.push(entry);
            return Ok(file);
        }
        let path = segment_path(&self.store, number);
        let file = self.disk.open(&path, false).map_err(Error::io("opening", &path))?;
        if open.len() >= MAX_OPEN_FILES {
            open.remove(0);
        }
        open.push((number, Arc::clone(&file)));
        Ok(file)
    }

    /// Reads so many bytes of a segment.
    pub(crate) fn read(&self, number: u32, offset: u32, len_bytes: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len_bytes as usize];
        let file = self.file(number)?;
        match file.read_exact_at(&mut bytes, u64::from(offset)) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                let path = segment_path(&self.store, number);
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    let offset = u64::from(offset);
                    return Err(Error::corrupt(&path, offset, "the segment ends inside an entry"));
                }
                Err(Error::io("reading", &path)(error))
            }
        }
    }
}
