//! What a simulated disk holds: names and files as its user sees them, as they are durable, and
//! the operations that are between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::content::Content;
use crate::storage::names::Names;

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

#[derive(Default)]
pub(super) struct Media {
    /// As the user of the disk sees them.
    pub(super) names: Names<FileId>,
    /// As they are if no pending change is kept.
    pub(super) durable_names: Names<FileId>,
    /// In order of time, like those of each file; their sequences order them among each other.
    pub(super) pending_names: Vec<PendingName>,
    pub(super) files: BTreeMap<FileId, Inode>,
    pub(super) sequence: u64,
    /// No sync of a directory does anything, and names keep their order without one.
    pub(super) names_in_order: bool,
}

/// A change of names that no `sync_dir` has made durable.
#[derive(Clone)]
pub(super) struct PendingName {
    pub(super) sequence: u64,
    pub(super) change: NameChange,
}

#[derive(Clone)]
pub(super) enum NameChange {
    Create { path: PathBuf, id: FileId },
    CreateDir { path: PathBuf },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, id: FileId },
}

impl NameChange {
    /// The paths whose meaning this changes. Changes with a path in common keep their order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Create { path, .. } | Self::CreateDir { path } | Self::Remove { path } => {
                (path, None)
            }
            Self::Rename { from, to, .. } => (to, Some(from)),
        };
        std::iter::once(first).chain(second).map(PathBuf::as_path)
    }

    /// The directory whose sync makes this durable; for a move between two, that of the target.
    fn directory(&self) -> Option<&Path> {
        self.paths().next().and_then(Path::parent)
    }

    pub(super) fn apply(&self, names: &mut Names<FileId>) {
        match self {
            Self::Create { path, id } => names.put_file(path, *id),
            Self::CreateDir { path } => names.put_directory(path),
            Self::Remove { path } => names.take(path),
            Self::Rename { from, to, id } => {
                names.take(from);
                names.put_file(to, *id);
            }
        }
    }

    fn file(&self) -> Option<FileId> {
        match self {
            Self::Create { id, .. } | Self::Rename { id, .. } => Some(*id),
            Self::CreateDir { .. } | Self::Remove { .. } => None,
        }
    }
}

/// A file's contents.
#[derive(Default)]
pub(super) struct Inode {
    /// As the user of the disk sees it.
    pub(super) current: Content,
    /// Durable, except for the pending changes that are `Synced`.
    pub(super) durable: Content,
    pub(super) pending: Vec<PendingChange>,
    /// One more for each open handle; keeps a nameless file while one is left.
    handles: Arc<()>,
}

#[derive(Clone)]
pub(super) struct PendingChange {
    pub(super) sequence: u64,
    pub(super) change: Change,
    pub(super) state: PageState,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: u64, bytes: Bytes },
    SetLen(u64),
}

/// Where the pages of a change are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageState {
    /// The next sync writes them.
    Dirty,
    /// A sync failed and, as on Linux, called them clean: no later sync writes them, though they
    /// may have reached the disk.
    Abandoned,
    /// Durable. Kept in the list because an older change of it is abandoned, and must not cover
    /// this one when it is replayed.
    Synced,
}

impl Inode {
    pub(super) fn with(content: Content) -> Self {
        Self { durable: content.clone(), current: content, ..Self::default() }
    }

    fn change(&mut self, sequence: u64, change: Change) -> io::Result<()> {
        match &change {
            Change::Write { offset, bytes } => self.current.write_at(bytes, *offset)?,
            Change::SetLen(len) => self.current.set_len(*len)?,
        }
        self.pending.push(PendingChange { sequence, change, state: PageState::Dirty });
        Ok(())
    }

    fn sync(&mut self) {
        if self.pending.iter().all(|change| change.state == PageState::Dirty) {
            self.durable = self.current.clone();
            self.pending.clear();
        } else {
            self.mark_dirty_as(PageState::Synced);
        }
    }

    fn mark_dirty_as(&mut self, state: PageState) {
        let dirty = self.pending.iter_mut().filter(|change| change.state == PageState::Dirty);
        dirty.for_each(|change| change.state = state);
    }
}

/// An open file: which one, and that it is open.
pub(super) struct Opened {
    pub(super) id: FileId,
    _alive: Arc<()>,
}

impl Media {
    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<Opened> {
        if create {
            let sequence = self.next_sequence();
            let id = FileId(sequence);
            self.names.create(path, id)?;
            self.files.insert(id, Inode::default());
            let change = NameChange::Create { path: path.to_owned(), id };
            self.pending_names.push(PendingName { sequence, change });
        }
        let id = *self.names.file(path)?;
        Ok(Opened { id, _alive: Arc::clone(&self.inode(id)?.handles) })
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for path in self.names.create_dir_all(path)? {
            self.record(NameChange::CreateDir { path });
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.names.remove_file(path)?;
        self.record(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.names.rename(from, to)?;
        if from != to {
            self.record(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), id });
        }
        self.settle_order();
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.names.check_directory(dir)?;
        if !self.names_in_order {
            self.settle(|change| change.directory() == Some(dir));
        }
        Ok(())
    }

    /// Where names keep their order, makes all of them durable: what flushes a file, or a renamed
    /// one with its name, flushes the log up to there.
    fn settle_order(&mut self) {
        if self.names_in_order {
            self.settle(|_| true);
        }
    }

    /// Makes durable what leads to this path.
    pub(super) fn settle_path(&mut self, path: &Path) {
        self.settle(|change| change.paths().any(|changed| path.starts_with(changed)));
    }

    /// Moves a directory, durably.
    pub(super) fn move_tree(&mut self, from: &Path, to: &Path) {
        self.settle_below(&[from, to]);
        self.names.move_tree(from, to);
        self.durable_names.move_tree(from, to);
        self.forget_lost_files();
    }

    /// Removes a directory, durably.
    pub(super) fn take_tree(&mut self, path: &Path) {
        self.settle_below(&[path]);
        self.names.take_tree(path);
        self.durable_names.take_tree(path);
        self.forget_lost_files();
    }

    fn settle_below(&mut self, trees: &[&Path]) {
        let is_below = |path: &Path| trees.iter().any(|tree| path.starts_with(tree));
        self.settle(|change| change.paths().any(is_below));
    }

    /// Makes durable the wanted changes of names, and the older ones of the same paths.
    fn settle(&mut self, wanted: impl Fn(&NameChange) -> bool) {
        let (mut settled, mut left) = (Vec::new(), Vec::new());
        let mut needed = BTreeSet::new();
        for pending in std::mem::take(&mut self.pending_names).into_iter().rev() {
            let is_needed = pending.change.paths().any(|path| needed.contains(path));
            if is_needed || wanted(&pending.change) {
                needed.extend(pending.change.paths().map(Path::to_owned));
                settled.push(pending);
            } else {
                left.push(pending);
            }
        }
        left.reverse();
        self.pending_names = left;
        for settled in settled.iter().rev() {
            settled.change.apply(&mut self.durable_names);
        }
        self.forget_lost_files();
    }

    /// Frees files that have no name, none to come back to, and no open handle.
    fn forget_lost_files(&mut self) {
        let pending = self.pending_names.iter().filter_map(|pending| pending.change.file());
        let named = self.names.files().chain(self.durable_names.files()).map(|(_, id)| *id);
        let used: BTreeSet<FileId> = named.chain(pending).collect();
        self.files.retain(|id, inode| used.contains(id) || Arc::strong_count(&inode.handles) > 1);
    }

    pub(super) fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let change = Change::Write { offset, bytes: Bytes::copy_from_slice(bytes) };
        let sequence = self.next_sequence();
        self.inode_mut(id)?.change(sequence, change)
    }

    pub(super) fn set_len(&mut self, id: FileId, len: u64) -> io::Result<()> {
        let sequence = self.next_sequence();
        self.inode_mut(id)?.change(sequence, Change::SetLen(len))
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        self.inode_mut(id)?.sync();
        self.settle_order();
        Ok(())
    }

    pub(super) fn fail_sync(&mut self, id: FileId) -> io::Result<()> {
        self.inode_mut(id)?.mark_dirty_as(PageState::Abandoned);
        Ok(())
    }

    /// Puts a file there, with these bytes and all durable; open handles see them.
    pub(super) fn put_durably(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut content = Content::default();
        content.write_at(bytes, 0)?;
        self.create_dir_all(path.parent().unwrap_or(path))?;
        let opened = self.open(path, !self.names.exists(path))?;
        self.settle_path(path);
        let inode = self.inode_mut(opened.id)?;
        inode.current = content.clone();
        inode.durable = content;
        inode.pending.clear();
        Ok(())
    }

    /// Sum of the lengths of all files that have a name.
    pub(super) fn total_len(&self) -> u64 {
        let inodes = self.names.files().filter_map(|(_, id)| self.files.get(id));
        inodes.map(|inode| inode.current.len()).sum()
    }

    pub(super) fn inode(&self, id: FileId) -> io::Result<&Inode> {
        self.files.get(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode_mut(&mut self, id: FileId) -> io::Result<&mut Inode> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn record(&mut self, change: NameChange) {
        let sequence = self.next_sequence();
        self.pending_names.push(PendingName { sequence, change });
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Everything as it is, what is pending still pending, and no handle open.
    pub(super) fn copy(&self) -> Self {
        let copy = |inode: &Inode| Inode {
            current: inode.current.clone(),
            durable: inode.durable.clone(),
            pending: inode.pending.clone(),
            handles: Arc::default(),
        };
        let mut media = Self {
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending_names: self.pending_names.clone(),
            files: self.files.iter().map(|(id, inode)| (*id, copy(inode))).collect(),
            sequence: self.sequence,
            names_in_order: self.names_in_order,
        };
        media.forget_lost_files();
        media
    }
}
