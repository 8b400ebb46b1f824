//! The names of a store's files and folders, below the store's directory.

use std::path::{Path, PathBuf};

/// The file whose lock keeps every other opener out.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// The one authority on which files a store consists of.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST";
/// A manifest that is being made.
pub(crate) const UNFINISHED_MANIFEST_FILE: &str = "MANIFEST.new";
/// How far the journal is known to be synced.
pub(crate) const WATERMARK_FILE: &str = "WATERMARK";
/// Marks a backup or restore that has not returned.
pub(crate) const UNFINISHED_FILE: &str = "UNFINISHED";
/// Space that is set aside for what frees space on a full disk.
pub(crate) const RESERVE_FILE: &str = "RESERVE";
/// The folder of the segments.
pub(crate) const JOURNAL_FOLDER: &str = "journal";
/// Where a repair moves the segments that it leaves out.
pub(crate) const DAMAGED_FOLDER: &str = "damaged";
/// What an orderly close knows of the index: all leaves, and the checksums of their pairs in the
/// backing store.
pub(crate) const INDEX_FILE: &str = "INDEX";
/// What the name of an index's folder begins with; its generation follows.
pub(crate) const INDEX_FOLDER_PREFIX: &str = "index-";

/// The greatest number of a segment; it leaves a store of full segments room for 2⁵⁷ bytes.
pub(crate) const MAX_SEGMENT_NUMBER: u32 = 1 << 31;

/// The path of a segment, `journal/0000000001.seg` below the store's directory.
pub(crate) fn segment_path(store: &Path, number: u32) -> PathBuf {
    store.join(JOURNAL_FOLDER).join(format!("{number:010}.seg"))
}

/// The number in the name of a segment's file.
pub(crate) fn segment_number(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_suffix(".seg").filter(|digits| digits.len() == 10)?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    number.filter(|number| *number <= MAX_SEGMENT_NUMBER)
}

/// The path of MANIFEST.
pub(crate) fn manifest_path(store: &Path) -> PathBuf {
    store.join(MANIFEST_FILE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn file_names_and_numbers_are_inverse() {
        for number in [1, 42, MAX_SEGMENT_NUMBER] {
            let path = segment_path(Path::new("s"), number);
            assert_eq!(segment_number(path.file_name().unwrap().to_str().unwrap()), Some(number));
        }
        for name in [
            "4294967295.seg",
            "1.seg",
            "0000000001.sog",
            "00000000+1.seg",
            "9999999999.seg",
            "LOCK",
        ] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
