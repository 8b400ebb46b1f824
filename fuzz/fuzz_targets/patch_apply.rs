//! Applies patches, read from any text or put together of operations, to stored documents. No
//! panic; all of a patch is applied or nothing; and a patch of plain operations does exactly what
//! the small model of patches says.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../tests/model/mod.rs"]
mod model;

use arbitrary::Arbitrary;
use ifmatch::{Collection, Error, Patch, Precondition, Store};
use libfuzzer_sys::fuzz_target;
use model::ops::{Choices, PatchStep};
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
enum Input {
    /// A document and a patch as they come.
    Text {
        document: String,
        patch: String,
    },
    /// A patch of text on a document that paths are likely to meet.
    Patch(String),
    Merge(String),
    /// The choices that make one operation of a patch each.
    Steps {
        list: u8,
        steps: Vec<[u8; 8]>,
    },
}

thread_local! {
    static DOCUMENTS: Collection<Value> = Store::in_memory().collection("documents").unwrap();
}

fuzz_target!(|input: Input| DOCUMENTS.with(|documents| run(documents, input)));

fn run(documents: &Collection<Value>, input: Input) {
    let typical = json!({"n": 1, "list": [1, [2], {"a": -0.5}], "a/b": {"~": null}, "": "text"});
    match input {
        Input::Text { document, patch } => {
            let document = serde_json::from_str(&document).unwrap_or(typical);
            patch_text(documents, document, &patch);
        }
        Input::Patch(patch) => patch_text(documents, typical, &patch),
        Input::Merge(merge) => {
            if let Ok(value) = serde_json::from_str(&merge) {
                drop(apply(documents, &typical, &Patch::merge(value)));
            }
        }
        Input::Steps { list, steps } => {
            let list: Vec<i64> = (0..i64::from(list % 4)).collect();
            let document = json!({"n": 1, "list": list});
            let steps: Vec<PatchStep> =
                steps.iter().take(20).map(|bytes| Choices(bytes).patch_step()).collect();
            let patched = apply(documents, &document, &model::patch::build(&steps));
            match (model::patch::apply(&steps, &document), patched) {
                (Ok(expected), Ok(patched)) => assert_eq!(patched, expected),
                (Err(expected), Err(Error::Patch(error))) => {
                    assert_eq!(model::patch::failure(&error), Some(expected));
                }
                (expected, patched) => panic!("{patched:?}; the model says {expected:?}"),
            }
        }
    }
}

fn patch_text(documents: &Collection<Value>, document: Value, patch: &str) {
    match Patch::from_json(patch) {
        Ok(patch) => {
            let again = serde_json::to_string(&patch).unwrap();
            assert_eq!(Patch::from_json(&again).unwrap(), patch, "a patch is read back as another");
            drop(apply(documents, &document, &patch));
        }
        Err(error) => assert!(matches!(error, Error::Patch(_)), "{error:?}"),
    }
}

/// Applies a patch to a stored document, and checks that all of it was or nothing.
fn apply(documents: &Collection<Value>, document: &Value, patch: &Patch) -> Result<Value, Error> {
    let before = documents.upsert("k", document, Precondition::Always).unwrap();
    let stored = documents.get("k").unwrap().unwrap();
    let patched = documents.patch("k", patch, before.etag());
    let after = documents.get("k").unwrap().unwrap();
    match patched {
        Ok(item) => {
            assert_eq!(item, after, "the patched item is not the one that is stored");
            assert_eq!(after.parent(), Some(before.etag()));
            Ok(item.value)
        }
        Err(error) => {
            assert_eq!(after, stored, "a patch that failed changed something");
            assert!(matches!(error, Error::Patch(_) | Error::Codec { .. }), "{error:?}");
            Err(error)
        }
    }
}
