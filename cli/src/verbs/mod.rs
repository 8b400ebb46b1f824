//! The commands, by what they are about.

mod doctor;
mod feed;
mod items;
mod lists;
mod query;
mod upkeep;

pub(crate) use doctor::doctor;
pub(crate) use feed::changes;
pub(crate) use items::{create, delete, get, history, patch, put};
pub(crate) use lists::{cat, clear, drop_collection, each, ls};
pub(crate) use query::{find, index};
pub(crate) use upkeep::{backup, compact, repair, restore, stats, verify};
