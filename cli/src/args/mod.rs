//! The command line.

mod shared;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::{Args, Parser, Subcommand, ValueHint};
use jiff::SignedDuration;

pub(crate) use self::shared::{Condition, Document, Expires, Input, Keys, Policy, Whole};
use crate::failure::EXIT_CODES;

const EXAMPLES: &str = "\
Examples:
  ifmatch put shop.ifm prices apple '{\"eur\": 0.5}'     write a document; prints its tag
  ifmatch get shop.ifm prices apple                    print it
  ifmatch put shop.ifm prices apple - --if-match TAG   write it back, unless somebody was faster
  ifmatch ls shop.ifm prices --prefix a                list keys
  ifmatch browse shop.ifm                              look around
";

/// Look into an ifmatch store, and change it under If-Match.
///
/// A store is a folder that one program has open at a time. While another has it open, every
/// command but `doctor` fails with exit code 6. A command that is interrupted harms nothing.
#[derive(Debug, Parser)]
#[command(name = "ifmatch", version, styles = Styles::styled(), max_term_width = 100)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    /// Print lines of JSON for programs; errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print a document
    #[command(after_help = "\
Examples:
  ifmatch get shop.ifm prices apple
  ifmatch get shop.ifm prices apple --include          with its version, as HTTP headers
  ifmatch get shop.ifm prices apple --if-none-match '\"TAG\"'")]
    Get(Get),
    /// Write a document, whatever is there; prints the new tag
    #[command(after_help = "\
Examples:
  ifmatch put shop.ifm prices apple '{\"eur\": 0.5}'
  ifmatch put shop.ifm prices apple - < apple.json
  ifmatch put shop.ifm prices apple '{\"eur\": 0.6}' --if-match '\"TAG\"'
  ifmatch put shop.ifm sessions s1 '{\"user\": \"ada\"}' --ttl 1h")]
    Put(Put),
    /// Write a document that is not there yet; prints its tag
    Create(Create),
    /// Change parts of a JSON document; prints the new tag
    #[command(after_help = "\
Examples:
  ifmatch patch shop.ifm prices apple '{\"eur\": 0.7}'                   a merge patch (RFC 7396)
  ifmatch patch shop.ifm prices apple '[{\"op\": \"incr\", \"path\": \"/stock\", \"value\": -1}]'
                              operations: those of RFC 6902, and set and incr")]
    Patch(PatchArgs),
    /// Remove a document; prints the removal's tag
    Delete(Delete),
    /// Remove all documents of a collection
    Clear(Clear),
    /// Remove a collection: its documents, its form and its default time to live
    Drop(Clear),
    /// List the collections, or the keys of one
    Ls(Ls),
    /// Print the documents of a collection, one a line
    Cat(Cat),
    /// Find documents by what is in them
    #[command(after_help = "\
Examples:
  ifmatch find shop.ifm products '/price < 50 and /tags contains \"new\"'
  ifmatch find shop.ifm products 'true' --sort -/price --limit 10
  ifmatch find shop.ifm products '/price < 50' --explain      how it is found")]
    Find(FindArgs),
    /// List a collection's indexes, add one or drop one
    #[command(after_help = "\
Examples:
  ifmatch index shop.ifm products
  ifmatch index shop.ifm products --add '/tags/*,-/price'     by tag, then the dearest first
  ifmatch index shop.ifm users --add /email --unique          no two with one address
  ifmatch index shop.ifm products --drop '/tags/*,-/price'")]
    Index(IndexArgs),
    /// List the versions of a document that are kept, the newest first
    History(History),
    /// List what has changed, in order
    #[command(after_help = "\
Examples:
  ifmatch changes shop.ifm
  ifmatch changes shop.ifm prices --since CURSOR
  ifmatch changes shop.ifm --follow          goes on until it is interrupted; the store is open
                                             only while it is read, so others can write")]
    Changes(Changes),
    /// Print figures about a store
    Stats(Whole),
    /// Read everything and check it: checksums, tags, indexes and unique values
    Verify(Whole),
    /// Open a damaged store with what is whole
    #[command(after_help = "\
Examples:
  ifmatch repair shop.ifm                  tell what is damaged, and change nothing
  ifmatch repair shop.ifm --yes            keep every commit that is whole
  ifmatch repair shop.ifm --yes --prefix   keep a state that the store once had")]
    Repair(Repair),
    /// Give the space of superseded versions back
    Compact(Whole),
    /// Copy a store to a folder that is missing or empty
    Backup(Copy),
    /// Make a store of a backup
    Restore(Restore),
    /// Write the documents of a file in JSON Lines
    #[command(after_help = "\
A line is {\"key\": …, \"value\": …}, with \"expires\" where the document expires. What `export`
writes is read back exactly; its tags and times of change are not, as each write has its own.
A document that is there already with the same value is skipped, so an import that was
interrupted is finished by running it again.

Examples:
  ifmatch import shop.ifm prices prices.jsonl
  ifmatch export old.ifm | ifmatch import new.ifm")]
    Import(Import),
    /// Print documents in JSON Lines
    Export(Export),
    /// Tell what a folder is, whether it is whole, and what an open would do; changes nothing
    Doctor(Whole),
    /// Browse a store in the terminal
    #[cfg(feature = "browse")]
    Browse(Browse),
    /// Print the completions of a shell
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
    /// Do it; without, only tell how many documents that are
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
    /// Sort by what this path leads to; descending with a - before it. May be given again, for
    /// what is equal so far
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) sort: Vec<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// Go on after this place, which a find with --limit prints
    #[arg(long, value_name = "PLACE")]
    pub(crate) after: Option<String>,
    /// Print how it is found, and nothing that is found
    #[arg(long, conflicts_with = "count")]
    pub(crate) explain: bool,
    /// Print how many there are
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
    /// Make sure that there is this index: paths with commas between, descending with a - before
    #[arg(long, value_name = "PATHS", conflicts_with = "drop", allow_hyphen_values = true)]
    pub(crate) add: Option<String>,
    /// Let no two documents have one value in it; if two have, exit code 5 with their keys
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
    /// Only of this collection
    pub(crate) collection: Option<String>,
    /// Only what came after this cursor, which `--json` prints with each change
    #[arg(long, value_name = "CURSOR")]
    pub(crate) since: Option<String>,
    /// Wait for more
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How long to wait between two looks
    #[arg(long, value_name = "TIME", default_value = "500ms", requires = "follow")]
    pub(crate) interval: SignedDuration,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The store's folder
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// Do it; without, only tell what is damaged
    #[arg(long)]
    pub(crate) yes: bool,
    /// Give up what was written after the damage too, so that no document is older than its fellows
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
    /// Keep what is whole of a damaged source, and tell what is not
    #[arg(long)]
    pub(crate) skip_damaged: bool,
}

/// What an import does with a document that is there with another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Existing {
    /// Write the line's value
    Replace,
    /// Leave what is there
    Keep,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The store's folder, made where it is missing
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: PathBuf,
    /// The collection to write; without, each line must name its own
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
    /// The collection; without, all of them
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
