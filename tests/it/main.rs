//! The integration tests: one binary, one module per promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod linearizability;
#[path = "../model/mod.rs"]
mod model;
mod properties;
mod settings;
mod verbs;
