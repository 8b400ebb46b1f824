//! Documents out of a store.

use std::io::{self, IsTerminal as _};

use ifmatch::Store;

use crate::args::Export;
use crate::documents;
use crate::failure::Outcome;
use crate::open::{self, Bar};
use crate::output::Output;
use crate::transfer::ItemLine;
use crate::verbs::each;

pub(crate) fn export(args: &Export, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        // What is printed on a terminal shows how far it has come. Without somebody to look at the
        // bar, the documents need not be counted.
        let is_watched = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let bar = is_watched.then(|| Bar::items("exporting"));
        let exported = match &args.collection {
            Some(name) => collection(store, name, None, args, bar.as_ref(), out),
            None => store.collections()?.iter().try_for_each(|info| {
                collection(store, info.name(), Some(info.name()), args, bar.as_ref(), out)
            }),
        };
        if let Some(bar) = &bar {
            bar.finish();
        }
        exported
    })
}

fn collection(
    store: &Store,
    name: &str,
    written_name: Option<&str>,
    args: &Export,
    bar: Option<&Bar>,
    out: &mut Output,
) -> Outcome {
    let (documents, form) = documents::open_stored(store, name)?;
    let (mut done, total) = (0, bar.map_or(Ok(0), |_| documents.len())?);
    each(&*documents, &args.keys, &mut |item| {
        done += 1;
        if let Some(bar) = bar.filter(|_| done % 1_000 == 0) {
            bar.set(done, total);
        }
        out.line(ItemLine::new(written_name, &item, form)?.text()?)
    })
}
