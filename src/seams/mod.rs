//! Replaceable in tests: synchronisation, time and randomness.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod sync;
