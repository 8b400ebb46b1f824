//! Documents out of a store.

use ifmatch::Store;

use crate::args::{Export, Keys};
use crate::documents;
use crate::failure::Outcome;
use crate::open;
use crate::output::Output;
use crate::transfer::ItemLine;
use crate::verbs::each;

pub(crate) fn export(args: &Export, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| match &args.collection {
        Some(name) => collection(store, name, None, &args.keys, out),
        None => store.collections()?.iter().try_for_each(|info| {
            collection(store, info.name(), Some(info.name()), &args.keys, out)
        }),
    })
}

fn collection(
    store: &Store,
    name: &str,
    written_name: Option<&str>,
    keys: &Keys,
    out: &mut Output,
) -> Outcome {
    let (documents, form) = documents::open_stored(store, name)?;
    each(&*documents, keys, &mut |item| out.line(ItemLine::new(written_name, &item, form)?.text()?))
}
