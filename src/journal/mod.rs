//! The journal: append-only segment files, the truth of a store.
//!
//! Everything else can be computed from it. [`Journal`] appends frames and
//! makes them durable for groups of writers; `recover` finds what a crash left; bytes are in
//! `docs/format.md`, reasons in `docs/design.md`.

pub(crate) mod copying;
pub(crate) mod entries;
pub(crate) mod finish;
pub(crate) mod frame;
pub(crate) mod frames;
pub(crate) mod group;
pub(crate) mod hold;
pub(crate) mod lead;
pub(crate) mod manifest;
pub(crate) mod reader;
pub(crate) mod recover;
pub(crate) mod rewrite;
pub(crate) mod roll;
pub(crate) mod scanner;
pub(crate) mod segment;
pub(crate) mod signal;
pub(crate) mod slots;
pub(crate) mod survey;
pub(crate) mod totals;
pub(crate) mod unwritten;
pub(crate) mod watermark;
pub(crate) mod writer;

pub(crate) use group::{Journal, PreparedCommit, PreparedEntry};
