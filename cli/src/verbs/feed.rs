//! What has changed, and what changes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ifmatch::{Change, Cursor, ErrorKind, Store};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::args::Changes;
use crate::documents::{self, Form, kind_of};
use crate::failure::{Failure, Outcome};
use crate::json::Layout;
use crate::open;
use crate::output::{Output, key_json, key_text, meta_json, show, time_text};
use crate::transfer::raw;
use crate::verbs::items::shorten;

pub(crate) fn changes(args: &Changes, out: &mut Output) -> Outcome {
    let mut cursor = match &args.since {
        Some(text) => text.parse().map_err(|error| Failure::Usage(format!("{error}")))?,
        None => Cursor::START,
    };
    if !args.follow {
        return look(args, &mut cursor, out);
    }
    let interval = Duration::try_from(args.interval)
        .map_err(|_| Failure::Usage("--interval must not be negative".to_owned()))?;
    follow(args, &mut cursor, interval, out)
}

/// Looks again and again. The store is open during a look only, and only where its files have
/// changed since the last one.
fn follow(args: &Changes, cursor: &mut Cursor, interval: Duration, out: &mut Output) -> Outcome {
    let mut seen = None;
    let mut waits = false;
    loop {
        if seen.is_none() || seen != last_write(&args.store) {
            match look(args, cursor, out) {
                Err(Failure::Store(error)) if error.kind() == ErrorKind::Locked => {
                    if !waits {
                        anstream::eprintln!("ifmatch: {error}; waiting for it");
                    }
                    waits = true;
                }
                looked => {
                    looked?;
                    waits = false;
                    seen = last_write(&args.store);
                }
            }
        }
        thread::sleep(interval);
    }
}

/// When a file of the journal was last written to, and how many there are.
fn last_write(store: &Path) -> Option<(usize, SystemTime)> {
    let files = fs::read_dir(store.join("journal")).ok()?;
    let times = files.filter_map(|file| file.ok()?.metadata().ok()?.modified().ok());
    let times: Vec<SystemTime> = times.collect();
    times.iter().max().map(|newest| (times.len(), *newest))
}

/// Prints what has changed since the cursor, and moves it.
fn look(args: &Changes, cursor: &mut Cursor, out: &mut Output) -> Outcome {
    open::with_store(&args.store, |store| {
        let mut changes = match &args.collection {
            Some(name) => {
                // A collection that is not there yet has no changes yet.
                let documents = documents::open(store, name, Form::Json)?;
                documents.changes(*cursor)?
            }
            None => store.changes(*cursor)?,
        };
        for change in changes.by_ref() {
            print(store, &change?, out)?;
        }
        *cursor = changes.cursor();
        out.flush()
    })
}

fn print(store: &Store, change: &Change<Bytes>, out: &mut Output) -> Outcome {
    let form = Form::of(store, change.collection())?.unwrap_or(Form::Raw);
    if out.json {
        return out.line(change_json(change, form)?);
    }
    let value = change.value().map(|value| show(value, form, Layout::Compact)).unwrap_or_default();
    let (name, key) = (change.collection(), key_text(change.key()));
    let line = format!(
        "{}  {:8}  {name}/{key}  {}  {}",
        time_text(change.modified()),
        kind_of(change),
        change.etag(),
        shorten(&value, 60)
    );
    out.line(line.trim_end())
}

/// A change as a line.
#[derive(Serialize)]
struct ChangeLine<'a> {
    kind: String,
    collection: &'a str,
    #[serde(flatten)]
    key: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_hex: Option<String>,
    #[serde(flatten)]
    meta: Value,
    cursor: String,
}

fn change_json(change: &Change<Bytes>, form: Form) -> Outcome<String> {
    let is_json = form == Form::Json;
    let value = change.value();
    let line = ChangeLine {
        kind: kind_of(change),
        collection: change.collection(),
        // A change of the whole collection has none.
        key: if change.key().is_empty() { Map::new() } else { key_json(change.key()) },
        value: value.filter(|_| is_json).map(|value| raw(value)).transpose()?,
        value_hex: value.filter(|_| !is_json).map(hex::encode),
        meta: meta_json(change.meta()),
        cursor: change.cursor().to_string(),
    };
    serde_json::to_string(&line)
        .map_err(|error| Failure::Input(format!("a change cannot be written: {error}")))
}
