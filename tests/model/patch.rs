//! What a patch makes of a document: a second, small statement of it for documents of numbers.

use serde_json::{Value, json};

use super::ops::PatchStep;
use ifmatch::{Patch, PatchError};

/// Why a patch is not applied: the variant's name and the operation's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PatchFailure {
    pub(crate) kind: &'static str,
    pub(crate) index: usize,
}

/// The patch as a caller writes it.
pub(crate) fn build(steps: &[PatchStep]) -> Patch {
    steps.iter().fold(Patch::new(), |patch, step| match step {
        PatchStep::Add(path, n) => patch.add(path, n),
        PatchStep::Remove(path) => patch.remove(path),
        PatchStep::Replace(path, n) => patch.replace(path, n),
        PatchStep::Test(path, n) => patch.test(path, n),
        PatchStep::Set(path, n) => patch.set(path, n),
        PatchStep::Incr(path, n) => patch.incr(path, n),
        PatchStep::Merge(members) => {
            // A merge has no builder that adds to others: it goes by way of the patch's JSON form.
            let mut operations = serde_json::to_value(&patch).unwrap();
            let members = members.iter().map(|(name, n)| ((*name).to_owned(), json!(n)));
            let value: Value = members.collect::<serde_json::Map<_, _>>().into();
            let merge = json!({"op": "merge", "path": "", "value": value});
            operations.as_array_mut().unwrap().push(merge);
            serde_json::from_value(operations).unwrap()
        }
    })
}

/// Applies the steps in order, or says which one fails and how.
pub(crate) fn apply(steps: &[PatchStep], document: &Value) -> Result<Value, PatchFailure> {
    let mut document = document.clone();
    for (index, step) in steps.iter().enumerate() {
        apply_one(step, &mut document).map_err(|kind| PatchFailure { kind, index })?;
    }
    Ok(document)
}

/// Where a path leads to in a document of at most two levels.
enum Spot<'a> {
    Root(&'a mut Value),
    Member(&'a mut serde_json::Map<String, Value>, &'a str),
    /// `None` as index is the place after the last element.
    Element(&'a mut Vec<Value>, Option<usize>),
}

fn spot<'a>(document: &'a mut Value, path: &'a str) -> Option<Spot<'a>> {
    let Some((parent, last)) = path.rsplit_once('/') else { return Some(Spot::Root(document)) };
    let parent = match parent.strip_prefix('/') {
        None => document,
        Some(name) => document.as_object_mut()?.get_mut(name)?,
    };
    match parent {
        Value::Object(members) => Some(Spot::Member(members, last)),
        Value::Array(elements) => {
            let at = if last == "-" { None } else { Some(last.parse().ok()?) };
            Some(Spot::Element(elements, at))
        }
        _ => None,
    }
}

impl Spot<'_> {
    fn present(&self) -> Option<&Value> {
        match self {
            Spot::Root(value) => Some(value),
            Spot::Member(members, name) => members.get(*name),
            Spot::Element(elements, index) => elements.get((*index)?),
        }
    }

    /// Puts a value here; `insert` shifts the elements of an array, otherwise one is overwritten.
    fn put(self, value: Value, insert: bool) -> Result<(), &'static str> {
        match self {
            Spot::Root(root) => *root = value,
            Spot::Member(members, name) => drop(members.insert(name.to_owned(), value)),
            Spot::Element(elements, None) => elements.push(value),
            Spot::Element(elements, Some(at)) if insert && at <= elements.len() => {
                elements.insert(at, value);
            }
            Spot::Element(elements, Some(at)) if !insert && at < elements.len() => {
                elements[at] = value;
            }
            Spot::Element(..) => return Err("PathNotFound"),
        }
        Ok(())
    }

    fn remove(self) -> Result<(), &'static str> {
        if self.present().is_none() {
            return Err("PathNotFound");
        }
        match self {
            Spot::Root(_) => return Err("RemovesDocument"),
            Spot::Member(members, name) => drop(members.remove(name)),
            Spot::Element(elements, at) => drop(elements.remove(at.unwrap())),
        }
        Ok(())
    }
}

fn apply_one(step: &PatchStep, document: &mut Value) -> Result<(), &'static str> {
    let (path, number) = match step {
        PatchStep::Merge(members) => return merge(members, document),
        PatchStep::Remove(path) => (*path, 0),
        PatchStep::Add(path, n)
        | PatchStep::Replace(path, n)
        | PatchStep::Test(path, n)
        | PatchStep::Set(path, n)
        | PatchStep::Incr(path, n) => (*path, *n),
    };
    let spot = match spot(document, path) {
        Some(spot) => spot,
        None if matches!(step, PatchStep::Test(..)) => return Err("TestFailed"),
        None => return Err("PathNotFound"),
    };
    match step {
        PatchStep::Add(..) => spot.put(json!(number), true),
        PatchStep::Set(..) => spot.put(json!(number), false),
        PatchStep::Remove(_) => spot.remove(),
        PatchStep::Replace(..) if spot.present().is_none() => Err("PathNotFound"),
        PatchStep::Replace(..) => spot.put(json!(number), false),
        PatchStep::Test(..) if spot.present() == Some(&json!(number)) => Ok(()),
        PatchStep::Test(..) => Err("TestFailed"),
        _ => {
            let before = match (spot.present(), &spot) {
                (Some(value), _) => integer(value).ok_or("NotANumber")?,
                (None, Spot::Member(..)) => 0,
                (None, _) => return Err("PathNotFound"),
            };
            let sum = before + i128::from(number);
            let sum = i64::try_from(sum).map(|n| json!(n)).or(u64::try_from(sum).map(|n| json!(n)));
            spot.put(sum.map_err(|_| "Overflow")?, false)
        }
    }
}

fn merge(
    members: &[(&'static str, Option<i64>)],
    document: &mut Value,
) -> Result<(), &'static str> {
    if !document.is_object() {
        *document = json!({});
    }
    // A JSON object has each name once: the last one counts.
    let members: std::collections::BTreeMap<_, _> = members.iter().copied().collect();
    for (name, number) in members {
        let object = document.as_object_mut().unwrap();
        match number {
            Some(number) => drop(object.insert(name.to_owned(), json!(number))),
            None => drop(object.remove(name)),
        }
    }
    Ok(())
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))
}

/// Whether a document still is what the collection's type reads: numbers of 64 signed bits in `n`,
/// in every element of `list` and in every further member.
pub(crate) fn is_document(value: &Value) -> bool {
    let Some(members) = value.as_object() else { return false };
    let fits = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("list", Value::Array(elements)) => elements.iter().all(Value::is_i64),
        ("list", _) => false,
        _ => value.is_i64(),
    };
    members.contains_key("n") && members.contains_key("list") && members.iter().all(fits)
}

/// The name and index of the store's own error.
pub(crate) fn failure(error: &PatchError) -> Option<PatchFailure> {
    let kind = match error {
        PatchError::TestFailed { .. } => "TestFailed",
        PatchError::PathNotFound { .. } => "PathNotFound",
        PatchError::RemovesDocument { .. } => "RemovesDocument",
        PatchError::NotANumber { .. } => "NotANumber",
        PatchError::Overflow { .. } => "Overflow",
        _ => return None,
    };
    Some(PatchFailure { kind, index: error.index()? })
}
