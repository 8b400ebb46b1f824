//! The bytes of a simulated file, in shared pages: a copy costs a pointer per page, and a write to
//! a copy only the pages it touches.

use std::io;
use std::ops::Range;
use std::sync::Arc;

const PAGE_BYTES: u64 = 16 << 10;

/// Keeps a wrong length from taking all memory; no test needs a file this large.
const MAX_LEN_BYTES: u64 = 1 << 36;

type Page = [u8; PAGE_BYTES as usize];

/// A sparse array of bytes. What lies past `len` in its last page is zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: Vec<Option<Arc<Page>>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let available = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = available.min(buf.len());
        for piece in pieces(offset, count, PAGE_BYTES) {
            let (page, within) = place(offset, &piece);
            let page = self.pages.get(page).and_then(Option::as_ref);
            let Some(target) = buf.get_mut(piece) else { continue };
            match page.and_then(|page| page.get(within)) {
                Some(source) => target.copy_from_slice(source),
                None => target.fill(0),
            }
        }
        count
    }

    /// Writes all the bytes, growing where needed.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > self.len {
            self.set_len(end)?;
        }
        for piece in pieces(offset, bytes.len(), PAGE_BYTES) {
            let (page, within) = place(offset, &piece);
            let Some(page) = self.pages.get_mut(page) else { continue };
            let page = page.get_or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            if let (Some(source), Some(target)) =
                (bytes.get(piece), Arc::make_mut(page).get_mut(within))
            {
                target.copy_from_slice(source);
            }
        }
        Ok(())
    }

    /// Cuts, or grows with zeros.
    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > MAX_LEN_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let pages = usize::try_from(len.div_ceil(PAGE_BYTES));
        self.pages.resize(pages.map_err(|_| io::ErrorKind::FileTooLarge)?, None);
        let used = (len % PAGE_BYTES) as usize;
        if len < self.len
            && used > 0
            && let Some(Some(last)) = self.pages.last_mut()
        {
            Arc::make_mut(last).iter_mut().skip(used).for_each(|byte| *byte = 0);
        }
        self.len = len;
        Ok(())
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or_default()];
        self.read_at(&mut bytes, 0);
        bytes
    }
}

/// Which page a piece of a buffer at `offset` lies in, and where in the page.
fn place(offset: u64, piece: &Range<usize>) -> (usize, Range<usize>) {
    let at = offset + piece.start as u64;
    let within = (at % PAGE_BYTES) as usize;
    // No overflow: the offset was checked against the longest file.
    ((at / PAGE_BYTES) as usize, within..within + piece.len())
}

/// Cuts a buffer of `len` bytes at `offset` wherever it crosses a multiple of `unit`.
pub(super) fn pieces(offset: u64, len: usize, unit: u64) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let to_boundary = unit - (offset + start as u64) % unit;
        let piece = start..len.min(start + to_boundary as usize);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pieces_are_cut_at_multiples_of_the_unit() {
        let cut: Vec<_> = pieces(1_000, 1_100, 512).collect();
        assert_eq!(cut, [0..24, 24..536, 536..1_048, 1_048..1_100]);
        assert_eq!(pieces(512, 0, 512).count(), 0);
        assert_eq!(pieces(512, 512, 512).count(), 1);
    }

    #[test]
    fn a_copy_does_not_see_later_writes() {
        let mut content = Content::default();
        content.write_at(&[1; 40_000], 0).unwrap();
        let copy = content.clone();
        content.write_at(&[2; 40_000], 10).unwrap();
        assert_eq!(copy.to_vec(), [1; 40_000]);
        assert_eq!(content.to_vec().len(), 40_010);
    }
}
