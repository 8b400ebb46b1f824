//! The entries that a document has in an index.

use std::collections::BTreeSet;

use serde_json::Value;
use smallvec::SmallVec;

use super::encoding::{CUT_BYTES, Decoder, Encoder};
use super::index::{Field, Index};
use crate::values::Few;
use crate::values::short_bytes::ShortBytes;

/// The most entries that one item has in one index.
pub(crate) const MAX_ENTRIES: usize = 1_000;

/// The codes of a document's entries in an index: a set, in order. In the index each is followed by
/// the item's key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Codes(Few<ShortBytes>);

impl Codes {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(ShortBytes::as_slice)
    }

    pub(crate) fn contains(&self, code: &[u8]) -> bool {
        self.0.binary_search_by(|other| other.as_slice().cmp(code)).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts what was added in order, each once.
    fn settle(&mut self) {
        if self.0.len() > 1 {
            self.0.sort_unstable();
            self.0.dedup();
        }
    }
}

impl<'c> FromIterator<&'c [u8]> for Codes {
    fn from_iter<I: IntoIterator<Item = &'c [u8]>>(codes: I) -> Self {
        let mut set = Self(codes.into_iter().map(|code| ShortBytes::of([code])).collect());
        set.settle();
        set
    }
}

/// A document has more than [`MAX_ENTRIES`] different entries in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyEntries;

/// The codes of a document's entries in an index.
///
/// A document that lacks the first field has none. A later field that it lacks is less than every
/// value. Of a field with `*` there is one entry for each element that leads to a value.
pub(crate) fn codes(index: &Index, document: &Value) -> Result<Codes, TooManyEntries> {
    let mut found = Codes::default();
    visit(index, document, CUT_BYTES, &mut |code| {
        found.0.push(ShortBytes::of([code]));
        // Equal ones may be among them.
        if found.len() <= 2 * MAX_ENTRIES {
            return false;
        }
        found.settle();
        found.len() > MAX_ENTRIES
    });
    found.settle();
    if found.len() > MAX_ENTRIES { Err(TooManyEntries) } else { Ok(found) }
}

/// As [`codes`], for tests that compare them with the entries of an index.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn entries(
    index: &Index,
    document: &Value,
) -> Result<BTreeSet<Vec<u8>>, TooManyEntries> {
    codes(index, document).map(|codes| codes.iter().map(<[u8]>::to_vec).collect())
}

/// The codes of a document's entries that are cut to this one, whole.
pub(crate) fn whole_entries(index: &Index, document: &Value, cut: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    visit(index, document, usize::MAX, &mut |code| {
        if code.starts_with(cut) {
            found.insert(code.to_vec());
        }
        false
    });
    found
}

/// Shows the codes of a document's entries, cut to a length, until `visit` returns `true`; whether
/// it did.
fn visit(
    index: &Index,
    document: &Value,
    limit_bytes: usize,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) -> bool {
    let fields = index.fields();
    let Some(first) = fields.first() else { return false };
    let single: SmallVec<[Option<&Value>; 4]> =
        fields.iter().map(|field| field.path().first(document)).collect();
    if single.first().copied().flatten().is_none() {
        return false;
    }
    let each = fields.iter().position(|field| field.path().has_each());
    let several = each.and_then(|at| Some((at, fields.get(at)?, single.get(at)?.is_some())));
    let Some((at, field, true)) = several else {
        return visit(&code(fields, &single, None, limit_bytes));
    };
    debug_assert!(at > 0 || field == first);
    field
        .path()
        .any(document, &mut |value| visit(&code(fields, &single, Some((at, value)), limit_bytes)))
}

fn code(
    fields: &[Field],
    values: &[Option<&Value>],
    each: Option<(usize, &Value)>,
    limit_bytes: usize,
) -> Vec<u8> {
    let mut encoder = Encoder::cut_at(limit_bytes);
    for (at, (field, value)) in fields.iter().zip(values).enumerate() {
        let element = each.filter(|(each, _)| *each == at).map(|(_, element)| element);
        encoder.field(element.or(*value), field.is_descending());
    }
    encoder.finish()
}

/// Splits an entry of the index into its code and the item's key; `None` where the bytes are not an
/// entry.
pub(crate) fn split<'a>(index: &Index, entry: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut decoder = Decoder::new(entry.get(..CUT_BYTES).unwrap_or(entry));
    let whole = index.fields().iter().all(|field| decoder.skip(field.is_descending()).is_some());
    let len = if whole { entry.len().min(CUT_BYTES) - decoder.rest().len() } else { CUT_BYTES };
    entry.split_at_checked(len)
}

/// The part of a code that holds its first fields; all of it where it is cut within these. Entries
/// are in the order of it.
pub(crate) fn leading<'a>(index: &Index, code: &'a [u8], fields: usize) -> &'a [u8] {
    first_fields(index.fields().iter().take(fields).map(Field::is_descending), code)
}

/// The part of a code that holds one field for each of these, which tell whether it descends; all
/// of it where it is cut within them.
pub(super) fn first_fields(mut descending: impl Iterator<Item = bool>, code: &[u8]) -> &[u8] {
    let mut decoder = Decoder::new(code);
    let whole = descending.all(|descends| decoder.skip(descends).is_some());
    let len = if whole { code.len() - decoder.rest().len() } else { code.len() };
    code.get(..len).unwrap_or(code)
}
