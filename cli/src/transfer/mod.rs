//! Documents as JSON Lines: one line of `{"key": …, "value": …}` each.

mod export;
mod import;
mod line;

pub(crate) use export::export;
pub(crate) use import::import;
pub(crate) use line::{ItemLine, raw};
