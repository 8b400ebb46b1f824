//! What a power cut leaves: one legal image of the disk, drawn at random.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::content::{Content, pieces};
use super::media::{Change, Inode, Media, PageState, PendingChange};
use crate::storage::names::Names;

/// Makes an image of the media after power loss: durable, nothing pending, no handle open.
pub(super) fn image(media: &Media, rng: &mut fastrand::Rng) -> Media {
    let mut draw = Draw::new(media, rng);
    let mut durable_names = media.durable_names.clone();
    let mut lost: Vec<&Path> = Vec::new();
    for pending in &media.pending_names {
        // A change of a name whose older change is lost is lost too: the directory is journalled,
        // and a name that was taken from a file and given to another cannot be both.
        // Where names keep their order over the whole disk, so is every younger one.
        let builds_on_lost = pending.change.paths().any(|path| lost.contains(&path))
            || media.names_in_order && !lost.is_empty();
        if draw.fate(pending.sequence).is_kept(&mut draw) && !builds_on_lost {
            pending.change.apply(&mut durable_names);
        } else {
            lost.extend(pending.change.paths());
        }
    }
    durable_names.drop_unreachable();

    // Every file is drawn, named or not, so that what is drawn for one does not hang on another.
    let mut files: BTreeMap<_, _> =
        media.files.iter().map(|(id, inode)| (*id, draw.content(inode))).collect();
    let named = durable_names.files();
    let kept = named.filter_map(|(_, id)| Some((*id, Inode::with(files.remove(id)?))));
    let files = kept.collect();
    Media {
        names: Names::clone(&durable_names),
        durable_names,
        pending_names: Vec::new(),
        files,
        sequence: media.sequence,
        names_in_order: media.names_in_order,
    }
}

/// How an image is drawn.
enum Mode {
    AllLost,
    AllKept,
    /// Over all files and names, everything before this sequence is kept and nothing after it;
    /// the one change itself is torn.
    Prefix(u64),
    /// Each change for itself, kept with a chance of this number of eighths.
    Independent {
        eighths: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Torn,
}

impl Fate {
    /// What becomes of a change that cannot be torn.
    fn is_kept(self, draw: &mut Draw<'_>) -> bool {
        match self {
            Self::Kept => true,
            Self::Lost => false,
            Self::Torn => draw.rng.bool(),
        }
    }
}

struct Draw<'a> {
    rng: &'a mut fastrand::Rng,
    mode: Mode,
    sector_bytes: u64,
}

impl<'a> Draw<'a> {
    fn new(media: &Media, rng: &'a mut fastrand::Rng) -> Self {
        let sector_bytes = if rng.bool() { 512 } else { 4096 };
        let mode = match rng.u8(0..8) {
            0 => Mode::AllLost,
            1 => Mode::AllKept,
            2..4 => {
                let sequences = pending_sequences(media);
                // One past the end: all is kept.
                let cut = rng.usize(0..=sequences.len());
                Mode::Prefix(sequences.get(cut).copied().unwrap_or(u64::MAX))
            }
            _ => Mode::Independent { eighths: *rng.choice(&[1, 4, 7]).unwrap_or(&4) },
        };
        Self { rng, mode, sector_bytes }
    }

    fn fate(&mut self, sequence: u64) -> Fate {
        match self.mode {
            Mode::AllLost => Fate::Lost,
            Mode::AllKept => Fate::Kept,
            Mode::Prefix(cut) if sequence == cut => Fate::Torn,
            Mode::Prefix(cut) if sequence < cut => Fate::Kept,
            Mode::Prefix(_) => Fate::Lost,
            Mode::Independent { .. } if self.rng.u8(0..4) == 0 => Fate::Torn,
            Mode::Independent { eighths } if self.rng.u8(0..8) < eighths => Fate::Kept,
            Mode::Independent { .. } => Fate::Lost,
        }
    }

    fn content(&mut self, inode: &Inode) -> Content {
        if matches!(self.mode, Mode::AllKept) {
            return inode.current.clone();
        }
        let mut content = inode.durable.clone();
        for pending in &inode.pending {
            // An error would be that of a length out of bounds, which was refused when the
            // change was made; without it the change counts as lost.
            let _ = self.replay(pending, &mut content);
        }
        content
    }

    fn replay(&mut self, pending: &PendingChange, content: &mut Content) -> io::Result<()> {
        let fate = match pending.state {
            PageState::Synced => Fate::Kept,
            PageState::Dirty | PageState::Abandoned => self.fate(pending.sequence),
        };
        match (&pending.change, fate) {
            (_, Fate::Lost) => Ok(()),
            (Change::SetLen(len), fate) => {
                if fate.is_kept(self) {
                    content.set_len(*len)
                } else {
                    Ok(())
                }
            }
            (Change::Write { offset, bytes }, Fate::Kept) => content.write_at(bytes, *offset),
            (Change::Write { offset, bytes }, Fate::Torn) => self.tear(*offset, bytes, content),
        }
    }

    /// Keeps some sectors of a write. The length that it grew the file to may be kept without its
    /// bytes, which then read as zero.
    fn tear(&mut self, offset: u64, bytes: &[u8], content: &mut Content) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if self.rng.bool() && content.len() < end {
            content.set_len(end)?;
        }
        let count = pieces(offset, bytes.len(), self.sector_bytes).count();
        // The sectors up to one, or each for itself.
        let up_to = self.rng.bool().then(|| self.rng.usize(0..=count));
        for (index, piece) in pieces(offset, bytes.len(), self.sector_bytes).enumerate() {
            if up_to.map_or_else(|| self.rng.bool(), |up_to| index < up_to) {
                let at = offset + piece.start as u64;
                content.write_at(bytes.get(piece).unwrap_or_default(), at)?;
            }
        }
        Ok(())
    }
}

/// The sequences of all changes that may be lost, in order.
pub(super) fn pending_sequences(media: &Media) -> Vec<u64> {
    let changes = media.files.values().flat_map(|inode| &inode.pending);
    let losable = changes.filter(|change| change.state != PageState::Synced);
    let names = media.pending_names.iter().map(|pending| pending.sequence);
    let mut sequences: Vec<u64> = losable.map(|change| change.sequence).chain(names).collect();
    sequences.sort_unstable();
    sequences
}
