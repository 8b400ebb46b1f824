//! The rows, a file to each family.

pub mod finding;
pub mod footprint;
pub mod idle;
pub mod sizes;
pub mod speed;
pub mod watch;

use crate::report::Family;

pub const FAMILIES: &[Family] = &[
    speed::FAMILY,
    sizes::FAMILY,
    finding::FAMILY,
    watch::FAMILY,
    footprint::FAMILY,
    idle::FAMILY,
];
