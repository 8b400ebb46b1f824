//! How the crate makes its errors.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use crate::values::damage::DamagedItem;
use crate::values::key::ItemKey;

impl Error {
    pub(crate) fn absent(item: &ItemKey) -> Self {
        Self::NotFound { collection: item.collection().to_owned(), key: item.key() }
    }

    /// Names the item in an error of a codec or of the journal, which do not know it.
    pub(crate) fn with_item(self, collection: &str, key: &[u8]) -> Self {
        match self {
            Self::Codec(error) => Self::Codec(Box::new(error.with_item(collection, key))),
            Self::Corrupt { file, offset, reason, item: None, stepped_over } => {
                let item = Some(Box::new(DamagedItem::new(collection, key)));
                Self::Corrupt { file, offset, reason, item, stepped_over }
            }
            other => other,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(MovedAway { path }) => Self::Moved { path: path.clone() },
            None => Self::Io { operation, path: path.to_owned(), source },
        }
    }

    pub(crate) fn corrupt(file: &Path, offset: u64, reason: &'static str) -> Self {
        let file = file.to_owned();
        Self::Corrupt { file, offset, reason, item: None, stepped_over: false }
    }

    /// Notes that an open comes past the damage if the index is whole.
    pub(crate) fn stepped_over(mut self) -> Self {
        if let Self::Corrupt { stepped_over, .. } = &mut self {
            *stepped_over = true;
        }
        self
    }

    /// Whether there was no space on the disk.
    pub(crate) fn is_full_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// What a disk says, inside an [`io::Error`], of a call by a path that does not lead to the locked
/// directory any more; it becomes [`Error::Moved`].
#[derive(Debug, thiserror::Error)]
#[error("{path:?} does not lead to the directory that was locked")]
pub(crate) struct MovedAway {
    pub(crate) path: PathBuf,
}
