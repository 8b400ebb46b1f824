//! Commands about one document.

use std::io::{self, Read as _};

use bytes::Bytes;
use ifmatch::{ETag, Error, Item, Meta, Patch, Precondition, Read};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::de::IgnoredAny;

use crate::args::{Create, Delete, Get, History, Input, PatchArgs, Put};
use crate::documents::{self, Documents, Form};
use crate::failure::{Failure, Outcome};
use crate::json::{Layout, lay_out};
use crate::open;
use crate::output::{Output, meta_json, show, size, time_text};
use crate::transfer::ItemLine;

pub(crate) fn get(args: &Get, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    open::with_store(&document.store, |store| {
        let (documents, form) = documents::open_stored(store, &document.collection)?;
        let item = read(&*documents, args, &key)?;
        if args.etag {
            return out.line(item.etag());
        }
        if args.raw {
            return out.bytes(&item.value);
        }
        if out.json {
            return out.line(ItemLine::new(None, &item, form)?.text()?);
        }
        if args.include {
            headers(&item, form, out)?;
        }
        out.value(&item.value, form)
    })
}

fn read(documents: &dyn Documents, args: &Get, key: &[u8]) -> Outcome<Item<Bytes>> {
    let name = &args.document.collection;
    if let Some(tag) = &args.version {
        let tag: ETag = tag.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
        return documents
            .get_version(key, &tag)?
            .ok_or_else(|| Failure::NotFound(format!("no version {tag} of the document is kept")));
    }
    match documents.get_if(key, args.condition.precondition()?)? {
        Read::Found(item) => Ok(item),
        Read::NotModified(_) => Err(Failure::NotModified),
        Read::Missing => Err(Error::not_found(name, key).into()),
    }
}

/// Prints a version as HTTP would, and an empty line.
fn headers(item: &Item<Bytes>, form: Form, out: &mut Output) -> Outcome {
    let kind = if form == Form::Json { "application/json" } else { "application/octet-stream" };
    out.line(format_args!("Content-Type: {kind}"))?;
    out.line(format_args!("Content-Length: {}", item.value.len()))?;
    out.line(format_args!("ETag: {}", item.etag()))?;
    out.line(format_args!("Last-Modified: {}", http_date(item.modified())))?;
    if let Some(expires) = item.expires() {
        out.line(format_args!("Expires: {}", http_date(expires)))?;
    }
    out.line("")
}

fn http_date(instant: std::time::SystemTime) -> String {
    let printed = Timestamp::try_from(instant)
        .and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time));
    printed.unwrap_or_else(|_| time_text(instant))
}

pub(crate) fn put(args: &Put, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    let (precondition, expiry) = (args.condition.precondition()?, args.expires.expiry()?);
    let text = input(&args.input.value)?;
    // A store is begun by a write that may create.
    let creates = !matches!(precondition, Precondition::IfMatch(_));
    open::run(&document.store, &args.policy.options()?.create(creates), |store| {
        let (documents, value) = opened(store, &document.collection, &args.input, text)?;
        let meta = documents.expiring(expiry).upsert(&key, value, precondition)?;
        written(&meta, out)
    })
}

pub(crate) fn create(args: &Create, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    let expiry = args.expires.expiry()?;
    let text = input(&args.input.value)?;
    open::run(&document.store, &args.policy.options()?, |store| {
        let (documents, value) = opened(store, &document.collection, &args.input, text)?;
        let meta = documents.expiring(expiry).create(&key, value)?;
        written(&meta, out)
    })
}

pub(crate) fn patch(args: &PatchArgs, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    let precondition = args.condition.precondition()?;
    let text = String::from_utf8(input(&args.patch)?.into())
        .map_err(|error| Failure::Input(format!("the patch is not text: {error}")))?;
    let patch = if text.trim_start().starts_with('{') {
        let value = serde_json::from_str(&text)
            .map_err(|error| Failure::Input(format!("the patch is not JSON: {error}")))?;
        Patch::merge(value)
    } else {
        Patch::from_json(&text)?
    };
    open::with_store(&document.store, |store| {
        let documents = documents::open_json(store, &document.collection, false)?;
        let item = documents.patch(&key, &patch, precondition)?;
        written(item.meta(), out)
    })
}

pub(crate) fn delete(args: &Delete, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    let precondition = args.condition.precondition()?;
    open::with_store(&document.store, |store| {
        let (documents, _) = documents::open_stored(store, &document.collection)?;
        let meta = documents.delete(&key, precondition)?;
        written(&meta, out)
    })
}

pub(crate) fn history(args: &History, out: &mut Output) -> Outcome {
    let (document, key) = (&args.document, args.document.key()?);
    open::with_store(&document.store, |store| {
        let (documents, form) = documents::open_stored(store, &document.collection)?;
        let versions = documents.history(&key)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        if versions.is_empty() {
            return Err(Error::not_found(&document.collection, &key).into());
        }
        if out.json {
            for version in &versions {
                out.line(ItemLine::new(None, version, form)?.text()?)?;
            }
            return Ok(());
        }
        if args.values {
            for version in &versions {
                let (tag, time) = (version.etag(), time_text(version.modified()));
                out.heading(format_args!("{tag}  {time}"))?;
                out.value(&version.value, form)?;
            }
            return Ok(());
        }
        let row = |version: &Item<Bytes>| {
            let value = show(&version.value, form, Layout::Compact);
            vec![
                version.etag().to_string(),
                version.revision().0.to_string(),
                time_text(version.modified()),
                size(version.value.len() as u64),
                shorten(&value, 40),
            ]
        };
        let rows = versions.iter().map(row).collect();
        out.table(&["TAG", "REVISION", "MODIFIED", "SIZE", "VALUE"], &[1, 3], rows)
    })
}

/// The first characters of a text.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

fn written(meta: &Meta, out: &mut Output) -> Outcome {
    if out.json { out.line(meta_json(meta)) } else { out.line(meta.etag()) }
}

/// The argument itself, or standard input for `-`.
fn input(argument: &str) -> Outcome<Bytes> {
    if argument != "-" {
        return Ok(Bytes::copy_from_slice(argument.as_bytes()));
    }
    let mut bytes = Vec::new();
    io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::system("reading standard input failed", &error))?;
    Ok(bytes.into())
}

/// The collection, and the value in the form that it is stored in.
fn opened(
    store: &ifmatch::Store,
    collection: &str,
    input: &Input,
    text: Bytes,
) -> Outcome<(Box<dyn Documents>, Bytes)> {
    let form = Form::of(store, collection)?.unwrap_or(input.codec);
    let documents = documents::open_as(store, collection, form)?;
    let value = if input.hex {
        let decoded = hex::decode(text.trim_ascii());
        decoded
            .map_err(|error| Failure::Input(format!("the value is not hexadecimal: {error}")))?
            .into()
    } else {
        text
    };
    match std::str::from_utf8(&value) {
        Ok(text) if form == Form::Json => {
            serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(&error))?;
            // Blanks between the tokens of a document are not worth keeping.
            Ok((documents, lay_out(text, Layout::Compact).into()))
        }
        _ => Ok((documents, value)),
    }
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::Input(format!(
        "the value is not JSON: {error}; a text needs quotes of its own, as in '\"lamp\"', and other \
         bytes need a collection that was made with --codec raw"
    ))
}
