//! Making a directory's own name durable.

use std::io;
use std::path::Path;

use super::Disk;
use crate::values::error::{Error, Result};

/// Makes the names of the store's directory and of those above it durable. Not only of those that
/// this open made: an earlier one may have been killed between making them and syncing them.
pub(crate) fn sync_ancestors(disk: &dyn Disk, path: &Path) -> Result<()> {
    for ancestor in path.ancestors().skip(1) {
        match disk.sync_dir(ancestor) {
            // We did not make a directory that we may not read. Where the file system cannot sync
            // directories, or is read-only, nothing more can be done.
            Err(error) if cannot_be_synced(error.kind()) => {}
            synced => synced.map_err(Error::io("syncing", ancestor))?,
        }
    }
    Ok(())
}

fn cannot_be_synced(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}
