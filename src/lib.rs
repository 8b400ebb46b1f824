//! Embedded, persistent, versioned key-value and document store: every item carries an [`ETag`],
//! and every write can say If-Match.
//!
//! A write that states what it believes to be stored is refused when somebody else was faster, and
//! the refusal carries the current item. So two windows, threads or requests that change one
//! document do not overwrite each other unnoticed. The words are those of [RFC 9110 §13] and of
//! Azure Cosmos DB's item operations.
//!
//! ```
//! # fn main() -> Result<(), ifmatch::Error> {
//! use ifmatch::{Error, Store};
//!
//! let store = Store::in_memory(); // or Store::open("shop.ifm")?
//! let prices = store.collection::<f64>("prices")?;
//! prices.create("apple", &0.5)?;
//!
//! // Two readers hold the same version; the first to save wins.
//! let mut mine = prices.get("apple")?.ok_or(Error::not_found("prices", "apple"))?;
//! let mut theirs = prices.get("apple")?.ok_or(Error::not_found("prices", "apple"))?;
//! theirs.value = 0.6;
//! prices.save(&mut theirs)?;
//! mine.value = 0.7;
//! match prices.save(&mut mine) {
//!     Err(Error::PreconditionFailed(conflict)) => {
//!         let current = conflict.current::<f64>()?.expect("the item is present");
//!         assert_eq!(current.value, 0.6);
//!     }
//!     other => panic!("expected a conflict, got {other:?}"),
//! }
//!
//! // What can be done to any version is retried until nobody came in between.
//! let raised = prices.update("apple", |price| *price += 0.1)?;
//! assert_eq!(raised.value, 0.7);
//! # Ok(()) }
//! ```
//!
//! # Concepts
//!
//! | what | is |
//! |---|---|
//! | [`Store`] | a directory, open in one process at a time, or the same in memory |
//! | [`Collection`] | a named set of items: documents as [`Json`] or [`Bincode`], or [`Raw`] bytes |
//! | [`Item`] | a document with its key and the version it was read at; [`save`](Collection::save) writes it back under that version |
//! | [`ETag`] | names one write: new with every write, never given twice, not part of the document |
//! | [`Revision`] | the number of the commit that wrote a version, ascending over the whole store |
//! | [`Meta`] | tag, parent tag, revision and time of a version |
//! | [`Precondition`] | what a write or read demands of the stored version: `Always`, `IfMatch`, `IfNoneMatch`, `Matching` a filter, for reads `IfModifiedSince` |
//! | [`Conflict`] | the current item, carried by the error of a refused write |
//! | [`Patch`] | a change of single fields: RFC 6902, RFC 7396, `set`, `incr` |
//! | [`Filter`] | a condition on a document: for a [`Find`], or as a [`Precondition`] |
//! | [`Index`] | the fields that a collection's items can be found by without looking at each |
//! | [`Batch`] | several verbs on several collections, all or none |
//! | [`Snapshot`] | the whole store as it was at one revision, while writers go on |
//! | [`Change`] | what one commit did to one item, as the change feed tells it |
//! | [`Watch`] | the change feed, waited on |
//! | [`Cursor`] | a place in the change feed, to go on from later |
//! | [`HistoryPolicy`] | how many superseded versions are kept and how long, and how long removals are remembered |
//! | [`Options`] | how a store is opened: durability, memory, history, what to do about damage; also in memory, for tests with a [`ManualClock`] |
//! | [`Stats`], [`Verified`], [`Compaction`], [`Damage`] | figures about an open store, and what a verification, a compaction and a repair came to |
//!
//! | to | call |
//! |---|---|
//! | write a new item | [`create`](Collection::create) |
//! | write back what was read, unless it changed | [`save`](Collection::save), [`replace`](Collection::replace) with its tag |
//! | change whatever is there, however often others do | [`update`](Collection::update), [`try_update`](Collection::try_update) |
//! | let the last write win | [`upsert`](Collection::upsert) with [`Precondition::Always`] |
//! | change one field | [`patch`](Collection::patch) |
//! | ask whether a copy is still current | [`get_if`](Collection::get_if) |
//! | ask whether an item is there, or for its version alone | [`contains`](Collection::contains), [`head`](Collection::head) |
//! | learn what became of a write whose answer was lost | [`was_written`](Collection::was_written) |
//! | change several items together | [`Store::batch`] |
//! | read many items as of one moment | [`Store::snapshot`] |
//! | read what an item was before | [`history`](Collection::history), [`get_version`](Collection::get_version), with [`Options::history`] |
//! | find items by what is in them | [`find`](Collection::find), with a [`Filter`]; [`ensure_index`](Collection::ensure_index) makes it fast |
//! | keep a list of what is found current | [`watch_find`](Collection::watch_find) |
//! | learn what has changed since a place | [`Store::changes`], [`Collection::changes`] |
//! | be notified of changes as they become durable | [`Store::watch`], [`Collection::watch`] |
//! | let items expire | [`set_default_ttl`](Collection::set_default_ttl) for a collection; [`with_ttl`](Collection::with_ttl), [`expires_at`](Collection::expires_at) and [`without_ttl`](Collection::without_ttl) for a write |
//! | list the collections | [`Store::collections`] |
//! | copy the store while it is in use, and bring it back | [`Store::backup`], [`Store::restore`] |
//! | know that it is whole | [`Store::verify`]; of one that is closed, [`Store::inspect`] |
//! | see documents whose type is not known | [`Stored`] |
//! | reclaim space at once, and not bit by bit | [`Store::compact`] |
//!
//! # Durability
//!
//! | [`Durability`] | a write returns | survives |
//! |---|---|---|
//! | `Immediate`, the default | after the journal's `fdatasync`, one for all writers that wait | the end of the process, an OS crash, loss of power |
//! | `Eventual` | after the journal's `write`; synced within [`sync_interval`](Options::sync_interval) | the end of the process; an OS crash loses at most the interval, a suffix, never half a batch |
//!
//! Reads see a write as soon as it is applied, while its sync may be under way. A failed sync or a
//! torn write ends writing ([`Error::Poisoned`]); reads go on, and reopening recovers everything
//! that was acknowledged. A full disk that is met before a write began is [`Error::Io`], with
//! nothing changed.
//!
//! # Threads and user interfaces
//!
//! [`Store`] and [`Collection`] are cheap to clone, `Send` and `Sync`. Calls block: an `Immediate`
//! write for one disk sync, [`close`](Store::close) and the open after a crash for longer. On a
//! user interface's thread open the store `Eventual`, and call [`sync`](Store::sync) on another
//! thread where something must be durable before it is shown as saved. No closure of yours runs
//! under a lock of the store.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.ifm");
//! use ifmatch::{Durability, Options, Precondition};
//!
//! let store = Options::new().durability(Durability::Eventual).open(&path)?;
//! let settings = store.collection::<String>("settings")?;
//! settings.upsert("theme", &"dark".to_owned(), Precondition::Always)?;
//! let background = store.clone();
//! let saved = std::thread::spawn(move || background.sync());
//! saved.join().expect("syncing does not panic")?;
//! # Ok(()) }
//! ```
//!
//! # Where the store may lie
//!
//! On a local disk. Network drives and folders that a program synchronises are not supported, and
//! a copy of an open store's folder is not a backup: [`Store::backup`] makes one.
//!
//! # Features
//!
//! `json-patch`, on by default: [`Patch`] and the verb [`patch`](Collection::patch). `bincode`, on by
//! default: the codec [`Bincode`]. A program that uses neither leaves them out with
//! `default-features = false`.
//!
//! `stream`, off by default: `Watch::into_stream` makes of a [`Watch`] an async `Stream`, as
//! `futures-core` defines it, for any runtime. `simulation` is for this crate's own tests and
//! benches, and not covered by semantic versioning.
//!
//! # More
//!
//! In the repository: `docs/guide` has the guide, from the first store in five minutes to recipes,
//! errors and tuning, and sets other stores' snippets beside this crate's; `docs/finding.md` is
//! about filters, indexes and finds; `docs/sync.md` builds sync, three-way merge and undo on the
//! change feed and history, `docs/design.md` says how it works and why, `docs/format.md` gives every
//! byte on disk, and `docs/testing.md` which test shows which promise. `examples/` holds programs
//! that check what they tell, and `cli/` the command line `ifmatch`.
//!
//! [RFC 9110 §13]: https://www.rfc-editor.org/rfc/rfc9110#section-13
#![forbid(unsafe_code)]

mod api;
mod engine;
mod index;
mod journal;
mod seams;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod storage;
mod values;

pub use api::batch::{Batch, Committed};
pub use api::collection::{Collection, IndexProgress, IndexStatus, KeyRange, Read, UpdateError};
#[cfg(feature = "stream")]
pub use api::feed::WatchStream;
pub use api::feed::{Change, ChangeKind, Changes, Cursor, ParseCursorError, Watch};
pub use api::find::{
    Explanation, Find, FindCursor, Found, FoundChange, FoundKind, ParseFindCursorError, WatchFound,
};
pub use api::inspect::Inspection;
pub use api::iter::{Iter, Keys};
pub use api::snapshot::{Snapshot, SnapshotCollection};
pub use api::stats::Stats;
pub use api::store::{CollectionInfo, Store};
pub use api::verify::Verified;
pub use engine::compaction::Compaction;
pub use seams::clock::ManualClock;
#[cfg(feature = "bincode")]
pub use values::codec::Bincode;
pub use values::codec::{Codec, Json, Raw, Stored};
pub use values::damage::{Damage, DamagedItem, DamagedPart};
pub use values::error::{CodecError, Conflict, Error, ErrorKind, TableError};
pub use values::etag::{ETag, ParseETagError};
pub use values::history::HistoryPolicy;
pub use values::item::{Item, Meta};
pub use values::limits::MAX_VALUE_BYTES;
pub use values::options::{Durability, OnDamage, Options, Progress};
#[cfg(feature = "json-patch")]
pub use values::patch::Patch;
pub use values::patch::PatchError;
pub use values::precondition::{ParseTagsError, Precondition, Tags};
pub use values::query::filter::{Filter, FilterError, ParseFilterError};
pub use values::query::index::{Index, IndexError};
pub use values::retry::RetryPolicy;
pub use values::revision::Revision;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/finding.md")]
struct Finding;

#[cfg(doctest)]
#[doc = include_str!("../docs/sync.md")]
struct Sync;

/// The pages of the guide.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/src/start.md")]
    struct Start;

    #[doc = include_str!("../docs/guide/src/concepts.md")]
    struct Concepts;

    #[doc = include_str!("../docs/guide/src/recipes.md")]
    struct Recipes;

    #[doc = include_str!("../docs/guide/src/programs.md")]
    struct Programs;

    #[doc = include_str!("../docs/guide/src/errors.md")]
    struct Errors;

    #[doc = include_str!("../docs/guide/src/tuning.md")]
    struct Tuning;

    #[doc = include_str!("../docs/guide/src/coming-from.md")]
    struct ComingFrom;

    #[doc = include_str!("../docs/guide/src/cosmos.md")]
    struct Cosmos;
}
