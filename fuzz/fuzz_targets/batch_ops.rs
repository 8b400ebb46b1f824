//! Runs mostly batches, of any verbs over several collections, against a store on a simulated disk
//! and against the model of the whole store. They agree on every outcome, and what survives the
//! end of the process holds whole batches.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/model/mod.rs"]
mod model;

use arbitrary::Arbitrary;
use ifmatch::Durability;
use ifmatch::simulation::Simulation;
use libfuzzer_sys::fuzz_target;
use model::ops::{Choices, Op};
use model::{Home, World};

#[derive(Debug, Arbitrary)]
struct Input {
    eventual: bool,
    seed: u8,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Batch([u8; 48]),
    Batches([u8; 48], [u8; 48]),
    Other([u8; 16]),
    Kill,
    Crash,
}

fuzz_target!(|input: Input| {
    let durability = if input.eventual { Durability::Eventual } else { Durability::Immediate };
    let seed = u64::from(input.seed);
    let home = Home::Simulated(Box::new(Simulation::new(seed)));
    let mut world = World::new(home, durability, seed);
    for step in input.steps.iter().take(100) {
        match step {
            Step::Batch(bytes) => world.run(&Choices(bytes).batch()),
            Step::Batches(first, second) => {
                world.run(&Choices(first).batch());
                world.run(&Choices(second).batch());
            }
            Step::Other(bytes) => world.run(&Choices(bytes).op()),
            Step::Kill => world.run(&Op::Kill),
            Step::Crash => world.run(&Op::Crash),
        }
    }
    world.compare_all();
});
