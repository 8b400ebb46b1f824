//! The way back through an item's versions is never cut short by a writer.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{A, Rig, item_key, replace, text};
use crate::seams::sync::{model, thread};
use crate::values::history::HistoryPolicy;
use crate::values::options::{Durability, Options};
use crate::values::precondition::Precondition;

#[test]
fn history_beside_two_writers_of_the_item_goes_back_to_its_beginning() {
    model(|| {
        let history = HistoryPolicy::new().versions(5);
        let options = Options::new().durability(Durability::Eventual).history(history);
        let (rig, _) = Rig::new(options, 0).with([(A, "first")]);
        let writers = ["one", "other"].map(|value| {
            let engine = Arc::clone(&rig.engine);
            thread::spawn(move || replace(&engine, A, value, Precondition::Always).unwrap())
        });
        let mut values = Vec::new();
        rig.engine
            .past(&item_key(A), &mut |past| {
                values.push(text(&past.version.value));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(values.last().map(String::as_str), Some("first"), "{values:?}");
        for writer in writers {
            writer.join().unwrap();
        }
    });
}
