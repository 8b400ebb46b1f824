//! The command line.

mod examples;
mod shared;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{Args, Parser, Subcommand, ValueHint};
use jiff::SignedDuration;

pub(crate) use self::shared::{Condition, Document, Expires, Input, Keys, Policy, Whole};
use crate::failure::EXIT_CODES;

/// Look into an ifmatch store, and change it under If-Match.
///
/// A store is a folder that one program has open at a time. While another has it open, every
/// command but `doctor` fails with exit code 6. It does no harm to interrupt a command.
#[derive(Debug, Parser)]
#[command(name = "ifmatch", version, styles = Styles::styled(), max_term_width = 100)]
#[command(after_help = examples::ALL, after_long_help = format!("{}\n{EXIT_CODES}", examples::ALL))]
pub(crate) struct Cli {
    /// Print results and errors as lines of JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print a document
    #[command(after_help = examples::GET)]
    Get(Get),
    /// Write a document, whether it exists or not; prints the new tag
    #[command(after_help = examples::PUT)]
    Put(Put),
    /// Write a document that does not exist yet; prints its tag
    #[command(after_help = examples::CREATE)]
    Create(Create),
    /// Change parts of a JSON document; prints the new tag
    #[command(after_help = examples::PATCH)]
    Patch(PatchArgs),
    /// Remove a document; prints the removal's tag
    #[command(after_help = examples::DELETE)]
    Delete(Delete),
    /// Remove all documents of a collection
    #[command(after_help = examples::CLEAR)]
    Clear(Clear),
    /// Remove a collection: its documents, its codec and its default time to live
    #[command(after_help = examples::DROP)]
    Drop(Clear),
    /// List the collections, or the keys of one
    #[command(after_help = examples::LS)]
    Ls(Ls),
    /// Print the documents of a collection, one a line
    #[command(after_help = examples::CAT)]
    Cat(Cat),
    /// Find documents by what is in them
    #[command(after_help = examples::FIND)]
    Find(FindArgs),
    /// List a collection's indexes, add one or drop one
    #[command(after_help = examples::INDEX)]
    Index(IndexArgs),
    /// List the kept versions of a document, the newest first
    #[command(after_help = examples::HISTORY)]
    History(History),
    /// List what has changed, in order
    #[command(after_help = examples::CHANGES)]
    Changes(Changes),
    /// Print figures about a store
    #[command(after_help = examples::STATS)]
    Stats(Whole),
    /// Read everything and check it: checksums, tags, indexes and unique values
    #[command(after_help = examples::VERIFY)]
    Verify(Whole),
    /// Keep what is whole of a damaged store
    #[command(after_help = examples::REPAIR)]
    Repair(Repair),
    /// Reclaim the space of superseded versions
    #[command(after_help = examples::COMPACT)]
    Compact(Whole),
    /// Copy a store to a folder that is missing or empty
    #[command(after_help = examples::BACKUP)]
    Backup(Copy),
    /// Make a store of a backup
    #[command(after_help = examples::RESTORE)]
    Restore(Restore),
    /// Write the documents of a file in JSON Lines
    #[command(after_help = examples::IMPORT)]
    Import(Import),
    /// Print documents in JSON Lines
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Say what a folder is, whether it is whole, and what an open would do; changes nothing
    #[command(after_help = examples::DOCTOR)]
    Doctor(Whole),
    /// Browse a store in the terminal
    #[cfg(feature = "browse")]
    #[command(after_help = examples::BROWSE)]
    Browse(Browse),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) document: Document,
    #[command(flatten)]
    pub(crate) condition: Condition,
    /// Print the version before the document, as HTTP headers
    #[arg(short, long, conflicts_with_all = ["etag", "raw"])]
    pub(crate) include: bool,
    /// Print the tag alone
    #[arg(long, conflicts_with = "raw")]
    pub(crate) etag: bool,
    /// Print the bytes as they are stored
    #[arg(long)]
    pub(crate) raw: bool,
    /// Print the kept version with this tag
    #[arg(long, value_name = "TAG", conflicts_with_all = ["if_match", "if_none_match"])]
    pub(crate) version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) document: Document,
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) condition: Condition,
    #[command(flatten)]
    pub(crate) expires: Expires,
    #[command(flatten)]
    pub(crate) policy: Policy,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) document: Document,
    #[command(flatten)]
    pub(crate) input: Input,
    #[command(flatten)]
    pub(crate) expires: Expires,
    #[command(flatten)]
    pub(crate) policy: Policy,
}

#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    #[command(flatten)]
    pub(crate) document: Document,
    /// A merge patch (an object) or operations (an array), or - to read it from standard input
    pub(crate) patch: String,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) document: Document,
    #[command(flatten)]
    pub(crate) condition: Condition,
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// Remove them; without this option, only say how many there are
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection whose keys to list
    pub(crate) collection: Option<String>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// With tags, times and sizes
    #[arg(short, long)]
    pub(crate) long: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// A condition on documents, such as '/price < 50 and /name prefix "A"'
    pub(crate) filter: String,
    /// Sort by the values at this path, descending with a - before it. Repeat it to order what is
    /// equal so far
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) sort: Vec<String>,
    /// At most this many documents
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Continue after this place, which a find with --limit prints
    #[arg(long, value_name = "PLACE")]
    pub(crate) after: Option<String>,
    /// Print how the documents are found, and none of them
    #[arg(long, conflicts_with = "count")]
    pub(crate) explain: bool,
    /// Print only how many there are
    #[arg(long)]
    pub(crate) count: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection's name
    pub(crate) collection: String,
    /// Make this index if it is missing: paths with commas between, descending with a - before
    #[arg(long, value_name = "PATHS", conflicts_with = "drop", allow_hyphen_values = true)]
    pub(crate) add: Option<String>,
    /// Let no two documents have the same value in it; if two have, fail and name their keys
    #[arg(long, requires = "add")]
    pub(crate) unique: bool,
    /// Drop this index
    #[arg(long, value_name = "PATHS", allow_hyphen_values = true)]
    pub(crate) drop: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) document: Document,
    /// With the values
    #[arg(long)]
    pub(crate) values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Changes {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// Only changes of this collection
    pub(crate) collection: Option<String>,
    /// Only changes after this cursor, which `--json` prints with each change
    #[arg(long, value_name = "CURSOR")]
    pub(crate) since: Option<String>,
    /// Wait for further changes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How long to wait before the store is read again
    #[arg(long, value_name = "TIME", default_value = "500ms", requires = "follow")]
    pub(crate) interval: SignedDuration,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// Repair the store; without this option, only say what is damaged
    #[arg(long)]
    pub(crate) yes: bool,
    /// Keep only what was written before the damage, so that all documents are of one moment
    #[arg(long, requires = "yes")]
    pub(crate) prefix: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The folder to copy
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) from: PathBuf,
    /// The folder to make
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) copy: Copy,
    /// Restore what is whole of a damaged source, and report what is not
    #[arg(long)]
    pub(crate) skip_damaged: bool,
}

/// What an import does with a document that is there with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Existing {
    /// Write the line's value
    Replace,
    /// Leave what is there, also what an earlier line has written
    Keep,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The store's folder, made where it is missing
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection to write; if none is named, each line must name its own
    pub(crate) collection: Option<String>,
    /// The file; - or nothing for standard input
    #[arg(value_hint = ValueHint::FilePath, requires = "collection")]
    pub(crate) file: Option<PathBuf>,
    /// What to do with a document that is there with another value
    #[arg(long, value_name = "WHAT", default_value = "replace")]
    pub(crate) existing: Existing,
    #[command(flatten)]
    pub(crate) policy: Policy,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection; all of them if none is named
    pub(crate) collection: Option<String>,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

#[cfg(feature = "browse")]
#[derive(Debug, Args)]
pub(crate) struct Browse {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection to begin with
    pub(crate) collection: Option<String>,
}
