//! The order in which a find returns its items.

use std::fmt;

use serde_json::Value;

use super::encoding::{CUT_BYTES, field_code};
use super::pointer::Pointer;

/// The most paths that a find sorts by: as many as an index has fields.
pub(crate) const MAX_SORT_FIELDS: usize = super::index::MAX_FIELDS;

/// By the values at some paths, the first path first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sort {
    first: SortField,
    further: Vec<SortField>,
}

/// By the values at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortField {
    path: Pointer,
    descending: bool,
}

impl SortField {
    /// # Errors
    /// Which rule the path breaks.
    pub(crate) fn new(path: &str, descending: bool) -> Result<Self, &'static str> {
        Ok(Self { path: Pointer::parse(path)?, descending })
    }

    pub(crate) fn path(&self) -> &Pointer {
        &self.path
    }

    pub(crate) fn is_descending(&self) -> bool {
        self.descending
    }

    /// The code of the value that comes first, `None` where a document lacks the path.
    fn code(&self, document: &Value) -> Option<Vec<u8>> {
        let mut least: Option<Vec<u8>> = None;
        self.path.any(document, &mut |value| {
            let code = field_code(Some(value), self.descending);
            if least.as_ref().is_none_or(|least| code < *least) {
                least = Some(code);
            }
            false
        });
        least
    }
}

impl Sort {
    pub(crate) fn by(first: SortField) -> Self {
        Self { first, further: Vec::new() }
    }

    /// The order in which what is equal so far is sorted by another field.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(crate) fn then(mut self, field: SortField) -> Result<Self, &'static str> {
        if self.further.len() + 1 == MAX_SORT_FIELDS {
            return Err("a find sorts by at most 8 paths");
        }
        self.further.push(field);
        Ok(self)
    }

    pub(crate) fn first(&self) -> &SortField {
        &self.first
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &SortField> + Clone {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// What a document is sorted by: the codes of its values one after the other, `None` where it
    /// lacks the first path. A further one that it lacks is less than every value. Codes are in the
    /// order of the sort, and cut as those of an index are.
    pub(crate) fn code(&self, document: &Value) -> Option<Vec<u8>> {
        let mut code = self.first.code(document)?;
        for field in &self.further {
            let missing = || field_code(None, field.descending);
            code.extend(field.code(document).unwrap_or_else(missing));
        }
        code.truncate(CUT_BYTES);
        Some(code)
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, SortField { path, descending }) in self.fields().enumerate() {
            let (comma, minus) =
                (if at > 0 { "," } else { "" }, if *descending { "-" } else { "" });
            write!(f, "{comma}{minus}{path}")?;
        }
        Ok(())
    }
}
