//! Commands that list collections, keys and documents.

use bytes::Bytes;
use ifmatch::{Error, Item, Store};
use serde_json::{Value, json};

use crate::args::{Cat, Clear, Keys, Ls};
use crate::documents::{self, Documents, Form};
use crate::failure::{Failure, Outcome};
use crate::json::Layout;
use crate::open;
use crate::output::{Fact, Output, key_json, key_text, meta_json, show, size, time_text};
use crate::transfer::ItemLine;

/// How many rows a table may have before its columns are no longer made as wide as the widest.
const TABLE_ROWS: usize = 10_000;

pub(crate) fn ls(args: &Ls, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| match &args.collection {
        None => list_collections(store, out),
        Some(name) => {
            let (documents, _) = documents::open_stored(store, name)?;
            if args.long {
                list_long(&*documents, args, out)
            } else {
                list_keys(&*documents, args, out)
            }
        }
    })
}

fn list_collections(store: &Store, out: &mut Output) -> Outcome {
    let mut rows = Vec::new();
    for info in store.collections()? {
        let len = match info.codec().and_then(Form::from_name) {
            Some(form) => Some(documents::open_as(store, info.name(), form)?.len()?),
            None => None,
        };
        let ttl = info.default_ttl();
        if out.json {
            let object = json!({
                "collection": info.name(),
                "codec": info.codec(),
                "documents": len,
                "default_ttl_ms": ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            });
            out.line(object)?;
            continue;
        }
        rows.push(vec![
            info.name().to_owned(),
            len.map_or_else(|| "?".to_owned(), |len| len.to_string()),
            info.codec().unwrap_or("of a newer version").to_owned(),
            ttl.map_or_else(|| "-".to_owned(), |ttl| format!("{ttl:?}")),
        ]);
    }
    if out.json {
        return Ok(());
    }
    out.table(&["COLLECTION", "DOCUMENTS", "CODEC", "EXPIRE AFTER"], &[1], rows)
}

fn list_keys(documents: &dyn Documents, args: &Ls, out: &mut Output) -> Outcome {
    each(documents, &args.keys, &mut |item| {
        if out.json {
            out.line(Value::Object(key_json(item.key())))
        } else {
            out.line(key_text(item.key()))
        }
    })
}

fn list_long(documents: &dyn Documents, args: &Ls, out: &mut Output) -> Outcome {
    let headings = ["KEY", "SIZE", "TAG", "MODIFIED", "EXPIRES"];
    let mut rows = Vec::new();
    each(documents, &args.keys, &mut |item| {
        if out.json {
            let mut object = key_json(item.key());
            object.insert("bytes".to_owned(), item.value.len().into());
            if let Value::Object(meta) = meta_json(item.meta()) {
                object.extend(meta);
            }
            return out.line(Value::Object(object));
        }
        rows.push(vec![
            key_text(item.key()),
            size(item.value.len() as u64),
            item.etag().to_string(),
            time_text(item.modified()),
            item.expires().map_or_else(|| "-".to_owned(), time_text),
        ]);
        if rows.len() < TABLE_ROWS {
            return Ok(());
        }
        out.table(&headings, &[1], std::mem::take(&mut rows))
    })?;
    if out.json { Ok(()) } else { out.table(&headings, &[1], rows) }
}

pub(crate) fn cat(args: &Cat, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let (documents, form) = documents::open_stored(store, &args.collection)?;
        each(&*documents, &args.keys, &mut |item| {
            if out.json {
                return out.line(ItemLine::new(None, &item, form)?.text()?);
            }
            let value = show(&item.value, form, Layout::Compact);
            out.line(format_args!("{}\t{value}", key_text(item.key())))
        })
    })
}

pub(crate) fn clear(args: &Clear, out: &mut Output) -> Outcome {
    remove(args, out, &|_, documents| Ok(documents.clear()?))
}

pub(crate) fn drop_collection(args: &Clear, out: &mut Output) -> Outcome {
    remove(args, out, &|store, documents| {
        let len = documents.len()?;
        store.drop_collection(&args.collection)?;
        Ok(len)
    })
}

/// Removes documents if the user means it, and says how many.
fn remove(
    args: &Clear,
    out: &mut Output,
    work: &dyn Fn(&Store, &dyn Documents) -> Outcome<u64>,
) -> Outcome {
    open::with_store(&args.store, |store| {
        let (documents, _) = documents::open_stored(store, &args.collection)?;
        if args.yes {
            return out.facts(&[Fact::count("removed", work(store, &*documents)?)]);
        }
        let len = documents.len()?;
        Err(Failure::Usage(format!("this would remove {len} documents; add --yes to remove them")))
    })
}

/// Visits the documents that were asked for.
pub(crate) fn each(
    documents: &dyn Documents,
    keys: &Keys,
    visit: &mut dyn FnMut(Item<Bytes>) -> Outcome,
) -> Outcome {
    let items = documents.items(&keys.span()?)?;
    let limit = keys.limit.unwrap_or(usize::MAX);
    let mut visit = |item: Result<Item<Bytes>, Error>| visit(item?);
    if keys.reverse {
        items.rev().take(limit).try_for_each(&mut visit)
    } else {
        items.take(limit).try_for_each(&mut visit)
    }
}
