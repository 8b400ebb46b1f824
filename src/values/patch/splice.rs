//! Patches that put values in the place of others: the document's text is cut there, and all else
//! of it is copied as it is.
//!
//! A document's tree costs some allocations for each of its members. Most patches change a field or
//! two. What this does not know how to do, or finds in any way odd, it leaves to
//! [`apply`](super::apply), which says what is wrong.

use std::ops::Range;

use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;
use serde_json::{Number, Value};

use super::apply::nests_within;
use super::operation::Operation;
use super::{Patch, number};
use crate::values::checked_json::MAX_DEPTH;
use crate::values::limits::MAX_VALUE_BYTES;

/// A patch of more operations is left to the tree, since each looks through the text anew.
const MOST_OPERATIONS: usize = 4;

impl Patch {
    /// The patched document, where every operation replaces a value that is there. What comes of
    /// it must still be read as a whole: only the text up to those values was looked at.
    pub(crate) fn spliced(&self, stored_json: &[u8]) -> Option<Vec<u8>> {
        if self.operations.is_empty() || self.operations.len() > MOST_OPERATIONS {
            return None;
        }
        let mut text = stored_json.to_vec();
        for operation in &self.operations {
            splice(&mut text, operation.as_ref().ok()?)?;
        }
        // A document with a number that a tree would not keep is refused in both ways of patching.
        let is_whole = text.len() <= MAX_VALUE_BYTES && number::inexact(stored_json).is_none();
        is_whole.then_some(text)
    }
}

fn splice(text: &mut Vec<u8>, operation: &Operation) -> Option<()> {
    let (path, value) = match operation {
        Operation::Set { path, value } => (path, value),
        Operation::Standard(PatchOperation::Replace(replace)) => (&replace.path, &replace.value),
        Operation::Standard(PatchOperation::Test(test)) => {
            let found: Value =
                serde_json::from_slice(text.get(span_of(text, &test.path)?)?).ok()?;
            return number::equal(&found, &test.value).then_some(());
        }
        Operation::Incr { path, by } => {
            let span = span_of(text, path)?;
            let number: Number = serde_json::from_slice(text.get(span.clone())?).ok()?;
            let sum = number::sum(&number, by).ok()?;
            text.splice(span, sum.to_string().into_bytes());
            return Some(());
        }
        Operation::Standard(_) | Operation::Merge { .. } => return None,
    };
    if !nests_within(value, MAX_DEPTH.checked_sub(path.count())?) {
        return None;
    }
    let span = span_of(text, path)?;
    text.splice(span, serde_json::to_vec(value).ok()?);
    Some(())
}

/// Where the value at a path lies in a text; `None` where it is not there, or not there once.
fn span_of(text: &[u8], path: &Pointer) -> Option<Range<usize>> {
    if path.is_root() {
        return None;
    }
    let mut scan = Scan { text, at: 0 };
    for token in path.tokens() {
        scan.at = match scan.peek()? {
            b'{' => scan.member(token.decoded().as_bytes())?,
            b'[' => scan.element(token.to_index().ok()?.for_len(usize::MAX).ok()?)?,
            _ => return None,
        };
    }
    scan.peek()?;
    let start = scan.at;
    scan.skip_value()?;
    Some(start..scan.at)
}

/// A place in a JSON text.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// Moves to the next byte that is not white space, and returns it.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes a string; returns what is between its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.eat(b'"')?;
        let start = self.at;
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)?;
            if self.text.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Some(start..self.at - 1);
            }
            self.at += 2;
        }
    }

    /// Passes a value.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return None,
                _ => {
                    let ends = |byte: &u8| {
                        matches!(byte, b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                    };
                    let rest = self.text.get(self.at..)?;
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Where the value of an object's member begins. Every name is looked at: of two members with
    /// one name the last one counts, and is left to the tree.
    fn member(&mut self, name: &[u8]) -> Option<usize> {
        let mut found = None;
        self.eat(b'{')?;
        loop {
            let member = self.string()?;
            let member = self.text.get(member)?;
            if member.contains(&b'\\') {
                return None;
            }
            let is_it = member == name;
            self.eat(b':')?;
            if is_it && found.replace(self.at).is_some() {
                return None;
            }
            self.skip_value()?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => return found,
                _ => return None,
            }
        }
    }

    /// Where an array's element begins.
    fn element(&mut self, index: usize) -> Option<usize> {
        self.eat(b'[')?;
        for _ in 0..index {
            self.skip_value()?;
            self.eat(b',')?;
        }
        Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn spliced(text: &str, patch: &Patch) -> Option<String> {
        patch.spliced(text.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn all_but_the_value_stays_as_it_was_written() {
        let text = r#" { "b" : [1.50, {"c":"}\"]" , "d":  null}], "a":7 } "#;
        for (patch, expected) in [
            (Patch::new().set("/a", "x"), text.replace('7', r#""x""#)),
            (Patch::new().incr("/a", -8), text.replace('7', "-1")),
            (Patch::new().replace("/b/1/d", json!({"e": 1})), text.replace("null", r#"{"e":1}"#)),
            (Patch::new().set("/b/0", 2), text.replace("1.50", "2")),
            (Patch::new().test("/b/0", 1.5).set("/b", 1).set("/b", 0), {
                text.replace(r#"[1.50, {"c":"}\"]" , "d":  null}]"#, "0")
            }),
        ] {
            assert_eq!(spliced(text, &patch), Some(expected), "{patch:?}");
        }
    }

    #[test]
    fn what_is_not_there_once_or_is_no_replacement_is_left_to_the_tree() {
        let text = r#"{"a":1,"b":[1,2],"c":"x","d":{"t":1,"t":2},"e\n":1}"#;
        for patch in [
            Patch::new(),
            Patch::new().set("", 1),
            Patch::new().set("/z", 1),
            Patch::new().set("/b/2", 1),
            Patch::new().set("/b/-", 1),
            Patch::new().set("/b/00", 1),
            Patch::new().set("/a/x", 1),
            Patch::new().incr("/c", 1),
            Patch::new().test("/a", 2).set("/a", 3),
            Patch::new().add("/a", 1),
            Patch::new().remove("/a"),
            Patch::merge(json!({"a": 1})),
            Patch::new().set("/a", 1).set("/a", 1).set("/a", 1).set("/a", 1).set("/a", 1),
            Patch::new().set("/a", f64::NAN),
        ] {
            assert_eq!(spliced(text, &patch), None, "{patch:?}");
        }
        let plain = text.replace(r#","e\n":1"#, "");
        assert!(spliced(&plain, &Patch::new().set("/a", 1)).is_some());
        assert_eq!(spliced(&plain, &Patch::new().set("/d/t", 1)), None, "two of one name");
        let inexact = r#"{"a":1,"b":123456789012345678901234567890}"#;
        assert_eq!(spliced(inexact, &Patch::new().set("/a", 1)), None, "a number is not kept");
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            (-1e3..1e3).prop_map(|float: f64| Value::from(float)),
            r#"[a"\\\]}{ ,:é]{0,4}"#.prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab\"~/]{1,2}", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        /// The same as by way of the tree, wherever it says anything.
        #[test]
        fn a_splice_means_what_the_tree_does(
            document in document(),
            value in document(),
            path in "(/([ab\"]|~0|~1){1,2}|/[0-3]){1,3}",
            pretty in any::<bool>(),
        ) {
            let written = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = written(&document).unwrap();
            for patch in [
                Patch::new().set(&path, &value),
                Patch::new().replace(&path, &value),
                Patch::new().incr(&path, 1),
                Patch::new().test(&path, &value).set(&path, 1),
            ] {
                if let Some(spliced) = patch.spliced(text.as_bytes()) {
                    let spliced: Value = serde_json::from_slice(&spliced).unwrap();
                    let applied = patch.apply_to_bytes(text.as_bytes()).unwrap();
                    let applied: Value = serde_json::from_slice(&applied).unwrap();
                    prop_assert_eq!(spliced, applied);
                }
            }
        }
    }
}
