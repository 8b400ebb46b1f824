//! The names of a disk that is not the operating system's: which files and directories there are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::EntryKind;

/// Files, of whatever `F` represents one, and directories by path. Paths without a parent (`/`,
/// the empty path) are directories that always exist.
#[derive(Debug, Clone)]
pub(super) struct Names<F> {
    entries: BTreeMap<PathBuf, Entry<F>>,
}

#[derive(Debug, Clone)]
enum Entry<F> {
    Directory,
    File(F),
}

impl<F> Names<F> {
    pub(super) fn file(&self, path: &Path) -> io::Result<&F> {
        match self.entries.get(path) {
            Some(Entry::File(file)) => Ok(file),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None if is_root(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// All files in the order of their paths.
    #[cfg(any(test, feature = "simulation"))]
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &F)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File(file) => Some((path.as_path(), file)),
            Entry::Directory => None,
        })
    }

    pub(super) fn create(&mut self, path: &Path, file: F) -> io::Result<()> {
        self.check_parent(path)?;
        if self.exists(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.entries.insert(path.to_owned(), Entry::File(file));
        Ok(())
    }

    /// Makes the directory and its missing parents, and returns those that were missing, the
    /// outermost first.
    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut missing: Vec<PathBuf> = Vec::new();
        for directory in path.ancestors() {
            match self.entries.get(directory) {
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                Some(Entry::Directory) => break,
                None if is_root(directory) => break,
                None => missing.push(directory.to_owned()),
            }
        }
        missing.reverse();
        for directory in &missing {
            self.entries.insert(directory.clone(), Entry::Directory);
        }
        Ok(missing)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.check_directory(dir)?;
        let children = self.entries.keys().filter(|path| path.parent() == Some(dir));
        Ok(children.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        is_root(path) || self.entries.contains_key(path)
    }

    pub(super) fn kind(&self, path: &Path) -> Option<EntryKind> {
        match self.entries.get(path) {
            Some(Entry::File(_)) => Some(EntryKind::File),
            Some(Entry::Directory) => Some(EntryKind::Directory),
            None => is_root(path).then_some(EntryKind::Directory),
        }
    }

    pub(super) fn check_directory(&self, path: &Path) -> io::Result<()> {
        match self.entries.get(path) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None if is_root(path) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.entries.remove(path);
        Ok(())
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.check_directory(parent))
    }
}

impl<F: Clone> Names<F> {
    /// Moves a file over a file or to a free name, and returns it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<F> {
        let file = self.file(from)?.clone();
        self.check_parent(to)?;
        if self.exists(to) {
            self.file(to)?;
        }
        self.entries.remove(from);
        self.entries.insert(to.to_owned(), Entry::File(file.clone()));
        Ok(file)
    }
}

/// Changes without checks, for replaying what was once checked.
#[cfg(any(test, feature = "simulation"))]
impl<F> Names<F> {
    pub(super) fn put_file(&mut self, path: &Path, file: F) {
        self.entries.insert(path.to_owned(), Entry::File(file));
    }

    pub(super) fn put_directory(&mut self, path: &Path) {
        self.entries.insert(path.to_owned(), Entry::Directory);
    }

    pub(super) fn take(&mut self, path: &Path) {
        self.entries.remove(path);
    }

    /// Moves everything at and below a path to another path; what was there is dropped.
    pub(super) fn move_tree(&mut self, from: &Path, to: &Path) {
        self.take_tree(to);
        for (path, entry) in std::mem::take(&mut self.entries) {
            let moved = path.strip_prefix(from).map(|below| match below.as_os_str().is_empty() {
                true => to.to_owned(),
                false => to.join(below),
            });
            self.entries.insert(moved.unwrap_or(path), entry);
        }
    }

    /// Drops everything at and below a path.
    pub(super) fn take_tree(&mut self, path: &Path) {
        self.entries.retain(|entry, _| !entry.starts_with(path));
    }

    /// Drops what no path leads to, because a directory above it is missing.
    pub(super) fn drop_unreachable(&mut self) {
        // In this order a directory comes before what is in it.
        let mut reachable = Self::default();
        for (path, entry) in std::mem::take(&mut self.entries) {
            if reachable.check_parent(&path).is_ok() {
                reachable.entries.insert(path, entry);
            }
        }
        *self = reachable;
    }
}

impl<F> Default for Names<F> {
    fn default() -> Self {
        Self { entries: BTreeMap::new() }
    }
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}
