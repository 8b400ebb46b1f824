//! Measures ifmatch beside its peers, in one run, and holds the ratios against the goals.
//!
//! ```text
//! cargo run --release -- [--seconds 2] [--items 200000] [--engines redb,lmdb] [--work durable-1]
//!                        [--dir DIRECTORY]
//! ```
//!
//! A replace reads an item and replaces it if its tag is unchanged. Peers do both in one write
//! transaction and keep a tag of 16 bytes beside the value; ifmatch does a `get` and a `replace`.

mod engine;
mod engines;
mod table;
mod work;

use std::path::PathBuf;
use std::time::Duration;
use std::{env, thread};

use engine::{Column, Mode, Outcome};
use table::Table;
use work::{WORKS, Work};

struct Arguments {
    time: Duration,
    items: u64,
    columns: Vec<&'static Column>,
    works: Vec<&'static Work>,
    dir: PathBuf,
}

fn main() -> Outcome {
    let arguments = arguments()?;
    let mut table = Table::default();
    for mode in [Mode::Durable, Mode::Eventual] {
        measure(&arguments, mode, &mut table)?;
    }

    let cores = thread::available_parallelism()?;
    println!("{} {}, {cores} cores", env::consts::OS, env::consts::ARCH);
    println!("{} items of {} bytes", arguments.items, engine::VALUE_BYTES);
    println!("{:?} for each cell, files in {}\n", arguments.time, arguments.dir.display());
    println!("Setup, durable; eventual:");
    for column in &arguments.columns {
        println!("  {}: {}", column.name, column.setup);
    }
    table.print(&arguments.works, &arguments.columns);
    Ok(())
}

/// Opens and loads every engine, and then goes through the work of one mode row by row, so that
/// the cells of a row are measured within seconds of each other: a machine's disk changes its
/// speed over minutes.
fn measure(arguments: &Arguments, mode: Mode, table: &mut Table) -> Outcome {
    let works: Vec<_> = arguments.works.iter().filter(|work| work.mode == mode).collect();
    if works.is_empty() {
        return Ok(());
    }
    let mut open = Vec::new();
    for column in &arguments.columns {
        eprintln!("{} {mode:?}: loading", column.name);
        let dir = tempfile::tempdir_in(&arguments.dir)?;
        let mut engine = (column.open)(dir.path(), mode)?;
        work::load(engine.as_mut(), arguments.items)?;
        open.push((column, engine, dir));
    }
    for work in works {
        for (column, engine, _) in &open {
            if engine.can(work.op) {
                let rate = work::measure(engine.as_ref(), work, arguments.items, arguments.time)?;
                eprintln!("{} {}: {rate:.0}/s", work.name, column.name);
                table.put(work, column, rate);
            }
        }
    }
    Ok(())
}

fn arguments() -> Outcome<Arguments> {
    let mut parsed = Arguments {
        time: Duration::from_secs(2),
        items: 200_000,
        columns: engines::COLUMNS.iter().collect(),
        works: WORKS.iter().collect(),
        dir: env::temp_dir(),
    };
    let mut given = env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        let listed = |known: &str| value.split(',').any(|name| known.starts_with(name));
        match &*name {
            "--seconds" => parsed.time = Duration::try_from_secs_f64(value.parse()?)?,
            "--items" => parsed.items = value.parse()?,
            "--engines" => parsed.columns.retain(|column| listed(column.name)),
            "--work" => parsed.works.retain(|work| listed(work.name)),
            "--dir" => parsed.dir = value.into(),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    Ok(parsed)
}
