//! Opening stores, and what people see while it takes long.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::Duration;

use ifmatch::{IndexProgress, Options, Progress, Store};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::failure::Outcome;

/// What ends sooner shows no bar, which would only flash up.
const SHOWN_AFTER: Duration = Duration::from_millis(500);
const DRAWN_EVERY: Duration = Duration::from_millis(200);

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left";
const ITEMS: &str = "{msg} {wide_bar} {human_pos}/{human_len} {rate}, {eta} left";

/// What takes long, shown on a terminal with its rate and the time that is left.
#[derive(Clone)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar for so many bytes; `None` where nobody knows how many.
    pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> Self {
        let unknown = "{msg} {bytes} {binary_bytes_per_sec}, {elapsed}";
        Self::new(what, total, total.map_or(unknown, |_| BYTES))
    }

    /// A bar for so many documents; `None` where nobody knows how many.
    pub(crate) fn items(what: &'static str, total: Option<u64>) -> Self {
        let unknown = "{msg} {human_pos} {rate}, {elapsed}";
        Self::new(what, total, total.map_or(unknown, |_| ITEMS))
    }

    /// A bar for what does not say how far it has come, or has not yet.
    pub(crate) fn time(what: &'static str) -> Self {
        Self::new(what, None, "{spinner} {msg} {elapsed}")
    }

    fn new(what: &'static str, total: Option<u64>, template: &str) -> Self {
        let bar = Self(ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()));
        bar.lay_out(template);
        bar.0.set_message(what);
        if io::stderr().is_terminal() {
            let shown = bar.0.downgrade();
            // Without a thread there is no bar.
            let _ = thread::Builder::new().spawn(move || {
                thread::sleep(SHOWN_AFTER);
                if let Some(bar) = shown.upgrade() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(DRAWN_EVERY);
                }
            });
        }
        bar
    }

    fn lay_out(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.with_key("rate", write_rate));
        }
    }

    /// Shows how far the library has come. It may read a journal again, to build the index.
    pub(crate) fn show(&self, progress: Progress) {
        if progress.done_bytes < self.0.position() {
            self.0.set_message("reading again");
        }
        let all_read = "{spinner} {msg}, {bytes} done, {elapsed}";
        self.set(progress.done_bytes, progress.total_bytes, BYTES, all_read);
    }

    pub(crate) fn show_items(&self, progress: IndexProgress) {
        let all_read = "{spinner} {msg}, {human_pos} done, {elapsed}";
        self.set(progress.done_items, progress.total_items, ITEMS, all_read);
    }

    /// What follows when all is read, as the writing of an index, may take as long again.
    fn set(&self, done: u64, total: u64, reading: &str, all_read: &str) {
        self.lay_out(if done < total { reading } else { all_read });
        self.0.set_length(total);
        self.0.set_position(done);
    }

    pub(crate) fn advance(&self, done: u64) {
        self.0.inc(done);
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn write_rate(state: &ProgressState, to: &mut dyn fmt::Write) {
    let _ = write!(to, "{}/s", HumanCount(state.per_sec() as u64));
}

/// Opens a store that is there, does something with it, and closes it.
pub(crate) fn with_store<T>(path: &Path, work: impl FnOnce(&Store) -> Outcome<T>) -> Outcome<T> {
    run(path, &Options::new().create(false), work)
}

/// As [`with_store`], with these options.
pub(crate) fn run<T>(
    path: &Path,
    options: &Options,
    work: impl FnOnce(&Store) -> Outcome<T>,
) -> Outcome<T> {
    let bar = Bar::time("opening");
    let shown = bar.clone();
    let opened = options.clone().on_progress(move |progress| shown.show(progress)).open(path);
    bar.finish();
    let store = opened?;
    let done = work(&store);
    // The work's own failure is the one to tell.
    let closed = close(store);
    done.and_then(|done| closed.map(|()| done))
}

/// Closes a store, which writes what the index on disk lacks.
pub(crate) fn close(store: Store) -> Outcome {
    let bar = Bar::time("closing");
    let closed = store.close();
    bar.finish();
    Ok(closed?)
}
