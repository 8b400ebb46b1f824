//! Reads any bytes as a head of the index: never a panic, and what is read survives being written.
#![no_main]

use ifmatch::simulation::head_round_trip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(head_round_trip(bytes));
});
