//! Documents out of a store.

use std::io::{self, IsTerminal as _};

use ifmatch::Store;

use crate::args::{Export, Keys};
use crate::documents::{self, Documents, Form};
use crate::failure::Outcome;
use crate::open::{self, Bar};
use crate::output::Output;
use crate::transfer::ItemLine;
use crate::verbs::each;

/// So many documents are shown at once.
const SHOWN_DOCUMENTS: u64 = 1_000;

/// A collection that is exported.
struct Source {
    documents: Box<dyn Documents>,
    form: Form,
    /// Its name, where lines have it.
    written_name: Option<String>,
}

pub(crate) fn export(args: &Export, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let sources = sources(store, args.collection.as_deref())?;
        // What is printed on a terminal shows how far it has come.
        let is_watched = io::stderr().is_terminal() && !io::stdout().is_terminal();
        let bar = is_watched.then(|| bar(&sources, &args.keys)).transpose()?;
        let mut done = 0;
        let exported = sources.iter().try_for_each(|source| {
            let name = source.written_name.as_deref();
            each(&*source.documents, &args.keys, &mut |item| {
                done += 1;
                if let Some(bar) = bar.as_ref().filter(|_| done % SHOWN_DOCUMENTS == 0) {
                    bar.advance(SHOWN_DOCUMENTS);
                }
                out.line(ItemLine::new(name, &item, source.form)?.text()?)
            })
        });
        if let Some(bar) = &bar {
            bar.finish();
        }
        exported
    })
}

/// The collection of this name, or all of them.
fn sources(store: &Store, collection: Option<&str>) -> Outcome<Vec<Source>> {
    let source = |name: &str, written_name| {
        let (documents, form) = documents::open_stored(store, name)?;
        Ok(Source { documents, form, written_name })
    };
    match collection {
        Some(name) => Ok(vec![source(name, None)?]),
        None => {
            let all = store.collections()?;
            all.iter().map(|info| source(info.name(), Some(info.name().to_owned()))).collect()
        }
    }
}

/// A bar for the documents. It has a total where that costs no look at every key.
fn bar(sources: &[Source], keys: &Keys) -> Outcome<Bar> {
    let limit = keys.limit.map_or(u64::MAX, |limit| limit as u64);
    let mut total = keys.is_all().then_some(0);
    if let Some(total) = &mut total {
        for source in sources {
            *total += source.documents.len()?.min(limit);
        }
    }
    Ok(Bar::items("exporting", total))
}
