//! What is to be written of the lines.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use ifmatch::{Batch, Store};

use super::lines::{Lines, NumberedLine};
use super::window::{Numbered, Sorted, Window};
use super::{BATCHES_AHEAD, Sums};
use crate::args::{Existing, Import};
use crate::documents::{self, Documents, Expiry, Form};
use crate::failure::{Failure, Outcome};
use crate::transfer::line::Record;

/// A batch is committed at so many documents or bytes, whichever comes first. The store takes
/// 10 000 and 64 MiB.
const BATCH_DOCUMENTS: usize = 8_192;
const BATCH_BYTES: u64 = 8 << 20;
/// So many bytes of lines are sorted at once: few at first, so that soon something is committed.
const FIRST_WINDOW_BYTES: u64 = 2 << 20;
const WINDOW_BYTES: u64 = 32 << 20;

/// Lines, ready to be committed.
pub(super) struct Prepared {
    pub(super) batch: Batch,
    /// The number of the line that each operation comes from.
    pub(super) lines: Vec<u64>,
    pub(super) sums: Sums,
    pub(super) bytes: u64,
}

pub(super) struct Reader<'a> {
    store: &'a Store,
    args: &'a Import,
    to: &'a SyncSender<Prepared>,
    collections: Vec<Target>,
    by_name: HashMap<String, usize>,
    /// The collections and keys that the newest batches write, the newest last. These batches may not be
    /// committed yet, so the store does not tell what will be there.
    uncommitted: VecDeque<HashSet<(usize, Bytes)>>,
    held: Held,
}

/// Documents that are there with another value. A later line with the same key may say what is there:
/// so it is where a file is imported again, and then nothing is written.
#[derive(Default)]
struct Held {
    records: HashMap<(usize, Bytes), Numbered>,
    bytes: u64,
}

/// A collection that lines go to.
struct Target {
    documents: Box<dyn Documents>,
    form: Form,
    /// Whether it may hold a document that a line names: it held some before, or what earlier lines
    /// wrote is kept.
    has_content: bool,
}

/// What is there under a line's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Present {
    Nothing,
    Same,
    Other,
}

/// Nobody commits any more: that thread tells why.
struct Ended;

impl<'a> Reader<'a> {
    pub(super) fn new(store: &'a Store, args: &'a Import, to: &'a SyncSender<Prepared>) -> Self {
        let (collections, by_name, uncommitted, held) = Default::default();
        Self { store, args, to, collections, by_name, uncommitted, held }
    }

    /// Reads to the end, or until nobody commits any more.
    pub(super) fn read(mut self, mut lines: Lines) -> Outcome {
        let (mut window, mut wanted) = (Window::default(), FIRST_WINDOW_BYTES);
        loop {
            let some = lines.next_lines()?;
            let is_end = some.is_empty();
            let read = some.into_iter().try_for_each(|line| {
                window.extend(self.parse(line)?);
                Ok(())
            });
            if window.bytes() < wanted && !is_end && read.is_ok() {
                continue;
            }
            wanted = (wanted * 2).min(WINDOW_BYTES);
            let is_last = is_end || read.is_err();
            if self.send_window(&mut window, is_last)?.is_err() {
                return Ok(());
            }
            if is_last {
                return read;
            }
        }
    }

    /// A line's document; `None` for an empty line.
    fn parse(&mut self, line: NumberedLine) -> Outcome<Option<Numbered>> {
        let NumberedLine { number, text } = line;
        let at = |text: String| Failure::Input(format!("line {number}: {text}"));
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let record = Record::parse(&text).map_err(at)?;
        let target = self.target(&record).map_err(|failure| at(failure.to_string()))?;
        let form = self.collections.get(target).map(|target| target.form);
        if record.is_json && form != Some(Form::Json) {
            let text = "the collection is not stored as JSON; give \"value_hex\"";
            return Err(at(text.to_owned()));
        }
        Ok(Some(Numbered { line: number, len_bytes: text.len() as u64, target, record }))
    }

    /// Which of the collections the line goes to, opened at its first line.
    fn target(&mut self, record: &Record) -> Outcome<usize> {
        let name =
            self.args.collection.as_ref().or(record.collection.as_ref()).ok_or_else(|| {
                Failure::Input("the line names no \"collection\", and the command none".to_owned())
            })?;
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let form = Form::of(self.store, name)?.unwrap_or(record.form);
        let documents = documents::open_as(self.store, name, form)?;
        let has_content = self.keeps() || documents.len()? > 0;
        let index = self.collections.len();
        self.collections.push(Target { documents, form, has_content });
        self.by_name.insert(name.clone(), index);
        Ok(index)
    }

    fn keeps(&self) -> bool {
        self.args.existing == Existing::Keep
    }

    /// Sends what differs from the store, in batches. Of the last window with all that was held.
    fn send_window(&mut self, window: &mut Window, is_last: bool) -> Outcome<Result<(), Ended>> {
        let mut sorted = window.take_sorted();
        while !sorted.is_empty() {
            let prepared = self.prepare(&mut sorted)?;
            if self.to.send(prepared).is_err() {
                return Ok(Err(Ended));
            }
        }
        if !is_last && self.held.bytes < WINDOW_BYTES {
            return Ok(Ok(()));
        }
        let mut held = Window::default();
        held.extend(self.held.take());
        let mut held = held.take_sorted();
        while !held.is_empty() {
            let (records, ..) = held.next_part(BATCH_DOCUMENTS, BATCH_BYTES, true);
            self.begin_batch();
            records.iter().for_each(|numbered| self.note_write(numbered));
            let sums = Sums { written: records.len() as u64, ..Sums::default() };
            let prepared = self.batch_of(records, sums);
            if self.to.send(prepared).is_err() {
                return Ok(Err(Ended));
            }
        }
        Ok(Ok(()))
    }

    fn begin_batch(&mut self) {
        // One is being committed, and some are made ahead.
        while self.uncommitted.len() > BATCHES_AHEAD + 1 {
            self.uncommitted.pop_front();
        }
        self.uncommitted.push_back(HashSet::new());
    }

    /// Makes a batch of the next lines.
    fn prepare(&mut self, sorted: &mut Sorted) -> Outcome<Prepared> {
        let keeps = self.keeps();
        let (records, repeated, left_out_bytes) =
            sorted.next_part(BATCH_DOCUMENTS, BATCH_BYTES, !keeps);
        let present = self.look_up(&records)?;
        self.begin_batch();
        let bytes = left_out_bytes + records.iter().map(|it| it.len_bytes).sum::<u64>();
        let mut sums = Sums { repeated, ..Sums::default() };
        let mut written = Vec::with_capacity(records.len());
        for (numbered, present) in records.into_iter().zip(present) {
            if self.has_content(&numbered) {
                sums.repeated += u64::from(self.held.forget(&numbered));
                let is_to_be_written = self.is_to_be_written(&numbered);
                match present {
                    Present::Same if keeps || !is_to_be_written => {
                        sums.same += 1;
                        continue;
                    }
                    Present::Other if keeps => {
                        sums.kept += 1;
                        continue;
                    }
                    Present::Nothing if keeps && is_to_be_written => {
                        sums.kept += 1;
                        continue;
                    }
                    Present::Other if !is_to_be_written => {
                        self.held.hold(numbered);
                        continue;
                    }
                    Present::Same | Present::Other | Present::Nothing => {}
                }
            }
            sums.written += 1;
            self.note_write(&numbered);
            written.push(numbered);
        }
        Ok(Prepared { bytes, ..self.batch_of(written, sums) })
    }

    /// A batch that writes these.
    fn batch_of(&self, records: Vec<Numbered>, sums: Sums) -> Prepared {
        let (mut batch, mut lines) = (self.store.batch(), Vec::with_capacity(records.len()));
        for numbered in records {
            let (key, value) = (&numbered.record.key, numbered.record.value.clone());
            let Some(target) = self.collections.get(numbered.target) else { continue };
            batch = match numbered.record.expires {
                Some(at) => target.documents.expiring(Expiry::At(at)).add(batch, key, value),
                None => target.documents.add(batch, key, value),
            };
            lines.push(numbered.line);
        }
        Prepared { batch, lines, sums, bytes: 0 }
    }

    fn has_content(&self, numbered: &Numbered) -> bool {
        self.collections.get(numbered.target).is_some_and(|target| target.has_content)
    }

    /// The newest batch writes the document.
    fn note_write(&mut self, numbered: &Numbered) {
        if self.has_content(numbered)
            && let Some(newest) = self.uncommitted.back_mut()
        {
            newest.insert(numbered.key());
        }
    }

    /// Whether an earlier line gives the key another document, and may not be committed yet.
    fn is_to_be_written(&self, numbered: &Numbered) -> bool {
        let key = numbered.key();
        self.uncommitted.iter().any(|batch| batch.contains(&key))
    }

    /// What is there already of the documents.
    fn look_up(&self, records: &[Numbered]) -> Outcome<Vec<Present>> {
        let mut present = vec![Present::Nothing; records.len()];
        for (index, target) in self.collections.iter().enumerate().filter(|(_, t)| t.has_content) {
            let of_target = || records.iter().enumerate().filter(|(_, r)| r.target == index);
            let keys: Vec<&[u8]> = of_target().map(|(_, r)| r.record.key.as_ref()).collect();
            let found = target.documents.get_many(&keys)?;
            for ((at, numbered), item) in of_target().zip(found) {
                let (Some(item), Some(slot)) = (item, present.get_mut(at)) else { continue };
                let record = &numbered.record;
                let expires_alike = record.expires.is_none() || record.expires == item.expires();
                let is_same = item.value == record.value && expires_alike;
                *slot = if is_same { Present::Same } else { Present::Other };
            }
        }
        Ok(present)
    }
}

impl Held {
    /// Holds a document instead of what an earlier line says.
    fn hold(&mut self, numbered: Numbered) {
        // Its own memory: the line is a part of a text.
        let numbered = numbered.owned();
        self.bytes += numbered.len_bytes;
        self.records.insert(numbered.key(), numbered);
    }

    /// Forgets what an earlier line says; whether one did.
    fn forget(&mut self, later: &Numbered) -> bool {
        if self.records.is_empty() {
            return false;
        }
        let Some(earlier) = self.records.remove(&later.key()) else { return false };
        self.bytes -= earlier.len_bytes;
        true
    }

    fn take(&mut self) -> impl Iterator<Item = Numbered> {
        self.bytes = 0;
        std::mem::take(&mut self.records).into_values()
    }
}
