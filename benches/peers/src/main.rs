//! Measures ifmatch beside its peers, in one run, and prints a page of Markdown that tells the
//! ratios, the goals and the losses.
//!
//! ```text
//! cargo run --release -- all > ../../docs/benchmarks.md      every row: some hours
//! cargo run --release -- quick               a small version of every row: a minute or two
//! cargo run --release -- ROW...              rows whose names begin so, in full
//! cargo run --release -- quick ROW...        the same, small
//!     [--items 200000] [--seconds 2] [--rounds 3] [--engines redb,lmdb] [--dir DIRECTORY]
//! ```
//!
//! Peers read and replace in one write transaction and keep a tag of 16 bytes beside the value;
//! ifmatch does a `get` and a `replace`. Linux only, as the system's own figures are read.

mod child;
mod documents;
mod engine;
mod engines;
mod machine;
mod plan;
mod report;
mod rows;
mod work;

use std::env;
use std::process::ExitCode;

use engine::Outcome;
use plan::Plan;
use report::Report;
use rows::FAMILIES;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &*arguments {
        [] => Err("tell what to run: all, quick, or the beginnings of rows' names".into()),
        [first, rest @ ..] if first == child::SUBCOMMAND => child::serve(rest).map(|()| 0),
        _ => run(&arguments),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("{failures} cells failed; the page says why");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for and prints the page; returns how many cells failed.
fn run(arguments: &[String]) -> Outcome<usize> {
    let plan = Plan::from_arguments(arguments)?;
    let all = || FAMILIES.iter().flat_map(|family| family.rows);
    if let Some(unknown) = plan.rows.iter().find(|row| !all().any(|r| r.id.starts_with(&***row))) {
        let names: Vec<_> = all().map(|row| row.id).collect();
        return Err(format!("no row is named {unknown}; the rows: {}", names.join(" ")).into());
    }
    let mut report = Report::default();
    for family in FAMILIES.iter().filter(|family| plan.wants_any(family.rows)) {
        (family.run)(&plan, &mut report)?;
    }
    println!("{}{}", machine::heading(&plan, arguments), report.page(FAMILIES, &plan));
    Ok(report.failures())
}
