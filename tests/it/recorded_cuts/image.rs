//! Draws what a cut may leave of a recorded disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::disk::{Change, Disk, Id, NameChange, Node, Pending, Tree, write_at};

const SECTOR_BYTES: usize = 512;

/// How an image is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Only what was synced.
    AllLost,
    /// Everything that was done, as after a kill.
    AllKept,
    /// Every change before this one and none after it, and of this one a part.
    Prefix(u64),
    /// Contents as they are and the names of old, or the other way round.
    Only { names: bool },
    /// Each change for itself, kept with a chance of this number of eighths.
    Independent { eighths: u8 },
    /// As before, and for each file and folder a chance of its own: nothing, half, or all.
    ByFile,
}

impl Mode {
    fn draw(disk: &Disk, rng: &mut fastrand::Rng) -> Self {
        match rng.u8(0..10) {
            0 => Self::AllLost,
            1 => Self::AllKept,
            2..4 => {
                let sequences = disk.pending_sequences();
                let at = rng.usize(0..=sequences.len());
                Self::Prefix(sequences.get(at).copied().unwrap_or(u64::MAX))
            }
            4 => Self::Only { names: rng.bool() },
            5..8 => Self::Independent { eighths: *rng.choice(&[1, 4, 7]).unwrap() },
            _ => Self::ByFile,
        }
    }
}

/// What becomes of one change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Torn,
}

impl Disk {
    /// An image as a cut at this moment may leave it, and how it was drawn.
    pub(super) fn image(&self, rng: &mut fastrand::Rng) -> (Tree, Mode) {
        let mode = Mode::draw(self, rng);
        (self.image_of(mode, rng), mode)
    }

    /// Everything that was done.
    pub(super) fn current(&self) -> Tree {
        self.image_of(Mode::AllKept, &mut fastrand::Rng::with_seed(0))
    }

    fn image_of(&self, mode: Mode, rng: &mut fastrand::Rng) -> Tree {
        let mut tree = Tree::new();
        Draw { disk: self, mode, rng }.folder(0, Path::new(""), &mut tree);
        tree
    }

    fn pending_sequences(&self) -> Vec<u64> {
        let sequences = |node: &Node| -> Vec<u64> {
            match node {
                Node::File { pending, .. } => pending.iter().map(|it| it.sequence).collect(),
                Node::Folder { pending, .. } => pending.iter().map(|it| it.sequence).collect(),
            }
        };
        let mut all: Vec<u64> = self.nodes.iter().flat_map(sequences).collect();
        all.sort_unstable();
        all
    }
}

struct Draw<'a> {
    disk: &'a Disk,
    mode: Mode,
    rng: &'a mut fastrand::Rng,
}

impl Draw<'_> {
    fn folder(&mut self, id: Id, path: &Path, tree: &mut Tree) {
        let Node::Folder { durable, pending, .. } = &self.disk.nodes[id] else { return };
        for (name, id) in self.names(durable, pending) {
            let path: PathBuf = path.join(name);
            if let Node::File { durable, pending } = &self.disk.nodes[id] {
                tree.insert(path, Some(self.content(durable, pending)));
            } else {
                tree.insert(path.clone(), None);
                self.folder(id, &path, tree);
            }
        }
    }

    fn names(
        &mut self,
        durable: &BTreeMap<String, Id>,
        pending: &[Pending<NameChange>],
    ) -> BTreeMap<String, Id> {
        let (mut names, mut lost) = (durable.clone(), BTreeSet::new());
        let eighths = self.eighths();
        for pending in pending {
            let fate = match self.mode {
                Mode::Only { names: true } => Fate::Kept,
                Mode::Only { names: false } => Fate::Lost,
                _ => self.fate(eighths, pending),
            };
            // Changes of one name keep their order.
            let builds_on_lost = pending.change.names().any(|name| lost.contains(name));
            let is_kept = fate == Fate::Kept || (fate == Fate::Torn && self.rng.bool());
            if is_kept && !builds_on_lost {
                pending.change.apply(&mut names);
            } else {
                lost.extend(pending.change.names());
            }
        }
        names
    }

    fn content(&mut self, durable: &[u8], pending: &[Pending<Change>]) -> Vec<u8> {
        let mut content = durable.to_vec();
        let eighths = self.eighths();
        for pending in pending {
            let fate = match self.mode {
                Mode::Only { names } if names => Fate::Lost,
                Mode::Only { .. } => Fate::Kept,
                _ => self.fate(eighths, pending),
            };
            match (fate, &pending.change) {
                (Fate::Lost, _) => {}
                (Fate::Torn, Change::Write { offset, data }) => {
                    self.tear(*offset as usize, data, &mut content);
                }
                (_, change) => change.apply(&mut content),
            }
        }
        content
    }

    /// The chance of what is kept of one file or folder.
    fn eighths(&mut self) -> u8 {
        match self.mode {
            Mode::Independent { eighths } => eighths,
            Mode::ByFile => *self.rng.choice(&[0, 4, 8]).unwrap(),
            _ => 0,
        }
    }

    fn fate<T>(&mut self, eighths: u8, pending: &Pending<T>) -> Fate {
        match self.mode {
            Mode::AllLost => Fate::Lost,
            Mode::AllKept if pending.is_done => Fate::Kept,
            Mode::AllKept => Fate::Lost,
            Mode::Prefix(cut) if pending.sequence < cut => Fate::Kept,
            Mode::Prefix(cut) if pending.sequence > cut => Fate::Lost,
            Mode::Prefix(_) => Fate::Torn,
            _ if (1..8).contains(&eighths) && self.rng.u8(0..4) == 0 => Fate::Torn,
            _ if self.rng.u8(0..8) < eighths => Fate::Kept,
            _ => Fate::Lost,
        }
    }

    /// Keeps some sectors of a write, and perhaps the length that it gave the file, the rest of
    /// which then reads as zeros.
    fn tear(&mut self, offset: usize, data: &[u8], content: &mut Vec<u8>) {
        if self.rng.bool() {
            content.resize(content.len().max(offset + data.len()), 0);
        }
        let sectors = (offset + data.len()).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
        // The sectors up to one, or each for itself.
        let up_to = self.rng.bool().then(|| self.rng.usize(0..=sectors));
        let mut start = 0;
        for sector in 0..sectors {
            let end = (offset / SECTOR_BYTES + sector + 1) * SECTOR_BYTES - offset;
            let end = end.min(data.len());
            if up_to.map_or_else(|| self.rng.bool(), |up_to| sector < up_to) {
                write_at(content, offset + start, &data[start..end]);
            }
            start = end;
        }
    }
}
