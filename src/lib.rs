//! Embedded, persistent, versioned key-value and document store: every item carries an [`ETag`],
//! and every write can say If-Match.
//!
//! A write can name the version that it was made for. It is refused if another writer was faster,
//! and the error carries the current item. So two windows, threads or requests that change one
//! document cannot overwrite each other unnoticed. The words are those of [RFC 9110 §13] and of
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
//! // A change that fits every version is retried until no other write intervenes.
//! let raised = prices.update("apple", |price| *price += 0.1)?;
//! assert_eq!(raised.value, 0.7);
//! # Ok(()) }
//! ```
//!
//! # Concepts
//!
//! | type | what it is |
//! |---|---|
//! | [`Store`] | a directory, open in one process at a time, or the same in memory |
//! | [`Collection`] | a named set of items: documents as [`Json`] or [`Bincode`], or [`Raw`] bytes |
//! | [`Item`] | a document with its key and the version it was read at; [`save`](Collection::save) writes it back under that version |
//! | [`ETag`] | names one write: new with every write, never issued twice, not part of the document |
//! | [`Revision`] | the number of the commit that wrote a version, ascending over the whole store |
//! | [`Meta`] | tag, parent tag, revision and time of a version |
//! | [`Precondition`] | what a write or read demands of the stored version: `Always`, `IfMatch`, `IfNoneMatch`, `Matching` a filter, and for reads `IfModifiedSince` |
//! | [`Conflict`] | the current item, carried by the error of a refused write |
//! | [`Patch`] | a change of single fields: RFC 6902, RFC 7396, `set`, `incr` |
//! | [`Filter`] | a condition on a document: for a [`Find`], or as a [`Precondition`] |
//! | [`Index`] | fields by which items of a collection can be found without reading every item |
//! | [`Batch`] | several verbs on several collections, all or none |
//! | [`Snapshot`] | the whole store as it was at one revision, while writers continue |
//! | [`Change`] | what one commit did to one item, as the change feed reports it |
//! | [`Watch`] | the change feed, with the changes to come |
//! | [`Cursor`] | a place in the change feed, to continue from later |
//! | [`HistoryPolicy`] | how many superseded versions are kept and how long, and how long removals are remembered |
//! | [`Options`] | how a store is opened: durability, memory, history, what to do about damage; also in memory, for tests with a [`ManualClock`] |
//! | [`Stats`], [`Verified`], [`Compaction`], [`Damage`] | figures about an open store, and the results of a verification, a compaction and a repair |
//!
//! | to | call |
//! |---|---|
//! | write a new item | [`create`](Collection::create) |
//! | write back what was read, unless it changed | [`save`](Collection::save), [`replace`](Collection::replace) with its tag |
//! | change the current version, however often others change it | [`update`](Collection::update), [`try_update`](Collection::try_update) |
//! | let the last write win | [`upsert`](Collection::upsert) with [`Precondition::Always`] |
//! | change one field | [`patch`](Collection::patch) |
//! | ask whether a copy is still current | [`get_if`](Collection::get_if) |
//! | ask whether an item exists, or for its version alone | [`contains`](Collection::contains), [`head`](Collection::head) |
//! | learn whether a write survived whose result is unknown | [`was_written`](Collection::was_written) |
//! | change several items together | [`Store::batch`] |
//! | read many items as of one moment | [`Store::snapshot`] |
//! | read what an item was before | [`history`](Collection::history), [`get_version`](Collection::get_version), with [`Options::history`] |
//! | find items by what is in them | [`find`](Collection::find), with a [`Filter`]; [`ensure_index`](Collection::ensure_index) makes it fast |
//! | keep a list of found items current | [`watch_find`](Collection::watch_find) |
//! | learn what has changed since a cursor | [`Store::changes`], [`Collection::changes`] |
//! | be notified of changes as they become durable | [`Store::watch`], [`Collection::watch`] |
//! | let items expire | [`set_default_ttl`](Collection::set_default_ttl) for a collection; [`with_ttl`](Collection::with_ttl), [`expires_at`](Collection::expires_at) and [`without_ttl`](Collection::without_ttl) for a write |
//! | list the collections | [`Store::collections`] |
//! | copy the store while it is in use, and restore it | [`Store::backup`], [`Store::restore`] |
//! | check that it is whole | [`Store::verify`]; for a closed store, [`Store::inspect`] |
//! | read documents whose type is not known | [`Stored`] |
//! | reclaim all dead space at once, not in the background | [`Store::compact`] |
//!
//! # Durability
//!
//! | [`Durability`] | a write returns | it survives |
//! |---|---|---|
//! | `Immediate`, the default | after the journal's `fdatasync`, one for all waiting writers | the end of the process, an OS crash, loss of power |
//! | `Eventual` | after the journal's `write`; synced within [`sync_interval`](Options::sync_interval) | the end of the process; an OS crash loses at most the commits of the last interval and of the sync that follows it, always a suffix, never half a batch |
//!
//! Reads see a write as soon as it is applied, even while its sync is in progress. After a failed
//! sync or a torn write, the store accepts no more writes ([`Error::Poisoned`]). Reads continue,
//! and reopening recovers everything that was acknowledged. If the disk is full before a write
//! begins, the write returns [`Error::Io`] and changes nothing.
//!
//! # Threads and user interfaces
//!
//! [`Store`] and [`Collection`] are cheap to clone, `Send` and `Sync`. Calls block: an `Immediate`
//! write blocks for one disk sync, [`close`](Store::close) and an open after a crash for longer.
//! For a user interface, open the store `Eventual`. If something must be durable before it is shown
//! as saved, call [`sync`](Store::sync) on another thread. No closure of yours runs under a lock of
//! the store.
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
//! # Where to keep a store
//!
//! Keep a store on a local disk. Network drives and folders that a program synchronises are not
//! supported. A copy of an open store's folder is not a backup: [`Store::backup`] makes one.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `json-patch` | on | [`Patch`] and the verb [`patch`](Collection::patch) |
//! | `bincode` | on | the codec [`Bincode`] |
//! | `stream` | off | `Watch::into_stream`, which turns a [`Watch`] into an async `Stream` of `futures-core`, for any runtime |
//! | `simulation` | off | parts for this crate's own tests and benches; semantic versioning does not cover them |
//!
//! # More
//!
//! In the repository:
//!
//! - `docs/guide`: the guide, from the first store in five minutes to recipes, errors and tuning.
//!   It also compares other stores' snippets with this crate's.
//! - `docs/finding.md`: filters, indexes and finds.
//! - `docs/sync.md`: sync, three-way merge and undo, built from the change feed and history.
//! - `docs/design.md`: how it works, and why. `docs/format.md`: every byte on disk.
//! - `docs/testing.md`: which test shows which promise.
//! - `examples/`: programs that check what they print. `cli/`: the command line `ifmatch`.
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
pub use values::error::{CodecError, Conflict, Error, ErrorKind, IndexFailure};
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
