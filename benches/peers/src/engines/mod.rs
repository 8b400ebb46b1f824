//! The columns of the table, one file each.

mod canopy;
mod fjall;
mod lmdb;
mod ours;
mod raw_disk;
mod redb;
mod sled;
mod sqlite;

use crate::engine::Column;

pub const COLUMNS: &[Column] = &[
    raw_disk::COLUMN,
    ours::COLUMN,
    redb::COLUMN,
    fjall::COLUMN,
    lmdb::COLUMN,
    sqlite::COLUMN,
    canopy::COLUMN,
    sled::COLUMN,
];
