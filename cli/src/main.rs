//! The command line of ifmatch: `ifmatch VERB STORE [COLLECTION [KEY [VALUE]]]`.
//!
//! | file | holds |
//! |---|---|
//! | `args.rs` | the command line as clap reads it |
//! | `open.rs` | opening and closing stores, and progress |
//! | `documents.rs` | a collection whose type is not known |
//! | `output.rs`, `json.rs` | what is printed |
//! | `failure.rs` | why a command fails, and its exit code |
//! | `told.rs` | errors of the library in words of the command line |
//! | `verbs/` | the commands, by what they are about |
//! | `transfer/` | `import` and `export` |
//! | `browse/` | the browser |

mod args;
#[cfg(feature = "browse")]
mod browse;
mod documents;
mod failure;
mod json;
mod open;
mod output;
mod told;
mod transfer;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde_json::json;

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the library warns of is mended by itself, as an index that a restore has to build.
    if log::set_logger(&Failures).is_ok() {
        log::set_max_level(log::LevelFilter::Error);
    }
    let mut out = Output::new(cli.json);
    let done = run(&cli.verb, &mut out);
    match done.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was found before the failure counts.
            let _ = out.flush();
            tell(&failure, cli.json);
            failure.exit_code()
        }
    }
}

fn run(verb: &Verb, out: &mut Output) -> Outcome {
    match verb {
        Verb::Get(args) => verbs::get(args, out),
        Verb::Put(args) => verbs::put(args, out),
        Verb::Create(args) => verbs::create(args, out),
        Verb::Patch(args) => verbs::patch(args, out),
        Verb::Delete(args) => verbs::delete(args, out),
        Verb::Clear(args) => verbs::clear(args, out),
        Verb::Drop(args) => verbs::drop_collection(args, out),
        Verb::Ls(args) => verbs::ls(args, out),
        Verb::Cat(args) => verbs::cat(args, out),
        Verb::Find(args) => verbs::find(args, out),
        Verb::Index(args) => verbs::index(args, out),
        Verb::History(args) => verbs::history(args, out),
        Verb::Changes(args) => verbs::changes(args, out),
        Verb::Stats(args) => verbs::stats(args, out),
        Verb::Verify(args) => verbs::verify(args, out),
        Verb::Repair(args) => verbs::repair(args, out),
        Verb::Compact(args) => verbs::compact(args, out),
        Verb::Backup(args) => verbs::backup(args, out),
        Verb::Restore(args) => verbs::restore(args, out),
        Verb::Import(args) => transfer::import(args, out),
        Verb::Export(args) => transfer::export(args, out),
        Verb::Doctor(args) => verbs::doctor(args, out),
        #[cfg(feature = "browse")]
        Verb::Browse(args) => browse::browse(args),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "ifmatch", &mut script);
            out.bytes(&script)
        }
    }
}

fn tell(failure: &Failure, json: bool) {
    match failure {
        Failure::OutputClosed => {}
        failure if json => {
            let object = json!({ "error": failure.kind(), "message": failure.to_string() });
            anstream::eprintln!("{object}");
        }
        failure => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{red}ifmatch:{red:#} {failure}");
        }
    }
}

/// Prints what the library logs to standard error.
struct Failures;

impl log::Log for Failures {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Error && metadata.target().starts_with("ifmatch")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            anstream::eprintln!("ifmatch: {}", record.args());
        }
    }

    fn flush(&self) {}
}
