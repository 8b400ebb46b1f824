//! The integration tests: one binary, one module per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backends;
mod batches;
mod collections;
mod etags;
mod iteration;
mod limits;
mod patching;
mod reading;
mod saving;
mod updates;
mod verbs;
