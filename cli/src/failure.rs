//! Why a command fails, and the exit code that says so.

use std::fmt;
use std::io;
use std::process::ExitCode;

use ifmatch::{Error, ErrorKind};

use crate::told::Told;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller's copy is current.
    NotModified,
    /// The store refused or failed.
    Store(Error),
    /// The command cannot be carried out as it was given.
    Usage(String),
    /// The input is not what the command reads.
    Input(String),
    /// The system refused a call.
    System(String),
    /// There is no store, document or version of that name.
    NotFound(String),
    /// The reader of the output has closed it.
    OutputClosed,
}

/// The exit codes, as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  any other failure
  2  the command line is not valid
  3  not modified: the version that If-None-Match names is current
  4  not found: no store, no document, no such version
  5  precondition failed, or the document exists already, or another one has its unique value, or
     the folder holds something else
  6  another program has the store open, or moved it
  7  the store is damaged, or a newer version wrote it
  8  the store refuses the input: not JSON, a patch that does not apply, a limit
  9  the disk is full or failed";

impl Failure {
    pub(crate) fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::System(format!("{what}: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::OutputClosed => 0,
            Self::Usage(_) => 2,
            Self::NotModified => 3,
            Self::NotFound(_) => 4,
            Self::Input(_) => 8,
            Self::System(_) => 9,
            Self::Store(error) => code_of(error),
        })
    }

    /// The failure as one word for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::NotModified => "not_modified",
            Self::Store(error) => error.kind().as_str(),
            Self::Usage(_) => "usage",
            Self::Input(_) => "input",
            Self::System(_) => "io",
            Self::NotFound(_) => "not_found",
            Self::OutputClosed => "output_closed",
        }
    }
}

fn code_of(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::NotFound => 4,
        ErrorKind::AlreadyExists
        | ErrorKind::PreconditionFailed
        | ErrorKind::NotUnique
        | ErrorKind::Contended => 5,
        ErrorKind::Locked | ErrorKind::Moved => 6,
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::IndexUnavailable => 7,
        ErrorKind::InvalidPrecondition
        | ErrorKind::Patch
        | ErrorKind::Codec
        | ErrorKind::CodecMismatch
        | ErrorKind::Filter
        | ErrorKind::Index
        | ErrorKind::InvalidKey
        | ErrorKind::ScanTooLong
        | ErrorKind::TooLarge => 8,
        ErrorKind::Io if is(error, io::ErrorKind::InvalidInput) => 2,
        ErrorKind::Io if is(error, io::ErrorKind::NotFound) => 4,
        ErrorKind::Io if is(error, io::ErrorKind::AlreadyExists) => 5,
        ErrorKind::Io
        | ErrorKind::StorageFull
        | ErrorKind::Poisoned
        | ErrorKind::CommitUnknown
        | ErrorKind::TooManySegments => 9,
        _ => 1,
    }
}

/// Whether the system refused a call for this reason.
pub(crate) fn is(error: &Error, kind: io::ErrorKind) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == kind)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotModified => f.write_str("not modified"),
            Self::Store(error) => Told(error).fmt(f),
            Self::Usage(text) | Self::Input(text) | Self::System(text) | Self::NotFound(text) => {
                f.write_str(text)
            }
            Self::OutputClosed => f.write_str("the reader of the output has closed it"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Errors of writing the output; every other call names its file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::system("writing the output failed", &error)
        }
    }
}
