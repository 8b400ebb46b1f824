//! What the two published revisions say is true.

use std::sync::Arc;

use super::{A, B, Rig, head_revision, replace};
use crate::precondition::Precondition;
use crate::sync::{model, thread};

#[test]
fn the_applied_revision_never_passes_a_commit_that_is_not_applied() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let writers = [A, B].map(|key| {
            let core = Arc::clone(&rig.core);
            thread::spawn(move || replace(&core, key, "new", Precondition::Always).unwrap())
        });
        let published = rig.core.journal.applied();
        let seen = [A, B].map(|key| head_revision(&rig.core, key));
        for (writer, seen) in writers.into_iter().zip(seen) {
            let revision = writer.join().unwrap().revision.0;
            assert!(
                revision > published || seen >= revision,
                "{published} was published and {revision} not applied"
            );
        }
    });
}

#[test]
fn the_durable_revision_never_passes_the_applied_or_the_synced_one() {
    model(|| {
        let (rig, _) = Rig::immediate().with([(A, "old"), (B, "old")]);
        let writers = [A, B].map(|key| {
            let core = Arc::clone(&rig.core);
            thread::spawn(move || replace(&core, key, "new", Precondition::Always).unwrap())
        });
        let durable = rig.core.journal.durable();
        let applied = rig.core.journal.applied();
        let synced = rig.disk.synced_revisions();
        assert!(durable <= applied, "{durable} is durable and {applied} applied");
        assert!(synced.last().is_some_and(|last| durable <= *last));
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

#[test]
fn revisions_are_unique_and_visible_in_order() {
    model(|| {
        let (rig, _) = Rig::eventual().with([(A, "old"), (B, "old")]);
        let core = Arc::clone(&rig.core);
        let other = thread::spawn(move || {
            let meta = replace(&core, B, "new", Precondition::Always).unwrap();
            (meta.revision.0, head_revision(&core, A))
        });
        let mine = replace(&rig.core, A, "new", Precondition::Always).unwrap().revision.0;
        let seen_by_me = head_revision(&rig.core, B);
        let (other, seen_by_other) = other.join().unwrap();
        assert_ne!(mine, other);
        // Who is acknowledged sees every commit with a lower revision.
        assert!(mine < other || seen_by_me == other);
        assert!(other < mine || seen_by_other == mine);
        assert_eq!(rig.core.journal.applied(), mine.max(other));
    });
}
