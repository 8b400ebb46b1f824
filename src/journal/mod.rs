//! The journal: append-only segment files, the truth of a store.
//!
//! Everything else can be computed from it. [`Journal`] appends frames and
//! makes them durable for groups of writers; `recover` finds what a crash left; bytes are in
//! `docs/format.md`, reasons in `docs/design.md`.

pub(crate) mod append;
pub(crate) mod content_sum;
pub(crate) mod copy_guard;
pub(crate) mod copying;
pub(crate) mod dual_slot;
pub(crate) mod entries;
pub(crate) mod frame;
pub(crate) mod frame_reader;
mod gather;
pub(crate) mod group_commit;
pub(crate) mod in_flight;
pub(crate) mod index_changes;
pub(crate) mod index_sums;
pub(crate) mod manifest;
pub(crate) mod manifest_changes;
pub(crate) mod notify;
mod open_files;
pub(crate) mod poison;
mod prepared;
pub(crate) mod publication;
pub(crate) mod recover;
pub(crate) mod reserve;
pub(crate) mod revision_skip;
pub(crate) mod rewrite;
pub(crate) mod room;
pub(crate) mod rotate;
pub(crate) mod salvage;
pub(crate) mod scanner;
pub(crate) mod segment;
pub(crate) mod segment_writer;
pub(crate) mod segments;
pub(crate) mod skip_damaged;
pub(crate) mod state;
mod superseded;
mod waiters;
pub(crate) mod watermark;

pub(crate) use append::{Journal, PreparedCommit, PreparedEntry};
