//! Applies patches, read from any text or put together of operations, to documents as they are
//! stored. No panic; what comes out is a document again, written as it will be read; and a patch of
//! plain operations does exactly what the small model of patches says. That a patch that fails
//! changes nothing in a store is for `store_ops` and `batch_ops`, which patch as well.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../tests/model/mod.rs"]
mod model;

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use ifmatch::simulation::patch_stored;
use ifmatch::{Error, Patch, PatchError};
use libfuzzer_sys::fuzz_target;
use model::ops::{Choices, PatchStep};
use serde_json::{Value, json};

#[derive(Debug, Arbitrary)]
enum Input {
    /// A document, which may be none, and a patch as they come.
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

/// A document that paths are likely to meet.
static TYPICAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let list = json!([1, [2], {"a": -0.5}]);
    serde_json::to_vec(&json!({"n": 1, "list": list, "a/b": {"~": null}, "": "text"})).unwrap()
});

fuzz_target!(|input: Input| match input {
    Input::Text { document, patch } => patch_text(document.as_bytes(), &patch),
    Input::Patch(patch) => patch_text(&TYPICAL, &patch),
    Input::Merge(merge) => {
        if let Ok(value) = serde_json::from_str(&merge) {
            drop(apply(&TYPICAL, &Patch::merge(value)));
        }
    }
    Input::Steps { list, steps } => {
        let list: Vec<i64> = (0..i64::from(list % 4)).collect();
        let document = json!({"n": 1, "list": list});
        let steps: Vec<PatchStep> =
            steps.iter().take(20).map(|bytes| Choices(bytes).patch_step()).collect();
        let patched = apply(document.to_string().as_bytes(), &model::patch::build(&steps));
        match (model::patch::apply(&steps, &document), patched) {
            (Ok(expected), Ok(patched)) => assert_eq!(patched, expected),
            (Err(expected), Err(error)) => {
                assert_eq!(model::patch::failure(&error), Some(expected));
            }
            (expected, patched) => panic!("{patched:?}; the model says {expected:?}"),
        }
    }
});

fn patch_text(stored: &[u8], patch: &str) {
    match Patch::from_json(patch) {
        Ok(patch) => {
            let again = serde_json::to_string(&patch).unwrap();
            assert_eq!(Patch::from_json(&again).unwrap(), patch, "a patch is read back as another");
            drop(apply(stored, &patch));
        }
        Err(error) => assert!(matches!(error, Error::Patch(_)), "{error:?}"),
    }
}

/// The patched document, which is what a reader of the patched bytes gets; patching those by
/// nothing gives the same bytes.
fn apply(stored: &[u8], patch: &Patch) -> Result<Value, PatchError> {
    let patched = patch_stored(patch, stored)?;
    let value = serde_json::from_slice(&patched).expect("what is stored can be read");
    assert_eq!(patch_stored(&Patch::new(), &patched).as_ref(), Ok(&patched));
    Ok(value)
}
