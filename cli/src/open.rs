//! Opening stores, and what people see while it takes long.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ifmatch::{Options, Progress, Store};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, Outcome};

/// What takes a second or more, shown on a terminal with its rate and the time that is left.
#[derive(Clone)]
pub(crate) struct Bar(Arc<ProgressBar>);

impl Bar {
    /// A bar for so many bytes; `None` where nobody knows how many.
    pub(crate) fn new(what: &'static str, total_bytes: Option<u64>) -> Self {
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total_bytes {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left",
            None => "{msg} {bytes} {binary_bytes_per_sec}, {elapsed}",
        };
        Self::with_template(what, bar, template)
    }

    /// A bar for documents.
    pub(crate) fn items(what: &'static str) -> Self {
        let template = "{msg} {wide_bar} {human_pos}/{human_len} {per_sec}, {eta} left";
        Self::with_template(what, ProgressBar::new(0), template)
    }

    /// A bar for what tells nobody how far it has come.
    pub(crate) fn time(what: &'static str) -> Self {
        let bar = Self::with_template(what, ProgressBar::no_length(), "{spinner} {msg} {elapsed}");
        bar.0.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    fn with_template(what: &'static str, bar: ProgressBar, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_message(what);
        Self(Arc::new(bar))
    }

    /// Shows how far the library has come.
    pub(crate) fn show(&self, progress: Progress) {
        self.set(progress.done_bytes, progress.total_bytes);
    }

    pub(crate) fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
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
    let bar = Bar::new("opening", Some(0));
    let shown = bar.clone();
    let opened = options.clone().on_progress(move |progress| shown.show(progress)).open(path);
    bar.finish();
    let store = opened?;
    let done = work(&store);
    // The work's own failure is the one to tell.
    let closed = store.close().map_err(Failure::from);
    done.and_then(|done| closed.map(|()| done))
}
