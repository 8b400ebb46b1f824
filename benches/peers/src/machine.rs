//! The beginning of the page: what was measured, on what, and how each engine is set up.

use std::path::Path;
use std::process::Command;
use std::{env, fs, thread};

use crate::engines::LEFT_OUT;
use crate::plan::Plan;
use crate::report::grouped;

const LOCK: &str = include_str!("../Cargo.lock");

pub fn heading(plan: &Plan, arguments: &[String]) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let memory_kib: u64 = field("/proc/meminfo", "MemTotal:")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_default();
    let processor = processor.trim_start_matches([':', ' ', '\t']);
    let mut page = format!(
        "# Benchmarks\n\n\
         ifmatch beside other embedded stores, each by its own best practice and with the same \
         memory for its cache, all in one run of one program. Operations, loading, opening and \
         copies are medians of {} rounds, engine after engine in each; what is sized {}, disk, \
         memory and idleness are of one. Compare figures of one row, not of two machines. \
         `sled alone` and `raw disk` are there to compare with and are no peers.\n\n\
         - command, in `benches/peers`: `cargo run --release -- {}`\n\
         - machine: {cores} cores, {processor}, {} GiB of memory, files on {}\n\
         - system: {} {kernel}, {}\n\
         - ifmatch: {}\n",
        plan.rounds,
        grouped(plan.items * 50),
        told(arguments),
        memory_kib >> 20,
        file_system(&plan.dir),
        env::consts::OS,
        output("rustc", &["--version"]),
        output("git", &["describe", "--always", "--dirty"]),
    );
    if cfg!(debug_assertions) || plan.quick {
        page.push_str("\n**A small run shows that every row works; its figures mean nothing.**\n");
    }
    page.push_str(
        "\n| engine | version | durable; eventual; what the cache's size sets |\n|---|---|---|\n",
    );
    for column in &plan.columns {
        let version = version(column.package);
        page.push_str(&format!("| {} | {version} | {} |\n", column.name, column.setup));
    }
    if !LEFT_OUT.is_empty() {
        let names = LEFT_OUT.join(", ");
        page.push_str(&format!("\nNot in this build, as their features are off: {names}.\n"));
    }
    page
}

/// The arguments without the folder of this machine.
fn told(arguments: &[String]) -> String {
    let folder = arguments.iter().position(|name| name == "--dir");
    let kept = arguments
        .iter()
        .enumerate()
        .filter(|(index, _)| folder.is_none_or(|folder| *index != folder && *index != folder + 1));
    kept.map(|(_, name)| &**name).collect::<Vec<_>>().join(" ")
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The type of the file system of a folder: that of the longest mount point above it.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let above = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(at).then_some((at.len(), kind))
    });
    above.max().map_or("an unknown file system", |(_, kind)| kind).to_owned()
}

fn version(package: &str) -> String {
    let name = format!("name = \"{package}\"\nversion = \"");
    let rest = LOCK.split_once(&name).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}
