//! Upkeep rests while there is nothing to do, and is notified of every commit that it has not seen.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::background::Background;
use crate::seams::sync::{model, thread};

#[test]
fn a_commit_while_upkeep_goes_to_rest_is_looked_at() {
    model(|| {
        let background = Arc::new(Background::new(None));
        let seen = background.look();
        let writer = {
            let background = Arc::clone(&background);
            thread::spawn(move || background.note_commit())
        };
        background.idle(seen, None);
        writer.join().unwrap();
        assert!(background.next_look().is_some(), "upkeep sleeps over a commit");
    });
}

#[test]
fn what_is_due_is_not_put_off_by_a_commit() {
    model(|| {
        let background = Arc::new(Background::new(None));
        background.idle(background.look(), None);
        let writer = {
            let background = Arc::clone(&background);
            thread::spawn(move || background.note_commit())
        };
        // Woken by something that was due, while the commit comes.
        let seen = background.look();
        let due = Instant::now();
        background.idle(seen, Some(due));
        writer.join().unwrap();
        let looks_at = background.next_look().expect("upkeep sleeps over a commit");
        assert!(looks_at == due || seen == 0, "what is due is put off");
    });
}
