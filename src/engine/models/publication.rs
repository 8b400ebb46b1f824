//! What the two published revisions say is true.

use std::sync::Arc;

use super::{A, B, Rig, head_revision, replace};
use crate::seams::sync::{model, thread};
use crate::values::precondition::Precondition;

/// Replaces an item while another thread replaces another one, and then calls `look`. Returns what
/// `look` returned, and the other thread's revision.
fn beside_a_writer<T>(rig: &Rig, look: impl FnOnce() -> T) -> (T, u64) {
    let engine = Arc::clone(&rig.engine);
    let writer = thread::spawn(move || replace(&engine, A, "new", Precondition::Always).unwrap());
    replace(&rig.engine, B, "new", Precondition::Always).unwrap();
    let seen = look();
    (seen, writer.join().unwrap().revision.0)
}

#[test]
fn the_applied_revision_never_passes_a_commit_that_is_not_applied() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let look = || (rig.engine.journal.applied(), head_revision(&rig.engine, A));
        let ((published, seen), revision) = beside_a_writer(&rig, look);
        assert!(
            revision > published || seen == revision,
            "{published} was published and {revision} not applied"
        );
    });
}

#[test]
fn the_durable_revision_never_passes_the_applied_or_the_synced_one() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        let look = || {
            let durable = rig.engine.journal.durable();
            (durable, rig.engine.journal.applied(), rig.disk.synced_revisions())
        };
        let ((durable, applied, synced), _) = beside_a_writer(&rig, look);
        assert!(durable <= applied, "{durable} is durable and {applied} applied");
        assert!(synced.contains(&durable), "{durable} is durable and not synced");
    });
}

#[test]
fn revisions_are_unique_and_visible_in_order() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let engine = Arc::clone(&rig.engine);
        let other = thread::spawn(move || {
            let meta = replace(&engine, B, "new", Precondition::Always).unwrap();
            (meta.revision.0, head_revision(&engine, A))
        });
        let mine = replace(&rig.engine, A, "new", Precondition::Always).unwrap().revision.0;
        let seen_by_me = head_revision(&rig.engine, B);
        let (other, seen_by_other) = other.join().unwrap();
        assert_ne!(mine, other);
        // A writer that is acknowledged sees every commit with a lower revision.
        assert!(mine < other || seen_by_me == other);
        assert!(other < mine || seen_by_other == mine);
        assert_eq!(rig.engine.journal.applied(), mine.max(other));
    });
}
