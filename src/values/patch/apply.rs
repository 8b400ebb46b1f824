//! Applying a patch to a document.

use std::io;

use json_patch::jsonptr::{Pointer, Token};
use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::{Number, Value};

use super::number::{self, NoSum, Unreadable};
use super::operation::Operation;
use super::{Patch, PatchError};
use crate::values::checked_json::MAX_DEPTH;
use crate::values::limits::MAX_VALUE_BYTES;

/// How many bytes are copied before the document is measured again. Small compared to the limit,
/// and large enough that measuring costs no more than some four times the copying.
const COPIED_UNMEASURED: usize = MAX_VALUE_BYTES / 4;

impl Patch {
    /// Applies the patch to a document as it is stored, and returns the bytes to store. The stored
    /// bytes are as they were, whatever happens. One parse, one write, no more.
    pub(crate) fn apply_to_bytes(&self, stored_json: &[u8]) -> Result<Vec<u8>, PatchError> {
        let document = number::parse(stored_json).map_err(|unreadable| match unreadable {
            Unreadable::NotJson(error) => PatchError::InvalidDocument { reason: error.to_string() },
            Unreadable::Inexact(number) => PatchError::InexactNumber { number },
        })?;
        let patched = self.apply(document)?;
        let mut bytes = Bounded(Vec::with_capacity(stored_json.len().saturating_add(64)));
        // The only write that can fail is one over the limit: a `Value` has string keys and
        // finite numbers alone.
        serde_json::to_writer(&mut bytes, &patched)
            .map_err(|_| PatchError::TooLarge { limit: MAX_VALUE_BYTES })?;
        Ok(bytes.0)
    }

    /// Applies the patch to a document that nests no deeper than [`MAX_DEPTH`]; the result does
    /// neither. The document is consumed, so no half-patched one can be seen.
    pub(super) fn apply(&self, mut document: Value) -> Result<Value, PatchError> {
        if let Some(fault) = self.fault() {
            return Err(fault.clone());
        }
        let mut copied = 0;
        for (index, operation) in self.operations.iter().flatten().enumerate() {
            Step { index, document: &mut document, copied: &mut copied }.run(operation)?;
        }
        Ok(document)
    }
}

/// One operation about to be applied.
struct Step<'a> {
    index: usize,
    document: &'a mut Value,
    /// Estimated bytes copied since the document was last measured.
    copied: &'a mut usize,
}

impl Step<'_> {
    fn run(&mut self, operation: &Operation) -> Result<(), PatchError> {
        match operation {
            Operation::Standard(operation) => self.standard(operation),
            Operation::Set { path, value } => self.set(path, value),
            Operation::Incr { path, by } => self.incr(path, by),
            Operation::Merge { path, value } => {
                self.check_depth(path, value)?;
                let target = self.document.pointer_mut(path.as_str());
                let target = target.ok_or_else(|| not_found(self.index, path))?;
                json_patch::merge(target, value);
                Ok(())
            }
        }
    }

    fn standard(&mut self, operation: &PatchOperation) -> Result<(), PatchError> {
        match operation {
            PatchOperation::Test(test) => return self.test(&test.path, &test.value),
            PatchOperation::Add(add) => self.check_depth(&add.path, &add.value)?,
            PatchOperation::Replace(replace) => self.check_depth(&replace.path, &replace.value)?,
            PatchOperation::Remove(remove) if remove.path.is_root() => {
                return Err(PatchError::RemovesDocument { index: self.index });
            }
            PatchOperation::Remove(_) => {}
            PatchOperation::Move(step) => {
                self.check_depth(&step.path, self.present(&step.from)?)?;
                if step.from == step.path {
                    return Ok(());
                }
            }
            PatchOperation::Copy(step) => {
                let source = self.present(&step.from)?;
                self.check_depth(&step.path, source)?;
                self.check_size(min_encoded_bytes(source))?;
            }
        }
        let (index, path) = (self.index, operation.path());
        let operation = std::slice::from_ref(operation);
        // One operation needs no undoing. That `from` is there is known by now, so all else that
        // can fail is `path`.
        json_patch::patch_unsafe(self.document, operation).map_err(|error| match error.kind {
            PatchErrorKind::CannotMoveInsideItself => {
                PatchError::MovedIntoItself { index, path: path.to_string() }
            }
            _ => not_found(index, path),
        })
    }

    /// Not left to `json_patch`, which compares with `Value`'s own equality: to it 1 is not 1.0.
    fn test(&self, path: &Pointer, expected: &Value) -> Result<(), PatchError> {
        match self.document.pointer(path.as_str()) {
            Some(found) if number::equal(found, expected) => Ok(()),
            _ => Err(PatchError::TestFailed { index: self.index, path: path.to_string() }),
        }
    }

    fn set(&mut self, path: &Pointer, value: &Value) -> Result<(), PatchError> {
        self.check_depth(path, value)?;
        let index = self.index;
        let Some((parent, last)) = path.split_back() else {
            *self.document = value.clone();
            return Ok(());
        };
        match self.document.pointer_mut(parent.as_str()) {
            Some(Value::Object(members)) => {
                members.insert(last.decoded().into_owned(), value.clone());
            }
            Some(Value::Array(elements)) if last.is_next() => elements.push(value.clone()),
            Some(Value::Array(elements)) => {
                let element = element_mut(elements, &last).ok_or_else(|| not_found(index, path))?;
                *element = value.clone();
            }
            _ => return Err(not_found(index, path)),
        }
        Ok(())
    }

    fn incr(&mut self, path: &Pointer, by: &Number) -> Result<(), PatchError> {
        let index = self.index;
        let target = match path.split_back() {
            None => &mut *self.document,
            Some((parent, last)) => match self.document.pointer_mut(parent.as_str()) {
                Some(Value::Object(members)) => {
                    members.entry(last.decoded()).or_insert_with(|| Value::from(0))
                }
                Some(Value::Array(elements)) => {
                    element_mut(elements, &last).ok_or_else(|| not_found(index, path))?
                }
                _ => return Err(not_found(index, path)),
            },
        };
        let Value::Number(number) = target else {
            return Err(PatchError::NotANumber { index, path: path.to_string() });
        };
        *number = number::sum(number, by).map_err(|error| match error {
            NoSum::Overflow => PatchError::Overflow { index, path: path.to_string() },
            NoSum::NotFinite => PatchError::NotFinite { index, path: path.to_string() },
        })?;
        Ok(())
    }

    fn present(&self, path: &Pointer) -> Result<&Value, PatchError> {
        self.document.pointer(path.as_str()).ok_or_else(|| not_found(self.index, path))
    }

    /// Refuses to put a value where the document would become too deep. With every operation
    /// checked, all recursion over the document is bounded too: reading, copying, dropping.
    fn check_depth(&self, path: &Pointer, value: &Value) -> Result<(), PatchError> {
        match MAX_DEPTH.checked_sub(path.count()) {
            Some(levels) if nests_within(value, levels) => Ok(()),
            _ => Err(PatchError::TooDeep { index: self.index, path: path.to_string() }),
        }
    }

    /// Refuses a copy that makes the document too large. All else that a document grows by is in
    /// memory already, as part of the patch; copies alone can double it again and again.
    fn check_size(&mut self, bytes: usize) -> Result<(), PatchError> {
        *self.copied = self.copied.saturating_add(bytes);
        if *self.copied > COPIED_UNMEASURED {
            if min_encoded_bytes(self.document).saturating_add(bytes) > MAX_VALUE_BYTES {
                return Err(PatchError::TooLarge { limit: MAX_VALUE_BYTES });
            }
            *self.copied = bytes;
        }
        Ok(())
    }
}

fn not_found(index: usize, path: &Pointer) -> PatchError {
    PatchError::PathNotFound { index, path: path.to_string() }
}

fn element_mut<'a>(elements: &'a mut [Value], token: &Token<'_>) -> Option<&'a mut Value> {
    let at = token.to_index().ok()?.for_len(elements.len()).ok()?;
    elements.get_mut(at)
}

/// Whether a value nests at most this number of levels; looks no deeper.
pub(super) fn nests_within(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return !value.is_array() && !value.is_object();
    };
    match value {
        Value::Array(elements) => elements.iter().all(|element| nests_within(element, inner)),
        Value::Object(members) => members.values().all(|member| nests_within(member, inner)),
        _ => true,
    }
}

/// What a value takes as JSON at the least: short of the truth by long numbers and escapes only.
fn min_encoded_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 1,
        Value::String(text) => text.len() + 2,
        Value::Array(elements) => {
            elements.iter().map(|element| min_encoded_bytes(element) + 1).sum::<usize>() + 1
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, _)| key.len() + 4 + min_encoded_bytes(value);
            members.iter().map(member).sum::<usize>() + 1
        }
    }
}

/// A buffer that refuses to grow over the size that a stored value may have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_VALUE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
