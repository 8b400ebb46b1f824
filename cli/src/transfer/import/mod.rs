//! Documents into a store.
//!
//! One thread reads lines and makes batches of them, which hashes the values; another commits.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the two threads, and what is reported |
//! | `lines.rs` | the lines of the input |
//! | `window.rs` | some lines, in order of key |
//! | `reader.rs` | what is to be written of them |

mod lines;
mod reader;
mod window;

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

use ifmatch::{Durability, Error};

use self::lines::Lines;
use self::reader::{Prepared, Reader};
use crate::args::Import;
use crate::failure::{Failure, Outcome};
use crate::open::{self, Bar};
use crate::output::{Fact, Output};
use crate::told::Told;

/// Batches that are made ahead: what is committed while the next lines are read and sorted.
const BATCHES_AHEAD: usize = 8;

/// What became of the lines.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    written: u64,
    same: u64,
    kept: u64,
    /// A later line has the same key, and counts.
    repeated: u64,
}

impl Sums {
    fn add(&mut self, more: Self) {
        self.written += more.written;
        self.same += more.same;
        self.kept += more.kept;
        self.repeated += more.repeated;
    }
}

pub(crate) fn import(args: &Import, out: &mut Output) -> Outcome {
    let (lines, total_bytes) = Lines::open(args.file.as_deref())?;
    // The end syncs once. Until then a crash of the system may take the newest batches, and the
    // next run writes them.
    let options = args.policy.options()?.durability(Durability::Eventual);
    let started = Instant::now();
    let imported = open::run(&args.store, &options, |store| {
        let (mut sums, bar) = (Sums::default(), Bar::bytes("importing", total_bytes));
        let done = thread::scope(|scope| {
            let (sender, receiver) = sync_channel(BATCHES_AHEAD);
            let reader = scope.spawn(move || Reader::new(store, args, &sender).read(lines));
            let committed = commit_all(&receiver, &mut sums, &bar);
            // The reader ends at its next batch.
            drop(receiver);
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            committed.and(read)
        });
        let synced = store.sync();
        bar.finish();
        // The first failure is the one to tell.
        done.map_err(after)?;
        synced?;
        Ok(sums)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let Sums { written, same, kept, repeated } = imported;
    let all = written + same + kept + repeated;
    out.facts(&[
        Fact::count("written", written),
        Fact::count("already there", same),
        Fact::count("kept", kept),
        Fact::count("repeated", repeated),
        Fact::text("seconds", format!("{seconds:.1}")),
        Fact::count("documents a second", (all as f64 / seconds.max(0.001)) as u64),
    ])
}

/// Says what to do after a failure.
fn after(failure: Failure) -> Failure {
    match failure {
        Failure::Input(text) => Failure::Input(format!(
            "{text}; what came before it is written: mend the line and run the import again"
        )),
        other => other,
    }
}

fn commit_all(receiver: &Receiver<Prepared>, sums: &mut Sums, bar: &Bar) -> Outcome {
    for Prepared { batch, lines, sums: of_batch, bytes } in receiver {
        if !lines.is_empty() {
            batch.commit().map_err(|error| at_line(error, &lines))?;
        }
        sums.add(of_batch);
        bar.advance(bytes);
    }
    Ok(())
}

/// Names the line of the operation that made a batch fail.
fn at_line(error: Error, lines: &[u64]) -> Failure {
    match error {
        Error::Batch { index, source } => match lines.get(index) {
            Some(line) => Failure::Input(format!("line {line}: {}", Told(&source))),
            None => Failure::Store(*source),
        },
        other => Failure::Store(other),
    }
}
