//! The library's errors in the words of the command line: what a person can do next is a command or
//! an option, not a method.

use std::fmt;
use std::path::Path;

use ifmatch::Error;

/// An error as the command line tells it.
pub(crate) struct Told<'a>(pub(crate) &'a Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::InvalidPrecondition { reason } if reason.contains("IfNoneMatch(Any)") => f
                .write_str(
                    "patch and delete need a document, and --if-none-match '*' demands that there \
                     is none; use `ifmatch create`, or another condition",
                ),
            Error::Contended { attempts, elapsed, .. } => write!(
                f,
                "the change was given up after {attempts} attempts in {elapsed:?}: other writers \
                 changed the document each time; run the command again"
            ),
            Error::Batch { source, .. } => Told(source).fmt(f),
            Error::ScanTooLong { collection, limit, index } => {
                write!(
                    f,
                    "the find in collection {collection:?} was given up after {limit} items; "
                )?;
                match index {
                    Some(index) => write!(f, "`ifmatch index` makes an index on {index}"),
                    None => f.write_str("narrow it"),
                }
            }
            Error::CodecMismatch { collection, stored, opened } => write!(
                f,
                "collection {collection:?} is stored as {stored} and not as {opened}; another \
                 program has just made it: run the command again"
            ),
            _ => self.of_store(f),
        }
    }
}

impl Told<'_> {
    /// What is wrong with the store.
    fn of_store(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Compacted => f.write_str(
                "the cursor is older than a removal that compaction has dropped, so not every \
                 removal since can be told; `ifmatch changes` without --since begins anew",
            ),
            Error::Diverged => f.write_str(
                "the cursor belongs to another history of the store, as after a restore; `ifmatch \
                 changes` without --since begins anew",
            ),
            Error::SnapshotTooOld => f.write_str(
                "what the command reads was changed too much meanwhile; run the command again",
            ),
            Error::TooManySegments { segments } => write!(
                f,
                "the journal has {segments} segments, and the manifest has no room to list \
                 another; `ifmatch compact` makes them fewer"
            ),
            Error::CommitUnknown { meta, cause, .. } => write!(
                f,
                "whether the write survives is unknown: {cause}; `ifmatch get --etag` prints {} if \
                 it does",
                meta.etag()
            ),
            Error::Corrupt { file, offset, reason, item, .. } => {
                let file = Quoted(file);
                match item {
                    None => write!(f, "{file} is damaged at byte {offset}: {reason}")?,
                    Some(item) => write!(
                        f,
                        "document {} of collection {:?} cannot be read, as {file} is damaged at \
                         byte {offset}: {reason}",
                        key_text(item.key()),
                        item.collection()
                    )?,
                }
                f.write_str(
                    "; restore a backup, or keep what is whole: of a store with `ifmatch repair`, \
                     of a backup with `ifmatch restore --skip-damaged`",
                )
            }
            Error::Locked { path } => write!(
                f,
                "the store at {} is open in another program; close it there first; `ifmatch \
                 doctor` tells which program it is",
                Quoted(path)
            ),
            Error::Moved { path } => write!(
                f,
                "the folder at {} is no longer the one that was opened: it was moved, removed or \
                 replaced; run the command again with its new path",
                Quoted(path)
            ),
            Error::Poisoned { cause } => {
                write!(f, "writing failed: {cause}; when that is put right, run the command again")
            }
            other => write!(f, "{other}"),
        }
    }
}

/// A path between quotes, as it is.
struct Quoted<'a>(&'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.display())
    }
}

/// A key: quoted text, or else hexadecimal.
fn key_text(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("0x{}", hex::encode(key)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use ifmatch::{ETag, Precondition, Store, Tags};

    use super::*;

    /// Errors that name a method or an option of the library when the library tells them, and some
    /// others.
    fn errors() -> Vec<Error> {
        let store = Store::in_memory();
        let notes = store.collection::<u64>("notes").unwrap();
        let meta = notes.create("a", &1).unwrap();
        let Err(Error::AlreadyExists(current)) = notes.create("a", &2) else {
            panic!("it is there")
        };
        let none_match = Precondition::IfNoneMatch(Tags::Any);
        let path = || "/data/shop.ifm".into();
        let cause = || "the disk is gone".into();
        let index = Some("/price".to_owned());
        let limit = |index| Error::ScanTooLong { collection: "notes".to_owned(), limit: 9, index };
        let damaged = Error::Corrupt {
            file: path(),
            offset: 9,
            reason: "a frame is torn",
            item: None,
            stepped_over: false,
        };
        let batch = Error::Batch { index: 0, source: Box::new(limit(None)) };
        vec![
            notes.delete("a", none_match).unwrap_err(),
            Error::Contended { attempts: 9, elapsed: Duration::from_secs(1), current },
            limit(index),
            batch,
            Error::CodecMismatch { collection: "n".to_owned(), stored: "json", opened: "raw" },
            Error::Compacted,
            Error::Diverged,
            Error::SnapshotTooOld,
            Error::TooManySegments { segments: 9 },
            Error::CommitUnknown { meta: Box::new(meta), source: None, cause: cause() },
            damaged,
            Error::Locked { path: path() },
            Error::Moved { path: path() },
            Error::Poisoned { cause: cause() },
            Error::not_found("notes", "b"),
            notes.replace("a", &1, ETag::UNSAVED).unwrap_err(),
        ]
    }

    #[test]
    fn no_error_names_a_method_or_an_option_of_the_library() {
        for error in errors() {
            let told = Told(&error).to_string();
            let words =
                ["::", "snapshot", "retry policy", "batch", "IfNoneMatch", "reopen", "open it"];
            for word in words {
                assert!(!told.contains(word), "{told}");
            }
        }
    }

    #[test]
    fn an_error_tells_the_command_that_helps() {
        let told: Vec<String> = errors().iter().map(|error| Told(error).to_string()).collect();
        for command in ["repair", "get --etag", "compact", "doctor", "index", "changes", "create"] {
            let command = format!("`ifmatch {command}");
            assert!(told.iter().any(|text| text.contains(&command)), "{command}: {told:#?}");
        }
    }
}
