//! Documents into a store.
//!
//! One thread reads lines and makes batches of them, which hashes the values; another commits. Each
//! batch is in order of key: neighbours in the index then follow each other. The thread that reads has
//! the time to sort, as to commit takes longer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use ifmatch::{Batch, Durability, Error, Store};

use crate::args::{Existing, Import};
use crate::documents::{self, Documents, Expiry, Form};
use crate::failure::{Failure, Outcome};
use crate::open::{self, Bar};
use crate::output::{Fact, Output};
use crate::transfer::line::Record;

/// A batch is committed at so many documents or bytes, whichever comes first. The store takes
/// 10 000 and 64 MiB.
const BATCH_DOCUMENTS: usize = 8_192;
const BATCH_BYTES: usize = 8 << 20;
/// Batches that are made ahead.
const BATCHES_AHEAD: usize = 2;

/// Lines, ready to be committed.
struct Prepared {
    batch: Batch,
    /// The number of the line that each operation comes from.
    lines: Vec<u64>,
    same: u64,
    kept: u64,
    bytes: u64,
}

/// What became of the lines.
#[derive(Default)]
struct Sums {
    written: u64,
    same: u64,
    kept: u64,
}

pub(crate) fn import(args: &Import, out: &mut Output) -> Outcome {
    let (source, total_bytes) = source(args.file.as_deref())?;
    // The end syncs once. Until then a crash of the system may take the newest batches, and the
    // next run writes them.
    let options = args.policy.options()?.durability(Durability::Eventual);
    let bar = Bar::new("importing", total_bytes);
    let imported = open::run(&args.store, &options, |store| {
        let mut sums = Sums::default();
        let done = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(BATCHES_AHEAD);
            let reader = scope.spawn(move || Reader::new(store, args).read(source, &sender));
            let committed = commit_all(&receiver, &mut sums, &bar);
            // The reader ends at its next batch.
            drop(receiver);
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            committed.and(read)
        });
        store.sync()?;
        bar.finish();
        done.map(|()| sums).map_err(|failure| after(failure, &bar))
    })?;
    let seconds = bar.elapsed().as_secs_f64();
    let all = imported.written + imported.same + imported.kept;
    out.facts(&[
        Fact::count("written", imported.written),
        Fact::count("already there", imported.same),
        Fact::count("kept", imported.kept),
        Fact::text("seconds", format!("{seconds:.1}")),
        Fact::count("documents a second", (all as f64 / seconds.max(0.001)) as u64),
    ])
}

/// Says what to do after a failure.
fn after(failure: Failure, bar: &Bar) -> Failure {
    bar.finish();
    match failure {
        Failure::Input(text) => Failure::Input(format!(
            "{text}; what came before it is written: mend the line and run the import again"
        )),
        other => other,
    }
}

fn source(file: Option<&Path>) -> Outcome<(Box<dyn BufRead + Send>, Option<u64>)> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok((Box::new(BufReader::with_capacity(1 << 20, io::stdin())), None));
    };
    let opened = File::open(path).and_then(|file| {
        let len = file.metadata()?.len();
        Ok((file, len))
    });
    let (file, len) = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound(format!("there is no file {path:?}")),
        _ => Failure::system(format_args!("opening {path:?} failed"), &error),
    })?;
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), Some(len)))
}

fn commit_all(receiver: &Receiver<Prepared>, sums: &mut Sums, bar: &Bar) -> Outcome {
    for Prepared { batch, lines, same, kept, bytes } in receiver {
        if !batch.is_empty() || !lines.is_empty() {
            batch.commit().map_err(|error| at_line(error, &lines))?;
        }
        sums.written += lines.len() as u64;
        sums.same += same;
        sums.kept += kept;
        bar.advance(bytes);
    }
    Ok(())
}

/// Names the line of the operation that made a batch fail.
fn at_line(error: Error, lines: &[u64]) -> Failure {
    match error {
        Error::Batch { index, source } => match lines.get(index) {
            Some(line) => Failure::Input(format!("line {line}: {source}")),
            None => Failure::Store(*source),
        },
        other => Failure::Store(other),
    }
}

struct Reader<'a> {
    store: &'a Store,
    args: &'a Import,
    collections: Vec<Target>,
    by_name: HashMap<String, usize>,
    /// The collections and keys that the newest batches write, the newest last. These batches may not be
    /// committed yet, so the store does not tell what will be there.
    uncommitted: VecDeque<HashSet<(usize, Vec<u8>)>>,
}

/// A collection that lines go to.
struct Target {
    documents: Box<dyn Documents>,
    form: Form,
    /// Whether it may hold a document that a line names: it held some before, or what earlier lines
    /// wrote is kept.
    has_content: bool,
}

/// A line with the collection that it goes to.
struct Numbered {
    line: u64,
    target: usize,
    record: Record,
}

impl<'a> Reader<'a> {
    fn new(store: &'a Store, args: &'a Import) -> Self {
        let (collections, by_name, uncommitted) = Default::default();
        Self { store, args, collections, by_name, uncommitted }
    }

    /// Reads to the end, or until nobody commits any more.
    fn read(mut self, mut source: Box<dyn BufRead + Send>, to: &SyncSender<Prepared>) -> Outcome {
        let mut records = Vec::with_capacity(BATCH_DOCUMENTS);
        let (mut bytes, mut number, mut line) = (0, 0, Vec::new());
        loop {
            line.clear();
            // A line holds a value in hexadecimal at most, and some members.
            let limit = 3 * ifmatch::MAX_VALUE_BYTES as u64;
            let read = source.by_ref().take(limit).read_until(b'\n', &mut line);
            let read = read.map_err(|error| Failure::system("reading the lines failed", &error))?;
            number += 1;
            bytes += read;
            let unreadable = match self.parse(&line, number) {
                Ok(record) => {
                    records.extend(record);
                    None
                }
                Err(failure) => Some(failure),
            };
            let is_full = records.len() >= BATCH_DOCUMENTS || bytes >= BATCH_BYTES;
            if read > 0 && !is_full && unreadable.is_none() {
                continue;
            }
            let prepared = self.prepare(&mut records, bytes as u64)?;
            bytes = 0;
            let goes_on = to.send(prepared).is_ok();
            if let Some(failure) = unreadable {
                return Err(failure);
            }
            if read == 0 || !goes_on {
                return Ok(());
            }
        }
    }

    /// A line's document; `None` for an empty line.
    fn parse(&mut self, line: &[u8], number: u64) -> Outcome<Option<Numbered>> {
        let at = |text: String| Failure::Input(format!("line {number}: {text}"));
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let record = Record::parse(line).map_err(at)?;
        let target = self.target(&record).map_err(|failure| at(failure.to_string()))?;
        let form = self.collections.get(target).map(|target| target.form);
        if record.is_json && form != Some(Form::Json) {
            let text = "the collection is not stored as JSON; give \"value_hex\"";
            return Err(at(text.to_owned()));
        }
        Ok(Some(Numbered { line: number, target, record }))
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
        let has_content = self.args.existing == Existing::Keep || documents.len()? > 0;
        let index = self.collections.len();
        self.collections.push(Target { documents, form, has_content });
        self.by_name.insert(name.clone(), index);
        Ok(index)
    }

    /// Makes a batch of what differs from the store.
    fn prepare(&mut self, records: &mut Vec<Numbered>, bytes: u64) -> Outcome<Prepared> {
        // Of several lines with one key the last stays the last.
        records.sort_by(|one, next| {
            one.target.cmp(&next.target).then_with(|| one.record.key.cmp(&next.record.key))
        });
        let present = self.look_up(records)?;
        let mut prepared =
            Prepared { batch: self.store.batch(), lines: Vec::new(), same: 0, kept: 0, bytes };
        // One is being committed, and some are made ahead.
        while self.uncommitted.len() > BATCHES_AHEAD + 1 {
            self.uncommitted.pop_front();
        }
        self.uncommitted.push_back(HashSet::new());
        let keeps = self.args.existing == Existing::Keep;
        for (Numbered { line, target, record }, present) in records.drain(..).zip(present) {
            match present {
                Present::Same if keeps || !self.is_to_be_written(target, &record) => {
                    prepared.same += 1;
                }
                Present::Other if keeps => prepared.kept += 1,
                Present::Nothing if keeps && self.is_to_be_written(target, &record) => {
                    prepared.kept += 1;
                }
                Present::Same | Present::Other | Present::Nothing => {
                    self.note_write(target, &record);
                    let Some(target) = self.collections.get(target) else { continue };
                    let batch = prepared.batch;
                    let (key, value) = (&record.key, record.value);
                    prepared.batch = match record.expires {
                        Some(at) => {
                            target.documents.expiring(Expiry::At(at)).add(batch, key, value)
                        }
                        None => target.documents.add(batch, key, value),
                    };
                    prepared.lines.push(line);
                }
            }
        }
        Ok(prepared)
    }

    /// Whether an earlier line gives the key another document, and may not be committed yet.
    fn is_to_be_written(&self, target: usize, record: &Record) -> bool {
        let key = (target, record.key.to_vec());
        self.uncommitted.iter().any(|batch| batch.contains(&key))
    }

    fn note_write(&mut self, target: usize, record: &Record) {
        let looked_up = self.collections.get(target).is_some_and(|target| target.has_content);
        if let Some(batch) = self.uncommitted.back_mut().filter(|_| looked_up) {
            batch.insert((target, record.key.to_vec()));
        }
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

/// What is there under a line's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Present {
    Nothing,
    Same,
    Other,
}
