//! What indexes and filters are made of, as far as no store is needed.
//!
//! | file | holds |
//! |---|---|
//! | `pointer.rs` | paths into a document: JSON Pointers with `*` |
//! | `partial.rs` | documents read as far as paths lead into them |
//! | `number.rs` | a number's one exact form |
//! | `order.rs` | the order of JSON values |
//! | `encoding.rs` | values as bytes whose order is that of the values |
//! | `index.rs` | the definition of an index |
//! | `entries.rs` | the entries that a document has in an index |
//! | `filter/` | conditions on a document |
//! | `sort.rs` | the order of what is found |
//! | `plan.rs`, `demands.rs` | which index a find uses, and which part of it |

mod demands;
pub(crate) mod encoding;
pub(crate) mod entries;
pub(crate) mod filter;
pub(crate) mod index;
mod number;
pub(crate) mod order;
pub(crate) mod partial;
pub(crate) mod plan;
pub(crate) mod pointer;
pub(crate) mod sort;
#[cfg(test)]
mod tests;
