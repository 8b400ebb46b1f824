//! The columns of the tables, one file each.

#[cfg(feature = "canopydb")]
mod canopy;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod ours;
mod raw_disk;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "surrealkv")]
mod surreal;

use crate::engine::Column;

pub const OURS: &str = ours::NAME;
pub const RAW_DISK: &str = raw_disk::NAME;

pub const COLUMNS: &[Column] = &[
    ours::COLUMN,
    redb::COLUMN,
    #[cfg(feature = "fjall")]
    fjall::COLUMN,
    #[cfg(feature = "lmdb")]
    lmdb::COLUMN,
    #[cfg(feature = "sqlite")]
    sqlite::COLUMN,
    #[cfg(feature = "canopydb")]
    canopy::COLUMN,
    #[cfg(feature = "surrealkv")]
    surreal::COLUMN,
    #[cfg(feature = "rocksdb")]
    rocks::COLUMN,
    sled::COLUMN,
    raw_disk::COLUMN,
];

/// The peers whose features this build leaves out.
pub const LEFT_OUT: &[&str] = &[
    #[cfg(not(feature = "canopydb"))]
    "canopydb",
    #[cfg(not(feature = "fjall"))]
    "fjall",
    #[cfg(not(feature = "lmdb"))]
    "lmdb",
    #[cfg(not(feature = "rocksdb"))]
    "rocksdb",
    #[cfg(not(feature = "sqlite"))]
    "sqlite",
    #[cfg(not(feature = "surrealkv"))]
    "surrealkv",
];
