//! The whole matrix of verbs, preconditions and states, and headers as RFC 9110 has them.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use super::*;

const TAG: ETag = ETag([1; 16]);
const OTHER: ETag = ETag([2; 16]);

fn verdict(verb: Verb, precondition: impl Into<Precondition>, present: bool) -> Verdict {
    let stored = present.then_some(Stored { etag: TAG, modified_ms: 1_000, meets: false });
    evaluate(verb, &precondition.into(), stored)
}

#[test]
fn the_matrix_of_verbs_and_preconditions_is_as_written() {
    use Verb::{Check, Delete, Get, Patch, Replace, Upsert};
    use Verdict::{Fails, Holds};
    let refused = |v: Verdict| matches!(v, Verdict::Refused(_));
    for verb in [Get, Upsert, Replace, Patch, Delete, Check] {
        let p = |precondition: Precondition, present| verdict(verb, precondition, present);
        for present in [false, true] {
            let always = p(Precondition::Always, present);
            assert!(if verb == Check { refused(always) } else { always == Holds });
            assert_eq!(p(Precondition::if_match(OTHER), present), Fails);
            assert_eq!(p(Precondition::if_none_match(OTHER), present), Holds);
            let any = p(Precondition::if_none_match(Tags::Any), present);
            match verb {
                Replace | Patch | Delete => assert!(refused(any)),
                _ => assert_eq!(any, if present { Fails } else { Holds }),
            }
            let since = p(Precondition::if_modified_since(UNIX_EPOCH), present);
            assert!(if verb == Get { since == Holds } else { refused(since) });
        }
        assert_eq!(p(TAG.into(), true), Holds);
        assert_eq!(p(TAG.into(), false), Fails);
        assert_eq!(p(Precondition::if_match([OTHER, TAG]), true), Holds);
        assert_eq!(p(Precondition::if_match(Tags::List(vec![])), true), Fails);
        assert_eq!(p(Precondition::if_match(Tags::Any), true), Holds);
        assert_eq!(p(Precondition::if_match(Tags::Any), false), Fails);
        assert_eq!(p(Precondition::if_none_match([OTHER, TAG]), true), Fails);
        assert_eq!(p(Precondition::if_none_match(Tags::List(vec![])), true), Holds);
    }
}

#[test]
fn a_filter_holds_for_a_present_item_whose_document_meets_it() {
    let matching = Precondition::matching(Filter::exists("/a"));
    let stored = |meets| Some(Stored { etag: TAG, modified_ms: 1, meets });
    for verb in [Verb::Get, Verb::Upsert, Verb::Replace, Verb::Patch, Verb::Delete, Verb::Check] {
        assert_eq!(evaluate(verb, &matching, stored(true)), Verdict::Holds);
        assert_eq!(evaluate(verb, &matching, stored(false)), Verdict::Fails);
        assert_eq!(evaluate(verb, &matching, None), Verdict::Fails);
    }
}

#[test]
fn if_modified_since_is_not_met_by_the_same_millisecond() {
    let at = |ms| Precondition::if_modified_since(UNIX_EPOCH + Duration::from_millis(ms));
    assert_eq!(verdict(Verb::Get, at(999), true), Verdict::Holds);
    assert_eq!(verdict(Verb::Get, at(1_000), true), Verdict::Fails);
    assert_eq!(verdict(Verb::Get, at(1_001), true), Verdict::Fails);
}

/// Regression: compared by the millisecond, a date of whole seconds, which is all that HTTP can
/// say, was older than nearly every write of its own second.
#[test]
fn b11_if_modified_since_in_whole_seconds_is_met_by_the_next_second_only() {
    let verdict = |modified_ms, since_ms| {
        let stored = Some(Stored { etag: TAG, modified_ms, meets: false });
        let since = UNIX_EPOCH + Duration::from_millis(since_ms);
        evaluate(Verb::Get, &Precondition::if_modified_since(since), stored)
    };
    assert_eq!(verdict(5_999, 5_000), Verdict::Fails);
    assert_eq!(verdict(6_000, 5_000), Verdict::Holds);
    assert_eq!(verdict(5_999, 5_998), Verdict::Holds);
    assert_eq!(verdict(0, 0), Verdict::Fails);
    let before_1970 = Precondition::if_modified_since(UNIX_EPOCH - Duration::from_secs(1));
    let stored = Some(Stored { etag: TAG, modified_ms: 1, meets: false });
    assert_eq!(evaluate(Verb::Get, &before_1970, stored), Verdict::Holds);
}

/// Regression: a weak tag was left out of the list, so If-None-Match, which RFC 9110 §13.1.2
/// compares weakly, held for the version that the tag names.
#[test]
fn b11_weak_tags_match_for_if_none_match_and_never_for_if_match() {
    let weak: Tags = format!("W/{TAG}").parse().unwrap();
    let both: Tags = format!("W/{OTHER}, {TAG}").parse().unwrap();
    let unsaved: Tags = format!("W/{}", ETag::UNSAVED).parse().unwrap();
    for verb in [Verb::Get, Verb::Upsert, Verb::Replace, Verb::Patch, Verb::Delete, Verb::Check] {
        let none_match = |tags: &Tags| Precondition::if_none_match(tags.clone());
        assert_eq!(verdict(verb, none_match(&weak), true), Verdict::Fails);
        assert_eq!(verdict(verb, none_match(&both), true), Verdict::Fails);
        assert_eq!(verdict(verb, none_match(&unsaved), true), Verdict::Holds);
        assert_eq!(verdict(verb, Precondition::if_match(weak.clone()), true), Verdict::Fails);
        assert_eq!(verdict(verb, Precondition::if_match(both.clone()), true), Verdict::Holds);
    }
}

#[test]
fn the_headers_of_a_request_are_one_precondition_or_refused() {
    let since = UNIX_EPOCH + Duration::from_secs(5);
    let (tag, other) = (TAG.to_string(), OTHER.to_string());
    let read = |m: Option<&str>, n: Option<&str>, s| Precondition::from_headers(m, n, s).ok();
    assert_eq!(read(None, None, None), Some(Precondition::Always));
    assert_eq!(read(Some("*"), None, None), Some(Precondition::if_match(Tags::Any)));
    assert_eq!(read(Some(&tag), None, None), Some(Precondition::if_match([TAG])));
    let none_match = Some(Precondition::if_none_match([OTHER]));
    assert_eq!(read(None, Some(&other), None), none_match);
    assert_eq!(read(None, Some(&other), Some(since)), none_match);
    let modified = Some(Precondition::if_modified_since(since));
    assert_eq!(read(None, None, Some(since)), modified);
    for (if_match, if_none_match, since) in [
        (Some("x"), None, None),
        (None, Some(""), None),
        (Some(&*tag), Some(&*other), None),
        (Some(&*tag), None, Some(since)),
    ] {
        assert_eq!(read(if_match, if_none_match, since), None);
    }
}

#[test]
fn the_unsaved_tag_matches_nothing() {
    let stored = Some(Stored { etag: ETag::UNSAVED, modified_ms: 0, meets: false });
    let precondition = Precondition::if_match(ETag::UNSAVED);
    assert_eq!(evaluate(Verb::Replace, &precondition, stored), Verdict::Fails);
    let precondition = Precondition::if_match([ETag::UNSAVED]);
    assert_eq!(evaluate(Verb::Replace, &precondition, stored), Verdict::Fails);
}

#[test]
fn header_lists_are_read_as_rfc_9110_says() {
    let tag = ETag([0xab; 16]);
    for (text, expected) in [
        ("*", Some(Tags::Any)),
        (" * ", Some(Tags::Any)),
        (&*format!("{tag}"), Some([tag].into())),
        (&*format!(" {tag} ,\t{tag},"), Some([tag, tag].into())),
        (&*format!(",, {tag}"), Some([tag].into())),
        (&*format!("W/{tag}"), Some(Tags::Mixed { strong: vec![], weak: vec![tag] })),
        ("W/\"x\"", Some(Tags::List(vec![]))),
        ("\"a,b\", \"\"", Some(Tags::List(vec![]))),
        ("\"é\"", Some(Tags::List(vec![]))),
        ("", None),
        (" , ", None),
        ("*, \"a\"", None),
        ("\"a\" \"b\"", None),
        ("\"a", None),
        ("\"a b\"", None),
        ("w/\"a\"", None),
        ("W/", None),
        ("a", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text:?}");
    }
}
