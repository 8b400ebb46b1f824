//! Scanning: many heads in order of key, and their versions in order of position.

use std::ops::Bound;

use bytes::Bytes;

use crate::engine::Engine;
use crate::engine::cache::Version;
use crate::engine::snapshots::View;
use crate::journal::content_sum::ContentSum;
use crate::values::error::Result;
use crate::values::head::Head;
use crate::values::key::ItemKey;

/// Entries are read together when no more than this lies between them.
const GAP_BYTES: u64 = 4 << 10;
/// The most that is read in one go, but for a single larger entry.
const NEIGHBOURS_BYTES: u64 = 256 << 10;

/// One version that a scan wants, and what came of reading it.
struct Wanted {
    key: ItemKey,
    head: Head,
    /// `None` until it is read, `Some(Ok(None))` when the item is gone meanwhile.
    version: Option<Result<Option<Version>>>,
}

/// What one step of a verification has looked at.
pub(crate) struct VerifiedRows {
    pub(crate) rows: usize,
    /// Bytes of the items' entries.
    pub(crate) read_bytes: u64,
    pub(crate) last: Option<Vec<u8>>,
}

impl Engine {
    /// Appends the live heads within the bounds to `heads`, in order of key, and gives how many
    /// rows were looked at and the last of them; fewer than `limit` means that there are no more.
    /// With a view the heads are those of its revision: every key that had one still has a row.
    pub(crate) fn scan(
        &self,
        view: Option<&View>,
        (lower, upper): (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        limit: usize,
        heads: &mut Vec<(ItemKey, Head)>,
    ) -> Result<(usize, Option<Vec<u8>>)> {
        let now_ms = self.clock.now_ms();
        let (mut rows, mut last, mut damaged) = (0, None, false);
        self.table.scan(lower, upper, reverse, limit, &mut |key, value| {
            rows += 1;
            let head = Head::decode(value).zip(ItemKey::from_joined(key));
            damaged |= head.is_none();
            let head = head.and_then(|(head, key)| {
                let head = match view {
                    // A failure is that of the check below.
                    Some(view) => view.head_at(key.as_bytes(), Some(head)).ok()??,
                    None => head,
                };
                head.is_live(now_ms).then_some((key, head))
            });
            match head {
                Some(live) => heads.push(live),
                None if rows == limit => last = Some(key.to_vec()),
                None => {}
            }
        })?;
        if damaged {
            return Err(self.table_is_damaged());
        }
        if let Some(view) = view {
            view.check()?;
        }
        let last = last.or_else(|| heads.last().map(|(key, _)| key.as_bytes().to_vec()));
        Ok((rows, last))
    }

    /// Recomputes the tags of up to `limit` items from the journal and adds them to `totals`,
    /// expired ones too.
    pub(crate) fn verify_rows(
        &self,
        lower: Bound<&[u8]>,
        limit: usize,
        content: &mut ContentSum,
    ) -> Result<VerifiedRows> {
        let mut rows = Vec::with_capacity(limit);
        self.table.scan(lower, Bound::Unbounded, false, limit, &mut |key, value| {
            rows.push((key.to_vec(), ItemKey::from_joined(key), Head::decode(value)));
        })?;
        let mut read_bytes = 0;
        for (_, key, head) in &rows {
            let (Some(key), Some(head)) = (key, head) else { return Err(self.table_is_damaged()) };
            if !head.deleted {
                read_bytes += u64::from(head.len_bytes);
                if let Some(version) = self.stored_version_of(key, head)? {
                    content.add(key.as_bytes(), version.meta.etag);
                }
            }
        }
        let count = rows.len();
        Ok(VerifiedRows { rows: count, read_bytes, last: rows.pop().map(|(key, ..)| key) })
    }

    /// The versions that these heads of a scan point to, in the same order. What is not in the
    /// cache is read in order of position, neighbours in one go.
    pub(crate) fn versions_of(
        &self,
        view: Option<&View>,
        heads: Vec<(ItemKey, Head)>,
    ) -> impl Iterator<Item = Result<(ItemKey, Version)>> {
        let want = |(key, head): (ItemKey, Head)| {
            let cached = self.cache.get(key.as_bytes());
            let cached = cached.filter(|cached| cached.head.etag == head.etag);
            Wanted { key, head, version: cached.map(|cached| Ok(Some(cached.version))) }
        };
        let mut wanted: Vec<Wanted> = heads.into_iter().map(want).collect();
        let mut missing: Vec<&mut Wanted> =
            wanted.iter_mut().filter(|wanted| wanted.version.is_none()).collect();
        missing.sort_unstable_by_key(|wanted| (wanted.head.segment, wanted.head.offset));
        let mut rest = missing.as_mut_slice();
        while !rest.is_empty() {
            let (run, after) = rest.split_at_mut(neighbours_len(rest));
            self.read_neighbours(view, run);
            rest = after;
        }
        wanted.into_iter().filter_map(|Wanted { key, version, .. }| {
            Some(version?.transpose()?.map(|version| (key, version)))
        })
    }

    /// Reads neighbouring entries together and takes them apart.
    fn read_neighbours(&self, view: Option<&View>, run: &mut [&mut Wanted]) {
        let Some(first) = run.first().map(|wanted| wanted.head) else { return };
        let end = run.last().map_or(0, |last| last.head.end());
        let len_bytes = (end - u64::from(first.offset)) as u32;
        // Frames that are still on their way to the file are found one by one.
        let together = run.len() > 1 && self.journal.is_written(first.segment, end);
        let read = || self.journal.read(first.segment, first.offset, len_bytes).ok();
        let bytes = together.then(read).flatten().flatten().map(Bytes::from);
        for wanted in run {
            let Wanted { key, head, version } = &mut **wanted;
            let from = (head.offset - first.offset) as usize;
            let to = from + head.len_bytes as usize;
            // A row may say anything.
            let record =
                bytes.as_ref().filter(|bytes| to <= bytes.len()).map(|bytes| bytes.slice(from..to));
            let found = record.map_or(Ok(None), |record| self.version_in(key, head, &record));
            *version = Some(match found {
                // Copied, so that one small value does not keep the whole run in memory.
                Ok(Some(version)) => {
                    let value = Bytes::copy_from_slice(&version.value);
                    Ok(Some(Version { value, ..version }))
                }
                Ok(None) => self.version_of_scan(key, head, view),
                Err(error) => Err(error),
            });
        }
    }
}

/// How many of these, from the first on, lie close enough together to be read in one go.
fn neighbours_len(wanted: &[&mut Wanted]) -> usize {
    let Some(first) = wanted.first().map(|wanted| wanted.head) else { return 0 };
    let mut end = first.end();
    let more = wanted.iter().skip(1).take_while(|next| {
        let head = &next.head;
        let near = head.segment == first.segment
            && u64::from(head.offset) <= end + GAP_BYTES
            && head.end() - u64::from(first.offset) <= NEIGHBOURS_BYTES;
        end = end.max(head.end());
        near
    });
    1 + more.count()
}
