//! What each verb does with each state of an item, and with each precondition.

use std::time::SystemTime;

use ifmatch::{Collection, ETag, Error, Item, Meta, Patch, Precondition, Tags};
use serde::{Deserialize, Serialize};

use crate::backends::{
    Bench, failed_at, invalid_precondition, not_found, on_every_backend, precondition_failed,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Doc {
    n: u64,
}

/// The verbs that change an item, and `check`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verb {
    Replace,
    Upsert,
    Patch,
    Delete,
    /// In a batch of its own.
    Check,
}
use Verb::{Check, Delete, Patch as PatchVerb, Replace, Upsert};

const NEED_AN_ITEM: [Verb; 3] = [Replace, PatchVerb, Delete];
const CONDITIONAL: [Verb; 5] = [Replace, PatchVerb, Delete, Upsert, Check];

impl AsRef<[Verb]> for Verb {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// Each verb has a collection of its own, so that several can be tried in one step.
fn docs(bench: &Bench, verb: Verb) -> Collection<Doc> {
    bench.collection(&format!("{verb:?}"))
}

/// Runs a verb that leaves 9 behind; returns the version that it wrote.
fn run(bench: &Bench, verb: Verb, precondition: Precondition) -> Result<Option<Meta>, Error> {
    let docs = docs(bench, verb);
    let nine = Doc { n: 9 };
    match verb {
        Replace => docs.replace("k", &nine, precondition).map(Some),
        Upsert => docs.upsert("k", &nine, precondition).map(Some),
        PatchVerb => {
            let patched = docs.patch("k", &Patch::new().set("/n", 9), precondition);
            patched.map(|item| Some(*item.meta()))
        }
        Delete => docs.delete("k", precondition).map(Some),
        Check => {
            let committed = bench.store().batch().check(&docs, "k", precondition).commit();
            if committed.is_err() { failed_at(0, committed).map(|_| None) } else { Ok(None) }
        }
    }
}

/// An item that is there, and a tag that it had before.
struct Present {
    verb: Verb,
    item: Item<Doc>,
    stale: ETag,
}

fn present(bench: &Bench, verbs: impl AsRef<[Verb]>) -> Vec<Present> {
    let create = |verb: &Verb| {
        let docs = docs(bench, *verb);
        let stale = docs.create("k", &Doc { n: 1 }).unwrap().etag();
        docs.replace("k", &Doc { n: 2 }, stale).unwrap();
        (*verb, stale)
    };
    let created: Vec<_> = verbs.as_ref().iter().map(create).collect();
    bench.step();
    let read = |(verb, stale)| {
        let item = docs(bench, verb).get("k").unwrap().unwrap();
        Present { verb, item, stale }
    };
    created.into_iter().map(read).collect()
}

/// Whatever the body does, it must change nothing.
fn changes_nothing(bench: &Bench, items: &[Present], body: impl FnOnce()) {
    let before = bench.store().revision();
    body();
    bench.step();
    assert_eq!(bench.store().revision(), before);
    for Present { verb, item, .. } in items {
        assert_eq!(docs(bench, *verb).get("k").unwrap().as_ref(), Some(item), "{verb:?}");
    }
}

/// The verbs go through on a present item, and are seen to have.
fn holds(verbs: impl AsRef<[Verb]>, precondition: impl Fn(&Present) -> Precondition) {
    on_every_backend(|bench| {
        let items = present(bench, &verbs);
        let run = |item: &Present| run(bench, item.verb, precondition(item)).unwrap();
        let metas: Vec<Option<Meta>> = items.iter().map(run).collect();
        bench.step();
        for (Present { verb, item, .. }, meta) in items.iter().zip(metas) {
            let found = docs(bench, *verb).get("k").unwrap();
            let Some(meta) = meta else {
                assert_eq!(found.as_ref(), Some(item));
                continue;
            };
            assert_eq!(meta.parent(), Some(item.etag()), "{verb:?}");
            assert!(meta.revision() > item.revision(), "{verb:?}");
            let expected = (*verb != Delete).then_some((9, meta));
            assert_eq!(found.map(|item| (item.value.n, *item.meta())), expected, "{verb:?}");
        }
    });
}

/// The verbs fail on a present item, tell the current one, and change nothing.
fn fails(verbs: impl AsRef<[Verb]>, precondition: impl Fn(&Present) -> Precondition) {
    on_every_backend(|bench| {
        let items = present(bench, &verbs);
        changes_nothing(bench, &items, || {
            for present in &items {
                let result = run(bench, present.verb, precondition(present));
                assert_eq!(precondition_failed(result).as_ref(), Some(&present.item));
            }
        });
    });
}

/// The verbs never take this precondition, whatever the item's state.
fn refused(verbs: impl AsRef<[Verb]>, precondition: Precondition) {
    on_every_backend(|bench| {
        let refuse = || {
            for verb in verbs.as_ref() {
                invalid_precondition(run(bench, *verb, precondition.clone()));
            }
        };
        changes_nothing(bench, &[], refuse);
        let items = present(bench, &verbs);
        changes_nothing(bench, &items, refuse);
    });
}

fn needs_an_item(verb: Verb, precondition: Precondition) {
    on_every_backend(|bench| {
        changes_nothing(bench, &[], || not_found(run(bench, verb, precondition.clone())));
        assert_eq!(docs(bench, verb).get("k").unwrap(), None);
    });
}

/// The verb fails for want of an item, so without a current one.
fn fails_without_current(verb: Verb, precondition: Precondition) {
    on_every_backend(|bench| {
        changes_nothing(bench, &[], || {
            let result = run(bench, verb, precondition.clone());
            assert_eq!(precondition_failed::<Doc, _>(result), None);
        });
        assert_eq!(docs(bench, verb).get("k").unwrap(), None);
    });
}

/// The verb goes through without an item; all but `check` leave one.
fn creates(verb: Verb, precondition: Precondition) {
    on_every_backend(|bench| {
        let meta = run(bench, verb, precondition.clone()).unwrap();
        bench.step();
        let found = docs(bench, verb).get("k").unwrap();
        assert_eq!(found.map(|item| (item.value.n, *item.meta())), meta.map(|meta| (9, meta)));
        assert_eq!(meta.and_then(|meta| meta.parent()), None);
        assert_eq!(verb == Check, meta.is_none());
    });
}

const SOME_TAG: ETag = ETag([5; 16]);

fn current(present: &Present) -> Precondition {
    present.item.etag().into()
}

fn stale(present: &Present) -> Precondition {
    present.stale.into()
}

fn always(_: &Present) -> Precondition {
    Precondition::Always
}

fn match_any(_: &Present) -> Precondition {
    Precondition::if_match(Tags::Any)
}

fn none_match_any(_: &Present) -> Precondition {
    Precondition::if_none_match(Tags::Any)
}

fn none_match_stale(present: &Present) -> Precondition {
    Precondition::if_none_match(present.stale)
}

fn none_match_current(present: &Present) -> Precondition {
    Precondition::if_none_match([present.stale, present.item.etag()])
}

/// One test for each line: a name, how it must come out, the verb, the precondition.
macro_rules! cells {
    ($($name:ident: $outcome:ident($verb:expr, $precondition:expr);)*) => {
        $(#[test]
        fn $name() {
            $outcome($verb, $precondition);
        })*
    };
}

// A present item.
cells! {
    replace_always_writes: holds(Replace, always);
    upsert_always_on_present_writes: holds(Upsert, always);
    patch_always_writes: holds(PatchVerb, always);
    delete_always_removes: holds(Delete, always);

    replace_with_current_tag_writes: holds(Replace, current);
    upsert_with_current_tag_writes: holds(Upsert, current);
    patch_with_current_tag_writes: holds(PatchVerb, current);
    delete_with_current_tag_removes: holds(Delete, current);
    check_of_current_tag_holds: holds(Check, current);

    replace_with_stale_tag_fails: fails(Replace, stale);
    upsert_with_stale_tag_fails: fails(Upsert, stale);
    patch_with_stale_tag_fails: fails(PatchVerb, stale);
    delete_with_stale_tag_fails: fails(Delete, stale);
    check_of_stale_tag_fails: fails(Check, stale);

    replace_if_any_version_writes: holds(Replace, match_any);
    upsert_if_any_version_on_present_writes: holds(Upsert, match_any);
    patch_if_any_version_writes: holds(PatchVerb, match_any);
    delete_if_any_version_removes: holds(Delete, match_any);
    check_of_any_version_holds: holds(Check, match_any);

    replace_unless_another_tag_writes: holds(Replace, none_match_stale);
    upsert_unless_another_tag_writes: holds(Upsert, none_match_stale);
    patch_unless_another_tag_writes: holds(PatchVerb, none_match_stale);
    delete_unless_another_tag_removes: holds(Delete, none_match_stale);
    check_of_another_tags_absence_holds: holds(Check, none_match_stale);

    replace_unless_current_tag_fails: fails(Replace, none_match_current);
    upsert_unless_current_tag_fails: fails(Upsert, none_match_current);
    patch_unless_current_tag_fails: fails(PatchVerb, none_match_current);
    delete_unless_current_tag_fails: fails(Delete, none_match_current);
    check_of_current_tags_absence_fails: fails(Check, none_match_current);

    upsert_unless_present_on_present_fails: fails(Upsert, none_match_any);
    check_of_absence_on_present_fails: fails(Check, none_match_any);
}

// An absent item.
cells! {
    replace_of_absent_item_is_not_found: needs_an_item(Replace, Precondition::Always);
    patch_of_absent_item_is_not_found: needs_an_item(PatchVerb, Precondition::Always);
    delete_of_absent_item_is_not_found: needs_an_item(Delete, Precondition::Always);
    upsert_of_absent_item_creates: creates(Upsert, Precondition::Always);

    replace_with_if_match_on_absent_is_not_found: needs_an_item(Replace, SOME_TAG.into());
    patch_with_if_match_on_absent_is_not_found: needs_an_item(PatchVerb, SOME_TAG.into());
    delete_with_if_match_on_absent_is_not_found: needs_an_item(Delete, SOME_TAG.into());
    upsert_with_if_match_on_absent_fails_without_current:
        fails_without_current(Upsert, SOME_TAG.into());
    check_of_a_tag_on_absent_fails_without_current: fails_without_current(Check, SOME_TAG.into());

    replace_if_any_version_on_absent_is_not_found:
        needs_an_item(Replace, Precondition::if_match(Tags::Any));
    patch_if_any_version_on_absent_is_not_found:
        needs_an_item(PatchVerb, Precondition::if_match(Tags::Any));
    delete_if_any_version_on_absent_is_not_found:
        needs_an_item(Delete, Precondition::if_match(Tags::Any));
    upsert_if_any_version_on_absent_fails_without_current:
        fails_without_current(Upsert, Precondition::if_match(Tags::Any));
    check_of_any_version_on_absent_fails_without_current:
        fails_without_current(Check, Precondition::if_match(Tags::Any));

    replace_unless_a_tag_on_absent_is_not_found:
        needs_an_item(Replace, Precondition::if_none_match(SOME_TAG));
    patch_unless_a_tag_on_absent_is_not_found:
        needs_an_item(PatchVerb, Precondition::if_none_match(SOME_TAG));
    delete_unless_a_tag_on_absent_is_not_found:
        needs_an_item(Delete, Precondition::if_none_match(SOME_TAG));
    upsert_unless_a_tag_on_absent_creates:
        creates(Upsert, Precondition::if_none_match(SOME_TAG));
    check_of_a_tags_absence_on_absent_holds:
        creates(Check, Precondition::if_none_match(SOME_TAG));

    upsert_unless_present_on_absent_creates:
        creates(Upsert, Precondition::if_none_match(Tags::Any));
    check_of_absence_on_absent_holds: creates(Check, Precondition::if_none_match(Tags::Any));
}

// What could never succeed, or would be ignored, is refused in either state.
cells! {
    replace_unless_present_is_refused: refused(Replace, Precondition::if_none_match(Tags::Any));
    patch_unless_present_is_refused: refused(PatchVerb, Precondition::if_none_match(Tags::Any));
    delete_unless_present_is_refused: refused(Delete, Precondition::if_none_match(Tags::Any));
    check_without_a_demand_is_refused: refused(Check, Precondition::Always);
    replace_if_modified_since_is_refused: refused(Replace, since_epoch());
    upsert_if_modified_since_is_refused: refused(Upsert, since_epoch());
    patch_if_modified_since_is_refused: refused(PatchVerb, since_epoch());
    delete_if_modified_since_is_refused: refused(Delete, since_epoch());
    check_if_modified_since_is_refused: refused(Check, since_epoch());
}

fn since_epoch() -> Precondition {
    Precondition::if_modified_since(SystemTime::UNIX_EPOCH)
}

#[test]
fn one_current_tag_in_a_list_is_enough_for_every_verb() {
    holds(CONDITIONAL, |present| Precondition::if_match([present.stale, present.item.etag()]));
}

#[test]
fn an_empty_list_of_tags_matches_nothing() {
    fails(CONDITIONAL, |_| Precondition::if_match(Tags::List(Vec::new())));
}

/// Regression: the condition held, so an item was written over that must not be.
#[test]
fn b11_if_none_match_of_the_current_tag_as_a_weak_one_fails() {
    fails(CONDITIONAL, |present| {
        let weak = format!("W/{}", present.item.etag());
        Precondition::if_none_match(weak.parse::<Tags>().unwrap())
    });
}

#[test]
fn b11_if_match_of_a_weak_tag_never_matches() {
    fails(CONDITIONAL, |present| {
        let weak = format!("W/{}", present.item.etag());
        Precondition::if_match(weak.parse::<Tags>().unwrap())
    });
}

#[test]
fn the_tag_of_an_unsaved_item_matches_nothing() {
    fails(CONDITIONAL, |_| ETag::UNSAVED.into());
    fails(CONDITIONAL, |_| (&Item::new("k", Doc { n: 1 })).into());
}

#[test]
fn an_item_as_precondition_is_its_tag() {
    holds(CONDITIONAL, |present| Precondition::from(&present.item));
}

#[test]
fn if_unchanged_of_a_seen_tag_is_that_tag() {
    holds(CONDITIONAL, |present| Precondition::if_unchanged(Some(present.item.etag())));
    fails(CONDITIONAL, |present| Precondition::if_unchanged(Some(present.stale)));
}

#[test]
fn if_unchanged_of_nothing_seen_creates_only() {
    creates(Upsert, Precondition::if_unchanged(None));
    fails(Upsert, |_| Precondition::if_unchanged(None));
    refused(NEED_AN_ITEM, Precondition::if_unchanged(None));
}

#[test]
fn a_tag_of_another_item_does_not_match() {
    on_every_backend(|bench| {
        let items = present(bench, CONDITIONAL);
        for [one, other] in items.windows(2).map(|pair| [&pair[0], &pair[1]]) {
            let result = run(bench, one.verb, other.item.etag().into());
            assert_eq!(precondition_failed(result).as_ref(), Some(&one.item));
        }
    });
}

#[test]
fn a_deleted_item_is_absent_to_every_verb() {
    on_every_backend(|bench| {
        let items = present(bench, CONDITIONAL);
        let delete = |present: &Present| {
            let tag = present.item.etag();
            let deleted = docs(bench, present.verb).delete("k", tag).unwrap();
            (present.verb, [tag, deleted.etag()])
        };
        let deleted: Vec<_> = items.iter().map(delete).collect();
        bench.step();
        changes_nothing(bench, &[], || {
            for (verb, tag) in deleted.iter().flat_map(|(verb, tags)| tags.map(|tag| (*verb, tag)))
            {
                let result = run(bench, verb, tag.into());
                if NEED_AN_ITEM.contains(&verb) {
                    not_found(result);
                } else {
                    assert_eq!(precondition_failed::<Doc, _>(result), None);
                }
            }
            run(bench, Check, Precondition::if_none_match(Tags::Any)).unwrap();
        });
    });
}

#[test]
fn a_version_as_precondition_is_its_tag() {
    holds(CONDITIONAL, |present| Precondition::from(*present.item.meta()));
    holds(CONDITIONAL, |present| Precondition::from(present.item.meta()));
    holds(CONDITIONAL, |present| Precondition::from(&present.item.etag()));
}
