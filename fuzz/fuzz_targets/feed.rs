//! Follows the change feed beside any operations, through reopening, kills and power loss: from
//! the start, from cursors that were kept as text, from texts that are nearly cursors, and by a
//! watch that goes on in each reopened store. What is told is what the model says was done.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/model/mod.rs"]
mod model;

use arbitrary::Arbitrary;
use ifmatch::simulation::Simulation;
use ifmatch::{Cursor, Durability};
use libfuzzer_sys::fuzz_target;
use model::ops::{Choices, Op};
use model::{Home, World};

#[derive(Debug, Arbitrary)]
struct Input {
    eventual: bool,
    seed: u8,
    /// Any text at all, as a cursor.
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Operation([u8; 24]),
    Batch([u8; 48]),
    Feed(u8, u8),
    GarbledCursor(u8, u8, u8),
    Watch(u8),
    Reopen,
    Kill,
    Crash,
}

fuzz_target!(|input: Input| {
    if let Ok(cursor) = input.text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), input.text);
    }
    let durability = if input.eventual { Durability::Eventual } else { Durability::Immediate };
    let seed = u64::from(input.seed);
    let home = Home::Simulated(Box::new(Simulation::new(seed)));
    let mut world = World::new(home, durability, seed);
    for step in input.steps.iter().take(150) {
        world.run(&match step {
            Step::Operation(bytes) => Choices(bytes).op(),
            Step::Batch(bytes) => Choices(bytes).batch(),
            Step::Feed(n, keep) => Op::Feed(*n, *keep),
            Step::GarbledCursor(n, at, to) => Op::GarbledCursor(*n, *at, *to),
            Step::Watch(n) => Op::Watch(*n),
            Step::Reopen => Op::Reopen,
            Step::Kill => Op::Kill,
            Step::Crash => Op::Crash,
        });
    }
    world.compare_all();
});
