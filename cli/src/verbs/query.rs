//! Finding documents by what is in them, and the indexes that make it fast.

use bytes::Bytes;
use ifmatch::{Filter, Find, FindCursor, Index, IndexStatus, Item, Store};
use serde_json::{Value, json};

use crate::args::{FindArgs, IndexArgs};
use crate::documents::{self, Form};
use crate::failure::{Failure, Outcome};
use crate::open::{self, Bar};
use crate::output::{Fact, Output, key_text};
use crate::transfer::ItemLine;

pub(crate) fn find(args: &FindArgs, out: &mut Output) -> Outcome {
    let filter = args.filter.parse::<Filter>();
    let filter = filter.map_err(|error| Failure::Input(error.to_string()))?;
    open::with_store(&args.store, |store| {
        let find = asked(store, args, filter)?;
        if args.explain {
            let explained = find.explain()?;
            let mut facts = vec![
                Fact::text("index", explained.index().unwrap_or("none, a scan")),
                Fact::count("looked at", explained.looked_at()),
                Fact::count("found", explained.found()),
                Fact::yes("sorted in memory", explained.sorted()),
            ];
            if explained.at_most_one() {
                facts.insert(1, Fact::yes("one at most", true));
            }
            return out.facts(&facts);
        }
        if args.count {
            let bar = Bar::time("counting");
            let count = find.count();
            bar.finish();
            return out.line(count?);
        }
        let mut found = find.iter()?;
        for item in found.by_ref() {
            print(&item?, out)?;
        }
        if let Some(place) = found.cursor().filter(|_| args.limit.is_some()) {
            // Standard output holds the documents alone.
            anstream::eprintln!("ifmatch: for the next page, add --after {place}");
        }
        Ok(())
    })
}

fn asked(store: &Store, args: &FindArgs, filter: Filter) -> Outcome<Find<Value>> {
    let mut find = documents::open_json(store, &args.collection, false)?.find(filter);
    for path in &args.sort {
        find = match path.strip_prefix('-') {
            Some(path) => find.sort_desc(path),
            None => find.sort(path),
        };
    }
    if let Some(limit) = args.limit {
        find = find.limit(limit);
    }
    if let Some(place) = &args.after {
        let place: FindCursor =
            place.parse().map_err(|error| Failure::Usage(format!("--after: {error}")))?;
        find = find.after(place);
    }
    Ok(find)
}

fn print(item: &Item<Value>, out: &mut Output) -> Outcome {
    let text = item.value.to_string();
    if out.json {
        let stored = item.clone().map(|_| Bytes::from(text));
        return out.line(ItemLine::new(None, &stored, Form::Json)?.text()?);
    }
    out.line(format_args!("{}\t{text}", key_text(item.key())))
}

pub(crate) fn index(args: &IndexArgs, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let documents = documents::open_json(store, &args.collection, args.add.is_some())?;
        if let Some(text) = &args.add {
            let index: Index =
                text.parse().map_err(|error| Failure::Input(format!("the index: {error}")))?;
            let index = if args.unique { index.unique() } else { index };
            let bar = Bar::time("building the index");
            let made =
                documents.ensure_index_with_progress(index, |progress| bar.show_items(progress));
            bar.finish();
            made?;
        }
        if let Some(name) = &args.drop
            && !documents.drop_index(name)?
        {
            return Err(Failure::NotFound(format!(
                "collection {:?} has no index {name:?}; `ifmatch index` lists those that are there",
                args.collection
            )));
        }
        let indexes = documents.indexes()?;
        if out.json {
            return indexes.iter().try_for_each(|status| out.line(status_json(status)));
        }
        let row = |status: &IndexStatus| {
            let is_used = if status.built { "yes" } else { "no, to be built" };
            let is_unique = if status.index.is_unique() { "yes" } else { "no" };
            let (entries, words) = (status.entries.to_string(), [is_unique, is_used]);
            let words = words.map(str::to_owned).into_iter();
            [status.index.name(), entries].into_iter().chain(words).collect()
        };
        let titles = ["INDEX", "ENTRIES", "UNIQUE", "USED"];
        out.table(&titles, &[1], indexes.iter().map(row).collect())
    })
}

fn status_json(status: &IndexStatus) -> Value {
    json!({
        "index": status.index.name(),
        "unique": status.index.is_unique(),
        "entries": status.entries,
        "built": status.built,
    })
}
