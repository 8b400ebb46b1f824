//! The platform's own calls, and nothing else: positioned reads and writes, making names durable,
//! and one name for a full disk.
//!
//! What needs no code of ours, because `std` does it: `File::sync_data` and `sync_all` are
//! `fcntl(F_FULLFSYNC)` on macOS, which also empties the drive's cache (plain `fsync` there does
//! not), and `FlushFileBuffers` on Windows; `File::open` on Windows shares reading, writing and
//! deleting. `docs/design.md` compares the platforms.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What distinguishes a file from every other one, as long as it is open: volume and number.
pub(super) type FileIdentity = (u64, u64);

/// How a file of a store is opened: a link in its place is refused, and one that is made can be
/// read and written by its owner alone.
#[cfg(unix)]
pub(super) fn own_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// How a file of a store is opened. Windows has no flag that only refuses links, so the kind of the
/// file is checked before. A new file inherits the folder's permissions.
#[cfg(windows)]
pub(super) fn own_file() -> OpenOptions {
    File::options()
}

/// Makes a directory and its missing parents, which on Unix only their owner can enter.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[cfg(unix)]
pub(super) fn identity_of(file: &File) -> io::Result<FileIdentity> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    Ok((found.dev(), found.ino()))
}

/// The identity of what has this name, if anything does; a link is not followed.
#[cfg(unix)]
pub(super) fn identity_at(path: &Path) -> io::Result<Option<FileIdentity>> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    none_if_missing(found)
}

#[cfg(windows)]
pub(super) fn identity_of(file: &File) -> io::Result<FileIdentity> {
    let found = winapi_util::file::information(file)?;
    Ok((found.volume_serial_number(), found.file_index()))
}

/// The identity of what has this name, if anything does.
#[cfg(windows)]
pub(super) fn identity_at(path: &Path) -> io::Result<Option<FileIdentity>> {
    none_if_missing(File::open(path).and_then(|file| identity_of(&file)))
}

/// A resolved path as the user would write it.
#[cfg(unix)]
pub(super) fn plain(path: PathBuf) -> PathBuf {
    path
}

/// A resolved path as the user would write it: `C:\x` and not `\\?\C:\x`, where both mean the same.
/// Names below it may exceed the 260 characters that Windows accepts: std adds the prefix itself.
#[cfg(windows)]
pub(super) fn plain(path: PathBuf) -> PathBuf {
    dunce::simplified(&path).to_owned()
}

fn none_if_missing(found: io::Result<FileIdentity>) -> io::Result<Option<FileIdentity>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match found {
        Ok(identity) => Ok(Some(identity)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(unix)]
pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, buf, offset)
}

/// Reads with an explicit offset. `seek_read` also moves the handle's cursor, which nothing here
/// uses. So any number of threads may share the handle.
#[cfg(windows)]
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

/// Writes with an explicit offset; the cursor is moved and unused, as in [`read_at`].
#[cfg(windows)]
pub(super) fn write_at(file: &File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, buf, offset)
}

#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    // A relative name of one part has the empty path as its parent.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Flushes a directory, where its file system can; `docs/design.md` says what holds where it
/// cannot.
#[cfg(windows)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    /// `FILE_FLAG_BACKUP_SEMANTICS`, without which a directory is not opened.
    const DIRECTORIES_TOO: u32 = 0x0200_0000;
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    flush(File::options().write(true).custom_flags(DIRECTORIES_TOO), dir)
}

#[cfg(unix)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Renames, and flushes the renamed file and with it its name: the directory may be one that cannot
/// be flushed.
#[cfg(windows)]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    flush(File::options().write(true), to)
}

/// Opens something and flushes it, unless the system does not flush what is of this kind, or others
/// do not let us open it for writing.
#[cfg(windows)]
fn flush(options: &OpenOptions, path: &Path) -> io::Result<()> {
    /// `ERROR_INVALID_FUNCTION`, `ERROR_ACCESS_DENIED`, `ERROR_INVALID_HANDLE`,
    /// `ERROR_WRITE_PROTECT`, `ERROR_SHARING_VIOLATION`, `ERROR_NOT_SUPPORTED` and
    /// `ERROR_INVALID_PARAMETER`. A device that fails has other codes.
    const NOT_FLUSHED: [i32; 7] = [1, 5, 6, 19, 32, 50, 87];
    match options.open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.raw_os_error().is_some_and(|code| NOT_FLUSHED.contains(&code)) => {
            Ok(())
        }
        flushed => flushed,
    }
}

/// Reserves space in a file, which reads as zeros; false where the system or the file system has no
/// such call. `fallocate` on Linux.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reserves nothing: macOS' `F_PREALLOCATE` and Windows' allocation size change no length, and
/// zeros do the same on every file system.
#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(_file: &File, _offset: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// Turns every error for a lack of space into the kind `StorageFull`, with the system's error as
/// its source: a quota that is used up, and Windows' second code for a full disk.
pub(super) fn name_full_disk(error: io::Error) -> io::Error {
    #[cfg(windows)]
    const HANDLE_DISK_FULL: Option<i32> = Some(39);
    #[cfg(not(windows))]
    const HANDLE_DISK_FULL: Option<i32> = None;

    let second_code = HANDLE_DISK_FULL.is_some() && error.raw_os_error() == HANDLE_DISK_FULL;
    if error.kind() == io::ErrorKind::QuotaExceeded || second_code {
        return io::Error::new(io::ErrorKind::StorageFull, error);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_quota_is_a_full_disk() {
        let error = name_full_disk(io::ErrorKind::QuotaExceeded.into());
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn other_errors_keep_their_code() {
        let error = name_full_disk(io::Error::from_raw_os_error(5));
        assert_eq!(error.raw_os_error(), Some(5));
    }
}
