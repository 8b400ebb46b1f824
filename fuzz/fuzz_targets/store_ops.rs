//! Runs any operations against a store on a simulated disk and against the model of the whole
//! store, through reopening, kills and power loss. They agree on every outcome.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/model/mod.rs"]
mod model;

use arbitrary::Arbitrary;
use ifmatch::Durability;
use ifmatch::simulation::Simulation;
use libfuzzer_sys::fuzz_target;
use model::ops::Choices;
use model::{Home, World};

#[derive(Debug, Arbitrary)]
struct Input {
    eventual: bool,
    seed: u8,
    /// Each the choices that make one operation.
    operations: Vec<[u8; 24]>,
}

fuzz_target!(|input: Input| {
    let durability = if input.eventual { Durability::Eventual } else { Durability::Immediate };
    let seed = u64::from(input.seed);
    let home = Home::Simulated(Box::new(Simulation::new(seed)));
    let mut world = World::new(home, durability, seed);
    for bytes in input.operations.iter().take(200) {
        world.run(&Choices(bytes).op());
    }
    world.compare_all();
});
