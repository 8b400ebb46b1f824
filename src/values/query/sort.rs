//! The order in which a find gives its items.

use std::fmt;

use serde_json::Value;

use super::encoding::Encoder;
use super::pointer::Pointer;

/// By the values at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sort {
    path: Pointer,
    descending: bool,
}

impl Sort {
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

    /// What a document is sorted by: the code of the value that comes first, `None` where it lacks
    /// the path. Codes are in the order of the sort, and cut as those of an index are.
    pub(crate) fn code(&self, document: &Value) -> Option<Vec<u8>> {
        let mut least: Option<Vec<u8>> = None;
        self.path.any(document, &mut |value| {
            let mut encoder = Encoder::default();
            encoder.field(Some(value), self.descending);
            let code = encoder.finish();
            if least.as_ref().is_none_or(|least| code < *least) {
                least = Some(code);
            }
            false
        });
        least
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.path)
    }
}
